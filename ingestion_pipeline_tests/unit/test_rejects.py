"""What is told of the rows that break rules."""

import polars as pl
import pytest

from ingestion_pipeline.formats.base import MalformedRecord, RowChunk
from ingestion_pipeline.stages.validate.rejects import rejected_rows
from ingestion_pipeline.stages.validate.rules import Violation

WIDE = 3_000


def chunk(cells: dict[str, list[str | None]], *, malformed: tuple[int, ...] = ()) -> RowChunk:
    frame = pl.DataFrame(cells, schema=dict.fromkeys(cells, pl.String))
    lines = pl.int_range(1, 1 + frame.height, dtype=pl.Int64, eager=True)
    return RowChunk(
        cells=frame,
        lines=lines,
        malformed=[MalformedRecord(at, f"text {at}", "is cut") for at in malformed],
        original=lambda rows: pl.select(pl.format("row {}", lines.gather(rows))).to_series(),
    )


def breaks(name: str, columns: tuple[str, ...], rows: list[bool], reasons: list[str] | None = None) -> Violation:
    own = None if reasons is None else pl.Series(reasons, dtype=pl.String)
    return Violation(name, columns, f"breaks {name}", pl.Series(rows), own)


def told(rows: RowChunk, violations: list[Violation]) -> list[tuple[object, ...]]:
    return [entry for frame in rejected_rows(rows, violations) for entry in frame.iter_rows()]


def test_each_broken_rule_is_an_entry_with_its_cells_and_the_row_s_text_stands_at_the_first() -> None:
    rows = chunk({"a": ["1", "2", None], "b": ["x", "y", "z"]}, malformed=(4,))
    violations = [
        breaks("first", ("b",), [True, False, True]),
        breaks("both", ("a", "b"), [True, False, True]),
        breaks("unique", ("a",), [False, True, False], ["", "repeats line 1", ""]),
    ]
    assert told(rows, violations) == [
        (1, "b", "first", "x", "breaks first", "row 1"),
        (1, "a, b", "both", "a=1, b=x", "breaks both", None),
        (2, "a", "unique", "2", "repeats line 1", "row 2"),
        (3, "b", "first", "z", "breaks first", "row 3"),
        (3, "a, b", "both", "a=, b=z", "breaks both", None),
        (4, "", "row_shape", None, "is cut", "text 4"),
    ]


@pytest.mark.parametrize("columns", [("absent",), ("absent", "gone"), ()])
def test_a_column_that_the_file_does_not_have_has_no_value(columns: tuple[str, ...]) -> None:
    rows = chunk({"a": ["1", "2"]})
    assert [entry[3] for entry in told(rows, [breaks("rule", columns, [True, True])])] == [None, None]


def test_malformed_records_alone_are_told() -> None:
    assert told(chunk({"a": []}, malformed=(1, 7)), []) == [
        (1, "", "row_shape", None, "is cut", "text 1"),
        (7, "", "row_shape", None, "is cut", "text 7"),
    ]


def test_rows_that_break_a_rule_in_each_of_thousands_of_columns_are_told_in_small_frames() -> None:
    rows = chunk({f"c{n}": ["x"] * 20 for n in range(WIDE)})
    violations = [breaks("type", (f"c{n}",), [True] * 20) for n in range(WIDE)]
    frames = list(rejected_rows(rows, violations))
    assert sum(frame.height for frame in frames) == 20 * WIDE
    assert max(frame.height for frame in frames) <= 25_000
    assert [frame["row"].null_count() for frame in frames] == [
        frame.height - frame.n_unique("line") for frame in frames
    ]
