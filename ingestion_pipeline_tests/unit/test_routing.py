"""Routing: which keys belong to whom, and never a partition day that does not exist."""

import re
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domain.contract import ContractBook
from ingestion_pipeline.domain.contract_patterns import PLACEHOLDERS, FilePattern, can_meet, pattern_problem
from ingestion_pipeline.domain.routing import NoRoute, Route, hot_prefixes, route, sweep_prefixes
from ingestion_pipeline.errors import ContractError
from ingestion_pipeline_tests.unit.contracts import contract_of

MODIFIED = datetime(2024, 5, 2, 23, 30, tzinfo=UTC)
THINGS = contract_of(
    files=[
        {"pattern": "exports/dt={date}/*.csv.gz", "organization": "demo"},
        {"pattern": "feeds/{organization}/{yyyy}/{mm}/{dd}/**/{name}.csv"},
        {"pattern": "flat/*.csv", "organization": "acme"},
    ]
)
BOOK = ContractBook(
    contracts={"things": THINGS},
    broken=(ContractError("colums is no key", details={"datasource": "broken", "file": "broken.yaml", "line": 1}),),
)


def decide(key: str, *, last_modified: datetime = MODIFIED, today: date | None = date(2024, 5, 2)) -> Route | NoRoute:
    return route(BOOK, key=key, last_modified=last_modified, organizations={"demo", "acme"}, today=today)


@pytest.mark.parametrize(
    ("key", "organization", "day"),
    [
        ("uploads/acme/things/2024-02-29/j1/a b.csv", "acme", date(2024, 2, 29)),
        ("exports/dt=2024-01-31/part.csv.gz", "demo", date(2024, 1, 31)),
        ("feeds/demo/2023/12/31/a/b/c.csv", "demo", date(2023, 12, 31)),
        ("feeds/demo/2023/12/31/c.csv", "demo", date(2023, 12, 31)),
        ("flat/x.csv", "acme", date(2024, 5, 2)),
        ("exports/dt=2024-05-03/clock-ahead.csv.gz", "demo", date(2024, 5, 3)),
    ],
)
def test_a_claimed_key_belongs_to_an_organization_and_a_day(key, organization, day):
    found = decide(key)
    assert isinstance(found, Route)
    assert (found.datasource, found.organization, found.partition_day) == ("things", organization, day)
    assert found.warnings == ()


def test_the_job_id_of_an_announced_upload_is_read_from_its_key():
    assert getattr(decide("uploads/acme/things/2024-02-29/j1/a.csv"), "job_id", None) == "j1"
    assert getattr(decide("flat/x.csv"), "job_id", "") is None


@pytest.mark.parametrize(
    "text", ["1970-01-01", "9999-12-31", "2013-13-45", "unknown", "2024-5-1", "2024-05-04", "２０２４-05-01"]
)
def test_an_odd_date_falls_back_to_the_day_of_the_upload_with_a_warning(text):
    found = decide(f"exports/dt={text}/part.csv.gz")
    assert isinstance(found, Route)
    assert found.partition_day == MODIFIED.date()
    assert text in found.warnings[0]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("uploads/acme/things/", "folder_marker"),
        ("uploads/nobody/things/2024-01-01/j/a.csv", "unknown_organization"),
        ("uploads/acme/others/2024-01-01/j/a.csv", "no_contract"),
        ("uploads/acme/broken/2024-01-01/j/a.csv", "contract_broken"),
        ("exports/dt=2024-01-01/deeper/part.csv.gz", "no_contract"),
        ("flat/x.csv.bak", "no_contract"),
        ("FLAT/x.csv", "no_contract"),
        ("", "no_contract"),
    ],
)
def test_an_object_that_belongs_nowhere_says_why(key, reason):
    found = decide(key)
    assert isinstance(found, NoRoute)
    assert found.reason == reason
    assert found.message


