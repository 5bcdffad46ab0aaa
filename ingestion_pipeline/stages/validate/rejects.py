"""Rejected rows as the sink gets them: an entry per broken rule with the value; the first has the row's text.

What belongs here: the shape of what is told. What does not: deciding what is rejected (`rules`).

Entries of all rules are made at once: for each rule by itself the calls into Polars took a third of the validation of a
file with one bad row in a hundred, and minutes for rows that break thousands of rules.
"""

from collections.abc import Iterator, Sequence, Set

import polars as pl

from ingestion_pipeline.formats.base import MalformedRecord, RowChunk
from ingestion_pipeline.stages.validate.report import REJECTED_SCHEMA
from ingestion_pipeline.stages.validate.rules import Violation, any_of

MAX_ENTRIES = 25_000
# `place` tells rows of one line apart (a JSON array may be one line); malformed records come after every row of theirs.
_ENTRY_SCHEMA = {"place": pl.Int64(), **REJECTED_SCHEMA}
_AFTER_ROWS = 1 << 32


def rejected_rows(chunk: RowChunk, violations: Sequence[Violation]) -> Iterator[pl.DataFrame]:
    """Everything that is wrong in a chunk, by line; of `REJECTED_SCHEMA`.

    A chunk of wide rows that break a rule in every column has millions of entries: they come in frames of at
    most `MAX_ENTRIES`, or of one line that breaks more rules.
    """
    rejected = any_of(violations)
    rows = pl.Series(dtype=pl.UInt32) if rejected is None else rejected.arg_true()
    bad = _BadRows(chunk, violations, rows)
    malformed_lines = pl.Series([record.line for record in chunk.malformed], dtype=pl.Int64)
    lines = pl.concat([bad.lines, malformed_lines]).sort()
    step = max(1, MAX_ENTRIES // max(1, len(violations)))
    next_row = next_malformed = 0
    for start in range(0, len(lines), step):
        last = lines[min(start + step, len(lines)) - 1]
        first_row, next_row = next_row, bad.lines.search_sorted(last, side="right")
        first_malformed, next_malformed = next_malformed, malformed_lines.search_sorted(last, side="right")
        entries = [_malformed(chunk.malformed[first_malformed:next_malformed])]
        if next_row > first_row:
            entries.insert(0, bad.entries(first_row, next_row))
        found = pl.concat(entries).sort("line", "place", maintain_order=True)
        yield found.select(*REJECTED_SCHEMA)


class _BadRows:
    """The rows of a chunk that break rules, by themselves.

    Attributes:
        lines: Of each.
    """

    def __init__(self, chunk: RowChunk, violations: Sequence[Violation], rows: pl.Series) -> None:
        self.lines = chunk.lines.gather(rows)
        self._chunk, self._rows = chunk, rows
        self._broken = pl.DataFrame([v.rows.alias(str(number)) for number, v in enumerate(violations)])[rows]
        known = set(chunk.cells.columns)
        shown = {v.columns: value for v in violations if (value := _value(v.columns, known)) is not None}
        places = {columns: place for place, columns in enumerate(shown, start=1)}  # 0: no value
        names = known.intersection(name for columns in shown for name in columns)
        cells = chunk.cells.select(names)[rows] if names else pl.DataFrame()
        self._values = cells.select(value.alias(str(places[columns])) for columns, value in shown.items())
        # Of each rule, by its number in the frame of what is broken.
        self._value_of = pl.Series([places.get(v.columns, 0) for v in violations], dtype=pl.Int64)
        self._columns = pl.Series([", ".join(v.columns) for v in violations], dtype=pl.String)
        self._names = pl.Series([v.name for v in violations], dtype=pl.String)
        self._reasons = pl.Series([v.reason for v in violations], dtype=pl.String)
        self._own_reasons = {n: v.reasons.gather(rows) for n, v in enumerate(violations) if v.reasons is not None}

    def entries(self, start: int, stop: int) -> pl.DataFrame:
        """Of some of them, rule by rule; the text of each row is told once, at its first entry."""
        height = stop - start
        # Rule after rule in one series: where it is true, rule and row follow from the place.
        broken = pl.concat(self._broken[start:stop].get_columns()).arg_true().cast(pl.Int64)
        rule, row = broken // height, broken % height
        nothing = pl.Series([None], dtype=pl.String).new_from_index(0, height)
        values = pl.concat([nothing, *self._values[start:stop].get_columns()])
        reasons = self._reasons.gather(rule)
        for number, own in self._own_reasons.items():
            reasons = reasons.zip_with(rule != number, own[start:stop].gather(row))
        found = pl.DataFrame(
            {
                "place": row + start,
                "line": self.lines[start:stop].gather(row),
                "column": self._columns.gather(rule),
                "rule": self._names.gather(rule),
                "value": values.gather(self._value_of.gather(rule) * height + row),
                "reason": reasons,
            }
        )
        texts = self._chunk.original(self._rows[start:stop]).gather(row)
        return found.with_columns(row=pl.when(pl.col("place").is_first_distinct()).then(texts))


def _malformed(malformed: Sequence[MalformedRecord]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "place": range(_AFTER_ROWS, _AFTER_ROWS + len(malformed)),
            "line": [record.line for record in malformed],
            "column": [""] * len(malformed),
            "rule": ["row_shape"] * len(malformed),
            "value": [None] * len(malformed),
            "reason": [record.reason for record in malformed],
            "row": [record.text for record in malformed],
        },
        schema=_ENTRY_SCHEMA,
    )


def _value(columns: Sequence[str], known: Set[str]) -> pl.Expr | None:
    """Cells as the file has them; `a=1, b=2` where a rule looks at several columns. None: the file has none of them."""
    cells = {name: pl.col(name).cast(pl.String) for name in columns if name in known}
    if not cells:
        return None
    if len(columns) == 1:
        return cells[columns[0]]
    texts = [pl.format("{}={}", pl.lit(name), cell.fill_null("")) for name, cell in cells.items()]
    return pl.concat_str(texts, separator=", ")
