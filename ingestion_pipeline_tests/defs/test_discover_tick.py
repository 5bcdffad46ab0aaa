"""One look at the real bucket: odd objects, late objects and wrong contracts harm nobody else."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from ingestion_pipeline.defs import sensors
from ingestion_pipeline.defs.sensors import discover_tick
from ingestion_pipeline.domain.upload import StoredObject
from ingestion_pipeline.errors import ConfigurationError, S3Unavailable
from ingestion_pipeline.stages.discover import Found
from ingestion_pipeline_tests.defs.conftest import CONTRACT, Site
from ingestion_pipeline_tests.guarded_bucket import denied

TODAY = datetime.now(UTC).date()


def look(site: Site, *, budget: Iterator[bool] | None = None) -> Found:
    site.cursor, found = discover_tick(
        site.cursor,
        ledger=site.ledger,
        bucket=site.bucket,
        book=site.contracts.book(),
        settings=site.settings,
        in_budget=lambda: True if budget is None else next(budget),
    )
    return found


def jobs(site: Site) -> set[str]:
    return {
        row["object_key"]
        for row in site.world.rows("SELECT object_key FROM ingestion_jobs WHERE datasource = %s", site.name)
    }


def key(site: Site, name: str = "a.csv", *, day: str = f"{TODAY}", organization: str | None = None) -> str:
    return f"uploads/{organization or site.name}/{site.name}/{day}/some-id/{name}"


def put_raw(site: Site, name: str) -> bool:
    """PUT under a name as it is; whether the server took it."""
    try:
        site.bucket._boto.put_object(Bucket=site.bucket.bucket, Key=name, Body=b"x")
    except ClientError:
        return False
    return True


def test_folder_markers_and_what_runs_wrote_are_no_uploads_and_an_empty_object_is_one(site: Site) -> None:
    for name in (f"uploads/{site.name}/", "cleaned/x.csv", "quarantine/x.csv", "dagster/x"):
        assert put_raw(site, name)
    empty = key(site, "empty.csv")
    site.bucket.put(empty, b"")

    assert look(site).unmatched == []
    assert jobs(site) == {empty}


def test_two_objects_of_one_second_and_out_of_order_are_both_found(site: Site) -> None:
    later, earlier = key(site, "1.csv"), key(site, "0.csv")
    site.bucket.put(later, b"x")
    look(site)
    site.bucket.put(earlier, b"x")
    look(site)
    assert jobs(site) == {later, earlier}


def test_a_new_version_is_a_new_job_and_an_unchanged_look_is_none(site: Site) -> None:
    name = site.put(data=b"one")
    assert look(site).new == 1
    assert look(site).new == 0
    site.bucket.put(name, b"two")
    assert look(site).new == 1


@pytest.mark.parametrize("day", ["1970-01-01", "9999-12-31", "2026-02-30", "someday"])
def test_an_odd_date_falls_back_to_the_day_of_the_upload_with_a_warning(site: Site, day: str) -> None:
    name = key(site, day=day)
    site.bucket.put(name, b"x")
    found = look(site)
    assert site.row_of(name)["partition_day"] == TODAY
    assert day in " ".join(found.warnings)


def test_an_object_of_an_unknown_organization_waits_apart_until_it_is_known(site: Site) -> None:
    stranger = f"org{site.name}"
    name = key(site, organization=stranger)
    site.bucket.put(name, b"x")
    assert [unmatched for unmatched, _ in look(site).unmatched] == [name]
    assert look(site).unmatched == [], "told once"
    assert jobs(site) == set()

    site.ledger.discovery.add_organization(stranger)

    assert look(site).new == 1
    assert jobs(site) == {name}
    kept = site.world.rows(
        "SELECT * FROM unmatched_objects WHERE bucket = %s AND object_key = %s", site.bucket.bucket, name
    )
    assert kept == []


def test_an_object_without_a_contract_is_loaded_when_one_comes(site: Site) -> None:
    other = f"{site.name}b"
    name = f"uploads/{site.name}/{other}/{TODAY}/id/a.csv"
    site.bucket.put(name, b"x")
    assert [unmatched for unmatched, _ in look(site).unmatched] == [name]
    site.contract(other, CONTRACT + "live_from: 2020-01-01T00:00:00Z\n")
    assert look(site).new == 1


def test_a_broken_contract_stops_its_own_files_alone(site: Site) -> None:
    broken = f"{site.name}b"
    site.contract(broken, "datasource: {name}\ncolumns: [this is no contract\n")
    mine, theirs = site.put(), f"uploads/{site.name}/{broken}/{TODAY}/id/a.csv"
    site.bucket.put(theirs, b"x")

    found = look(site)

    assert jobs(site) == {mine}
    assert [unmatched for unmatched, _ in found.unmatched] == [theirs]
    (row,) = site.world.rows("SELECT problem FROM datasources WHERE datasource = %s", broken)
    assert broken in row["problem"]
    site.contract(broken, CONTRACT + "live_from: 2020-01-01T00:00:00Z\n")
    assert look(site).new == 1


HOSTILE = {
    "backslash and u0000": r"a\u0000b.csv",
    "line break": "a\nb.csv",
    "control character": "a\x01b.csv",
    "quote and semicolon": "'; DROP TABLE ingestion_jobs; --.csv",
    "right to left": "\u202egpj.exe",
    "emoji": "😀.csv",
    "percent and plus": "a%2F%00+b.csv",
    "dots": "../../../etc/passwd",
    "double slash": "x//y.csv",
    "dot segment": "./a.csv",
    "trailing space": "a.csv ",
    "long": "x" * 200 + "/" + "y" * 200 + "/" + "z" * 200,
    "longer than S3 allows": "/".join(["x" * 200] * 20),
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_name_harms_nobody_else_not_even_when_it_is_looked_at_again(site: Site, name: str) -> None:
    for place in ("", "odd/", f"uploads/{site.name}/{site.name}/{TODAY}/id/"):
        put_raw(site, place + name)
    ordinary = site.put()

    look(site)
    assert ordinary in jobs(site)

    site.ledger.discovery.add_organization(f"more{site.name}")
    late = site.put("late.csv")
    look(site)
    look(site)
    assert late in jobs(site)


def test_an_object_that_may_not_be_read_ends_no_tick_and_is_found_out_by_its_run(site: Site) -> None:
    other = f"{site.name}b"
    name = f"uploads/{site.name}/{other}/{TODAY}/id/a.csv"
    site.bucket.put(name, b"x")
    with denied(site.bucket, f"uploads/{site.name}/{other}/"):
        look(site)
        site.contract(other, CONTRACT + "live_from: 2020-01-01T00:00:00Z\n")
        ordinary = site.put()
        assert look(site).new == 2
    assert jobs(site) == {ordinary}
    assert site.row_of(name)["status"] == "pending"


@pytest.fixture
def asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Five unmatched objects that have to be looked at again, and the keys of those that were: one takes a second."""
    site.world.rows("DELETE FROM unmatched_objects RETURNING object_key")  # other tests' objects are gone
    for number in range(5):
        site.bucket.put(f"odd/{site.name}/{number}", b"x")
    look(site)
    site.ledger.discovery.add_organization(f"more{site.name}")
    keys: list[str] = []
    head = site.bucket.head

    def slow(name: str) -> StoredObject | None:
        keys.append(name)
        return head(name)

    monkeypatch.setattr(site.bucket, "head", slow)
    monkeypatch.setattr(sensors, "time", SimpleNamespace(monotonic=lambda: float(len(keys))))
    return keys


