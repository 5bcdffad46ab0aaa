"""Which column is the time of a row, and how long a piece of it a Druid segment should hold.

What belongs here: choosing among columns whose types are known. What does not: reading times (`readings`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from ingestion_pipeline.domain.contract import EARLIEST_TIME, LATEST_TIME, Granularity
from ingestion_pipeline.stages.infer.decisions import Decision

# Words of a time at which something happened, and of times that are about something else or change later.
_GOOD_WORDS = frozenset(
    {
        *("time", "timestamp", "ts", "datetime", "date", "at", "event", "occurred", "recorded"),
        *("measured", "observed", "ordered", "created"),
    }
)
_BAD_WORDS = frozenset(
    {
        *("birth", "birthday", "dob", "born", "expiry", "expires", "expiration", "valid", "until", "end"),
        *("due", "updated", "modified", "deleted", "closed", "last"),
    }
)
_EARLIEST_PARTITION = date(1970, 1, 1)
_LAST_YEAR = 9999  # as a date it means: never


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A column that could be the time.

    Attributes:
        empty: Rows that do not have it.
    """

    name: str
    decision: Decision
    empty: int

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """The first and the last moment seen."""
        return _moment(self.decision.low), _moment(self.decision.high)


def candidates(columns: Sequence[Candidate]) -> list[Candidate]:
    """Those that could be the time, the likeliest first."""
    possible = [
        column
        for column in columns
        if column.decision.type in {"date", "datetime"} and column.bounds[1].year < _LAST_YEAR
    ]
    return sorted(possible, key=_rank)


def _rank(column: Candidate) -> tuple[bool, ...]:
    words = set(column.name.split("_"))
    low, high = column.bounds
    unusual = low < EARLIEST_TIME or high >= LATEST_TIME
    is_date = column.decision.type == "date"
    return (column.empty > 0, unusual, bool(words & _BAD_WORDS), is_date, not words & _GOOD_WORDS)


def explicit_bounds(column: Candidate) -> dict[str, datetime]:
    """`min` and `max` of the contract's time, as far as the usual ones would reject rows of the samples."""
    low, high = column.bounds
    found = {}
    if low < EARLIEST_TIME:
        found["min"] = datetime(low.year, 1, 1, tzinfo=UTC)
    if high >= LATEST_TIME:
        found["max"] = datetime(high.year + 1, 1, 1, tzinfo=UTC)
    return found


def rows_a_day(column: Candidate, rows: float) -> float:
    """How many rows of the samples belong to one day."""
    return rows / days_between(column)


def granularity(a_day: float, *, days: int) -> Granularity:
    """Segments should hold some hundred thousand to some million rows, and there should not be thousands of them."""
    if a_day >= 20_000_000:
        return "hour"
    if a_day >= 100_000:
        return "day"
    return "year" if a_day < 10 and days > 730 else "month"


def days_between(column: Candidate) -> int:
    """From the first to the last moment."""
    low, high = column.bounds
    return (high - low).days + 1


def partition_start(column: Candidate) -> date:
    """The beginning of the first year that has rows: files of its other days may come."""
    return max(date(column.bounds[0].year, 1, 1), _EARLIEST_PARTITION)


def _moment(value: date | datetime) -> datetime:
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
