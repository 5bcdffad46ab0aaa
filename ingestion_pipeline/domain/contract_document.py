"""How a contract is written: the keys of the YAML document, and turning one into a `Contract`.

What belongs here: the keys, their types, and the rules between them; every problem is found, each with
the dotted path of its key. What does not: YAML and files (`adapters.contracts` adds the line numbers).
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, ValidationError

from ingestion_pipeline.domain.contract import (
    EARLIEST_TIME,
    LATEST_TIME,
    RESERVED_PREFIX,
    AfterLoad,
    AfterLoadAction,
    BackfillPolicy,
    Column,
    Compaction,
    Contract,
    CrossCheck,
    DruidLayout,
    Duplicates,
    FileFormat,
    FormatType,
    Granularity,
    History,
    ModuleSource,
    NameCase,
    PriorityName,
    RejectedRows,
    RejectPolicy,
    TimeColumn,
    UnknownColumns,
    text_column,
)
from ingestion_pipeline.domain.contract_arguments import aware
from ingestion_pipeline.domain.contract_checks import CHECKS
from ingestion_pipeline.domain.contract_columns import ColumnDocument, StrictDocument, read_columns
from ingestion_pipeline.domain.contract_expect import ExpectDocument, read_expect
from ingestion_pipeline.domain.contract_names import alike
from ingestion_pipeline.domain.contract_patterns import LOADED_PREFIX, FilePattern, pattern_problem
from ingestion_pipeline.domain.contract_problems import Problem, shown, suggestion
from ingestion_pipeline.domain.contract_sql import read_condition

MODULE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*\.py$"
RESCUED_COLUMN = "rescued_data"

_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=120)]

_Moment = Annotated[datetime, AfterValidator(aware)]


def _age(text: str) -> str:
    if not re.fullmatch(r"\d{1,4}[dh]", text):
        raise ValueError("a length of time is written in days or hours: 1d, 12h")
    return text


_Age = Annotated[str, AfterValidator(_age)]

_Character = Annotated[str, StringConstraints(pattern=r"^[\x00-\x7f]$")]


# As Dagster takes them: one that it refuses would take every datasource off its pages.
_OWNER = re.compile(r"team:.+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
_TAG = re.compile(r"([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}")
_TAG_VALUE = re.compile(r"[A-Za-z0-9_.-]{0,63}")


def _owner(text: str) -> str:
    if not _OWNER.fullmatch(text):
        raise ValueError(f"'{text}' is neither an e-mail address nor a team as in team:sales")
    return text


def _tags(tags: dict[str, str]) -> dict[str, str]:
    for name, value in tags.items():
        for text, form in ((name, _TAG), (value, _TAG_VALUE)):
            if not form.fullmatch(text):
                raise ValueError(f"'{text}' is no tag: up to 63 letters, digits and _ . - make one")
    return tags


class _File(StrictDocument):
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=900)]
    organization: str | None = None


class _CrossCheck(StrictDocument):
    name: _Name
    expr: Annotated[str, StringConstraints(min_length=1)]
    description: str = ""


class _Time(StrictDocument):
    column: str
    min: _Moment = EARLIEST_TIME
    max: _Moment = LATEST_TIME
    keep: bool = False


class _Druid(StrictDocument):
    segment_granularity: Granularity = "day"
    compaction: Compaction = "off"
    skip_newest: _Age = "1d"


def _loaded_prefix(text: str) -> str:
    if not text.startswith(LOADED_PREFIX) or not text.endswith("/") or "//" in text:
        raise ValueError(f"it has to be '{LOADED_PREFIX}' or lie below it, and end with '/': '{LOADED_PREFIX}2026/'")
    return text


class _AfterLoad(StrictDocument):
    action: AfterLoadAction = "keep"
    minimum_age: _Age = "1d"
    to: Annotated[str, StringConstraints(max_length=200), AfterValidator(_loaded_prefix)] | None = None


class _Backfill(StrictDocument):
    days_per_run: int = Field(1, ge=1, le=366)


class _Reject(StrictDocument):
    policy: RejectedRows = "quarantine"
    max_fraction: float | None = Field(None, ge=0, le=1)
    max_rows: int | None = Field(None, ge=0)


class _Format(StrictDocument):
    type: FormatType = "auto"
    case: NameCase = "ignore"
    record_path: str | None = None
    delimiter: _Character | None = None
    quote: _Character | None = '"'
    escape: _Character | None = None
    encoding: str | None = None
    null_values: list[str] = Field(default_factory=list)
    header: bool = True
    table: int = Field(1, ge=1)


class ContractDocument(StrictDocument):
    """The whole document; the reference is `docs/reference/contract.md`."""

    datasource: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=80)]
    description: str = ""
    owners: list[Annotated[str, AfterValidator(_owner)]] = Field(default_factory=list)
    tags: Annotated[dict[str, str], AfterValidator(_tags)] = Field(default_factory=dict)
    files: list[_File] = Field(default_factory=list)
    live_from: _Moment | None = None
    history: History = "wait"
    expect: ExpectDocument | None = None
    priority: PriorityName = "medium"
    backfill: _Backfill = _Backfill()
    duplicates: Duplicates = "load"
    partition_start: date
    module: Annotated[str, StringConstraints(pattern=MODULE_PATTERN)] | None = None
    columns: dict[_Name, ColumnDocument] = Field(min_length=1)
    unknown_columns: UnknownColumns = "ignore"
    rescued_column: _Name | None = None
    checks: list[_CrossCheck] = Field(default_factory=list)
    filter: str | None = Field(None, min_length=1)
    unique: list[str] = Field(default_factory=list)
    time: _Time
    druid: _Druid = _Druid()
    after_load: _AfterLoad = _AfterLoad()
    reject: _Reject = _Reject()
    format: _Format = _Format()


def read_document(
    data: object, *, version: str, path: Path | None = None, module: ModuleSource | None = None
) -> Contract | list[Problem]:
    """Turn a parsed document into a contract, or list everything that is wrong with it.

    Args:
        data: What a YAML parser gave.
        version: See `Contract.version`.
        module: The one that it names.
    """
    if not isinstance(data, Mapping):
        return [Problem("", "the file is not a mapping of keys", "Begin with 'datasource: …'.")]
    try:
        document = ContractDocument.model_validate(data)
    except ValidationError as error:
        return [_schema_problem(dict(details)) for details in error.errors(include_url=False)]
    problems: list[Problem] = []
    columns = read_columns(document.columns, problems)
    rescued = (document.rescued_column or RESCUED_COLUMN) if document.unknown_columns == "rescue" else None
    if rescued is None and document.rescued_column is not None:
        problems.append(
            Problem("rescued_column", "nothing is kept there", "Write unknown_columns: rescue, or remove it.")
        )
    if rescued is not None:
        columns += (text_column(rescued, rescued),)
    files = (
        FilePattern.for_uploads(document.datasource),
        *(FilePattern(pattern=file.pattern, organization=file.organization) for file in document.files),
    )
    contract = Contract(
        datasource=document.datasource,
        version=version,
        path=path,
        module=module,
        description=document.description.strip(),
        owners=tuple(document.owners),
        tags=document.tags,
        files=files,
        live_from=document.live_from,
        history=document.history,
        expect=None if document.expect is None else read_expect(document.expect, files, problems),
        priority=document.priority,
        backfill=BackfillPolicy(days_per_run=document.backfill.days_per_run),
        duplicates=document.duplicates,
        partition_start=document.partition_start,
        columns=columns,
        unknown_columns=document.unknown_columns,
        rescued_column=rescued,
        checks=tuple(_cross_check(i, check, columns, problems) for i, check in enumerate(document.checks)),
        filter=document.filter,
        unique=tuple(document.unique),
        time=TimeColumn(
            column=document.time.column,
            min=document.time.min,
            max=document.time.max,
            keep=document.time.keep,
        ),
        druid=DruidLayout(
            segment_granularity=document.druid.segment_granularity,
            compaction=document.druid.compaction,
            skip_newest=_span(document.druid.skip_newest),
        ),
        after_load=AfterLoad(
            action=document.after_load.action,
            minimum_age=_span(document.after_load.minimum_age),
            to=document.after_load.to or LOADED_PREFIX,
        ),
        reject=RejectPolicy(
            policy=document.reject.policy,
            max_fraction=document.reject.max_fraction,
            max_rows=document.reject.max_rows,
        ),
        format=FileFormat(
            type=document.format.type,
            case=document.format.case,
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
    if document.after_load.to is not None and document.after_load.action != "move":
        problems.append(Problem("after_load.to", "nothing is moved there", "Write action: move, or remove it."))
    if document.filter is not None:
        read_condition("filter", document.filter, columns, problems)
    problems.extend(_problems_between(contract))
    return problems or contract


def _span(age: str) -> timedelta:
    return timedelta(days=int(age[:-1])) if age.endswith("d") else timedelta(hours=int(age[:-1]))


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
        "columns": ColumnDocument,
        "checks": _CrossCheck,
        "time": _Time,
        "druid": _Druid,
        "after_load": _AfterLoad,
        "reject": _Reject,
        "backfill": _Backfill,
        "format": _Format,
        "expect": ExpectDocument,
    }
    if location:
        model = children.get(location[0], ContractDocument)
    return list(model.model_fields)


def _cross_check(index: int, document: _CrossCheck, columns: tuple[Column, ...], problems: list[Problem]) -> CrossCheck:
    used = read_condition(f"checks.{index}.expr", document.expr, columns, problems)
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
    if contract.reject.policy == "reject_file":
        for key in ("max_fraction", "max_rows"):
            if getattr(contract.reject, key) is not None:
                yield Problem(f"reject.{key}", "with policy reject_file no row may be rejected", "Remove one of them.")
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
    for column in contract.columns:
        key = "rescued_column" if column.name == contract.rescued_column else f"columns.{column.name}"
        if column.name.startswith(RESERVED_PREFIX):
            yield Problem(key, f"names that begin with '{RESERVED_PREFIX}' belong to the system")
        if (other := lowered.get(column.name.lower())) is not None:
            hint = "Name another one." if key == "rescued_column" else ""
            yield Problem(
                key, f"'{column.name}' differs from the column '{other}' in upper and lower case at most", hint
            )
        lowered.setdefault(column.name.lower(), column.name)
    yield from _source_problems(contract)
    rules = [check.name for check in contract.checks]
    for position, name in enumerate(rules):
        if name in rules[:position] or name in names or name in CHECKS:
            yield Problem(f"checks.{position}.name", f"'{name}' names something else already")


def _source_problems(contract: Contract) -> Iterable[Problem]:
    """Names in the file that two columns would read, or that one has twice."""
    seen: dict[str, tuple[str, str]] = {}
    for column in contract.file_columns:
        for position, name in enumerate((column.source, *column.aliases)):
            key = f"columns.{column.name}." + (f"aliases.{position - 1}" if position else "source")
            same = name if contract.format.case == "exact" else alike(name)
            if same not in seen:
                seen[same] = column.name, name
                continue
            other, written = seen[same]
            if other == column.name:
                if written == name:
                    yield Problem(key, f"'{name}' is named already", "Remove it.")
            elif written == name:
                yield Problem(key, f"'{other}' reads the same column of the file")
            else:
                yield Problem(
                    key,
                    f"'{name}' differs from '{written}' of '{other}' in upper and lower case or space only",
                    "Set format.case to exact.",
                )
