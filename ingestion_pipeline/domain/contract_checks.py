"""Pandera's checks by name: what arguments each takes, and what it computes as a Polars expression.

What belongs here: the names, arguments and meaning of Pandera's built-in checks for Polars. What does not: rules in SQL
(`contract_sql`), applying them to a file (`stages.validate`).

The expressions are Pandera's own, written out: importing Pandera brings pandas along and costs a run more
than a second, and one pass over all rules is faster than one per check. `pandera_schema` in
`stages.validate.pandera_schema` builds the same contract in Pandera, and a test keeps the two equal.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from ingestion_pipeline.domain.contract import Check, Column, ColumnType

ArgumentKind = Literal["value", "values", "bool", "text", "pattern", "length"]


@dataclass(frozen=True, slots=True)
class CheckForm:
    """The arguments of one check.

    Attributes:
        arguments: Kind of each keyword argument; `value` is of the column's type.
        positional: What a bare scalar (one name) or a list (several) in the contract stands for.
        needed: Arguments that must be there.
        text_only: Only for columns of type string.
        reason: What to tell the owner of a rejected row; fields in braces are arguments.
    """

    arguments: Mapping[str, ArgumentKind]
    positional: tuple[str, ...]
    needed: frozenset[str]
    reason: str
    text_only: bool = False


def _form(
    reason: str, *, optional: Iterable[str] = (), text_only: bool = False, **arguments: ArgumentKind
) -> CheckForm:
    needed = frozenset(arguments) - frozenset(optional)
    positional = tuple(name for name in arguments if name in needed) or tuple(arguments)[-1:]
    return CheckForm(arguments, positional, needed, reason, text_only)


CHECKS: Mapping[str, CheckForm] = {
    "eq": _form("must be {value}", value="value"),
    "ne": _form("must not be {value}", value="value"),
    "gt": _form("must be greater than {min_value}", min_value="value"),
    "ge": _form("must be {min_value} or more", min_value="value"),
    "lt": _form("must be less than {max_value}", max_value="value"),
    "le": _form("must be {max_value} or less", max_value="value"),
    "in_range": _form(
        "must be between {min_value} and {max_value}",
        optional=("include_min", "include_max"),
        min_value="value",
        max_value="value",
        include_min="bool",
        include_max="bool",
    ),
    "isin": _form("must be one of {allowed_values}", allowed_values="values"),
    "notin": _form("must not be one of {forbidden_values}", forbidden_values="values"),
    "str_matches": _form("must match {pattern}", pattern="pattern", text_only=True),
    "str_contains": _form("must contain {pattern}", pattern="pattern", text_only=True),
    "str_startswith": _form("must begin with {string}", string="text", text_only=True),
    "str_endswith": _form("must end with {string}", string="text", text_only=True),
    "str_length": _form(
        "has the wrong length",
        optional=("min_value", "max_value", "exact_value"),
        text_only=True,
        min_value="length",
        max_value="length",
        exact_value="length",
    ),
}

# Pandera's long names for the same checks.
ALIASES: Mapping[str, str] = {
    "equal_to": "eq",
    "not_equal_to": "ne",
    "greater_than": "gt",
    "greater_than_or_equal_to": "ge",
    "less_than": "lt",
    "less_than_or_equal_to": "le",
    "between": "in_range",
}


def polars_type(column: Column) -> pl.DataType:
    """The type of an accepted row's cell."""
    types: Mapping[ColumnType, pl.DataType] = {
        "string": pl.String(),
        "integer": pl.Int64(),
        "float": pl.Float64(),
        "boolean": pl.Boolean(),
        "date": pl.Date(),
        "datetime": pl.Datetime("us", "UTC"),
        "decimal": pl.Decimal(column.precision, column.scale),
    }
    return types[column.type]


def check_expression(check: Check, column: Column) -> pl.Expr:
    """A Boolean expression over the typed column: true or null where the row passes."""
    return _EXPRESSIONS[check.name](pl.col(column.name), polars_type(column), dict(check.arguments))


def check_reason(check: Check) -> str:
    """What a rejected row's owner is told, without the value."""
    if check.name == "str_length":
        bounds = ", ".join(f"{name.removesuffix('_value')} {value}" for name, value in check.arguments.items())
        return f"must have the right number of characters ({bounds})"
    shown = {
        name: ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        for name, value in check.arguments.items()
    }
    return CHECKS[check.name].reason.format(**shown)


def regex_problem(pattern: str) -> str | None:
    """Why a pattern is no regular expression of Polars (Rust's syntax: no look-around); None if it is."""
    try:
        pl.Series(["x"]).str.contains(pattern)
    except pl.exceptions.PolarsError as error:
        return " ".join(str(error).split("This error occurred", maxsplit=1)[0].split())
    return None


def _in_range(cell: pl.Expr, dtype: pl.DataType, arguments: dict[str, Any]) -> pl.Expr:
    low, high = pl.lit(arguments["min_value"], dtype), pl.lit(arguments["max_value"], dtype)
    above = cell >= low if arguments.get("include_min", True) else cell > low
    below = cell <= high if arguments.get("include_max", True) else cell < high
    return above & below


def _str_matches(cell: pl.Expr, _: pl.DataType, arguments: dict[str, Any]) -> pl.Expr:
    pattern: str = arguments["pattern"]
    return cell.str.contains(pattern if pattern.startswith("^") else f"^{pattern}")


def _str_length(cell: pl.Expr, _: pl.DataType, arguments: dict[str, Any]) -> pl.Expr:
    length = cell.str.len_chars()
    exactly: int | None = arguments.get("exact_value")
    if exactly is not None:
        return length == exactly
    at_least: int | None = arguments.get("min_value")
    at_most: int | None = arguments.get("max_value")
    low = pl.lit(True) if at_least is None else length >= at_least
    return low if at_most is None else low & (length <= at_most)


_EXPRESSIONS: Mapping[str, Callable[[pl.Expr, pl.DataType, dict[str, Any]], pl.Expr]] = {
    "eq": lambda cell, dtype, a: cell == pl.lit(a["value"], dtype),
    "ne": lambda cell, dtype, a: cell != pl.lit(a["value"], dtype),
    "gt": lambda cell, dtype, a: cell > pl.lit(a["min_value"], dtype),
    "ge": lambda cell, dtype, a: cell >= pl.lit(a["min_value"], dtype),
    "lt": lambda cell, dtype, a: cell < pl.lit(a["max_value"], dtype),
    "le": lambda cell, dtype, a: cell <= pl.lit(a["max_value"], dtype),
    "in_range": _in_range,
    "isin": lambda cell, dtype, a: cell.is_in(pl.Series(list(a["allowed_values"]), dtype=dtype).implode()),
    "notin": lambda cell, dtype, a: cell.is_in(pl.Series(list(a["forbidden_values"]), dtype=dtype).implode()).not_(),
    "str_matches": _str_matches,
    "str_contains": lambda cell, _, a: cell.str.contains(a["pattern"]),
    "str_startswith": lambda cell, _, a: cell.str.starts_with(a["string"]),
    "str_endswith": lambda cell, _, a: cell.str.ends_with(a["string"]),
    "str_length": _str_length,
}
