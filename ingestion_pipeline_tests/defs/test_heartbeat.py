"""A run's heartbeat: it beats between ops too, falls silent with an op that broke, and never beats for a lost lease."""

import threading
from collections.abc import Callable
from time import monotonic, sleep

import dagster as dg
import pytest

from ingestion_pipeline.defs.batch import heartbeat
from ingestion_pipeline.domain.job import Job, Step
from ingestion_pipeline.errors import LeaseLost
from ingestion_pipeline_tests.defs.conftest import Site

BEAT_SECONDS = 0.05


def within(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = monotonic() + seconds
    while monotonic() < end:
        if condition():
            return True
        sleep(BEAT_SECONDS)
    return False


def beats(site: Site, job: Job) -> bool:
    before = site.world.row(job.job_id)["heartbeat_at"]
    return within(lambda: site.world.row(job.job_id)["heartbeat_at"] != before, seconds=3)


def hearts() -> int:
    return sum(thread.name == "heartbeat" for thread in threading.enumerate())


@pytest.fixture
def job(site: Site) -> Job:
    (taken,) = site.world.taken()
    return taken


def test_between_two_ops_a_run_goes_on_beating_until_the_next_op_takes_over(site: Site, job: Job) -> None:
    with heartbeat(site.ledger, [job], BEAT_SECONDS) as heart:
        heart.tell(30, step="validate")
        assert beats(site, job)
    assert beats(site, job), "a run that waits for a slot of Druid's pool is alive"

    (renewed,) = site.ledger.work.renew(
        [job.job_id], run_id="run-1", ancestors=(), step=Step.SUBMIT, now=site.world.now
    )
    assert within(lambda: hearts() == 0)
    with heartbeat(site.ledger, [renewed], BEAT_SECONDS) as heart:
        assert beats(site, renewed)
        heart.release(job.job_id)
    assert hearts() == 0, "nothing is left to beat for"


@pytest.mark.parametrize(("error", "goes_on"), [(KeyError("a defect"), False), (dg.RetryRequested(), True)])
def test_an_op_that_breaks_falls_silent_and_one_that_waits_to_be_tried_again_does_not(
    site: Site, job: Job, error: Exception, goes_on: bool
) -> None:
    def break_off() -> None:
        with heartbeat(site.ledger, [job], BEAT_SECONDS):
            raise error

    with pytest.raises(type(error)):
        break_off()
    assert (hearts() > 0) == goes_on
    site.ledger.queue.fence(site.world.row(job.job_id)["claim_token"])
    assert within(lambda: hearts() == 0)


def test_a_run_whose_jobs_were_taken_over_learns_it_from_its_heartbeat(site: Site, job: Job) -> None:
    with heartbeat(site.ledger, [job], BEAT_SECONDS) as heart:
        heart.check()
        site.ledger.queue.fence(site.world.row(job.job_id)["claim_token"])

        def lost() -> bool:
            try:
                heart.check([job.job_id])
            except LeaseLost:
                return True
            return False

        assert within(lost)
        heart.check(["another job"])
    assert within(lambda: hearts() == 0)
