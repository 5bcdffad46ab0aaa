"""What Druid says about itself and its tasks, as values.

What belongs here: the values that the Druid adapter returns and the stages judge. What does not: HTTP
(`adapters.druid`), building a spec (`stages.submit`), waiting and judging (`stages.monitor`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from ingestion_pipeline.domain.redaction import without_secrets

REASON_LIMIT = 600

JOB_ID_COLUMN = "__job_id"
ORGANIZATION_COLUMN = "__organization"
TIME_COLUMN = "__time"


class TaskState(StrEnum):
    """A task's state (Druid's `statusCode`)."""

    RUNNING = "RUNNING"  # accepted; also while it waits for a slot or a lock (see RunnerState)
    SUCCESS = "SUCCESS"  # ended; says nothing about how many rows arrived
    FAILED = "FAILED"  # ended; normally nothing was published (a lost report is the exception)
    UNKNOWN = "UNKNOWN"  # ours: the overlord does not know the id: never accepted, or its record was purged

    @property
    def is_terminal(self) -> bool:
        return self in (TaskState.SUCCESS, TaskState.FAILED)


class RunnerState(StrEnum):
    """Where a task stands with the workers (Druid's `runnerStatusCode`)."""

    PENDING = "PENDING"  # waits for a worker slot
    WAITING = "WAITING"  # waits for a lock
    RUNNING = "RUNNING"
    NONE = "NONE"  # ended, or not yet handed out


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a cluster can read; a module counts only where both overlord and broker have it."""

    version: str
    s3: bool
    parquet: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatus:
    """One answer of the overlord about one task; `error` is a :func:`failure_reason`."""

    task_id: str
    state: TaskState
    runner: RunnerState
    error: str | None = None
    duration_ms: int | None = None

    @classmethod
    def from_json(cls, task_id: str, body: Mapping[str, Any]) -> Self | None:
        """Read `/druid/indexer/v1/task/{id}/status`; None when it holds no status."""
        status = body.get("status")
        if not isinstance(status, Mapping) or not status.get("statusCode"):
            return None
        duration = status.get("duration")
        runner = status.get("runnerStatusCode")
        return cls(
            task_id=task_id,
            state=TaskState(status["statusCode"]),
            runner=RunnerState(runner) if runner in set(RunnerState) else RunnerState.NONE,
            error=failure_reason(status.get("errorMsg")),
            duration_ms=duration if isinstance(duration, int) and duration >= 0 else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """Row counts of a task: live while it runs, final after its end. Bytes are decompressed bytes.

    `error` is a :func:`failure_reason`, fuller than the status's: Druid cuts that one in its middle.
    """

    processed: int = 0
    processed_with_error: int = 0
    unparseable: int = 0
    thrown_away: int = 0
    processed_bytes: int = 0
    segments_published: int | None = None
    error: str | None = None

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self | None:
        """Read `/druid/indexer/v1/task/{id}/reports` in each of its shapes; None when it holds no counts.

        A sequential task ends with `rowStats.buildSegments`, a parallel one with `rowStats.totals.buildSegments`;
        a running one has the latter beside moving averages.
        """
        payload = _mapping(_mapping(body.get("ingestionStatsAndErrors")).get("payload"))
        stats = _mapping(payload.get("rowStats"))
        totals = _mapping(_mapping(stats.get("totals")).get("buildSegments")) or _mapping(stats.get("buildSegments"))
        if not totals:
            return None
        published = payload.get("segmentsPublished")
        return cls(
            processed=_count(totals, "processed"),
            processed_with_error=_count(totals, "processedWithError"),
            unparseable=_count(totals, "unparseable"),
            thrown_away=_count(totals, "thrownAway"),
            processed_bytes=_count(totals, "processedBytes"),
            segments_published=published if isinstance(published, int) else None,
            error=failure_reason(payload.get("errorMsg")),
        )


def failure_reason(message: str | None) -> str | None:
    """What of a Java error with its stack trace says why: the first line and the causes, without secrets.

    Args:
        message: Druid's `errorMsg`: lines of which all but the first and `Caused by:` are places in Druid's code.

    Returns:
        One line, at most 600 characters; None for no message.
    """
    lines = without_secrets(message or "").strip().splitlines()
    causes = (line for line in lines[1:] if line.startswith("Caused by:"))
    reason = " ".join(dict.fromkeys([*lines[:1], *causes]))
    return (reason if len(reason) <= REASON_LIMIT else reason[: REASON_LIMIT - 1] + "…") or None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(totals: Mapping[str, Any], name: str) -> int:
    # Live counters are doubles in some versions: 1200.0
    value = totals.get(name)
    return int(value) if isinstance(value, int | float) else 0
