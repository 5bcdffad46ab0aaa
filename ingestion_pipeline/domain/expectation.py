"""When files of a datasource are expected: its periods, and the moments at which each is due and missing.

What belongs here: the calendar. What does not: how it is written in a contract (`contract_expect`), and judging what
came (`stages.arrivals`). All moments that it gives are in UTC; the calendar is that of the expectation's zone, where a
day may have 23 or 25 hours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim

HOUR, DAY, WEEKDAY = "hour", "day", "weekday"

EVERYBODY = "*"
"""Instead of an organization, where all together are expected to send something; none has that name."""

WINDOW = timedelta(days=28)
"""How far back periods are looked at: enough to know what is usual, few enough to count in each look."""
FEWEST, MOST = 12, 200
"""So many periods at least, where they are longer than days, and at most, where they are shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """One time at which files are expected.

    Attributes:
        name: The day, or the moment at which it is due with its offset; unique within a datasource.
        start: When the period before it was due.
        due: From here on its files are late.
        missing: From here on they are missing.
        day: The partition day whose files count, where `Expectation.by_date`; else those that came since `start` count.
        kind: Only periods of one kind are compared by size.
    """

    name: str
    start: datetime
    due: datetime
    missing: datetime
    day: date | None
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What came of one period, of one organization or (`EVERYBODY`) of all together.

    Attributes:
        period: Its name.
        files: How many; versions of one key are one.
        on_time: How many of them before the period was due.
        size_bytes: Of all together; 0: not known.
        rows: Read from all together; None: not all of them are read yet, or some cannot be.
    """

    organization: str
    period: str
    files: int = 0
    on_time: int = 0
    size_bytes: int = 0
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Which files a datasource expects, and when.

    Attributes:
        every: `hour`, `day`, `weekday` (Monday to Friday), or a cron line, each of whose moments is a due one.
        by: The time of the day, or for `hour` the minute, at which the files have to be there.
        days_later: How many days after the day that they are for.
        files: At least so many in each period.
        grace: How long after that they are late but not missing yet; None: until the next ones are due.
        smaller_than_usual: Less than this fraction of the usual rows or bytes is too small; None: no rule.
        organizations: Each of them is to send its own; empty: together they are.
        by_date: Files count for the partition day that their key names, not for when they came.
    """

    every: str
    by: time = time()
    days_later: int = 0
    zone: str = "UTC"
    files: int = 1
    grace: timedelta | None = None
    smaller_than_usual: float | None = None
    organizations: tuple[str, ...] = ()
    by_date: bool = False

    @property
    def cron(self) -> str:
        """The moments, in the zone, at which something is due."""
        if self.every == HOUR:
            return f"{self.by.minute} * * * *"
        if self.every == DAY:
            return f"{self.by.minute} {self.by.hour} * * *"
        if self.every == WEEKDAY:
            days = sorted((day + self.days_later) % 7 for day in range(1, 6))
            return f"{self.by.minute} {self.by.hour} * * {','.join(map(str, days))}"
        return self.every

    @property
    def sentence(self) -> str:
        """For people: `1 file every day by 07:00 (Europe/Berlin)`."""
        files = f"{self.files:,} file{'s' if self.files != 1 else ''}"
        later = {0: "", 1: " of the next day"}.get(self.days_later, f", {self.days_later} days later")
        if self.every == HOUR:
            when = f"every hour by minute {self.by.minute}"
        elif self.every in (DAY, WEEKDAY):
            when = f"every {self.every} by {self.by:%H:%M}{later}"
        else:
            when = f"by each moment of `{self.every}`"
        return f"{files} {when} ({self.zone})"

    def periods(self, *, moment: datetime, since: datetime) -> list[Period]:
        """The periods that were due in the last weeks, and the one that is due next; oldest first.

        Args:
            moment: Now, aware.
            since: Nothing is expected that was due earlier, as when the datasource was not known yet; aware.
        """
        upcoming = list(islice(self._dues(after=moment), 2))
        if len(upcoming) < 2:
            return []
        dues = [*reversed(list(self._past(upcoming[0], until=moment - WINDOW))), *upcoming]
        # The first only begins the second, the last only ends the one before it.
        return [
            self._period(before, due, after)
            for before, due, after in zip(dues, dues[1:], dues[2:], strict=False)
            if due >= since
        ]

    def shortest(self) -> timedelta:
        """Between two due moments."""
        dues = list(islice(self._dues(after=datetime(2024, 1, 1, tzinfo=UTC)), 400))
        return min((after - before for before, after in pairwise(dues)), default=timedelta(days=1))

    def _dues(self, *, after: datetime) -> Iterator[datetime]:
        for due in CronSim(self.cron, after.astimezone(ZoneInfo(self.zone))):
            yield due.astimezone(UTC)

    def _past(self, before: datetime, *, until: datetime) -> Iterator[datetime]:
        past = CronSim(self.cron, before.astimezone(ZoneInfo(self.zone)), reverse=True)
        for count, due in enumerate(islice(past, MOST)):
            if due < until and count > FEWEST:
                return
            yield due.astimezone(UTC)

    def _period(self, before: datetime, due: datetime, after: datetime) -> Period:
        local = due.astimezone(ZoneInfo(self.zone))
        day = local.date() - timedelta(days=self.days_later)
        of_days = self.every in (DAY, WEEKDAY)
        return Period(
            name=day.isoformat() if of_days else local.isoformat(timespec="minutes"),
            start=before,
            due=due,
            missing=after if self.grace is None else due + self.grace,
            day=day if self.by_date and of_days else None,
            kind=self._kind(day, local),
        )

    def _kind(self, day: date, due: datetime) -> str:
        if self.every == HOUR:
            return f"{due:%H}:00"
        if self.every == DAY:
            return "weekend" if day.weekday() >= 5 else "weekday"
        return ""
