"""A batch's way into the real Druid, without Dagster: one bad file, refused tasks, late workers, doubted answers."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal
from uuid import uuid4

import pytest

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.domain.job import Cause, Job
from ingestion_pipeline.errors import DruidRejected, DruidUnavailable
from ingestion_pipeline_tests.conftest import LedgerDatabase, S3Access
from ingestion_pipeline_tests.integration.batches import Batches, batches_of

pytestmark = pytest.mark.stack


@pytest.fixture
def batches(postgres: LedgerDatabase, s3: S3Access, druid_client: Druid) -> Iterator[Batches]:
    bucket = ObjectStore(
        bucket=s3.bucket,
        endpoint_url=s3.endpoint_url,
        region=s3.region,
        access_key_id=s3.access_key_id,
        secret_access_key=s3.secret_access_key,
    )
    batches = batches_of(postgres, bucket, druid_client)
    yield batches
    batches.world.ledger.close()


class Disturbed:
    """A Druid whose answers a test disturbs; everything else goes to the real one."""

    def __init__(self, druid: Druid) -> None:
        self._druid = druid
        self.posts: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._druid, name)


def ordered(batches: Batches, cause: Cause, job: Job) -> Job:
    """A replay or an undo of a job, taken by a run."""
    world = batches.world
    (job_id,) = world.ledger.corrections.begin(cause, [job.job_id], new_ids=[str(uuid4())], now=world.now)
    token = f"claim-{job_id}"
    assert world.ledger.queue.claim([job_id], token=token, now=world.now)
    (taken,) = world.take(token, f"run-{job_id}")
    return taken


def test_a_file_that_druid_cannot_load_fails_alone(batches: Batches) -> None:
    jobs = batches.staged(["a"], ["b", "b"], ["c"], ["d"], ["e"], text='not a time,"place')

    batches.load(jobs)

    assert batches.outcomes(jobs) == ["druid_rejected", "loaded", "loaded", "loaded", "loaded"]
    assert batches.counted() == {job.job_id: job.rows_accepted for job in jobs[1:]}


def test_a_file_whose_cleaned_object_is_gone_fails_alone(batches: Batches) -> None:
    jobs = batches.staged(["a"], ["b"], ["c"])
    assert jobs[1].staged is not None
    batches.bucket.delete([jobs[1].staged.cleaned_key or ""])

    batches.load(jobs)

    assert batches.outcomes(jobs) == ["loaded", "object_missing", "loaded"]
    assert batches.counted() == {jobs[0].job_id: 1, jobs[2].job_id: 1}


def test_an_attempt_that_was_refused_cannot_be_posted_by_a_worker_that_wakes_up_late(batches: Batches) -> None:
    class Refusing(Disturbed):
        spec: Mapping[str, Any] = {}

        def submit(self, spec: Mapping[str, Any]) -> Literal["accepted", "exists"]:
            self.spec = spec
            raise DruidRejected("Not today.")

    (job,) = batches.staged(["a"])
    refusing = Refusing(batches.druid)
    batches.load([job], druid=refusing)
    assert batches.outcomes([job]) == ["druid_rejected"]

    assert batches.druid.submit(refusing.spec) == "exists"
    assert batches.counted_or_none() == {}


def test_an_answer_that_was_lost_is_no_second_load(batches: Batches) -> None:
    class Mute(Disturbed):
        def submit(self, spec: Mapping[str, Any]) -> Literal["accepted", "exists"]:
            self._druid.submit(spec)
            raise DruidUnavailable("The line went dead.")

    (job,) = batches.staged(["a", "b"])
    with pytest.raises(DruidUnavailable):
        batches.load([job], druid=Mute(batches.druid))
    assert batches.world.row(job.job_id)["status"] == "processing"

    work = batches.load([job])

    assert batches.outcomes([job]) == ["loaded"]
    assert batches.counted() == {job.job_id: 2}
    assert len(batches.world.ledger.attempts.of_job(job.job_id)) == 1
    assert len(work.task_ids) == 1


def test_an_undo_whose_answer_was_lost_is_followed_to_its_end(batches: Batches) -> None:
    class Mute(Disturbed):
        def submit(self, spec: Mapping[str, Any]) -> Literal["accepted", "exists"]:
            self._druid.submit(spec)
            raise DruidUnavailable("The line went dead.")

    kept, gone = batches.staged(["a", "b"], ["c", "d", "e"], days=2)
    batches.load([kept, gone])
    undo = ordered(batches, Cause.UNDO, gone)
    with pytest.raises(DruidUnavailable):
        batches.load([undo], druid=Mute(batches.druid))

    batches.load([undo])

    assert batches.outcomes([kept, gone, undo]) == ["loaded", "undone", "undone"]
    assert batches.counted() == {kept.job_id: 2}


def test_a_replay_and_an_undo_in_one_batch_are_one_rewrite(batches: Batches) -> None:
    kept, again, gone = batches.staged(["a", "b"], ["c"], ["d"], days=3)
    batches.load([kept, again, gone])
    replay, undo = ordered(batches, Cause.REPLAY, again), ordered(batches, Cause.UNDO, gone)
    replay = batches.stage(replay, ["c", "cc", "ccc"], days=3)

    work = batches.load([replay, undo])

    assert batches.outcomes([kept, again, gone, replay, undo]) == ["loaded", "replaced", "undone", "loaded", "undone"]
    assert batches.counted() == {kept.job_id: 2, replay.job_id: 3}
    assert len(work.task_ids) == 1


def test_a_replace_that_fails_in_druid_leaves_the_old_rows_and_is_done_by_the_next_attempt(batches: Batches) -> None:
    class Stopping(Disturbed):
        def submit(self, spec: Mapping[str, Any]) -> Literal["accepted", "exists"]:
            answer = self._druid.submit(spec)
            self.posts.append(spec["id"])
            if len(self.posts) == 1:
                self._druid.cancel(spec["id"])
            return answer

    (old,) = batches.staged(["a", "b", "c"])
    batches.load([old])
    replay = batches.stage(ordered(batches, Cause.REPLAY, old), ["a", "b"])
    stopping = Stopping(batches.druid)

    batches.load([replay], druid=stopping)

    assert batches.outcomes([old, replay]) == ["replaced", "loaded"]
    assert batches.counted() == {replay.job_id: 2}
    assert 1 <= len(stopping.posts) <= 2


def test_a_canceled_job_is_not_loaded_again_when_its_task_is_gone(batches: Batches) -> None:
    class Stopping(Disturbed):
        def submit(self, spec: Mapping[str, Any]) -> Literal["accepted", "exists"]:
            raise DruidUnavailable("The line went dead before it was sent.")

    (job,) = batches.staged(["a"])
    with pytest.raises(DruidUnavailable):
        batches.load([job], druid=Stopping(batches.druid))
    batches.world.rows(
        "UPDATE ingestion_jobs SET cancel_requested_at = now() WHERE job_id = %s RETURNING 1", job.job_id
    )
    (job,) = batches.world.ledger.jobs.rows_of([job.job_id])

    batches.load([job])

    assert (batches.world.row(job.job_id)["status"], batches.outcomes([job])) == ("canceled", ["stopped"])
    assert batches.counted_or_none() == {}
