"""Rejected rows as the sink gets them: an entry per broken rule with the value; the first has the row's text.

What belongs here: the shape of what is told. What does not: deciding what is rejected (`rules`).
"""

from collections.abc import Iterator, Sequence

import polars as pl

from ingestion_pipeline.formats.base import MalformedRecord, RowChunk
from ingestion_pipeline.stages.validate.report import REJECTED_SCHEMA
from ingestion_pipeline.stages.validate.rules import Violation, any_of

MAX_ENTRIES = 25_000
# `place` tells rows of one line apart (a JSON array may be one line); malformed records come after every row of theirs.
_ENTRY_SCHEMA = {"place": pl.UInt64(), **{name: kind for name, kind in REJECTED_SCHEMA.items() if name != "row"}}
_AFTER_ROWS = 1 << 32


def rejected_rows(chunk: RowChunk, violations: Sequence[Violation]) -> Iterator[pl.DataFrame]:
    """Everything that is wrong in a chunk, by line; of `REJECTED_SCHEMA`.

    A chunk of wide rows that break a rule in every column has millions of entries: they come in frames of at
    most `MAX_ENTRIES`, or of one line that breaks more rules.
    """
    rejected = any_of(violations)
    rows = pl.Series(dtype=pl.UInt32) if rejected is None else rejected.arg_true()
    row_lines = chunk.lines.gather(rows)
    malformed_lines = pl.Series([record.line for record in chunk.malformed], dtype=pl.Int64)
    lines = pl.concat([row_lines, malformed_lines]).sort()
    step = max(1, MAX_ENTRIES // max(1, len(violations)))
    next_row = next_malformed = 0
    for start in range(0, len(lines), step):
        last = lines[min(start + step, len(lines)) - 1]
        first_row, next_row = next_row, row_lines.search_sorted(last, side="right")
        first_malformed, next_malformed = next_malformed, malformed_lines.search_sorted(last, side="right")
        yield _entries(chunk, violations, rows[first_row:next_row], chunk.malformed[first_malformed:next_malformed])


def _entries(
    chunk: RowChunk, violations: Sequence[Violation], rows: pl.Series, malformed: Sequence[MalformedRecord]
) -> pl.DataFrame:
    """What is wrong with some rows and malformed records; the text of each is told once, at its first entry."""
    broken = [_broken(chunk, violation, rows) for violation in violations]
    entries = pl.concat([_malformed(malformed), *broken]).sort("line", "place", maintain_order=True)
    whole = pl.DataFrame({"line": chunk.lines.gather(rows), "place": rows.cast(pl.UInt64), "row": chunk.original(rows)})
    cut = pl.DataFrame(
        [(record.line, _AFTER_ROWS + number, record.text) for number, record in enumerate(malformed)],
        schema=whole.schema,
        orient="row",
    )
    texts = pl.concat([whole, cut]).sort("line", "place")["row"]
    first = entries["place"].is_first_distinct()
    return entries.with_columns(row=pl.when(first).then(texts.gather(first.cum_sum() - 1))).select(*REJECTED_SCHEMA)


def _malformed(malformed: Sequence[MalformedRecord]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "place": range(_AFTER_ROWS, _AFTER_ROWS + len(malformed)),
            "line": [record.line for record in malformed],
            "column": [""] * len(malformed),
            "rule": ["row_shape"] * len(malformed),
            "value": [None] * len(malformed),
            "reason": [record.reason for record in malformed],
        },
        schema=_ENTRY_SCHEMA,
    )


def _broken(chunk: RowChunk, violation: Violation, rows: pl.Series) -> pl.DataFrame:
    """The entries of those of some rows that break one rule."""
    at = rows.filter(violation.rows.gather(rows))
    reasons = None if violation.reasons is None else violation.reasons.gather(at)
    return pl.DataFrame(
        {
            "place": at.cast(pl.UInt64),
            "line": chunk.lines.gather(at),
            "column": _repeated(", ".join(violation.columns), len(at)),
            "rule": _repeated(violation.name, len(at)),
            "value": _values(chunk.cells, at, violation.columns),
            "reason": _repeated(violation.reason, len(at)) if reasons is None else reasons,
        }
    )


def _repeated(text: str, height: int) -> pl.Series:
    return pl.Series([text], dtype=pl.String).new_from_index(0, height)


def _values(cells: pl.DataFrame, at: pl.Series, columns: Sequence[str]) -> pl.Series:
    """Some rows' cells as the file has them; `a=1, b=2` where a rule looks at several columns."""
    known = [name for name in columns if name in cells.columns]
    if len(columns) == 1:
        return (
            cells[known[0]].gather(at).cast(pl.String)
            if known
            else pl.repeat(None, len(at), dtype=pl.String, eager=True)
        )
    shown = cells.select(known)[at] if known else pl.DataFrame()
    texts = [pl.format("{}={}", pl.lit(name), pl.col(name).cast(pl.String).fill_null("")) for name in known]
    return shown.select(pl.concat_str(texts, separator=", ")).to_series()