def test_looking_again_at_unmatched_objects_takes_a_share_of_the_tick_and_goes_on_in_the_next(
    site: Site, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.bucket, "list_page", lambda *_, **__: [])  # the sweep is elsewhere in a large bucket

    look(site)
    assert asked == [f"odd/{site.name}/{number}" for number in range(2)]
    kept = "SELECT object_key FROM unmatched_objects WHERE object_key LIKE %s"
    assert len(site.world.rows(kept, f"odd/{site.name}/%")) == 5, "those that were not looked at are not forgotten"

    look(site)
    look(site)
    assert asked == [f"odd/{site.name}/{number}" for number in range(5)]
    look(site)
    assert len(asked) == 5


def test_a_new_file_is_found_before_unmatched_objects_are_looked_at_again(site: Site, asked: list[str]) -> None:
    fresh = site.put()
    look(site, budget=iter([True, True, True] + [False] * 10_000))
    assert jobs(site) == {fresh}
    assert asked == []


def test_a_wrong_secret_and_an_absent_bucket_end_the_tick_with_one_sentence(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingestion_pipeline.adapters.s3 import ObjectStore

    given = {
        "bucket": site.bucket.bucket,
        "endpoint_url": site.bucket._endpoint_url,
        "region": "us-east-1",
        "access_key_id": site.bucket._access_key_id,
        "secret_access_key": site.bucket._secret_access_key,
    }
    site.put()
    for change, expected, text in (
        ({"secret_access_key": "wrong"}, ConfigurationError, "refuses these credentials"),
        ({"bucket": "absent-bucket"}, ConfigurationError, "does not exist"),
        ({"endpoint_url": "http://127.0.0.1:1"}, S3Unavailable, "does not answer"),
    ):
        site.bucket = ObjectStore(**(given | change))  # type: ignore[arg-type]
        with pytest.raises(expected, match=text) as caught:
            look(site)
        assert "wrong" not in str(caught.value)
        assert "Signature" not in str(caught.value)
    site.bucket = ObjectStore(**given)  # type: ignore[arg-type]
    assert look(site).new == 1, "nothing was lost"


def test_days_are_the_keys_own(site: Site) -> None:
    name = key(site, day="2024-02-29")
    site.bucket.put(name, b"x")
    look(site)
    assert site.row_of(name)["partition_day"] == date(2024, 2, 29)
