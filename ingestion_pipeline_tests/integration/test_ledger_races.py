"""Two connections at once on real PostgreSQL: of two who want the same, one gets it, and nobody waits for ever.

Each test lets one transaction stand still at its last moment, begins the other, and then lets the first go on.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from time import sleep
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.job import Attempt, AttemptState, Job, Lane, Outcome, Step
from ingestion_pipeline.errors import LeaseLost
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.ledger import World, attempt_of, lease_of, save_attempt

PATIENCE_SECONDS = 20


@dataclass
class Paused(Ledger):
    """A ledger whose next transaction stands still before its commit, until it is let go."""

    url: str
    arrived: Event = field(default_factory=Event)
    may_go: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        super().__init__(self.url)
        sa.event.listen(self.engine, "commit", self._wait)

    def _wait(self, connection: Any) -> None:
        self.arrived.set()
        assert self.may_go.wait(PATIENCE_SECONDS)


@pytest.fixture
def world(postgres: LedgerDatabase) -> Iterator[World]:
    ledger = Ledger(postgres.pipeline_url)
    yield World(postgres, ledger)
    ledger.close()


@dataclass
class Race:
    world: World
    threads: ThreadPoolExecutor

    def __call__(self, first: Callable[[Ledger], Any], second: Callable[[Ledger], Any]) -> tuple[Any, Any]:
        """Both outcomes (a value, or the error): the second begins while the first is about to commit."""
        with self._paused() as paused:
            one = self.threads.submit(first, paused)
            assert paused.arrived.wait(PATIENCE_SECONDS)
            two = self.threads.submit(second, self.world.ledger)
            sleep(0.15)  # long enough for the second to reach the rows that the first holds
            paused.may_go.set()
            return _outcome(one), _outcome(two)

    @contextmanager
    def _paused(self) -> Iterator[Paused]:
        paused = Paused(self.world.database.pipeline_url)
        try:
            yield paused
        finally:
            paused.may_go.set()
            paused.close()


def _outcome(future: "Future[Any]") -> Any:
    error = future.exception(PATIENCE_SECONDS)
    if error is not None and not isinstance(error, LeaseLost):
        raise error
    return error if error is not None else future.result()


@pytest.fixture
def race(world: World) -> Iterator[Race]:
    with ThreadPoolExecutor(2) as threads:
        yield Race(world, threads)


def claim(world: World, *job_ids: str) -> Callable[[Ledger], list[str]]:
    return lambda ledger: ledger.queue.claim(job_ids, token=uuid4().hex, now=world.now)


def take(world: World, token: str, run_id: str) -> Callable[[Ledger], list[Job]]:
    return lambda ledger: ledger.work.take(token=token, run_id=run_id, ancestors=(), now=world.now)


def renew(world: World, job: Job) -> Callable[[Ledger], list[Job]]:
    return lambda ledger: ledger.work.renew([job.job_id], run_id="run-1", ancestors=(), step=Step.SUBMIT, now=world.now)


def complete(world: World, job: Job) -> Callable[[Ledger], None]:
    return lambda ledger: ledger.work.complete(
        lease_of(job), Outcome.EMPTY, rows_queryable=0, summary="", details={}, now=world.now
    )


def save(world: World, attempt: Attempt, jobs: list[Job]) -> Callable[[Ledger], None]:
    return lambda ledger: save_attempt(ledger, attempt, jobs, now=world.now)


def release(world: World, token: str) -> Callable[[Ledger], tuple[int, int]]:
    return lambda ledger: ledger.queue.release(token, reason="x", now=world.now, wait=timedelta(0), max_tries=3)


def test_one_job_is_claimed_by_one(world: World, race: Race) -> None:
    job_id = world.job()
    assert race(claim(world, job_id), claim(world, job_id)) == ([job_id], [])


def test_of_two_versions_of_a_key_one_is_claimed(world: World, race: Race) -> None:
    older, newer = world.job(), world.job()
    assert race(claim(world, older), claim(world, newer)) == ([older], [])


def test_a_claim_by_hand_and_a_backfill_share_nothing(world: World, race: Race) -> None:
    job_id = world.job(lane=Lane.HISTORY)

    def backfill(ledger: Ledger) -> list[str]:
        return ledger.queue.claim_day(
            datasource=world.name, days=[world.now.date()], token=world.name, now=world.now, max_files=9, max_bytes=9
        )[0]

    assert race(claim(world, job_id), backfill) == ([job_id], [])


def test_one_run_takes_a_claim(world: World, race: Race) -> None:
    token, job_ids = world.claimed("a.csv", "b.csv")
    first, second = race(take(world, token, "run-1"), take(world, token, "run-2"))
    assert ({job.job_id for job in first}, second) == (set(job_ids), [])


def test_a_fence_that_comes_first_stops_a_renewal(world: World, race: Race) -> None:
    (job,) = world.taken()
    token = world.row(job.job_id)["claim_token"]
    assert race(lambda ledger: ledger.queue.fence(token), renew(world, job)) == (1, [])


def test_a_fence_that_comes_second_still_takes_the_new_lease(world: World, race: Race) -> None:
    (job,) = world.taken()
    token = world.row(job.job_id)["claim_token"]
    (renewed,), fenced = race(renew(world, job), lambda ledger: ledger.queue.fence(token))
    assert fenced == 1
    with pytest.raises(LeaseLost):
        complete(world, renewed)(world.ledger)


def test_a_write_under_the_old_epoch_is_refused_after_a_take_over(world: World, race: Race) -> None:
    (job,) = world.taken()
    renewed, written = race(renew(world, job), complete(world, job))
    assert isinstance(written, LeaseLost)
    assert world.row(job.job_id)["lease_epoch"] == renewed[0].lease_epoch


def test_a_take_over_finds_a_job_that_ended_just_before(world: World, race: Race) -> None:
    (job,) = world.taken()
    assert race(complete(world, job), renew(world, job)) == (None, [])
    assert world.row(job.job_id)["status"] == "completed"


def test_an_attempt_that_is_being_saved_holds_off_a_fence_and_is_kept(world: World, race: Race) -> None:
    jobs = world.taken("a.csv", "b.csv")
    token = world.row(jobs[0].job_id)["claim_token"]
    attempt = attempt_of(jobs)

    assert race(save(world, attempt, jobs), lambda ledger: ledger.queue.fence(token)) == (None, 2)
    assert {world.row(job.job_id)["attempt_id"] for job in jobs} == {attempt.attempt_id}
    with pytest.raises(LeaseLost):
        world.ledger.attempts.mark(
            attempt.attempt_id, AttemptState.SUBMITTED, leases=[lease_of(job) for job in jobs], now=world.now
        )


def test_no_attempt_is_saved_once_the_fence_is_up(world: World, race: Race) -> None:
    jobs = world.taken("a.csv", "b.csv")
    token = world.row(jobs[0].job_id)["claim_token"]
    fenced, saved = race(
        lambda ledger: ledger.queue.fence(token),
        save(world, attempt_of(jobs), jobs),
    )
    assert (fenced, type(saved)) == (2, LeaseLost)
    assert world.ledger.attempts.of_job(jobs[0].job_id) == []


def test_the_same_page_entered_twice_at_once_is_one_set_of_jobs(world: World, race: Race) -> None:
    page = [(world.upload(f"{number}.csv"), Lane.LIVE) for number in range(50)]

    def enter(uploads: list[Any]) -> Callable[[Ledger], int]:
        return lambda ledger: len(
            ledger.discovery.enter(uploads, job_ids=[uuid4() for _ in uploads], now=world.now).new
        )

    assert race(enter(page), enter(page[::-1])) == (50, 0)


def test_one_dispatches_at_a_time_and_the_lock_ends_with_its_holder(world: World) -> None:
    other = Ledger(world.database.pipeline_url)
    with world.ledger.queue.only_dispatcher() as first, other.queue.only_dispatcher() as second:
        assert (first, second) == (True, False)
    with other.queue.only_dispatcher() as third:
        assert third
    other.close()


def test_a_release_before_a_take_leaves_nothing_to_take(world: World, race: Race) -> None:
    token, _ = world.claimed()
    assert race(release(world, token), take(world, token, "run-1")) == ((1, 0), [])


def test_a_release_after_a_take_fences_the_taker(world: World, race: Race) -> None:
    token, _ = world.claimed()
    (job,), released = race(take(world, token, "run-1"), release(world, token))
    assert released == (1, 0)
    with pytest.raises(LeaseLost):
        complete(world, job)(world.ledger)
    assert world.row(job.job_id)["status"] == "retrying"
