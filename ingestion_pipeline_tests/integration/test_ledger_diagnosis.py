"""What the ledger says of one file that is asked about, on real PostgreSQL: the same that claiming goes by."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.postgres_discovery import Unmatched
from ingestion_pipeline.domain.diagnosis import QueuePlace
from ingestion_pipeline.domain.job import AttemptState, Job, Lane, Status
from ingestion_pipeline.errors import DruidUnavailable
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.ledger import World, lease_of


@pytest.fixture
def world(postgres: LedgerDatabase) -> Iterator[World]:
    ledger = Ledger(postgres.pipeline_url)
    yield World(postgres, ledger)
    ledger.close()


def place(world: World, job_id: str) -> QueuePlace:
    found = world.ledger.diagnosis.place(job_id, now=world.now)
    assert found is not None
    return found


def give_back(world: World, job: Job, *, seconds: float = 0) -> None:
    error = DruidUnavailable("Druid is away.")
    world.ledger.work.give_back(lease_of(job), error, next_try_at=world.now + timedelta(seconds=seconds))


def test_a_job_that_nothing_holds_can_be_claimed(world: World) -> None:
    job = world.job("a.csv")
    assert place(world, job) == QueuePlace()
    assert world.ledger.queue.claim([job], token="t", now=world.now) == [job]


def test_files_before_it_are_those_of_its_organization_and_lane_that_go_first(world: World) -> None:
    first = world.job("first.csv")
    world.job("history.csv", lane=Lane.HISTORY)
    world.later(1)
    second = world.job("second.csv")
    world.later(1)
    third = world.job("third.csv")
    assert [place(world, job).ahead for job in (first, second, third)] == [0, 1, 2]
    world.ledger.queue.claim([first], token="t", now=world.now)
    assert place(world, third).ahead == 1


def test_an_older_version_names_the_newer_one(world: World) -> None:
    older, newer = world.job("a.csv"), world.job("a.csv")
    assert (place(world, older).newer_job_id, place(world, newer).newer_job_id) == (newer, None)


def test_a_newer_version_names_the_one_that_is_being_loaded(world: World) -> None:
    (older,) = world.taken("a.csv")
    newer = world.job("a.csv")
    assert place(world, newer).busy_job_id == older.job_id
    assert world.ledger.queue.claim([newer], token="t", now=world.now) == []


def test_a_frozen_file_waits_for_all_of_its_attempt(world: World) -> None:
    one, two = world.taken("a.csv", "b.csv")
    attempt = world.freeze([one, two])
    give_back(world, one)
    give_back(world, two, seconds=60)
    assert not place(world, one.job_id).batch_is_free
    world.later(61)
    assert place(world, one.job_id).batch_is_free
    known = world.ledger.diagnosis.attempt(one.job_id)
    assert known is not None
    assert (known.attempt_id, known.state, known.rows_expected) == (attempt.attempt_id, AttemptState.SAVED, 5)


def test_a_job_is_told_with_who_works_on_it_and_what_it_waits_for(world: World) -> None:
    (job,) = world.taken("a.csv", run_id="run-7")
    now = world.ledger.diagnosis.job(job.job_id)
    assert now is not None
    assert (now.job.status, now.lease_run_id, now.heartbeat_at) == (Status.PROCESSING, "run-7", world.now)
    give_back(world, job, seconds=60)
    waits = world.ledger.diagnosis.job(job.job_id)
    assert waits is not None
    assert (waits.error_code, waits.waiting_reason) == ("druid_unavailable", "Druid is away.")
    assert waits.next_try_at == world.now + timedelta(seconds=60)


def test_what_belongs_nowhere_is_found_by_key_and_by_name(world: World) -> None:
    stored = [world.upload(f"{folder}/a_%b.csv").stored for folder in ("x", "y/z")]
    world.ledger.discovery.note_unmatched(
        [Unmatched(bucket=world.name, stored=each, reason="no_contract", message="No.") for each in stored],
        routing_version="1",
        now=world.now,
    )

    def found(key: str) -> list[str]:
        return sorted(name for name, _ in world.ledger.diagnosis.unmatched(world.name, key, limit=5))

    assert found("x/a_%b.csv") == ["x/a_%b.csv"]
    assert found("a_%b.csv") == ["x/a_%b.csv", "y/z/a_%b.csv"]
    assert found("z/a_%b.csv") == found("b.csv") == []
