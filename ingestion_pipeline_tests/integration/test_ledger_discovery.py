"""Uploads enter the ledger once, whatever they are called and however often they are seen."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion_pipeline.adapters.postgres import Ledger, as_json
from ingestion_pipeline.adapters.postgres_discovery import Unmatched
from ingestion_pipeline.domain.job import Lane, Priority
from ingestion_pipeline.domain.upload import StoredObject
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.ledger import DAY, World


@pytest.fixture
def world(postgres: LedgerDatabase) -> Iterator[World]:
    ledger = Ledger(postgres.pipeline_url)
    yield World(postgres, ledger)
    ledger.close()


def announce(world: World, key: str) -> str:
    job_id = str(uuid4())
    world.ledger.discovery.announce(
        job_id=job_id,
        organization=world.name,
        datasource=world.name,
        bucket=world.name,
        object_key=key,
        size_bytes=1,
        uploaded_by="someone",
        priority=Priority.HIGH,
        partition_day=DAY,
        upload_url=f"s3://{world.name}/{key}",
        now=world.now,
    )
    return job_id


def unmatched(world: World, *keys: str, etag: str = "e", reason: str = "no_contract", version: str = "v1") -> list[str]:
    objects = [
        Unmatched(
            bucket=world.name,
            stored=StoredObject(key=key, etag=etag, size_bytes=1, last_modified=world.now),
            reason=reason,
            message="No contract claims it.",
        )
        for key in keys
    ]
    return world.ledger.discovery.note_unmatched(objects, routing_version=version, now=world.now)


def test_an_upload_is_entered_once_however_often_it_is_seen(world: World) -> None:
    upload = world.upload()
    assert len(world.enter(upload)) == 1
    assert world.enter(upload) == []
    assert world.enter(upload, upload) == []


def test_another_version_of_a_key_is_another_job(world: World) -> None:
    first, second = world.upload(), world.upload()
    assert len(world.enter(first, second)) == 2
    same_second = world.upload(last_modified=first.stored.last_modified)
    assert len(world.enter(same_second)) == 1, "two objects of one second"


def test_the_same_object_twice_on_one_page_is_one_job(world: World) -> None:
    upload = world.upload()
    assert len(world.enter(upload, upload)) == 1


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
hostile = st.one_of(
    names,
    st.sampled_from(
        [
            r"a\u0000b",
            r"a\\u0000b",
            "nul\x00byte",
            "line\nbreak\r",
            "'; DROP TABLE ingestion_jobs; --",
            "%s %(x)s :now {0}",
            '"quoted"',
            "\u202egpj.exe",
            "x" * 900,
            "\U0010ffff",
            "{}",
            "../../etc/passwd",
        ]
    ),
)


@given(st.lists(hostile, min_size=1, max_size=5, unique=True))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_hostile_name_is_entered_and_keeps_nobody_out(world: World, keys: list[str]) -> None:
    marker = f"{uuid4().hex}/"
    uploads = [world.upload(marker + key) for key in [*keys, "ordinary.csv"]]

    entered = world.enter(*uploads)

    held = {world.row(job_id)["object_key"] for job_id in entered}
    assert held == {upload.stored.key.replace("\x00", "\ufffd") for upload in uploads}
    assert world.enter(*uploads) == [], "and is recognised the next time"
    unmatched(world, *[upload.stored.key for upload in uploads])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text() | st.just(r"\u0000"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_becomes_json_that_postgresql_takes(world: World, value: object) -> None:
    text = as_json({"value": value})
    assert world.rows("SELECT CAST(%s AS jsonb) ->> 'none' AS nothing", text) == [{"nothing": None}]


def test_names_that_the_database_cannot_index_keep_nobody_out(world: World) -> None:
    import random

    # Random text does not compress, and PostgreSQL's index entries end at 2,704 bytes.
    endless = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=5000))
    assert len(world.enter(world.upload(endless), world.upload("ordinary.csv"))) >= 1
    assert "ordinary.csv" in unmatched(world, endless, "ordinary.csv")


def test_two_unmatched_names_that_read_alike_are_one_entry(world: World) -> None:
    assert unmatched(world, "a\x00", "a\ufffd") == ["a\ufffd"]


def test_an_announced_upload_waits_for_its_object_and_is_bound_to_it(world: World) -> None:
    key = f"uploads/{uuid4().hex}.csv"
    job_id = announce(world, key)
    assert world.candidates() == []

    upload = world.upload(key)
    entered = world.ledger.discovery.enter([(upload, Lane.LIVE)], job_ids=[uuid4()], now=world.now)

    assert [str(arrived) for arrived in entered.arrived] == [job_id]
    assert entered.new == ()
    assert world.candidates() == [job_id]
    row = world.row(job_id)
    assert (row["etag"], row["size_bytes"], row["cause"]) == (upload.stored.etag, 100, "uploaded")


def test_an_announcement_for_an_object_that_is_there_already_stops_no_tick(world: World) -> None:
    upload = world.upload()
    (known,) = world.enter(upload)
    announced = [announce(world, "a.csv"), announce(world, "a.csv")]

    assert world.enter(upload, world.upload("b.csv")) != []
    assert world.row(known)["arrived_at"] is not None
    newer = world.upload()
    entered = world.ledger.discovery.enter([(newer, Lane.LIVE)], job_ids=[uuid4()], now=world.now)
    assert len(entered.arrived) + len(entered.new) == 1, "one job for the new version"
    assert set(map(str, entered.arrived)) <= set(announced)


def test_an_announced_upload_that_never_comes_expires(world: World) -> None:
    job_id = announce(world, f"{uuid4().hex}.csv")
    later = world.now + timedelta(hours=30)
    assert world.ledger.queue.expire_announced(before=later - timedelta(hours=25), now=later) >= 1
    assert (world.row(job_id)["status"], world.row(job_id)["outcome"]) == ("canceled", "expired")


def test_the_first_sight_of_a_datasource_stays(world: World) -> None:
    note = world.ledger.discovery.note_datasources
    note({world.name: ("v1", None)}, now=world.now)
    note({world.name: (None, "It is broken.")}, now=world.later(60))
    assert world.ledger.discovery.first_seen()[world.name] == world.now - timedelta(seconds=60)
    (row,) = world.rows("SELECT * FROM datasources WHERE datasource = %s", world.name)
    assert (row["contract_version"], row["problem"]) == (None, "It is broken.")


def test_an_object_without_a_home_is_news_once_until_it_or_the_routing_changes(world: World) -> None:
    assert sorted(unmatched(world, "x", "y")) == ["x", "y"]
    assert unmatched(world, "x", "y") == []
    assert unmatched(world, "x", etag="other") == ["x"]
    look = world.ledger.discovery.unmatched_to_look_at
    assert look(world.name, routing_version="v1", limit=10) == []
    assert sorted(item.key for item in look(world.name, routing_version="v2", limit=10)) == ["x", "y"]
    world.ledger.discovery.forget_unmatched(world.name, ["x"])
    assert [item.key for item in look(world.name, routing_version="v2", limit=10)] == ["y"]


def test_history_enters_with_low_priority(world: World) -> None:
    row = world.row(world.job(lane=Lane.HISTORY))
    assert (row["lane"], row["priority"], row["partition_day"]) == ("history", int(Priority.LOW), DAY)
