"""Discovery over a bucket in memory: nothing hides, whatever the cursor says, and no tick costs more than it may."""

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domain.contract import Contract, ContractBook
from ingestion_pipeline.domain.contract_patterns import OWN_PREFIXES
from ingestion_pipeline.domain.job import Lane
from ingestion_pipeline.domain.upload import StoredObject
from ingestion_pipeline.errors import ContractError
from ingestion_pipeline.stages import discover as stage
from ingestion_pipeline.stages.discover import (
    Cursor,
    Found,
    Limits,
    discover,
    lane_of,
    routing_version,
    sort_page,
)
from ingestion_pipeline_tests.unit.contracts import contract_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TODAY = "2026-03-01"
PAGE = 3
ORGANIZATIONS = frozenset({"acme", "beta"})


def contract(datasource: str, **keys: object) -> Contract:
    return contract_of(datasource=datasource, **keys)


BOOK = ContractBook(
    contracts={
        "things": contract("things"),
        "exports": contract(
            "exports",
            files=[
                {"pattern": "exports/dt={date}/*.csv", "organization": "acme"},
                {"pattern": "feed/*.csv", "organization": "beta"},
            ],
        ),
    }
)


class Bucket:
    """A bucket in memory: keys in the order of their UTF-8 bytes, as S3 lists them."""

    bucket = "bucket"

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys: list[bytes] = []
        self.put(*keys)

    def put(self, *keys: str) -> None:
        for key in keys:
            raw = key.encode()
            place = bisect_right(self._keys, raw)
            if not place or self._keys[place - 1] != raw:
                insort(self._keys, raw)

    def list_page(self, prefix: str = "", *, after: str = "") -> list[StoredObject]:
        start = bisect_right(self._keys, after.encode())
        found = [raw for raw in self._keys[start:] if raw.startswith(prefix.encode())][:PAGE]
        return [
            StoredObject(key=raw.decode(), etag="e", size_bytes=1, last_modified=NOW - timedelta(minutes=1))
            for raw in found
        ]

    @property
    def claimed(self) -> set[str]:
        return set(uploads_in([item.decode() for item in self._keys]))

    @property
    def pages(self) -> int:
        return len(self._keys) // PAGE + 1


def uploads_in(keys: Sequence[str]) -> list[str]:
    page = [StoredObject(key=key, etag="e", size_bytes=1, last_modified=NOW) for key in keys]
    found = sort_page(page, bucket="bucket", book=BOOK, organizations=ORGANIZATIONS, first_seen={}, now=NOW)
    return [upload.stored.key for upload, _ in found.uploads]


class Watcher:
    """The sensor's side: a cursor that it keeps as text, and what has been entered."""

    def __init__(self, bucket: Bucket, *, cold: int = 2, hot: int = 4, cursor: str = "") -> None:
        self.bucket, self.limits, self.cursor = bucket, Limits(cold_pages=cold, hot_pages=hot), cursor
        self.entered: set[str] = set()

    def tick(self) -> Found:
        def enter(page: Sequence[StoredObject], found: Found) -> None:
            self.entered |= set(uploads_in([item.key for item in page]))

        cursor, found = discover(
            self.bucket,
            cursor=Cursor.from_text(self.cursor),
            book=BOOK,
            organizations=ORGANIZATIONS,
            limits=self.limits,
            now=NOW,
            in_budget=lambda: True,
            enter=enter,
        )
        self.cursor = cursor.to_text()
        return found


@pytest.fixture(autouse=True, scope="module")
def _small_pages() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "PAGE", PAGE)
        yield


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
days = st.sampled_from([TODAY, "2026-02-28", "2025-12-31", "9999-12-31", "1970-01-01", "no-date"])
keys = st.one_of(
    names,
    st.builds("uploads/{}/things/{}/{}/{}".format, st.sampled_from(["acme", "beta", "ghost"]), days, names, names),
    st.builds("exports/dt={}/{}.csv".format, days, names),
    st.builds("feed/{}.csv".format, names),
    st.builds("{}{}".format, st.sampled_from(OWN_PREFIXES), names),
    st.builds("{}/".format, names),
)
cursors = st.one_of(
    st.text(),
    st.builds(
        lambda **values: Cursor(**values).to_text(),
        cold_after=st.text(),
        walked_whole=st.booleans(),
        hot_index=st.integers(),
        hot_after=st.text(),
        tails=st.dictionaries(st.text(), st.text()),
    ),
    st.sampled_from(["null", "[]", "7", '"x"', '{"tails": [1]}', '{"hot_index": Infinity}', '{"hot_index": "x"}']),
    st.just('{"cold_after": "\\ud800"}'),
    st.just("[" * 100_000),
)


