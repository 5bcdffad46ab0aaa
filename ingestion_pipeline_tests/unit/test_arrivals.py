"""What is said of what came: on time, late, missing, smaller than usual."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domain.expectation import EVERYBODY, Came, Expectation, Period
from ingestion_pipeline.stages.arrivals import JUDGED, Kind, State, Verdict, judge
from ingestion_pipeline_tests.extent import examples
from ingestion_pipeline_tests.unit.test_expectation import LONG_AGO, UNDATED, expectation

NOON = datetime(2026, 3, 18, 12, tzinfo=UTC)  # a Wednesday
MORNING = expectation(by="07:00")


def periods_of(expected: Expectation, moment: datetime = NOON) -> list[Period]:
    return expected.periods(moment=moment, since=LONG_AGO)


def came(name: str, files: int = 1, *, organization: str = EVERYBODY, **changes: Any) -> Came:
    values: dict[str, Any] = {"on_time": files, "size_bytes": 1000, "rows": 100}
    return Came(organization=organization, period=name, files=files, **(values | changes))


def everything(
    expected: Expectation, but: Mapping[str, Came | None] | None = None, moment: datetime = NOON
) -> list[Came]:
    """One file of each period that was due, and what is said otherwise of some."""
    found = {period.name: came(period.name) for period in periods_of(expected, moment) if period.due <= moment}
    return [count for count in (found | (but or {})).values() if count is not None]  # type: ignore[operator]


def verdicts(expected: Expectation, counts: list[Came], moment: datetime = NOON) -> dict[str, Verdict]:
    judged = judge(expected, periods_of(expected, moment), counts, moment=moment)
    return {verdict.period.name: verdict for verdict in judged}


def test_what_is_due_later_is_expected_and_what_came_is_on_time() -> None:
    found = verdicts(MORNING, everything(MORNING))
    assert found["2026-03-18"].state is State.ON_TIME
    assert found["2026-03-19"].state is State.EXPECTED
    assert not any(verdict.findings for verdict in found.values())


def test_what_did_not_come_is_late_until_the_next_is_due_and_missing_from_then_on() -> None:
    found = verdicts(MORNING, everything(MORNING, {"2026-03-18": None, "2026-03-17": None}))
    assert found["2026-03-18"].findings == (Kind.LATE,)
    assert found["2026-03-17"].findings == (Kind.MISSING,)


def test_a_grace_of_its_own_says_from_when_it_is_missing() -> None:
    expected = expectation(by="11:45", grace="30m")
    without_today = everything(expected, {"2026-03-18": None})
    assert verdicts(expected, without_today)["2026-03-18"].state is State.LATE
    later = NOON + timedelta(minutes=15)
    assert verdicts(expected, without_today, later)["2026-03-18"].state is State.MISSING


def test_a_file_that_comes_at_last_is_no_finding_any_more() -> None:
    found = verdicts(MORNING, everything(MORNING, {"2026-03-16": came("2026-03-16", on_time=0)}))
    assert found["2026-03-16"].state is State.CAME_LATE
    assert found["2026-03-16"].findings == ()


def test_fewer_files_than_expected_are_late_as_none_are() -> None:
    expected = expectation(by="07:00", files=3)
    counts = everything(
        expected, {p.name: came(p.name, 3) for p in periods_of(expected)} | {"2026-03-18": came("2026-03-18", 2)}
    )
    assert verdicts(expected, counts)["2026-03-18"].state is State.LATE


def test_each_organization_that_is_named_has_to_send_its_own() -> None:
    expected = expectation(by="07:00", organizations=["acme", "globex"])
    counts = [came(period.name, organization="acme") for period in periods_of(expected)]
    found = judge(expected, periods_of(expected), counts, moment=NOON)
    assert {verdict.organization for verdict in found if verdict.findings} == {"globex"}


def test_only_the_last_two_weeks_are_told_of() -> None:
    found = judge(MORNING, periods_of(MORNING), [], moment=NOON)
    assert min(verdict.period.due for verdict in found) >= NOON - JUDGED


def test_of_long_periods_the_last_one_is_told_of_whenever_it_was() -> None:
    monthly = expectation(every="0 6 1 * *")
    late_in_month = datetime(2026, 3, 28, tzinfo=UTC)
    found = judge(monthly, periods_of(monthly, late_in_month), [], moment=late_in_month)
    assert [verdict.period.name for verdict in found] == ["2026-03-01T06:00+00:00", "2026-04-01T06:00+00:00"]
    assert found[0].state is State.LATE


def test_less_than_the_fraction_of_the_usual_rows_is_told_with_both_numbers() -> None:
    expected = expectation(by="07:00", smaller_than_usual=0.5)
    found = verdicts(expected, everything(expected, {"2026-03-18": came("2026-03-18", rows=49)}))
    assert found["2026-03-18"].findings == (Kind.SMALLER_THAN_USUAL,)
    assert (found["2026-03-18"].smaller.measure, found["2026-03-18"].smaller.usual) == ("rows", 100)  # type: ignore[union-attr]
    half = verdicts(expected, everything(expected, {"2026-03-18": came("2026-03-18", rows=50)}))
    assert half["2026-03-18"].findings == ()


def test_files_that_are_not_read_yet_are_compared_by_their_bytes() -> None:
    expected = expectation(by="07:00", smaller_than_usual=0.5)
    found = verdicts(expected, everything(expected, {"2026-03-18": came("2026-03-18", rows=None, size_bytes=400)}))
    assert found["2026-03-18"].smaller.measure == "bytes"  # type: ignore[union-attr]


def test_nothing_is_usual_with_less_than_four_periods_before() -> None:
    expected = expectation(every="weekday", by="07:00", smaller_than_usual=0.5)
    small = came("2026-03-18", rows=1, size_bytes=1)
    before = [came(name) for name in ("2026-03-17", "2026-03-16", "2026-03-13")]
    assert verdicts(expected, [*before, small])["2026-03-18"].findings == ()
    assert verdicts(expected, [*before, came("2026-03-12"), small])["2026-03-18"].findings == (Kind.SMALLER_THAN_USUAL,)


def test_a_weekend_is_compared_with_weekends() -> None:
    expected = expectation(by="07:00", smaller_than_usual=0.5)
    weekends = {
        period.name: came(period.name, rows=10, size_bytes=10)
        for period in periods_of(expected)
        if period.kind == "weekend" and period.due <= NOON
    }
    assert not any(verdict.findings for verdict in verdicts(expected, everything(expected, weekends)).values())


def test_without_days_in_keys_a_late_file_is_one_too_many_of_the_next_period() -> None:
    expected = expectation(by="07:00", files_from=UNDATED)
    found = verdicts(expected, everything(expected, {"2026-03-16": None, "2026-03-17": came("2026-03-17", 2)}))
    assert found["2026-03-16"].state is State.CAME_LATE
    assert found["2026-03-17"].state is State.ON_TIME


def test_without_days_in_keys_one_file_that_never_comes_does_not_make_the_later_ones_late() -> None:
    expected = expectation(by="07:00", files_from=UNDATED)
    found = verdicts(expected, everything(expected, {"2026-03-12": None}))
    assert [name for name, verdict in found.items() if verdict.findings] == ["2026-03-12"]


def test_what_comes_after_it_was_due_is_taken_for_what_is_late() -> None:
    expected = expectation(by="07:00", files_from=UNDATED)
    found = verdicts(expected, everything(expected, {"2026-03-18": None, "2026-03-19": came("2026-03-19")}))
    assert found["2026-03-18"].state is State.CAME_LATE


@given(
    files=st.lists(st.integers(0, 3), min_size=29, max_size=29),
    needed=st.integers(1, 3),
    hours=st.integers(0, 200),
    dated=st.booleans(),
)
@examples(40)
def test_time_alone_makes_late_missing_and_nothing_else_worse(
    files: list[int], needed: int, hours: int, dated: bool
) -> None:
    expected = replace(MORNING, files=needed, by_date=dated)
    counts = [
        came(period.name, number)
        for period, number in zip(periods_of(expected), files, strict=False)
        if number and period.due <= NOON
    ]
    now, later = (verdicts(expected, counts, NOON + timedelta(hours=ahead)) for ahead in (0, hours))
    for name in now.keys() & later.keys():
        before, after = now[name].state, later[name].state
        assert before is after or (before in (State.EXPECTED, State.LATE) and after in (State.LATE, State.MISSING))
