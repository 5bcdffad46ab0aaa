"""The queue on real PostgreSQL: what waits, what is promised, and what becomes of broken promises."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.job import AttemptState, Job, Lane, Outcome
from ingestion_pipeline.errors import DruidUnavailable, S3Unavailable
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.ledger import DAY, World, lease_of

SECOND = timedelta(seconds=1)


@pytest.fixture
def world(postgres: LedgerDatabase) -> Iterator[World]:
    ledger = Ledger(postgres.pipeline_url)
    yield World(postgres, ledger)
    ledger.close()


def give_back(world: World, job: Job, *, wait: float = 0) -> None:
    world.ledger.work.give_back(
        lease_of(job), DruidUnavailable("Druid is away."), next_try_at=world.now + timedelta(seconds=wait)
    )


def release(world: World, token: str, *, wait: float = 0, max_tries: int = 3) -> tuple[int, int]:
    return world.ledger.queue.release(
        token, reason="It died.", now=world.now, wait=timedelta(seconds=wait), max_tries=max_tries
    )


def claim_day(world: World, token: str = "", *, files: int = 100, size: int = 10**9) -> tuple[list[str], int]:
    return world.ledger.queue.claim_day(
        datasource=world.name, days=[DAY], token=token or f"day {world.name}", now=world.now, max_files=files,
        max_bytes=size,
    )  # fmt: skip


def test_only_arrived_due_unclaimed_jobs_of_working_datasources_wait(world: World) -> None:
    waiting = world.job("a.csv")
    world.job("old.csv", lane=Lane.HISTORY)
    world.job("other.csv", datasource="other")
    world.claimed("claimed.csv")
    (job,) = world.taken("later.csv")
    give_back(world, job, wait=10)

    assert world.candidates() == [waiting]
    world.later(11)
    assert set(world.candidates()) == {waiting, job.job_id}


def test_one_key_is_promised_once_whatever_versions_it_has(world: World) -> None:
    first = world.job("a.csv")
    assert world.ledger.queue.claim([first], token="one", now=world.now) == [first]
    second = world.job("a.csv")
    assert world.candidates() == []
    assert world.ledger.queue.claim([first, second], token="two", now=world.now) == []


def test_an_older_version_ends_superseded_and_the_newest_runs(world: World) -> None:
    older, newest = world.job("a.csv"), world.job("a.csv")
    assert world.ledger.queue.supersede([older, newest], now=world.now) == 1
    assert (world.row(older)["status"], world.row(older)["outcome"]) == ("completed", "superseded")
    assert world.candidates() == [newest]


def test_a_job_that_druid_may_know_is_not_superseded(world: World) -> None:
    (job,) = world.taken("a.csv")
    world.freeze([job])
    give_back(world, job)
    world.job("a.csv")
    assert world.ledger.queue.supersede([job.job_id], now=world.now) == 0
    assert job.job_id in world.candidates()


def test_a_dead_claim_gives_its_jobs_back_under_a_new_epoch(world: World) -> None:
    token, job_ids = world.claimed("a.csv", "b.csv")
    (job, _) = world.take(token)

    assert release(world, token, wait=5) == (2, 0)

    assert world.candidates() == []
    world.later(6)
    assert set(world.candidates()) == set(job_ids)
    assert world.row(job.job_id)["lease_epoch"] == job.lease_epoch + 1
    assert world.take(token) == [], "the token is stale"


def test_a_job_whose_claims_come_to_nothing_is_due_at_once_and_then_less_and_less_often(world: World) -> None:
    job_id = world.job()
    waits = []
    for number in range(5):
        token = f"{world.name} {number}"
        assert world.ledger.queue.claim([job_id], token=token, now=world.now) == [job_id]
        assert release(world, token, wait=60) == (1, 0)
        waits.append((world.row(job_id)["next_try_at"] - world.now).total_seconds())
        world.later(waits[-1])
    assert world.row(job_id)["status"] == "pending"
    assert waits == [0, 4, 12, 28, 60]


def test_a_retrying_job_whose_new_claim_comes_to_nothing_says_when_it_is_due(world: World) -> None:
    job_id = world.job()
    world.ledger.queue.claim([job_id], token=f"{world.name} first", now=world.now)
    (job,) = world.take(f"{world.name} first")
    give_back(world, job)
    world.ledger.queue.claim([job_id], token=f"{world.name} second", now=world.now)

    assert release(world, f"{world.name} second", wait=60) == (1, 0)

    assert world.row(job_id)["status"] == "retrying"
    assert world.row(job_id)["next_try_at"] == world.later(4), "a job that retries says when"


def test_a_file_that_kills_its_worker_ends_failed_after_its_tries(world: World) -> None:
    job_id = world.job()
    for number in range(3):
        assert world.ledger.queue.claim([job_id], token=f"{world.name} {number}", now=world.now) == [job_id]
        world.take(f"{world.name} {number}", f"run-{number}")
        assert release(world, f"{world.name} {number}") == ((1, 0) if number < 2 else (0, 1))
    row = world.row(job_id)
    assert (row["status"], row["outcome"], row["error_retryable"]) == ("failed", "worker_lost", True)
    assert "3 times" in row["error_message"]


def test_an_outage_does_not_use_up_the_tries_of_a_file(world: World) -> None:
    job_id = world.job()
    for number in range(5):
        token = f"{world.name} {number}"
        assert world.ledger.queue.claim([job_id], token=token, now=world.now) == [job_id]
        (job,) = world.take(token, f"run-{number}")
        give_back(world, job)
    (candidate,) = world.ledger.queue.candidates(datasources={world.name: DAY}, now=world.now, per_organization=10)
    assert candidate.tries == 0, "an orderly end is no death: after an outage files go on in batches"
    world.ledger.queue.claim([job_id], token=world.name, now=world.now)
    world.take(world.name, "run-x")
    assert release(world, world.name) == (1, 0)
    assert world.row(job_id)["retry_count"] == 6


def test_a_job_in_an_open_attempt_is_given_back_however_often_it_was_tried(world: World) -> None:
    (job,) = world.taken()
    world.freeze([job])
    (token,) = {row["claim_token"] for row in [world.row(job.job_id)]}
    assert release(world, token, max_tries=0) == (1, 0)
    assert world.candidates() == [job.job_id]


def test_while_druid_may_be_taking_an_older_version_in_a_newer_one_waits(world: World) -> None:
    (older,) = world.taken("a.csv")
    world.freeze([older])
    give_back(world, older, wait=10)
    newer = world.job("a.csv")
    assert world.candidates() == []
    assert world.ledger.queue.claim([newer], token=world.name, now=world.now) == []
    world.later(11)
    assert world.candidates() == [older.job_id]


def test_canceling_ends_jobs_except_those_that_druid_may_know(world: World) -> None:
    token, _ = world.claimed("a.csv", "b.csv", "c.csv")
    loading, reading, _ = world.take(token)
    world.freeze([loading])

    assert world.ledger.queue.cancel(token, reason="A person stopped it.", now=world.now) == 2

    assert (world.row(reading.job_id)["status"], world.row(reading.job_id)["outcome"]) == ("canceled", "stopped")
    assert world.row(loading.job_id)["status"] == "processing"
    assert release(world, token) == (1, 0)


class TestFrozenBatches:
    """Once an attempt exists its batch is only resumed, whole: a part of it would leave the rest behind for ever."""

    @pytest.fixture
    def frozen(self, world: World) -> list[Job]:
        jobs = world.taken("a.csv", "b.csv", "c.csv")
        world.freeze(jobs)
        for job in jobs:
            give_back(world, job, wait=10)
        world.later(11)
        return jobs

    def test_claiming_one_of_them_claims_all(self, world: World, frozen: list[Job]) -> None:
        claimed = world.ledger.queue.claim([frozen[1].job_id], token=world.name, now=world.now)
        assert set(claimed) == {job.job_id for job in frozen}

    def test_a_backfill_with_a_smaller_cap_claims_all_or_none(self, world: World, frozen: list[Job]) -> None:
        claimed, _ = claim_day(world, files=2)
        assert set(claimed) in (set(), {job.job_id for job in frozen})

    def test_while_one_is_not_due_none_is_claimed(self, world: World, frozen: list[Job]) -> None:
        world.ledger.queue.claim([job.job_id for job in frozen], token=world.name, now=world.now)
        for wait, job in enumerate(world.take(world.name, "run-2")):
            give_back(world, job, wait=wait)
        assert world.ledger.queue.claim([job.job_id for job in frozen], token="early", now=world.now) == []
        world.later(3)
        assert len(world.ledger.queue.claim([frozen[0].job_id], token="due", now=world.now)) == 3

    def test_those_that_ended_are_not_waited_for(self, world: World, frozen: list[Job]) -> None:
        world.ledger.queue.claim([frozen[0].job_id], token=world.name, now=world.now)
        first, *rest = world.take(world.name, "run-2")
        world.complete(first, Outcome.EMPTY)
        release(world, world.name)
        assert len(world.ledger.queue.claim([rest[0].job_id], token="rest", now=world.now)) == 2

    def test_absence_frees_them_for_attempts_of_their_own(self, world: World, frozen: list[Job]) -> None:
        world.ledger.queue.claim([frozen[0].job_id], token=world.name, now=world.now)
        jobs = world.take(world.name, "run-2")
        assert jobs[0].attempt_id is not None
        world.ledger.attempts.mark(
            jobs[0].attempt_id, AttemptState.ABSENT, leases=[lease_of(job) for job in jobs], now=world.now
        )
        for job in jobs:
            give_back(world, job)
        assert world.ledger.queue.claim([frozen[0].job_id], token="alone", now=world.now) == [frozen[0].job_id]


class TestHistory:
    def test_it_waits_until_a_backfill_asks_and_then_follows_in_further_runs(self, world: World) -> None:
        jobs = []
        for n in range(3):
            world.later(1)
            jobs.append(world.job(f"{n}.csv", lane=Lane.HISTORY))
        assert world.candidates() == []

        claimed, released = claim_day(world, files=2)

        assert (set(claimed), released) == (set(jobs[:2]), 1)
        assert world.candidates() == jobs[2:]

    def test_a_transient_error_does_not_send_it_back_to_wait_for_another_backfill(self, world: World) -> None:
        job_id = world.job(lane=Lane.HISTORY)
        claim_day(world)
        (job,) = world.take(f"day {world.name}")
        give_back(world, job)
        assert world.candidates() == [job_id]

    def test_named_by_hand_it_is_released_too(self, world: World) -> None:
        job_id = world.job(lane=Lane.HISTORY)
        world.ledger.queue.claim([job_id], token=world.name, now=world.now)
        world.take(world.name)
        release(world, world.name)
        assert world.candidates() == [job_id]

    def test_a_backfill_takes_what_is_there_once(self, world: World) -> None:
        world.job("a.csv", lane=Lane.HISTORY)
        world.job("b.csv")
        assert len(claim_day(world, "one")[0]) == 2
        assert claim_day(world, "two") == ([], 0)

    def test_a_first_file_above_the_size_cap_runs_alone(self, world: World) -> None:
        first = world.job("a.csv", size_bytes=1000, lane=Lane.HISTORY)
        world.later(1)
        world.job("b.csv", size_bytes=1, lane=Lane.HISTORY)
        assert claim_day(world, size=10) == ([first], 1)

    def test_of_a_key_only_the_newest_version_is_loaded(self, world: World) -> None:
        world.job("a.csv", lane=Lane.HISTORY)
        newest = world.job("a.csv", lane=Lane.HISTORY)
        assert claim_day(world)[0] == [newest]


def test_open_claims_say_who_holds_leases_and_when_they_last_spoke(world: World) -> None:
    token, _ = world.claimed("a.csv", "b.csv")
    job, _ = world.take(token, "run-7")
    world.later(5)
    world.ledger.work.heartbeat([lease_of(job)], percent=10, progress={}, now=world.now)

    (claim,) = [found for found in world.ledger.queue.open_claims() if found.token == token]

    assert (claim.jobs, claim.lease_runs, claim.heartbeat_at) == (2, ("run-7",), world.now)
    for held in (job, _):
        world.ledger.work.fail(lease_of(held), S3Unavailable("gone"), now=world.now)
    assert token not in {found.token for found in world.ledger.queue.open_claims()}


def test_druid_s_absence_is_news_once_and_remembered_since_when(world: World) -> None:
    note, name = world.ledger.queue.note_dependency, f"druid {world.name}"
    start = world.now
    assert note(name, None, now=world.now) == (None, False)
    assert note(name, "It is away.", now=world.now) == (start, True)
    assert note(name, "It is still away.", now=world.later(60)) == (start, False)
    assert world.ledger.jobs.dependency_problems()[name] == ("It is still away.", start)
    assert note(name, None, now=world.later(60)) == (None, True)
    assert name not in world.ledger.jobs.dependency_problems()


def test_waiting_jobs_say_why_they_wait(world: World) -> None:
    job_id, history = world.job("a.csv"), world.job("b.csv", lane=Lane.HISTORY)
    explain = world.ledger.queue.explain_waiting
    assert explain("Druid is away.", datasources=[world.name]) == 1
    assert explain("Druid is away.", datasources=[world.name]) == 0
    assert (world.row(job_id)["waiting_reason"], world.row(history)["waiting_reason"]) == ("Druid is away.", None)
    world.ledger.queue.claim([job_id], token=world.name, now=world.now)
    assert world.row(job_id)["waiting_reason"] is None
