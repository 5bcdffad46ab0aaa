"""Rejected rows as the sink gets them: one row per broken rule, with the value and the original text.

What belongs here: the shape of what is told. What does not: deciding what is rejected (`rules`).
"""

from collections.abc import Sequence

import polars as pl

from ingestion_pipeline.formats.base import RowChunk
from ingestion_pipeline.stages.validate.report import REJECTED_SCHEMA
from ingestion_pipeline.stages.validate.rules import Violation, any_of


def rejected_rows(chunk: RowChunk, violations: Sequence[Violation]) -> pl.DataFrame:
    """Everything that is wrong in a chunk, by line; of `REJECTED_SCHEMA`."""
    frames = [_malformed(chunk)] if chunk.malformed else []
    rejected = any_of(violations)
    if rejected is not None:
        at = rejected.arg_true()
        originals = pl.DataFrame({"at": at, "row": chunk.original(at)})
        frames.extend(_broken(chunk, violation, originals) for violation in violations)
    return pl.concat(frames).sort("line", maintain_order=True)


def _malformed(chunk: RowChunk) -> pl.DataFrame:
    height = len(chunk.malformed)
    return pl.DataFrame(
        {
            "line": [record.line for record in chunk.malformed],
            "column": [""] * height,
            "rule": ["row_shape"] * height,
            "value": [None] * height,
            "reason": [record.reason for record in chunk.malformed],
            "row": [record.text for record in chunk.malformed],
        },
        schema=REJECTED_SCHEMA,
    )


def _broken(chunk: RowChunk, violation: Violation, originals: pl.DataFrame) -> pl.DataFrame:
    at = violation.rows.arg_true()
    reasons = None if violation.reasons is None else violation.reasons.gather(at)
    frame = pl.DataFrame({"at": at, "line": chunk.lines.gather(at)}).with_columns(
        column=pl.lit(", ".join(violation.columns)),
        rule=pl.lit(violation.name),
        value=_values(chunk.cells[at], violation.columns),
        reason=pl.lit(violation.reason) if reasons is None else reasons,
    )
    return frame.join(originals, on="at", how="left", maintain_order="left").select(*REJECTED_SCHEMA)


def _values(cells: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """The cells as the file has them; `a=1, b=2` where a rule looks at several columns."""
    known = [name for name in columns if name in cells.columns]
    if len(columns) == 1:
        return cells[known[0]].cast(pl.String) if known else pl.repeat(None, cells.height, dtype=pl.String, eager=True)
    shown = [pl.format("{}={}", pl.lit(name), pl.col(name).cast(pl.String).fill_null("")) for name in known]
    return cells.select(pl.concat_str(shown, separator=", ")).to_series()
