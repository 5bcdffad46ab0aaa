"""Every rule of a contract on every row of a chunk, as one pass of Polars expressions.

What belongs here: which rows break which rule. What does not: rules that look beyond a row
(`uniqueness`), and what each check means (`domain.contract_checks`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from ingestion_pipeline.domain.contract import Column, Contract
from ingestion_pipeline.domain.contract_checks import check_expression, check_reason
from ingestion_pipeline.domain.contract_sql import computed, sql_expression
from ingestion_pipeline.stages.validate.casting import cast_cells

TYPE_REASONS = {
    "string": "is not text",
    "integer": "is not a whole number",
    "float": "is not a number",
    "boolean": "is neither true nor false",
    "date": "is not a date",
    "datetime": "is not a date and time",
    "decimal": "is not a decimal number with that many digits",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        columns: The columns whose values are shown; more than one for a cross-column rule.
        passes: Boolean over a typed row; null passes.
    """

    name: str
    columns: tuple[str, ...]
    reason: str
    passes: pl.Expr


@dataclass(frozen=True, slots=True)
class Violation:
    """The rows of a chunk that break one rule.

    Attributes:
        rows: Boolean mask over the chunk.
        reasons: A reason of its own for each row of the chunk, where they differ.
    """

    name: str
    columns: tuple[str, ...]
    reason: str
    rows: pl.Series
    reasons: pl.Series | None = None


def any_of(violations: Sequence[Violation]) -> pl.Series | None:
    """Rows that break any of these rules; None: no row does."""
    rejected: pl.Series | None = None
    for violation in violations:
        rejected = violation.rows if rejected is None else rejected | violation.rows
    return rejected


def compile_rules(contract: Contract) -> list[Rule]:
    """The contract's rules about values, in the order of its columns, cross-column rules last."""
    rules: list[Rule] = []
    for column in contract.columns:
        cell = pl.col(column.name)
        if column.type == "float":
            # Druid has no place for them: NaN and infinities would arrive as null.
            rules.append(Rule("finite", (column.name,), "is not a finite number", cell.is_finite()))
        if column.name == contract.time.column:
            low, high = contract.time.min, contract.time.max
            moment = cell.cast(pl.Datetime("us", "UTC")) if column.type == "datetime" else _midnight(cell)
            reason = f"lies outside {low:%Y-%m-%d %H:%M} to {high:%Y-%m-%d %H:%M} UTC"
            rules.append(Rule("time_range", (column.name,), reason, (moment >= low) & (moment < high)))
        rules.extend(
            Rule(check.name, (column.name,), check_reason(check), check_expression(check, column))
            for check in column.checks
        )
    rules.extend(
        Rule(check.name, check.columns, check.description or f"breaks {check.expr}", sql_expression(check.expr))
        for check in contract.checks
    )
    return rules


def time_expression(contract: Contract) -> pl.Expr:
    """The moment (UTC, microseconds) that becomes `__time`."""
    column = contract.column(contract.time.column)
    return pl.col(column.name) if column.type == "datetime" else _midnight(pl.col(column.name))


def _midnight(day: pl.Expr) -> pl.Expr:
    return day.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def type_cells(cells: pl.DataFrame, columns: Iterable[Column]) -> tuple[pl.DataFrame, list[Violation]]:
    """Type every column; rows with a cell of the wrong type, or without one that they need."""
    violations: list[Violation] = []
    typed: list[pl.Series] = []
    for column in columns:
        if column.name not in cells.columns:
            raw = pl.Series(column.name, [None], dtype=pl.String).new_from_index(0, cells.height)
        else:
            raw = cells[column.name]
        values, wrong = cast_cells(raw, column)
        typed.append(values.alias(column.name))
        if wrong is not None:
            violations.append(Violation("type", (column.name,), TYPE_REASONS[column.type], wrong))
        if not column.nullable and values.null_count():
            empty = values.is_null() if wrong is None else values.is_null() & ~wrong
            if empty.any():
                violations.append(Violation("not_null", (column.name,), "is required and empty", empty))
    return pl.DataFrame(typed), violations


def violations_of(rules: list[Rule], frame: pl.DataFrame) -> list[Violation]:
    """The rules that rows of a typed frame break."""
    if not rules or frame.height == 0:
        return []
    wanted = [rule.passes.not_().fill_null(False).alias(str(i)) for i, rule in enumerate(rules)]
    broken = computed(frame, wanted, "A rule of the contract")
    return [
        Violation(rule.name, rule.columns, rule.reason, rows)
        for rule, rows in zip(rules, broken.get_columns(), strict=True)
        if rows.any()
    ]
