"""Columns that are computed from others, and rows that the contract's filter leaves out.

What belongs here: both, on the typed rows of a chunk. What does not: what an expression may be (`domain.contract_sql`),
rules about values (`rules`).
"""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from ingestion_pipeline.domain.contract import Column, Contract
from ingestion_pipeline.domain.contract_checks import polars_type
from ingestion_pipeline.domain.contract_sql import computed, sql_expression
from ingestion_pipeline.formats.base import RowChunk
from ingestion_pipeline.stages.validate.casting import cast_cells, in_utc
from ingestion_pipeline.stages.validate.rules import TYPE_REASONS, Violation, any_of


def with_derived(
    chunk: RowChunk, typed: pl.DataFrame, violations: Sequence[Violation], contract: Contract
) -> tuple[RowChunk, pl.DataFrame, list[Violation]]:
    """Compute the derived columns; their values also become cells of the chunk, where rejects show them."""
    found = list(violations)
    for column in contract.derived_columns:
        assert column.expr is not None
        raw = computed(typed, [sql_expression(column.expr)], f"columns.{column.name}.expr").to_series()
        values, wrong = _typed(raw.alias(column.name), column)
        typed = typed.with_columns(values.alias(column.name))
        chunk = replace(chunk, cells=chunk.cells.with_columns(raw.cast(pl.String).alias(column.name)))
        if wrong is not None:
            found.append(Violation("type", (column.name,), TYPE_REASONS[column.type], wrong))
        if not column.nullable and values.null_count():
            # A null that comes of a cell that is told already is no fault of its own.
            told = any_of([v for v in found if column.name in v.columns or set(v.columns) & set(column.inputs)])
            empty = values.is_null() if told is None else values.is_null() & ~told
            if empty.any():
                found.append(Violation("not_null", (column.name,), "is required, and its expression is null", empty))
    return chunk, typed.select(column.name for column in contract.columns), found


def _typed(raw: pl.Series, column: Column) -> tuple[pl.Series, pl.Series | None]:
    """Computed values in the column's type, and where they are none of it (None: nowhere)."""
    dtype = polars_type(column)
    if raw.dtype == pl.String:
        return cast_cells(raw, column)
    if isinstance(dtype, pl.Datetime) and raw.dtype == pl.Date:
        raw = raw.cast(pl.Datetime("us"))
    if isinstance(raw.dtype, pl.Datetime) and raw.dtype.time_zone is None:
        values = in_utc(raw.cast(pl.Datetime("us")), column.timezone)
    elif column.type == "decimal":
        # A cast fails as a whole on a number with too many digits.
        rounded = raw.round(column.scale)
        fits = rounded.cast(pl.Float64).abs() < 10.0 ** (column.precision - column.scale)
        values = rounded.set(~fits, None).cast(dtype, strict=False)
    else:
        values = raw.cast(dtype, strict=False)
    if column.type == "integer" and not raw.dtype.is_integer():
        values = values.set(raw != raw.round(0), None)
    wrong = values.is_null() & raw.is_not_null()
    return values, wrong if wrong.any() else None


def without_filtered(
    chunk: RowChunk, typed: pl.DataFrame, violations: Sequence[Violation], condition: str
) -> tuple[RowChunk, pl.DataFrame, list[Violation]]:
    """What is left of a chunk where the filter is not false; records that are no rows cannot be asked."""
    passes = computed(typed, [sql_expression(condition)], "filter").to_series().fill_null(True)
    if passes.all():
        return chunk, typed, list(violations)
    kept = passes.arg_true()
    rest = RowChunk(
        cells=chunk.cells[kept],
        lines=chunk.lines.gather(kept),
        malformed=chunk.malformed,
        original=lambda rows: chunk.original(kept.gather(rows)),
    )
    left = [replace(v, rows=v.rows.gather(kept)) for v in violations]
    return rest, typed[kept], [v for v in left if v.rows.any()]
