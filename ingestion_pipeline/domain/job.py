"""The job: one upload being ingested into one datasource, its statuses and what may follow what.

What belongs here: the words of the ledger and the rules between them. What does not: SQL (the same
transitions are enforced by a trigger in the first migration; a test keeps the two equal).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ingestion_pipeline.domain.contract import Contract


class Status(StrEnum):
    PENDING = "pending"  # entered in the ledger; no run has touched it
    PROCESSING = "processing"  # a run holds the lease
    RETRYING = "retrying"  # a run gave it back; `next_try_at` says when the next may take it
    COMPLETED = "completed"  # final: `outcome` says how
    FAILED = "failed"  # final: `outcome` is the failure's code
    CANCELED = "canceled"  # final: a person stopped it

    @property
    def is_final(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.PROCESSING, Status.COMPLETED, Status.FAILED, Status.CANCELED}),
    Status.PROCESSING: frozenset({Status.RETRYING, Status.COMPLETED, Status.FAILED, Status.CANCELED}),
    Status.RETRYING: frozenset({Status.PROCESSING, Status.COMPLETED, Status.FAILED, Status.CANCELED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELED: frozenset(),
}


class Outcome(StrEnum):
    """How a completed or canceled job ended. A failed job's outcome is its error's code."""

    LOADED = "loaded"
    LOADED_WITH_REJECTS = "loaded_with_rejects"
    EMPTY = "empty"  # a header and no rows
    DUPLICATE = "duplicate"  # the content of the key's newest loaded version
    SUPERSEDED = "superseded"  # a newer version of the key arrived before this one was read
    REPLACED = "replaced"  # was loaded; a correction took its rows' place
    UNDONE = "undone"  # was loaded; its rows were taken out again
    EXPIRED = "expired"  # announced, and its object never came
    STOPPED = "stopped"  # canceled by a person


LOADED_OUTCOMES = frozenset({Outcome.LOADED, Outcome.LOADED_WITH_REJECTS})

# Failures after which Druid may hold some of the job's rows: only a replace or an undo makes them certain again.
UNCERTAIN_OUTCOMES = frozenset({"unproved", "duplicated"})


class Cause(StrEnum):
    DISCOVERED = "discovered"  # found in the bucket
    UPLOADED = "uploaded"  # announced by the CLI or the API before its object existed
    RETRY = "retry"  # a person launched a failed upload again
    REPLAY = "replay"
    RESUBMIT = "resubmit"
    UNDO = "undo"


class Lane(StrEnum):
    LIVE = "live"
    BACKFILL = "backfill"  # history that a backfill or `history: auto` released: dispatched behind live
    HISTORY = "history"  # older than the contract's live_from: waits for a backfill


class Priority(IntEnum):
    URGENT = 0
    HIGH = 1
    MEDIUM = 2
    LOW = 3


class Step(StrEnum):
    VALIDATE = "validate"
    TRANSFORM = "transform"
    SUBMIT = "submit"


def encoding_of(cleaned_key: str) -> Literal["csv", "ndjson"]:
    """How the rows of a cleaned object are written."""
    return "csv" if cleaned_key.endswith(".csv.zst") else "ndjson"


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """What validate left in the bucket for transform and submit, and what they need to know of it.

    Attributes:
        parts: Keys of the accepted rows, in file order: CSV and, from the first rows that CSV cannot carry, NDJSON.
        added_columns: Names of the columns that the file has beyond the contract's.
        time_chunks: ISO starts of the contract's segment chunks that hold rows.
        cleaned_key: The object that Druid reads; None until transform has made the parts one, of the batch's encoding.
        cleaned_bytes: Its size or, before, that of the parts.
    """

    contract_version: str
    parts: tuple[str, ...] = ()
    added_columns: tuple[str, ...] = ()
    time_chunks: tuple[str, ...] = ()
    cleaned_key: str | None = None
    cleaned_bytes: int = 0

    @property
    def is_csv(self) -> bool:
        """CSV carries these rows exactly (no line break in a cell, no null beside "")."""
        return all(encoding_of(key) == "csv" for key in self.parts)

    def as_dict(self) -> dict[str, Any]:
        return {
            "contract_version": self.contract_version,
            "parts": list(self.parts),
            "added_columns": list(self.added_columns),
            "time_chunks": list(self.time_chunks),
            "cleaned_key": self.cleaned_key,
            "cleaned_bytes": self.cleaned_bytes,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Staged":
        known = {name: value for name, value in data.items() if name in cls.__dataclass_fields__}
        known["parts"] = tuple(known.get("parts", ()))
        known["added_columns"] = tuple(known.get("added_columns", ()))
        known["time_chunks"] = tuple(known.get("time_chunks", ()))
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of `ingestion_jobs`, as far as a run needs it."""

    job_id: str
    organization: str
    datasource: str
    bucket: str
    object_key: str
    version_id: str
    etag: str
    size_bytes: int
    last_modified: datetime
    partition_day: date
    status: Status
    cause: Cause
    lane: Lane
    priority: Priority
    lease_epoch: int
    tries: int
    retry_count: int
    attempt_id: str | None
    outcome: str | None
    rows_read: int
    rows_accepted: int
    rows_rejected: int
    rows_queryable: int
    content_hash: str | None
    created_at: datetime
    parent_job_id: str | None = None
    replaces_job_id: str | None = None
    outage_since: datetime | None = None
    cancel_requested: bool = False
    staged: Staged | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    error_message: str | None = None

    @property
    def file_name(self) -> str:
        return self.object_key.rsplit("/", 1)[-1]

    def checked_under_another(self, contract: "Contract") -> bool:
        """Whether its rows were checked and written under another version of the contract."""
        return self.staged is not None and self.staged.contract_version != contract.version

    @property
    def holds_rows(self) -> bool:
        """Whether Druid holds, or may hold, rows of it."""
        return self.outcome in LOADED_OUTCOMES or (
            self.outcome in UNCERTAIN_OUTCOMES and "replaced_by" not in self.result
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A run's right to write to one job; every write repeats the epoch and stops when it is stale."""

    job_id: str
    epoch: int


class AttemptState(StrEnum):
    SAVED = "saved"  # in the ledger; Druid may or may not know its task
    SUBMITTED = "submitted"  # Druid answered
    SUCCEEDED = "succeeded"  # the task ended well; the rows are not counted yet
    PROVED = "proved"  # every job's count is what was expected
    FAILED = "failed"  # the task ended badly; the rows' absence is not shown yet
    ABSENT = "absent"  # the task ended badly and no row of it is in Druid
    UNPROVED = "unproved"  # the deadline passed, or more rows than expected

    @property
    def is_open(self) -> bool:
        return self not in (AttemptState.PROVED, AttemptState.ABSENT, AttemptState.UNPROVED)


class AttemptKind(StrEnum):
    APPEND = "append"
    REPLACE = "replace"  # rewrites time chunks without the rows of some jobs and with those of others


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One frozen try of a batch to get its rows into Druid; its id is the task's id.

    Attributes:
        spec: Empty for a replace that is not planned yet: its lease is taken first, and decided inside it.
        expected: Rows by job that are to be there afterwards.
        removes: Jobs whose rows a replace takes out, each with the job that does so.
        rows_before: Rows by job ("" for those of no job) in the intervals of a replace before it.
    """

    attempt_id: str
    datasource: str
    state: AttemptState
    spec_hash: str
    spec: Mapping[str, Any]
    intervals: tuple[str, ...]
    expected: Mapping[str, int]
    kind: AttemptKind = AttemptKind.APPEND
    removes: Mapping[str, str] = field(default_factory=dict)
    rows_before: Mapping[str, int] = field(default_factory=dict)
