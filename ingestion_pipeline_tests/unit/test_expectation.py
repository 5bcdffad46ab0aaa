"""When files are expected: contracts' `expect`, and its calendar through changes of the clock and ends of months."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domain.expectation import MOST, WINDOW, Expectation
from ingestion_pipeline_tests.extent import examples
from ingestion_pipeline_tests.unit.contracts import contract_of, problems_of

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu")
DATED = [{"pattern": "in/{date}/*.csv", "organization": "acme"}]
UNDATED = [{"pattern": "in/*.csv", "organization": "acme"}]


def expectation(**keys: Any) -> Expectation:
    files = keys.pop("files_from", DATED)
    found = contract_of(expect={"every": "day", **keys}, files=files).expect
    assert found is not None
    return found


def names(expected: Expectation, moment: datetime, last: int = 3) -> list[str]:
    return [period.name for period in expected.periods(moment=moment, since=LONG_AGO)][-last:]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({}, "1 file every day by 00:00 of the next day (UTC)"),
        ({"by": "07:00", "zone": "Europe/Berlin"}, "1 file every day by 07:00 (Europe/Berlin)"),
        ({"every": "weekday", "by": "07:00 next day", "files": 3},
         "3 files every weekday by 07:00 of the next day (UTC)"),
        ({"by": "17:30 +3 days"}, "1 file every day by 17:30, 3 days later (UTC)"),
        ({"every": "hour", "by": ":15"}, "1 file every hour by minute 15 (UTC)"),
        ({"every": "0 6 * * MON"}, "1 file by each moment of `0 6 * * MON` (UTC)"),
    ],
)  # fmt: skip
def test_what_is_expected_is_told_in_a_sentence(keys: dict[str, Any], sentence: str) -> None:
    assert expectation(**keys).sentence == sentence


def test_a_time_without_quotes_which_yaml_reads_as_a_number_means_what_was_written() -> None:
    assert expectation(by=17 * 60 + 30).by == time(17, 30)


@pytest.mark.parametrize(
    ("expect", "key", "says"),
    [
        ({"every": "dya"}, "every", "Did you mean 'day'?"),
        ({"every": "fortnight"}, "every", "hour, day, weekday or a cron line"),
        ({"every": "61 6 * * *"}, "every", "is no cron line: bad minute"),
        ({"every": "0 6 31 2 *"}, "every", "0 6 31 2 *"),
        ({"every": "0 6 * * 1", "by": "07:00"}, "by", "a cron line says itself when. Remove it."),
        ({"every": "day", "by": "7 o'clock"}, "by", '"07:00 next day"'),
        ({"every": "day", "by": "25:00"}, "by", "no time of the day"),
        ({"every": "hour", "by": "07:00"}, "by", '":15" for a quarter past'),
        ({"every": "day", "zone": "Europe/Berln"}, "zone", "Did you mean 'Europe/Berlin'?"),
        ({"every": "day", "grace": "soon"}, "grace", "30m, 2h or 1d"),
        ({"every": "day", "files": 0}, "files", "greater than or equal to 1"),
        ({"every": "day", "smaller_than_usual": 50}, "smaller_than_usual", "less than 1"),
        ({"every": "day", "organizations": ["a", "a"]}, "organizations.1", "named already"),
        ({"evry": "day"}, "evry", "Did you mean 'every'?"),
        ({"by": "07:00"}, "every", "is missing"),
    ],
)
def test_a_mistake_is_told_with_its_key(expect: dict[str, Any], key: str, says: str) -> None:
    assert says in problems_of(expect=expect)[f"expect.{key}"]


def test_a_day_s_files_due_the_next_morning_are_those_of_the_day_before() -> None:
    expected = expectation(by="07:00 next day", zone="Europe/Berlin")
    before, after = (datetime(2026, 3, 3, hour, tzinfo=ZoneInfo("Europe/Berlin")) for hour in (6, 8))
    assert names(expected, before) == ["2026-02-28", "2026-03-01", "2026-03-02"], "that of the 2nd is due next"
    assert names(expected, after) == ["2026-03-01", "2026-03-02", "2026-03-03"]


def test_weekdays_due_the_next_day_are_monday_to_friday_all_the_same() -> None:
    days = [date.fromisoformat(name) for name in names(
        expectation(every="weekday", by="06:00 next day"), datetime(2026, 3, 16, 12, tzinfo=UTC), last=20
    )]  # fmt: skip
    assert {day.weekday() for day in days} == {0, 1, 2, 3, 4}
    assert date(2026, 3, 13) in days, "a Friday's, due on Saturday"


def test_files_count_for_the_day_of_their_key_where_every_key_has_one() -> None:
    assert expectation(files_from=DATED).by_date
    assert not expectation(files_from=[*DATED, {"pattern": "old/*.csv", "organization": "acme"}]).by_date
    assert not expectation(every="hour", files_from=DATED).by_date, "no key names an hour"


def test_an_hour_that_comes_twice_is_two_periods_and_one_that_is_skipped_is_none() -> None:
    hourly = expectation(every="hour", by=":15", zone="Europe/Berlin")
    assert names(hourly, datetime(2026, 10, 25, 1, 30, tzinfo=UTC), last=4) == [
        "2026-10-25T01:15+02:00", "2026-10-25T02:15+02:00", "2026-10-25T02:15+01:00", "2026-10-25T03:15+01:00",
    ]  # fmt: skip
    assert names(hourly, datetime(2026, 3, 29, 1, 30, tzinfo=UTC), last=3) == [
        "2026-03-29T01:15+01:00", "2026-03-29T03:15+02:00", "2026-03-29T04:15+02:00",
    ]  # fmt: skip


def test_a_time_that_a_day_does_not_have_is_due_when_the_clock_has_jumped() -> None:
    expected = expectation(by="02:30", zone="Europe/Berlin")
    (period,) = [
        found
        for found in expected.periods(moment=datetime(2026, 3, 29, 12, tzinfo=UTC), since=LONG_AGO)
        if found.name == "2026-03-29"
    ]
    assert period.due == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


def test_months_of_any_length_have_their_last_day() -> None:
    found = names(expectation(every="0 6 L * *"), datetime(2028, 4, 1, 12, tzinfo=UTC), last=4)
    assert [name[:10] for name in found] == ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30"]


def test_long_periods_are_looked_at_beyond_the_window_and_short_ones_less_far() -> None:
    moment = datetime(2026, 6, 15, tzinfo=UTC)
    assert len(expectation(every="0 6 1 * *").periods(moment=moment, since=LONG_AGO)) >= 12
    assert len(expectation(every="*/5 * * * *").periods(moment=moment, since=LONG_AGO)) <= MOST + 2


def test_nothing_is_expected_that_was_due_before_the_datasource_was_known() -> None:
    since = datetime(2026, 3, 3, 8, tzinfo=UTC)
    found = expectation(by="07:00").periods(moment=datetime(2026, 3, 5, 12, tzinfo=UTC), since=since)
    assert [period.name for period in found] == ["2026-03-04", "2026-03-05", "2026-03-06"]


@given(
    moment=st.datetimes(min_value=datetime(2015, 1, 1), max_value=datetime(2035, 1, 1)),
    zone=st.sampled_from(ZONES),
    every=st.sampled_from(["hour", "day", "weekday", "0 6 * * MON", "30 2 1,15 * *", "*/20 * * * *"]),
    clock=st.times(),
    later=st.integers(0, 3),
    grace=st.sampled_from([None, timedelta(minutes=30), timedelta(days=2)]),
)
@examples(40)
def test_periods_follow_each_other_without_gap_or_overlap_in_every_zone(
    moment: datetime, zone: str, every: str, clock: time, later: int, grace: timedelta | None
) -> None:
    moment = moment.replace(tzinfo=UTC)
    later = later if every in ("day", "weekday") else 0
    expected = Expectation(every=every, by=clock, days_later=later, zone=zone, grace=grace, by_date=True)
    periods = expected.periods(moment=moment, since=LONG_AGO)

    assert len({period.name for period in periods}) == len(periods)
    assert [period for period in periods if period.due > moment] == periods[-1:], "one is due next"
    assert periods[0].start <= max(moment - WINDOW, periods[0].start)
    for before, after in pairwise(periods):
        assert before.due == after.start < after.due
        assert before.missing == (after.due if grace is None else before.due + grace)
    if every == "day" and zone != "Pacific/Apia":  # whose calendar once skipped a day
        days = [period.day for period in periods]
        assert days == [days[0] + timedelta(days=number) for number in range(len(days))]
    if every in ("day", "weekday"):
        for period in periods:
            assert period.day is not None
            local = period.due.astimezone(ZoneInfo(zone))
            assert local.date() == period.day + timedelta(days=later)
