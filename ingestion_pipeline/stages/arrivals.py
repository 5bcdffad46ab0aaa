"""Judging what came against what was expected: late, missing, smaller than usual.

What belongs here: the judgement, from the calendar (`domain.expectation`) and counts of the ledger. What does not:
asking the ledger, and telling anybody.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median

from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.domain.expectation import EVERYBODY, Came, Expectation, Period

JUDGED = timedelta(days=14)
"""Periods that were due earlier are no longer told of, but the last one always is; they still say what is usual."""
COMPARED = 14
"""What is usual is the median of so many periods of the same kind, those before the one that is judged."""
FEWEST_COMPARED = 4
"""With fewer nothing is usual yet."""


class State(StrEnum):
    EXPECTED = "expected"  # not due yet
    ON_TIME = "on_time"
    CAME_LATE = "came_late"
    LATE = "late"  # due, and may still come
    MISSING = "missing"


class Kind(StrEnum):
    """What is told: each is a check of the datasource's asset and, once per period, an event."""

    LATE = "late"
    MISSING = "missing"
    SMALLER_THAN_USUAL = "smaller_than_usual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Smaller:
    """How much smaller than usual: of `rows` or of `bytes`."""

    measure: str
    value: int
    usual: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be said of one period, of one organization or (`EVERYBODY`) of all together."""

    organization: str
    period: Period
    state: State
    came: Came
    smaller: Smaller | None = None

    @property
    def findings(self) -> tuple[Kind, ...]:
        """What is wrong with it."""
        if self.state is State.LATE:
            return (Kind.LATE,)
        if self.state is State.MISSING:
            return (Kind.MISSING,)
        return (Kind.SMALLER_THAN_USUAL,) if self.smaller else ()


def look(
    contract: Contract,
    came: Callable[[str, Sequence[Period], Sequence[str]], Iterable[Came]],
    *,
    since: datetime | None,
    moment: datetime,
) -> list[Verdict]:
    """A verdict on each period of a datasource, oldest first; none where nothing is expected.

    Args:
        came: Asks the ledger what came, by datasource, periods and organizations.
        since: When the contract was first seen; None: it was not.
        moment: Now, aware.
    """
    expectation = contract.expect
    if expectation is None or since is None:
        return []
    periods = expectation.periods(moment=moment, since=since)
    found = came(contract.datasource, periods, expectation.organizations)
    return judge(expectation, periods, found, moment=moment)


def judge(
    expectation: Expectation,
    periods: Sequence[Period],
    came: Iterable[Came],
    *,
    moment: datetime,
) -> list[Verdict]:
    """A verdict on each period that is due next or was lately, oldest first; organizations in the contract's order.

    Args:
        periods: As `Expectation.periods` gives them.
        came: What came of each period, if anything did.
        moment: Now, aware.
    """
    found = {(count.organization, count.period): count for count in came}
    verdicts: list[Verdict] = []
    for organization in expectation.organizations or (EVERYBODY,):
        counts = [
            found.get((organization, period.name)) or Came(organization=organization, period=period.name)
            for period in periods
        ]
        if not expectation.by_date:
            counts = list(_made_up(expectation, periods, counts, moment))
        states = [_state(expectation, *pair, moment) for pair in zip(periods, counts, strict=True)]
        last_due = max((period.due for period in periods if period.due <= moment), default=moment)
        for position, (period, count, state) in enumerate(zip(periods, counts, states, strict=True)):
            if period.due < min(moment - JUDGED, last_due):
                continue
            there = state in (State.ON_TIME, State.CAME_LATE) and period.due <= moment
            before = [
                counts[earlier]
                for earlier in range(position)
                if periods[earlier].kind == period.kind and states[earlier] in (State.ON_TIME, State.CAME_LATE)
            ]
            smaller = _smaller(expectation, count, before[-COMPARED:]) if there else None
            verdicts.append(Verdict(organization=organization, period=period, state=state, came=count, smaller=smaller))
    return sorted(verdicts, key=lambda verdict: verdict.period.due)


def _made_up(
    expectation: Expectation, periods: Sequence[Period], counts: Sequence[Came], moment: datetime
) -> Iterator[Came]:
    """Where files count for when they came, those that came late are in the next period.

    What it has beyond its own is taken for them: a file that never comes is then told once, and does not make every
    later one late. As long as the next is not due, all that came of it may be theirs.
    """
    for position, count in enumerate(counts):
        short = expectation.files - count.files
        if short > 0 and position + 1 < len(counts) and periods[position].due <= moment:
            after, due = counts[position + 1], periods[position + 1].due
            spare = after.files - (expectation.files if due <= moment else 0)
            if spare >= short:
                # Nobody knows which of the files they are: nothing is said of its size.
                yield replace(count, files=expectation.files, size_bytes=0, rows=None)
                continue
        yield count


def _state(expectation: Expectation, period: Period, came: Came, moment: datetime) -> State:
    if came.files >= expectation.files:
        return State.ON_TIME if came.on_time >= expectation.files else State.CAME_LATE
    if moment < period.due:
        return State.EXPECTED
    return State.LATE if moment < period.missing else State.MISSING


def _smaller(expectation: Expectation, came: Came, before: Sequence[Came]) -> Smaller | None:
    """By rows or, where they say nothing, by bytes."""
    if expectation.smaller_than_usual is None:
        return None
    measures = (
        ("rows", came.rows, [earlier.rows for earlier in before]),
        ("bytes", came.size_bytes or None, [earlier.size_bytes or None for earlier in before]),
    )
    for measure, value, others in measures:
        known = [other for other in others if other is not None]
        if value is None or len(known) < FEWEST_COMPARED:
            continue
        usual = median(known)
        if value < expectation.smaller_than_usual * usual:
            return Smaller(measure=measure, value=value, usual=round(usual))
    return None
