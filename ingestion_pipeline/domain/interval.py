"""A half-open stretch of time, as Druid's specs and queries name it.

What belongs here: the value, its text and the sums over it. What does not: which chunks a file touches
(validation finds them) and what a spec does with them (`stages.submit`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """From `start` up to, not including, `end`; both aware, kept in UTC.

    Raises:
        ValueError: A naive datetime, or an end that is not after the start.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError(f"An interval needs aware datetimes, not {self.start} and {self.end}.")
        object.__setattr__(self, "start", self.start.astimezone(UTC))
        object.__setattr__(self, "end", self.end.astimezone(UTC))
        if self.end <= self.start:
            raise ValueError(f"An interval's end must come after its start: {self.start} to {self.end}.")

    def __str__(self) -> str:
        """ISO 8601, milliseconds and `Z`: the one form that Druid and the ledger both read."""
        return f"{iso_millis(self.start)}/{iso_millis(self.end)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `start/end` in ISO 8601 (what `str` writes).

        Raises:
            ValueError: Not two ISO datetimes with a zone.
        """
        start, separator, end = text.partition("/")
        if not separator:
            raise ValueError(f"An interval is written start/end, not {text!r}.")
        return cls(datetime.fromisoformat(start), datetime.fromisoformat(end))

    def contains(self, moment: datetime) -> bool:
        """Whether `moment` (aware) lies in the interval; the end does not."""
        return self.start <= moment < self.end


def iso_millis(moment: datetime) -> str:
    """An aware datetime in UTC with milliseconds: `2013-01-01T00:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time as sorted intervals that neither touch nor overlap."""
    result: list[Interval] = []
    for interval in sorted(intervals):
        if result and interval.start <= result[-1].end:
            result[-1] = Interval(result[-1].start, max(result[-1].end, interval.end))
        else:
            result.append(interval)
    return result


def hull(intervals: Iterable[Interval]) -> Interval:
    """The smallest interval that covers all of them.

    Raises:
        ValueError: There is none.
    """
    every = list(intervals)
    if not every:
        raise ValueError("No interval to cover.")
    return Interval(min(i.start for i in every), max(i.end for i in every))
