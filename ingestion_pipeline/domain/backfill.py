"""A backfill: loading history by partition day; what it would take, and how far one of Dagster's is.

What belongs here: the values, and estimates from what the ledger measured. What does not: asking the ledger or Dagster.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from statistics import median


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFiles:
    """A partition day of a datasource, by what became of its files.

    Attributes:
        history: Files that wait for a backfill.
        history_bytes: Their size as stored.
        under_way: Files that a run works on or that the sensor launches by itself.
    """

    day: date
    files: int
    history: int
    history_bytes: int
    loaded: int
    failed: int
    under_way: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run that the ledger remembers: its files, and the seconds from its claim to its last file's end."""

    files: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """How long runs would take, one after the other, judged by past ones.

    Attributes:
        shortest: Seconds, if each run takes as long as past ones did.
        longest: Seconds, if each file does.
        runs: How many past runs say so.
    """

    shortest: float
    longest: float
    runs: int


class BackfillStatus(StrEnum):
    """Dagster's words."""

    REQUESTED = "REQUESTED"
    COMPLETED = "COMPLETED"
    COMPLETED_SUCCESS = "COMPLETED_SUCCESS"
    COMPLETED_FAILED = "COMPLETED_FAILED"
    FAILING = "FAILING"
    FAILED = "FAILED"
    CANCELING = "CANCELING"
    CANCELED = "CANCELED"

    @property
    def is_over(self) -> bool:
        return self not in (BackfillStatus.REQUESTED, BackfillStatus.FAILING, BackfillStatus.CANCELING)

    @property
    def is_stopped(self) -> bool:
        return self in (BackfillStatus.CANCELING, BackfillStatus.CANCELED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """One of Dagster's backfills of a datasource.

    Attributes:
        ranges: First and last of its partition days, without gaps between them.
        days: How many they are; of those: done, failed, at work.
        problem: Why it failed as a whole.
    """

    backfill_id: str
    datasource: str
    status: BackfillStatus
    started_at: datetime
    ended_at: datetime | None
    ranges: tuple[tuple[date, date], ...]
    days: int
    days_done: int
    days_failed: int
    days_in_progress: int
    problem: str | None = None

    def has(self, day: date) -> bool:
        return any(first <= day <= last for first, last in self.ranges)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillFiles:
    """The files that a backfill has released so far, by what became of them; its other days have not begun."""

    loaded: int = 0
    failed: int = 0
    other: int = 0  # ended otherwise: empty, duplicate, superseded, canceled
    open: int = 0
    rows_queryable: int = 0


def days_to_launch(days: Sequence[DayFiles], running: Collection[Backfill]) -> list[date]:
    """The days that have files waiting and that no running backfill comes to."""
    return [day.day for day in days if day.history and not any(other.has(day.day) for other in running)]


def runs_needed(days: Sequence[DayFiles], *, days_per_run: int, max_files: int, max_bytes: int) -> int:
    """How many runs load the waiting files: consecutive days together, what exceeds a batch in runs of its own.

    Args:
        max_files: Of a batch; likewise `max_bytes`.
    """
    runs = 0
    group: list[DayFiles] = []
    for day in sorted((day for day in days if day.history), key=lambda day: day.day):
        if group and (len(group) == days_per_run or day.day != group[-1].day + timedelta(days=1)):
            runs += _runs_of(group, max_files, max_bytes)
            group = []
        group.append(day)
    return runs + (_runs_of(group, max_files, max_bytes) if group else 0)


def _runs_of(group: Sequence[DayFiles], max_files: int, max_bytes: int) -> int:
    files, size = sum(day.history for day in group), sum(day.history_bytes for day in group)
    return max(math.ceil(files / max_files), math.ceil(size / max_bytes), 1)


def duration(*, runs: int, files: int, past: Sequence[PastRun]) -> Duration | None:
    """How long it takes, from the ledger's own recent runs; None when there are none to judge by."""
    if not past:
        return None
    by_run = runs * median(run.seconds for run in past)
    by_file = files * sum(run.seconds for run in past) / sum(run.files for run in past)
    return Duration(shortest=min(by_run, by_file), longest=max(by_run, by_file), runs=len(past))