@given(found=st.lists(keys, max_size=40), cursor=cursors, cold=st.integers(1, 3), hot=st.integers(0, 5))
@settings(deadline=None)
def test_every_claimed_object_is_entered_whatever_the_cursor_says(
    found: list[str], cursor: str, cold: int, hot: int
) -> None:
    watcher = Watcher(bucket := Bucket(found), cold=cold, hot=hot, cursor=cursor)
    # One walk that a wrong cursor began in the middle, and one whole one.
    for _ in range(2 * -(-bucket.pages // cold) + 1):
        seen = watcher.tick()
        assert seen.list_calls <= cold + hot
    assert watcher.entered == bucket.claimed


@given(early=st.lists(keys, max_size=20), late=st.lists(keys, max_size=20), at=st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_an_object_that_appears_anywhere_between_two_ticks_is_found(early: list[str], late: list[str], at: int) -> None:
    watcher = Watcher(bucket := Bucket(early))
    for _ in range(at):
        watcher.tick()
    bucket.put(*late)
    for _ in range(2 * -(-bucket.pages // 2) + 1):
        watcher.tick()
    assert watcher.entered == bucket.claimed


@given(found=st.lists(keys, max_size=20))
@settings(max_examples=50, deadline=None)
def test_a_small_bucket_is_walked_whole_in_every_tick(found: list[str]) -> None:
    watcher = Watcher(bucket := Bucket(found), cold=50)
    watcher.tick()
    bucket.put("feed/0.csv", "exports/dt=2020-01-01/late.csv", f"uploads/beta/things/{TODAY}/a/b")
    watcher.tick()
    assert watcher.entered == bucket.claimed


def test_todays_objects_are_seen_in_the_next_tick_beside_a_huge_old_bucket() -> None:
    bucket = Bucket([f"archive/{n:06d}" for n in range(20_000)] + [f"feed/{n:06d}.csv" for n in range(4)])
    watcher = Watcher(bucket, cold=1, hot=16)
    calls = [watcher.tick().list_calls for _ in range(4)]
    fresh = [
        f"uploads/acme/things/{TODAY}/j1/a.csv",
        "uploads/beta/things/2026-02-28/j2/b.csv",
        f"exports/dt={TODAY}/c.csv",
        "feed/zzz.csv",
    ]
    bucket.put(*fresh)

    calls.append(watcher.tick().list_calls)

    assert set(fresh) <= watcher.entered
    assert max(calls) <= 17


def test_a_tick_costs_the_same_beside_ten_times_as_many_old_objects() -> None:
    calls = []
    for old in (1_000, 10_000):
        watcher = Watcher(Bucket([f"archive/{n:06d}" for n in range(old)]), cold=2, hot=8)
        calls.append([watcher.tick().list_calls for _ in range(5)])
    assert calls[0] == calls[1]


def test_what_runs_write_is_skipped_in_one_step() -> None:
    own = [f"{prefix}{n:05d}" for prefix in OWN_PREFIXES for n in range(1_000)]
    watcher = Watcher(Bucket([*own, "feed/a.csv", "exports/dt=2026-03-01/b.csv"]), cold=2, hot=0)
    for _ in range(len(OWN_PREFIXES) + 1):
        watcher.tick()
    assert watcher.entered == {"feed/a.csv", "exports/dt=2026-03-01/b.csv"}


def test_a_tick_without_time_left_lists_nothing_and_keeps_its_place() -> None:
    cursor = Cursor(cold_after="m", hot_index=1, hot_after="h", tails={"feed/": "feed/x"})
    after, found = discover(
        Bucket(["z"]),
        cursor=cursor,
        book=BOOK,
        organizations=ORGANIZATIONS,
        limits=Limits(cold_pages=2, hot_pages=2),
        now=NOW,
        in_budget=lambda: False,
        enter=lambda page, found: None,
    )
    assert (after, found.list_calls) == (cursor, 0)


@pytest.mark.parametrize(
    ("keys_of_contract", "modified", "lane"),
    [
        ({}, NOW, Lane.LIVE),
        ({}, NOW - timedelta(seconds=1), Lane.HISTORY),
        ({"history": "auto"}, NOW - timedelta(seconds=1), Lane.BACKFILL),
        ({"live_from": "2020-01-01T00:00:00Z"}, NOW - timedelta(days=1), Lane.LIVE),
        ({"live_from": "2020-01-01T00:00:00Z"}, datetime(2019, 12, 31, tzinfo=UTC), Lane.HISTORY),
    ],
    ids=["seen first at once", "older", "older, history auto", "live from 2020", "older than live from"],
)
def test_what_is_older_than_the_contract_waits_for_a_backfill(
    keys_of_contract: dict[str, str], modified: datetime, lane: Lane
) -> None:
    stored = StoredObject(key="k", etag="e", size_bytes=1, last_modified=modified)
    assert lane_of(contract("things", **keys_of_contract), stored, {"things": NOW}) is lane


@pytest.mark.parametrize("name", ["urgent", "high", "medium", "low"])
def test_a_file_has_its_contract_s_priority(name: str) -> None:
    book = ContractBook(contracts={"things": contract("things", priority=name)})
    page = [StoredObject(key="uploads/acme/things/2026-03-01/id/a.csv", etag="e", size_bytes=1, last_modified=NOW)]
    ((upload, _),) = sort_page(
        page, bucket="bucket", book=book, organizations=ORGANIZATIONS, first_seen={}, now=NOW
    ).uploads
    assert upload.priority.name.lower() == name


def test_the_routing_version_changes_with_whatever_may_give_an_object_a_home() -> None:
    changed = ContractBook(contracts={**BOOK.contracts, "things": replace(BOOK.contracts["things"], version="1" * 12)})
    broken = ContractBook(contracts=BOOK.contracts, broken=(ContractError("It is broken."),))
    versions = [
        routing_version(BOOK, ORGANIZATIONS),
        routing_version(BOOK, {"acme"}),
        routing_version(broken, ORGANIZATIONS),
        routing_version(changed, ORGANIZATIONS),
    ]
    assert len(set(versions)) == len(versions)
    assert routing_version(BOOK, ["beta", "acme"]) == versions[0]


def test_the_partition_day_of_an_odd_date_is_the_day_of_the_upload() -> None:
    page = [
        StoredObject(key=f"exports/dt={day}/a.csv", etag="e", size_bytes=1, last_modified=NOW)
        for day in ("9999-12-31", "1970-01-01", "2026-02-30", "unknown")
    ]
    found = sort_page(page, bucket="bucket", book=BOOK, organizations=ORGANIZATIONS, first_seen={}, now=NOW)
    assert {upload.partition_day for upload, _ in found.uploads} == {date(2026, 3, 1)}
    assert all(upload.warnings for upload, _ in found.uploads)
