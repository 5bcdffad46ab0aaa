"""How a column is written in a contract: its keys, and turning them into a `Column`.

What belongs here: what can be said of one column by itself. What does not: keys beside `columns`, and rules between
columns (`contract_document`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ingestion_pipeline.domain.contract import FALSE_WORDS, TRUE_WORDS, Column, ColumnType
from ingestion_pipeline.domain.contract_arguments import read_check
from ingestion_pipeline.domain.contract_numbers import DECIMAL_MARKS, NUMBERS, THOUSANDS_MARKS
from ingestion_pipeline.domain.contract_problems import Problem
from ingestion_pipeline.domain.contract_sql import can_become, read_sql
from ingestion_pipeline.domain.contract_times import format_problem, zone_problem

_TIMESTAMP_FORMATS = ("epoch_s", "epoch_ms")
_DECIMAL_DIGITS = 38


def as_list(value: object) -> object:
    """One entry for a list of one."""
    return value if isinstance(value, list) or value is None else [value]


_OneOrMany = Annotated[list[str], BeforeValidator(as_list, json_schema_input_type=str | list[str])]


class StrictDocument(BaseModel):
    """A part of a contract: a key that it does not have is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnDocument(StrictDocument):
    """The keys of one column."""

    type: ColumnType
    source: str | None = None
    aliases: list[str] = Field(default_factory=list)
    expr: str | None = Field(None, min_length=1)
    required: bool = True
    nullable: bool = False
    format: _OneOrMany = Field(default_factory=list)
    timezone: str = "UTC"
    precision: int = Field(_DECIMAL_DIGITS, ge=1, le=_DECIMAL_DIGITS)
    scale: int = Field(9, ge=0, le=_DECIMAL_DIGITS)
    decimal: str | None = None
    thousands: str | None = None
    null_values: list[str] = Field(default_factory=list)
    true_values: list[str] | None = Field(None, min_length=1)
    false_values: list[str] | None = Field(None, min_length=1)
    checks: dict[str, Any] = Field(default_factory=dict)
    description: str = ""


def read_columns(documents: Mapping[str, ColumnDocument], problems: list[Problem]) -> tuple[Column, ...]:
    """The columns; what is wrong with them is added to `problems`."""
    columns = [_column(name, document, problems) for name, document in documents.items()]
    readable = [column for column in columns if column.expr is None]
    for position, column in enumerate(columns):
        if column.expr is not None:
            columns[position] = _derived(column, documents[column.name], readable, problems)
            readable.append(column)
    return tuple(columns)


def _column(name: str, document: ColumnDocument, problems: list[Problem]) -> Column:
    key = f"columns.{name}"
    problems.extend(_format_problems(f"{key}.format", document))
    if document.scale > document.precision:
        problems.append(Problem(f"{key}.scale", f"more digits after the point than in all ({document.precision})"))
    if problem := zone_problem(f"{key}.timezone", document.timezone):
        problems.append(problem)
    problems.extend(_mark_problems(key, document))
    true_words, false_words = _words(key, document, problems)
    column = Column(
        name=name,
        type=document.type,
        source=document.source if document.source is not None else name,
        aliases=tuple(document.aliases),
        expr=document.expr,
        required=document.required,
        nullable=document.nullable,
        formats=tuple(document.format),
        timezone=document.timezone,
        precision=document.precision,
        scale=document.scale,
        decimal=document.decimal or ".",
        thousands=document.thousands,
        null_values=tuple(document.null_values),
        true_values=true_words,
        false_values=false_words,
        description=document.description,
    )
    checks = [
        read_check(f"{key}.checks.{written}", written, arguments, column, problems)
        for written, arguments in document.checks.items()
    ]
    return replace(column, checks=tuple(check for check in checks if check is not None))


def _derived(column: Column, document: ColumnDocument, readable: Sequence[Column], problems: list[Problem]) -> Column:
    """A computed column with the columns that it reads: those of the file, and computed ones that stand before it."""
    key = f"columns.{column.name}"
    problems.extend(
        Problem(f"{key}.{name}", "a column with an expr is not read from the file", "Remove one of them.")
        for name in ("source", "aliases", "required")
        if name in document.model_fields_set
    )
    assert column.expr is not None
    found = read_sql(f"{key}.expr", column.expr, readable, problems)
    if found is not None and not can_become(found.type, column.type):
        message = f"it is {found.type}, which cannot become {column.type}"
        problems.append(Problem(f"{key}.expr", message, "Use CAST, or another type."))
    return replace(column, inputs=found.columns if found else ())


def _mark_problems(key: str, document: ColumnDocument) -> Iterable[Problem]:
    marks = {"decimal": document.decimal, "thousands": document.thousands}
    allowed = {"decimal": DECIMAL_MARKS, "thousands": THOUSANDS_MARKS}
    for name, mark in marks.items():
        if mark is None:
            continue
        if document.type not in NUMBERS:
            yield Problem(f"{key}.{name}", f"only numbers have such a mark, the column is of type {document.type}")
        elif mark not in allowed[name]:
            listed = ", ".join(f'"{one}"' for one in allowed[name])
            yield Problem(f"{key}.{name}", f"'{mark}' is no such mark", f"It is one of {listed}.")
    if document.thousands is not None and document.thousands == (document.decimal or "."):
        other = "" if document.decimal else "; name the decimal mark too"
        yield Problem(f"{key}.thousands", f"it is the decimal mark as well{other}", 'Write decimal: ",", for example.')


def _words(key: str, document: ColumnDocument, problems: list[Problem]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of a boolean. Those of `true_values` take the place of the usual ones, but for `true` itself."""
    given = {"true": document.true_values, "false": document.false_values}
    words: dict[str, tuple[str, ...]] = {"true": TRUE_WORDS, "false": FALSE_WORDS}
    for name, listed in given.items():
        if listed is None:
            continue
        if document.type != "boolean":
            problems.append(Problem(f"{key}.{name}_values", f"only a boolean has them, the column is {document.type}"))
        words[name] = tuple(dict.fromkeys([*(word.lower() for word in listed), name]))
    for name, other in (("true", "false"), ("false", "true")):
        if given[name] is None and given[other] is not None:
            words[name] = tuple(word for word in words[name] if word == name or word not in words[other])
    if both := sorted(set(words["true"]) & set(words["false"])):
        where = "false_values" if document.false_values is not None else "true_values"
        problems.append(Problem(f"{key}.{where}", f"'{both[0]}' would mean true and false"))
    return words["true"], words["false"]


def _format_problems(key: str, document: ColumnDocument) -> Iterable[Problem]:
    if document.format and document.type not in {"date", "datetime"}:
        yield Problem(key, "only dates and datetimes have a format", "Remove it.")
        return
    for position, form in enumerate(document.format):
        where = key if len(document.format) == 1 else f"{key}.{position}"
        if form in document.format[:position]:
            yield Problem(where, f"'{form}' is named already", "Remove it.")
        elif form not in _TIMESTAMP_FORMATS:
            if problem := format_problem(where, form, document.type):
                yield problem
        elif document.type == "date":
            yield Problem(where, f"'{form}' needs type datetime")
        elif set(_TIMESTAMP_FORMATS) <= set(document.format):
            yield Problem(where, "a number cannot be told to be seconds or milliseconds", "Name one of them.")
