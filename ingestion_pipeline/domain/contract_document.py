"""How a contract is written: the keys of the YAML document, and turning one into a `Contract`.

What belongs here: the keys, their types, and the rules between them; every problem is found, each with
the dotted path of its key. What does not: YAML and files (`adapters.contracts` adds the line numbers).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ingestion_pipeline.domain.contract import (
    EARLIEST_TIME,
    LATEST_TIME,
    RESERVED_PREFIX,
    Column,
    ColumnType,
    Contract,
    CrossCheck,
    DruidLayout,
    Duplicates,
    FileFormat,
    FormatType,
    Granularity,
    History,
    RejectPolicy,
    TimeColumn,
)
from ingestion_pipeline.domain.contract_arguments import aware, read_check
from ingestion_pipeline.domain.contract_checks import CHECKS, expression_columns, expression_problem
from ingestion_pipeline.domain.contract_patterns import FilePattern, pattern_problem
from ingestion_pipeline.domain.contract_problems import Problem, shown, suggestion
from ingestion_pipeline.domain.contract_times import format_problem, zone_problem

_TIMESTAMP_FORMATS = ("epoch_s", "epoch_ms")
_DECIMAL_DIGITS = 38


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=120)]

_Moment = Annotated[datetime, AfterValidator(aware)]

_Character = Annotated[str, StringConstraints(pattern=r"^[\x00-\x7f]$")]


class _File(_Document):
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=900)]
    organization: str | None = None


class _Column(_Document):
    type: ColumnType
    source: str | None = None
    required: bool = True
    nullable: bool = False
    format: str | None = None
    timezone: str = "UTC"
    precision: int = Field(_DECIMAL_DIGITS, ge=1, le=_DECIMAL_DIGITS)
    scale: int = Field(9, ge=0, le=_DECIMAL_DIGITS)
    checks: dict[str, Any] = Field(default_factory=dict)
    description: str = ""


class _CrossCheck(_Document):
    name: _Name
    expr: Annotated[str, StringConstraints(min_length=1)]
    description: str = ""


class _Time(_Document):
    column: str
    min: _Moment = EARLIEST_TIME
    max: _Moment = LATEST_TIME
    keep: bool = False


class _Druid(_Document):
    segment_granularity: Granularity = "day"


class _Reject(_Document):
    max_fraction: float | None = Field(None, ge=0, le=1)
    max_rows: int | None = Field(None, ge=0)


class _Format(_Document):
    type: FormatType = "auto"
    record_path: str | None = None
    delimiter: _Character | None = None
    quote: _Character | None = '"'
    escape: _Character | None = None
    encoding: str | None = None
    null_values: list[str] = Field(default_factory=list)
    header: bool = True
    table: int = Field(1, ge=1)


class ContractDocument(_Document):
    """The whole document; the reference is `docs/reference/contract.md`."""

    datasource: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=80)]
    description: str = ""
    owners: list[str] = Field(default_factory=list)
    tags: dict[str, str] = Field(default_factory=dict)
    files: list[_File] = Field(default_factory=list)
    live_from: _Moment | None = None
    history: History = "wait"
    duplicates: Duplicates = "load"
    partition_start: date
    columns: dict[_Name, _Column] = Field(min_length=1)
    checks: list[_CrossCheck] = Field(default_factory=list)
    unique: list[str] = Field(default_factory=list)
    time: _Time
    druid: _Druid = _Druid()
    reject: _Reject = _Reject()
    format: _Format = _Format()


def read_document(data: object, *, version: str, path: Path | None = None) -> Contract | list[Problem]:
    """Turn a parsed document into a contract, or list everything that is wrong with it.

    Args:
        data: What a YAML parser gave.
        version: See `Contract.version`.
    """
    if not isinstance(data, Mapping):
        return [Problem("", "the file is not a mapping of keys", "Begin with 'datasource: …'.")]
    try:
        document = ContractDocument.model_validate(data)
    except ValidationError as error:
        return [_schema_problem(dict(details)) for details in error.errors(include_url=False)]
    problems: list[Problem] = []
    columns = tuple(_column(name, column, problems) for name, column in document.columns.items())
    contract = Contract(
        datasource=document.datasource,
        version=version,
        path=path,
        description=document.description.strip(),
        owners=tuple(document.owners),
        tags=document.tags,
        files=(
            FilePattern.for_uploads(document.datasource),
            *(FilePattern(pattern=file.pattern, organization=file.organization) for file in document.files),
        ),
        live_from=document.live_from,
        history=document.history,
        duplicates=document.duplicates,
        partition_start=document.partition_start,
        columns=columns,
        checks=tuple(_cross_check(i, check, columns, problems) for i, check in enumerate(document.checks)),
        unique=tuple(document.unique),
        time=TimeColumn(
            column=document.time.column,
            min=document.time.min,
            max=document.time.max,
            keep=document.time.keep,
        ),
        druid=DruidLayout(segment_granularity=document.druid.segment_granularity),
        reject=RejectPolicy(max_fraction=document.reject.max_fraction, max_rows=document.reject.max_rows),
        format=FileFormat(
            type=document.format.type,
            record_path=tuple(document.format.record_path.split(".")) if document.format.record_path else (),
            delimiter=document.format.delimiter,
            quote=document.format.quote,
            escape=document.format.escape,
            encoding=document.format.encoding,
            null_values=tuple(document.format.null_values),
            header=document.format.header,
            table=document.format.table,
        ),
    )
    problems.extend(_problems_between(contract))
    return problems or contract


def _schema_problem(details: dict[str, Any]) -> Problem:
    # Pydantic marks an offending mapping key with a trailing "[key]".
    location = [str(part) for part in details["loc"] if part != "[key]"]
    key, kind, last = ".".join(location), details["type"], location[-1] if location else ""
    if kind == "extra_forbidden":
        known = known_keys(location[:-1])
        return Problem(key, f"'{last}' is not a key here", suggestion(last, known) or f"Keys: {', '.join(known)}.")
    if kind == "missing":
        return Problem(key, f"'{last}' is missing", "Add it.")
    if kind == "literal_error":
        given = details["input"] if isinstance(details["input"], str) else shown(details["input"])
        words = re.findall(r"'([^']*)'", details["ctx"]["expected"])
        hint = suggestion(given, words) or f"It is one of {', '.join(words)}."
        return Problem(key, f"'{given}' is not allowed", hint)
    if kind == "string_pattern_mismatch":
        return Problem(key, f"'{details['input']}' is not a name", f"Names match {details['ctx']['pattern']}.")
    if kind == "string_type":
        return Problem(
            key,
            f"{shown(details['input'])} is not text",
            "Put it in quotes (YAML reads NO, 1.0 and dates as other types).",
        )
    if kind == "value_error":
        return Problem(key, str(details["ctx"]["error"]))
    message = details["msg"]
    return Problem(key, message[:1].lower() + message[1:])


def known_keys(location: list[str]) -> list[str]:
    """The keys that may stand at a path of the document."""
    model: type[BaseModel] = ContractDocument
    children: Mapping[str, type[BaseModel]] = {
        "files": _File,
        "columns": _Column,
        "checks": _CrossCheck,
        "time": _Time,
        "druid": _Druid,
        "reject": _Reject,
        "format": _Format,
    }
    if location:
        model = children.get(location[0], ContractDocument)
    return list(model.model_fields)


def _column(name: str, document: _Column, problems: list[Problem]) -> Column:
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


def _format_problems(key: str, document: _Column) -> Iterable[Problem]:
    if document.format is None:
        return
    if document.type not in {"date", "datetime"}:
        yield Problem(key, "only dates and datetimes have a format", "Remove it.")
    elif document.format not in _TIMESTAMP_FORMATS:
        if problem := format_problem(key, document.format, document.type):
            yield problem
    elif document.type == "date":
        yield Problem(key, f"'{document.format}' needs type datetime")


def _cross_check(index: int, document: _CrossCheck, columns: tuple[Column, ...], problems: list[Problem]) -> CrossCheck:
    key = f"checks.{index}.expr"
    names = [column.name for column in columns]
    used: tuple[str, ...] = ()
    try:
        used = expression_columns(document.expr)
    except ValueError as error:
        problems.append(Problem(key, f"not an SQL condition: {error}"))
    unknown = [name for name in used if name not in names]
    if unknown:
        problems.append(Problem(key, f"there is no column '{unknown[0]}'", suggestion(unknown[0], names)))
    elif used and (problem := expression_problem(document.expr, columns)):
        problems.append(Problem(key, f"it cannot be computed: {problem}"))
    elif not used and not any(p.key == key for p in problems):
        problems.append(Problem(key, "it reads no column"))
    return CrossCheck(name=document.name, expr=document.expr, columns=used, description=document.description)


def _problems_between(contract: Contract) -> Iterable[Problem]:
    """What is wrong between keys that are each right by themselves."""
    names = [column.name for column in contract.columns]
    yield from _name_problems(contract, names)
    for position, pattern in enumerate(contract.files[1:]):
        if problem := pattern_problem(pattern.pattern, pattern.organization):
            yield Problem(f"files.{position}.pattern", f"'{pattern.pattern}': {problem}")
    for position, name in enumerate(contract.unique):
        if name not in names:
            yield Problem(f"unique.{position}", f"there is no column '{name}'", suggestion(name, names))
    if contract.time.column not in names:
        hint = suggestion(contract.time.column, names)
        yield Problem("time.column", f"there is no column '{contract.time.column}'", hint)
    else:
        column = contract.column(contract.time.column)
        if column.type not in {"date", "datetime"}:
            yield Problem("time.column", f"'{column.name}' is of type {column.type}, not date or datetime")
        if column.nullable or not column.required:
            yield Problem("time.column", f"'{column.name}' may be absent", "The time column is required in every row.")
    if contract.time.min >= contract.time.max:
        yield Problem("time.max", "it is not after time.min")
    yield from _problems_of_format(contract.format)


def _problems_of_format(format_: FileFormat) -> Iterable[Problem]:
    if format_.delimiter is not None and format_.delimiter in ("\r", "\n", format_.quote):
        yield Problem("format.delimiter", "it cannot be told from a line's end or a quote")
    if format_.escape is not None and format_.escape in ("\r", "\n", format_.delimiter, format_.quote):
        yield Problem("format.escape", "it cannot be told from a line's end, the delimiter or a quote")
    if format_.record_path and format_.type not in {"auto", "json"}:
        yield Problem(
            "format.record_path", f"files of type {format_.type} have no such path", "Remove it, or the type."
        )
    if format_.table > 1 and format_.type not in {"auto", "csv"}:
        yield Problem("format.table", f"files of type {format_.type} have one table", "Remove it, or the type.")
    if "" in format_.record_path:
        yield Problem("format.record_path", "a key between its dots is missing", "Write keys as in 'data.items'.")


def _name_problems(contract: Contract, names: list[str]) -> Iterable[Problem]:
    lowered: dict[str, str] = {}
    sources: dict[str, str] = {}
    for column in contract.columns:
        if column.name.startswith(RESERVED_PREFIX):
            yield Problem(f"columns.{column.name}", f"names that begin with '{RESERVED_PREFIX}' belong to the system")
        if (other := lowered.setdefault(column.name.lower(), column.name)) != column.name:
            yield Problem(f"columns.{column.name}", f"differs from '{other}' in upper and lower case only")
        if (other := sources.setdefault(column.source, column.name)) != column.name:
            yield Problem(f"columns.{column.name}.source", f"'{other}' reads the same column of the file")
    rules = [check.name for check in contract.checks]
    for position, name in enumerate(rules):
        if name in rules[:position] or name in names or name in CHECKS:
            yield Problem(f"checks.{position}.name", f"'{name}' names something else already")
