"""How a column is written in a contract: its keys, and turning them into a `Column`.

What belongs here: what can be said of one column by itself. What does not: keys beside `columns`, and rules between
columns (`contract_document`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ingestion_pipeline.domain.contract import Column, ColumnType
from ingestion_pipeline.domain.contract_arguments import read_check
from ingestion_pipeline.domain.contract_problems import Problem
from ingestion_pipeline.domain.contract_times import format_problem, zone_problem

_TIMESTAMP_FORMATS = ("epoch_s", "epoch_ms")
_DECIMAL_DIGITS = 38


class StrictDocument(BaseModel):
    """A part of a contract: a key that it does not have is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnDocument(StrictDocument):
    """The keys of one column."""

    type: ColumnType
    source: str | None = None
    aliases: list[str] = Field(default_factory=list)
    required: bool = True
    nullable: bool = False
    format: str | None = None
    timezone: str = "UTC"
    precision: int = Field(_DECIMAL_DIGITS, ge=1, le=_DECIMAL_DIGITS)
    scale: int = Field(9, ge=0, le=_DECIMAL_DIGITS)
    checks: dict[str, Any] = Field(default_factory=dict)
    description: str = ""


def read_columns(documents: Mapping[str, ColumnDocument], problems: list[Problem]) -> tuple[Column, ...]:
    """The columns; what is wrong with them is added to `problems`."""
    return tuple(_column(name, document, problems) for name, document in documents.items())


def _column(name: str, document: ColumnDocument, problems: list[Problem]) -> Column:
    key = f"columns.{name}"
    problems.extend(_format_problems(f"{key}.format", document))
    if document.scale > document.precision:
        problems.append(Problem(f"{key}.scale", f"more digits after the point than in all ({document.precision})"))
    if problem := zone_problem(f"{key}.timezone", document.timezone):
        problems.append(problem)
    column = Column(
        name=name,
        type=document.type,
        source=document.source if document.source is not None else name,
        aliases=tuple(document.aliases),
        required=document.required,
        nullable=document.nullable,
        format=document.format,
        timezone=document.timezone,
        precision=document.precision,
        scale=document.scale,
        description=document.description,
    )
    checks = [
        read_check(f"{key}.checks.{written}", written, arguments, column, problems)
        for written, arguments in document.checks.items()
    ]
    return replace(column, checks=tuple(check for check in checks if check is not None))


def _format_problems(key: str, document: ColumnDocument) -> Iterable[Problem]:
    if document.format is None:
        return
    if document.type not in {"date", "datetime"}:
        yield Problem(key, "only dates and datetimes have a format", "Remove it.")
    elif document.format not in _TIMESTAMP_FORMATS:
        if problem := format_problem(key, document.format, document.type):
            yield problem
    elif document.type == "date":
        yield Problem(key, f"'{document.format}' needs type datetime")