@given(
    text=st.one_of(st.dates().map(date.isoformat), st.text(alphabet="0123456789-x", min_size=1, max_size=10)),
    last_modified=st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)),
    today=st.none() | st.dates(date(2019, 12, 30), date(2200, 1, 1)),
)
def test_no_key_and_no_clock_gives_a_day_without_a_partition(text, last_modified, today):
    found = decide(f"exports/dt={text}/a.csv.gz", last_modified=last_modified.replace(tzinfo=UTC), today=today)
    now = today or last_modified.date()
    if isinstance(found, Route):
        assert THINGS.partition_start <= found.partition_day <= now + timedelta(days=1)
    else:
        assert found.reason == "no_partition_day"


def test_hot_prefixes_are_todays_and_yesterdays_keys_of_each_organization():
    assert hot_prefixes(BOOK, ["acme", "demo"], date(2024, 3, 1)) == [
        "exports/dt=2024-02-29/",
        "exports/dt=2024-03-01/",
        "feeds/acme/2024/02/29/",
        "feeds/acme/2024/03/01/",
        "feeds/demo/2024/02/29/",
        "feeds/demo/2024/03/01/",
        "uploads/acme/things/2024-02-29/",
        "uploads/acme/things/2024-03-01/",
        "uploads/demo/things/2024-02-29/",
        "uploads/demo/things/2024-03-01/",
    ]


def test_sweep_prefixes_cover_every_pattern_and_none_lies_in_another():
    wide = contract_of(datasource="wide", files=[{"pattern": "exports/**", "organization": "demo"}])
    book = ContractBook(contracts={"things": THINGS, "wide": wide})
    assert sweep_prefixes(book) == ["exports/", "feeds/", "flat/", "uploads/"]


PATTERN = st.lists(
    st.sampled_from(["a", "b", "-", "/", "*", "**", "?", "{date}", "{name}", "1", "2024-01-01"]), min_size=1, max_size=6
).map("".join)
KEY = st.lists(st.sampled_from(["a", "b", "-", "/", "1", "2024-01-01"]), max_size=7).map("".join)


@given(first=PATTERN, second=PATTERN, key=KEY)
def test_two_patterns_that_claim_one_key_are_found_to_meet(first, second, key):
    usable = [p for p in (first, second) if all(p.count("{" + n + "}") <= 1 for n in PLACEHOLDERS)]
    if len(usable) == 2 and all(FilePattern(pattern=p).match(key) for p in usable):
        assert can_meet(first, second)


@pytest.mark.parametrize(
    ("first", "second", "meet"),
    [
        ("e/dt={date}/*.csv", "e/dt={date}/*.json", False),
        ("e/dt={date}/sales*.csv", "e/dt={date}/users*.csv", False),
        ("e/{date}/*.csv", "e/2024-01-01/x.csv", True),
        ("e/{date}/*.csv", "e/latest/*.csv", False),
        ("e/**", "e/a/b/c", True),
        ("e/*/c", "e/a/b/c", False),
        ("e/{name}", "e/", False),
    ],
)
def test_whether_two_patterns_can_meet_is_decided_exactly(first, second, meet):
    assert can_meet(first, second) is meet
    assert can_meet(second, first) is meet


@pytest.mark.parametrize(
    ("pattern", "organization", "says"),
    [
        ("e/{day}/x", "demo", "{day}"),
        ("e/{date/x", "demo", "brace"),
        ("e/{date}/{date}", "demo", "twice"),
        ("e/{date}/{yyyy}", "demo", "exclude"),
        ("e/{mm}", "demo", "{yyyy}"),
        ("/e/x", "demo", "begin"),
        ("{organization}/x", None, "segment"),
        ("uploads/x/*", "demo", "uploads/"),
        ("e/*", None, "organization"),
        ("e/{organization}/*", "demo", "keep one"),
    ],
)
def test_a_wrong_pattern_is_told(pattern, organization, says):
    assert says in (pattern_problem(pattern, organization) or "")


def test_a_literal_pattern_claims_one_key():
    pattern = FilePattern(pattern="exports/latest.csv", organization="demo")
    assert pattern_problem(pattern.pattern, pattern.organization) is None
    assert pattern.match("exports/latest.csv")
    assert not pattern.match("exports/latestXcsv")
    assert re.fullmatch(r"exports/latest\.csv", pattern.static_prefix)
