"""The contract of a datasource: where its files lie, what a row must be, and how Druid lays it out.

What belongs here: the values that every stage reads, and sums over them. What does not: how a contract
is written in YAML (`contract_document`), which keys a pattern claims (`contract_patterns`), what a check
computes (`contract_checks`), reading files from disk (`adapters.contracts`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from ingestion_pipeline.domain.contract_patterns import LOADED_PREFIX, FilePattern
from ingestion_pipeline.domain.expectation import Expectation
from ingestion_pipeline.errors import ContractError

AfterLoadAction = Literal["keep", "tag", "move", "delete"]
Compaction = Literal["off", "auto"]
ColumnType = Literal["string", "integer", "float", "boolean", "date", "datetime", "decimal"]
Granularity = Literal["hour", "day", "month", "year"]
History = Literal["wait", "auto"]
Duplicates = Literal["load", "skip"]
PriorityName = Literal["urgent", "high", "medium", "low"]
FormatType = Literal["auto", "csv", "json", "parquet"]
NameCase = Literal["ignore", "exact"]
RejectedRows = Literal["quarantine", "reject_file"]
UnknownColumns = Literal["ignore", "fail", "rescue", "add"]

DELIMITED_TEXT = "delimited text"
"""The family of formats whose rows are lines, as a report calls it."""

# Columns that the system writes itself; an input column may not begin with the prefix.
RESERVED_PREFIX = "__"
TIME_COLUMN = "__time"
JOB_COLUMN = "__job_id"
ORGANIZATION_COLUMN = "__organization"
LINEAGE_COLUMNS = (JOB_COLUMN, ORGANIZATION_COLUMN)

EARLIEST_TIME = datetime(1900, 1, 1, tzinfo=UTC)
LATEST_TIME = datetime(2100, 1, 1, tzinfo=UTC)

# How moments are written (strftime): `%.f` gives as many digits of the second as there are, none for a full second.
ISO_LOCAL = "%Y-%m-%dT%H:%M:%S%.f"
ISO_UTC = f"{ISO_LOCAL}Z"

# Words of a boolean that names none, in lower case.
TRUE_WORDS = ("true", "t", "yes", "y", "1")
FALSE_WORDS = ("false", "f", "no", "n", "0")

CheckValue = str | int | float | bool | date | datetime | Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One of Pandera's checks on one column: its short name and its keyword arguments.

    Nulls pass every check, as in Pandera; `Column.nullable` is what forbids them.
    """

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the datasource.

    Attributes:
        name: Its name in Druid.
        source: Its name in the file: a header's, a key's, or keys with dots between them that lead into nested objects.
        aliases: Further names that it may have there.
        expr: SQL over other columns that it is computed by; None: it is read from the file.
        inputs: The columns that `expr` reads.
        required: The header must have it; otherwise an absent column is all null.
        nullable: A row may leave it empty.
        formats: How dates or datetimes are written (strftime), `epoch_s`, `epoch_ms`; the first that reads a cell
            counts. None: ISO 8601.
        timezone: The zone of datetimes that name none.
        precision: Digits in all, of a decimal; `scale` are those after the point.
        decimal: The mark before the fraction of a number.
        thousands: The mark between groups of three digits; None: there are no groups.
        null_values: Words that mean null, besides those of the whole file (`FileFormat.null_values`).
        true_values: Words of a boolean in lower case; likewise `false_values`.
    """

    name: str
    type: ColumnType
    source: str
    aliases: tuple[str, ...] = ()
    expr: str | None = None
    inputs: tuple[str, ...] = ()
    required: bool = True
    nullable: bool = False
    formats: tuple[str, ...] = ()
    timezone: str = "UTC"
    precision: int = 38
    scale: int = 9
    decimal: str = "."
    thousands: str | None = None
    null_values: tuple[str, ...] = ()
    true_values: tuple[str, ...] = TRUE_WORDS
    false_values: tuple[str, ...] = FALSE_WORDS
    checks: tuple[Check, ...] = ()
    description: str = ""


def text_column(name: str, source: str) -> Column:
    """A column of text that a file need not have, and that may be empty."""
    return Column(name=name, type="string", source=source, required=False, nullable=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossCheck:
    """A condition over several columns of a row, in Polars' SQL; a null result passes.

    Attributes:
        columns: The columns that `expr` reads, in order of appearance.
    """

    name: str
    expr: str
    columns: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeColumn:
    """Which column becomes `__time`, and the bounds outside which a row is rejected (half-open, UTC).

    The bounds are not optional: Druid takes the years -1 and 10000 without a word and makes segments of them.

    Attributes:
        keep: Also keep the column under its own name, as ISO text.
    """

    column: str
    min: datetime = EARLIEST_TIME
    max: datetime = LATEST_TIME
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DruidLayout:
    """How Druid lays rows out.

    Attributes:
        compaction: Whether Druid merges small segments by itself (`auto`); `off` leaves its configuration alone.
        skip_newest: So much time before the newest row is not compacted: files still come for it.
    """

    segment_granularity: Granularity = "day"
    compaction: Compaction = "off"
    skip_newest: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterLoad:
    """What becomes of an upload whose rows are proved to be in Druid.

    Attributes:
        minimum_age: How long after the job's end, at least.
        to: Below which prefix a moved upload lies.
    """

    action: AfterLoadAction = "keep"
    minimum_age: timedelta = timedelta(days=1)
    to: str = LOADED_PREFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillPolicy:
    """How history is loaded.

    Attributes:
        days_per_run: Partition days that one run of a backfill loads together.
    """

    days_per_run: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectPolicy:
    """How many rejected rows a file may have and still load; None: any number, if one row is good.

    Attributes:
        policy: The good rows load beside the quarantine of the others, or `reject_file`: a file with one bad row fails.
    """

    policy: RejectedRows = "quarantine"
    max_fraction: float | None = None
    max_rows: int | None = None

    @property
    def sentence(self) -> str:
        """For people."""
        if self.policy == "reject_file":
            return "a file with one fails as a whole"
        limits = [] if self.max_fraction is None else [f"{100 * self.max_fraction:g} %"]
        limits += [] if self.max_rows is None else [f"{self.max_rows:,} rows"]
        kept = "kept in quarantine, the good rows load"
        return f"{kept}; with more than {' or '.join(limits)} the file fails as a whole" if limits else kept


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormat:
    """How files are written; None means detect.

    Attributes:
        type: The family of formats, instead of finding it out by content.
        case: Whether a name of the file that is no column's exact name may differ from one in upper and lower case and
            in the space around it.
        record_path: Keys that lead from the top of a JSON document to the array of its rows; empty: no path given.
        null_values: Words that mean null, in every column. An empty cell without quotes always does.
        header: The first record names the columns; otherwise they come in the contract's order. None: find out,
            which only a file without a contract needs.
        table: Which of the tables of a delimited text, from 1.
    """

    type: FormatType = "auto"
    case: NameCase = "ignore"
    record_path: tuple[str, ...] = ()
    delimiter: str | None = None
    quote: str | None = '"'
    escape: str | None = None
    encoding: str | None = None
    null_values: tuple[str, ...] = ()
    header: bool | None = True
    table: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSource:
    """The text of the Python module beside a contract; it is run where rows are validated, nowhere else."""

    path: Path
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Everything the system knows about one datasource.

    Attributes:
        datasource: `[a-z][a-z0-9_]*`; also the name of the Dagster asset and of the Druid datasource.
        version: First 12 hex digits of the SHA-256 of the file's bytes, and of the module's.
        files: What it claims in the bucket; the first is always the built-in upload pattern.
        live_from: Objects last modified earlier wait for a backfill; None: when the contract was first seen.
        partition_start: The first partition day.
        unknown_columns: What becomes of columns of a file that the contract does not name: they are left out, the file
            fails, they are kept together as JSON in `rescued_column`, the last of the columns (else None), or each is
            added as a column of text (`with_added`).
        expect: Which files are to come when; None: whatever comes.
        priority: Of its files, where nobody says another; history is low.
        duplicates: Whether a file is loaded whose very bytes were loaded from another key; the same key never is twice.
        filter: An SQL condition; rows where it is false are left out before they are judged. None: no such rule.
        unique: Columns whose values together may occur once in a file; empty: no such rule.
    """

    datasource: str
    version: str
    files: tuple[FilePattern, ...]
    columns: tuple[Column, ...]
    time: TimeColumn
    partition_start: date
    description: str = ""
    owners: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    path: Path | None = None
    module: ModuleSource | None = None
    live_from: datetime | None = None
    history: History = "wait"
    expect: Expectation | None = None
    priority: PriorityName = "medium"
    backfill: BackfillPolicy = BackfillPolicy()
    duplicates: Duplicates = "load"
    unknown_columns: UnknownColumns = "ignore"
    rescued_column: str | None = None
    checks: tuple[CrossCheck, ...] = ()
    filter: str | None = None
    unique: tuple[str, ...] = ()
    druid: DruidLayout = DruidLayout()
    after_load: AfterLoad = AfterLoad()
    reject: RejectPolicy = RejectPolicy()
    format: FileFormat = FileFormat()

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            KeyError: There is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def with_added(self, names: Iterable[str]) -> "Contract":
        """The contract of files that have further columns, each added as text under its own name."""
        added = tuple(text_column(name, name) for name in names)
        return replace(self, columns=self.columns + added) if added else self

    @property
    def file_columns(self) -> tuple[Column, ...]:
        """The columns that are read from a column of the file."""
        return tuple(c for c in self.columns if c.expr is None and c.name != self.rescued_column)

    @property
    def derived_columns(self) -> tuple[Column, ...]:
        """The columns that are computed from others; one may read those before it."""
        return tuple(c for c in self.columns if c.expr is not None)

    @property
    def stored_columns(self) -> tuple[Column, ...]:
        """The columns that reach Druid under their own name: all, the time column only if it is kept."""
        return tuple(c for c in self.columns if c.name != self.time.column or self.time.keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractBook:
    """All contracts of a directory, by datasource, and what is wrong with the others.

    Attributes:
        broken: One error per unusable file; `details` has file, line, key, datasource and every problem.
    """

    contracts: Mapping[str, Contract] = field(default_factory=dict)
    broken: tuple[ContractError, ...] = ()

    @property
    def broken_datasources(self) -> Mapping[str, ContractError]:
        return {error.details["datasource"]: error for error in self.broken if error.details.get("datasource")}


def chunk_start(moment: datetime, granularity: Granularity) -> datetime:
    """The start (UTC) of the Druid time chunk that holds `moment` (aware)."""
    moment = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if granularity == "hour":
        return moment
    if granularity == "day":
        return moment.replace(hour=0)
    if granularity == "month":
        return moment.replace(day=1, hour=0)
    return moment.replace(month=1, day=1, hour=0)


def chunk_end(start: datetime, granularity: Granularity) -> datetime:
    """The end (exclusive, UTC) of the time chunk that begins at `start`."""
    if granularity == "hour":
        return start + timedelta(hours=1)
    if granularity == "day":
        return start + timedelta(days=1)
    if granularity == "month":
        return (start + timedelta(days=32)).replace(day=1)
    return start.replace(year=start.year + 1)
