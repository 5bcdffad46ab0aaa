"""SQL expressions of a contract (cross-column rules, derived columns, the filter), as Polars computes them.

What belongs here: what an expression may be, and of which type it is. What does not: which keys hold one
(`contract_document`, `contract_columns`), computing it on rows (`stages.validate`).

An expression looks at one row. Aggregates and windows would be computed over whatever stretch of the file is in memory,
and subqueries could read files: both are refused when the contract is loaded. What is allowed is a list, since the next
version of Polars may bring functions that nobody has thought of here.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import polars as pl

from ingestion_pipeline.domain.contract import Column, ColumnType
from ingestion_pipeline.domain.contract_checks import polars_type
from ingestion_pipeline.domain.contract_problems import Problem, suggestion
from ingestion_pipeline.errors import ContractError

_MAX_CHARACTERS = 2000
_QUERY = re.compile(r"\bselect\b", re.IGNORECASE)
_NODES = {"Column", "Literal", "BinaryExpr", "Function", "Cast", "Ternary", "Alias"}
# Functions of one row, by the names under which Polars serializes them; None: all of a family.
_FUNCTIONS: dict[str, set[str] | None] = {
    **dict.fromkeys(("Abs", "Atan2", "Bitwise", "Ceil", "Coalesce", "Exp", "FillNull", "Floor", "Log", "Log1p"), None),
    **dict.fromkeys(
        ("MaxHorizontal", "MinHorizontal", "Pow", "Sign", "Trigonometry", "Truncate", "TemporalExpr"), None
    ),
    "Boolean": {"IsNull", "IsNotNull", "Not", "IsNan", "IsNotNan", "IsFinite", "IsInfinite", "IsBetween", "IsIn"},
    "Sql": {"Binary", "IsIn", "Round", "ToFloat"},
    "ListExpr": {"Get", "Length"},
    # Not the ones that pad a text to any length.
    "StringExpr": {
        *("ConcatHorizontal", "Contains", "EndsWith", "Find", "LenBytes", "LenChars", "Lowercase", "Normalize"),
        *("Replace", "Reverse", "Slice", "Split", "StartsWith", "StripChars", "StripCharsEnd", "StripCharsStart"),
        *("Strptime", "Titlecase", "Uppercase"),
    },
}


@dataclass(frozen=True, slots=True)
class SqlRead:
    """What an expression reads, in order of appearance, and of which type it is."""

    columns: tuple[str, ...]
    type: pl.DataType


def read_sql(key: str, sql: str, columns: Sequence[Column], problems: list[Problem]) -> SqlRead | None:
    """Prove that an expression can be computed on rows of some columns; None if not, with the reason in `problems`.

    Args:
        key: The dotted path, for problems.
    """
    try:
        used = _columns_of(sql)
    except ValueError as error:
        problems.append(Problem(key, str(error)))
        return None
    names = [column.name for column in columns]
    unknown = [
        Problem(key, f"there is no column '{name}'", suggestion(name, names)) for name in used if name not in names
    ]
    problems.extend(unknown)
    if unknown:
        return None
    schema = {column.name: polars_type(column) for column in columns}
    try:
        return SqlRead(used, pl.DataFrame(schema=schema).select(sql_expression(sql)).to_series().dtype)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        problems.append(Problem(key, f"it cannot be computed: {str(error).splitlines()[0]}"))
        return None


def read_condition(key: str, sql: str, columns: Sequence[Column], problems: list[Problem]) -> tuple[str, ...]:
    """The columns that a condition reads; as `read_sql`."""
    found = read_sql(key, sql, columns, problems)
    if found is not None and found.type != pl.Boolean:
        problems.append(Problem(key, f"it is {found.type}, not a condition"))
    return found.columns if found else ()


def computed(frame: pl.DataFrame, expressions: Iterable[pl.Expr], what: str) -> pl.DataFrame:
    """Expressions of a contract on rows.

    Raises:
        ContractError: One of them failed on a value, as CAST does; `what` says which they are.
    """
    try:
        return frame.select(expressions)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ContractError(
            f"{what} cannot be computed on these rows: {str(error).splitlines()[0]}.",
            hint="Correct the contract; TRY_CAST gives null where CAST fails.",
        ) from error


@lru_cache(maxsize=1024)
def sql_expression(sql: str) -> pl.Expr:
    """The expression, as Polars reads it."""
    return pl.sql_expr(sql)


def can_become(found: pl.DataType, wanted: ColumnType) -> bool:
    """Whether a computed value of a type can be one of a column's: a text as one of a file, the others as they are."""
    if found == pl.String():
        return True
    if found.is_numeric():
        return wanted in {"integer", "float", "decimal"}
    if isinstance(found, pl.Boolean):
        return wanted == "boolean"
    if isinstance(found, pl.Date):
        return wanted in {"date", "datetime"}
    return isinstance(found, pl.Datetime) and wanted == "datetime"


def _columns_of(sql: str) -> tuple[str, ...]:
    """The columns that an expression reads.

    Raises:
        ValueError: It is no expression of one row's columns; the message says why.
    """
    if len(sql) > _MAX_CHARACTERS:
        raise ValueError(f"it is longer than {_MAX_CHARACTERS} characters")
    if _QUERY.search(sql):  # before it is parsed, which would open what it reads from
        raise ValueError("a query (SELECT) inside it is not allowed")
    try:
        expression = sql_expression(sql)
        names = tuple(dict.fromkeys(expression.meta.root_names()))
        tree = json.loads(expression.meta.serialize(format="json"))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ValueError(f"not an SQL expression: {str(error).splitlines()[0]}") from error
    if refused := next(_refused(tree), None):
        raise ValueError(f"{refused} is not allowed: an expression looks at the columns of one row")
    if not names:
        raise ValueError("it reads no column")
    return names


def _refused(node: Any) -> Iterator[str]:
    """The parts of a serialized expression that are not allowed."""
    if isinstance(node, str):
        yield node
        return
    ((kind, content),) = node.items()
    if kind not in _NODES:
        yield kind
        return
    if kind == "Function":
        yield from _refused_function(content["function"])
        for argument in content["input"]:
            yield from _refused(argument)
    elif kind == "BinaryExpr":
        yield from _refused(content["left"])
        yield from _refused(content["right"])
    elif kind == "Ternary":
        for part in ("predicate", "truthy", "falsy"):
            yield from _refused(content[part])
    elif kind == "Cast":
        yield from _refused(content["expr"])
    elif kind == "Alias":
        yield from _refused(content[0])


def _refused_function(function: Any) -> Iterator[str]:
    family = function if isinstance(function, str) else next(iter(function))
    if family not in _FUNCTIONS:
        yield family
        return
    allowed = _FUNCTIONS[family]
    if allowed is None:
        return
    member = function[family]
    name = member if isinstance(member, str) else next(iter(member))
    if name not in allowed:
        yield name
