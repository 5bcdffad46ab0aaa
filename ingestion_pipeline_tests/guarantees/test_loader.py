"""A batch's way into the real Druid, without Dagster: one bad file, refused tasks, late workers, doubted answers."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

import pytest

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.defs.attempt_work import AttemptWork
from ingestion_pipeline.defs.attempts import Loader
from ingestion_pipeline.domain.job import Attempt, AttemptKind, AttemptState, Cause, Job
from ingestion_pipeline.errors import DruidRejected, DruidUnavailable, IngestionError, LeaseLost
from ingestion_pipeline_tests.conftest import LedgerDatabase, S3Access
from ingestion_pipeline_tests.guarantees.batches import DAY, Batches, batches_of

pytestmark = pytest.mark.stack


@pytest.fixture
def batches(postgres: LedgerDatabase, s3: S3Access, druid_client: Druid) -> Iterator[Batches]:
    batches = batches_of(postgres, s3.store(), druid_client)
    yield batches
    batches.world.ledger.close()


class Disturbed:
    """A Druid whose answers a test disturbs; everything else goes to the real one."""

    def __init__(self, druid: Druid) -> None:
        self._druid = druid
        self.posts: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._druid, name)


class Repeating(Disturbed):
    """Runs its first task a second time, as an overlord does that was stopped before it stored the status."""

    def submit(self, spec: Mapping[str, Any]) -> Literal["accepted", "exists"]:
        self.posts.append(spec["id"])
        if len(self.posts) == 1:
            self._first = spec
        return self._druid.submit(spec)

    def report(self, task_id: str) -> Any:
        found = self._druid.report(task_id)
        again = f"{task_id}-again"
        if task_id == self.posts[0] and again not in self.posts:
            self.posts.append(again)
            self._druid.submit({**self._first, "id": again})
            while not (status := self._druid.status(again)) or not status.state.is_terminal:
                time.sleep(0.2)
        return found


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


def test_rows_that_druid_appended_twice_are_written_anew_once(batches: Batches) -> None:
    other = batches.staged(["z"])
    batches.load(other)
    jobs = batches.staged(["a", "b"], ["c"], days=2)

    batches.load(jobs, druid=Repeating(batches.druid))

    assert batches.outcomes([*other, *jobs]) == ["loaded", "loaded", "loaded"]
    assert batches.counted() == {other[0].job_id: 1, jobs[0].job_id: 2, jobs[1].job_id: 1}
    states = [(a.kind, a.state) for a in batches.world.ledger.attempts.of_job(jobs[0].job_id)]
    assert states == [(AttemptKind.APPEND, AttemptState.UNPROVED), (AttemptKind.REPLACE, AttemptState.PROVED)]


def test_a_run_that_died_before_it_wrote_doubled_rows_anew_is_followed_by_one_that_does(batches: Batches) -> None:
    class Dying(AttemptWork):
        def end_doubled(self, attempt: Attempt, jobs: Sequence[Job], error: IngestionError) -> None:
            super().end_doubled(attempt, jobs, error)
            raise LeaseLost("The worker was killed.")

    (job,) = batches.staged(["a", "b"])
    with pytest.raises(LeaseLost):
        batches.load([job], kind=Dying, druid=Repeating(batches.druid))
    assert batches.counted() == {job.job_id: 4}

    batches.load([job])

    assert batches.outcomes([job]) == ["loaded"]
    assert batches.counted() == {job.job_id: 2}


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


def replacing(batches: Batches, *old: Job) -> list[Job]:
    """Uploads that were announced to take jobs' places, under one claim of a run, in the order in which it has them."""
    world, ids = batches.world, sorted(str(uuid4()) for _ in old)
    for job_id, replaced in zip(ids, old, strict=True):
        world.ledger.discovery.announce(
            job_id=job_id,
            organization=world.name,
            datasource=world.name,
            bucket=world.name,
            object_key=f"{job_id}.csv",
            size_bytes=10,
            uploaded_by="someone",
            priority=replaced.priority,
            partition_day=replaced.partition_day,
            upload_url="",
            now=world.now,
            replaces_job_id=replaced.job_id,
        )
        world.enter(world.upload(f"{job_id}.csv"))
    return claimed(batches, *ids)


def claimed(batches: Batches, *job_ids: str) -> list[Job]:
    """Waiting jobs under one claim, taken by a run; waits that they were given are over."""
    world, token = batches.world, f"claim-{uuid4().hex}"
    world.now = max(world.now, datetime.now(UTC)) + timedelta(hours=1)  # a loader's waits are in its own time
    assert set(world.ledger.queue.claim(job_ids, token=token, now=world.now)) == set(job_ids)
    taken = {job.job_id: job for job in world.take(token, f"run-{token}")}
    return [taken[job_id] for job_id in job_ids]


def test_of_two_files_that_are_to_replace_the_same_one_the_second_is_told_that_it_comes_too_late(
    batches: Batches,
) -> None:
    (old,) = batches.staged(["a", "b"])
    batches.load([old])
    jobs = replacing(batches, old, old)
    first, second = batches.stage(jobs[0], ["c"]), batches.stage(jobs[1], ["d", "d"])

    batches.load([first, second])

    assert batches.counted() == {first.job_id: 1}
    assert batches.world.row(second.job_id)["status"] == "retrying"
    batches.load(claimed(batches, second.job_id))
    assert batches.outcomes([old, first, second]) == ["replaced", "loaded", "family_changed"]
    assert batches.counted() == {first.job_id: 1}


def test_a_replay_that_waited_while_a_newer_version_was_loaded_does_not_take_its_place(batches: Batches) -> None:
    (failed,) = batches.staged(["a"])
    batches.world.ledger.work.fail(batches.work([failed]).heart.leases[failed.job_id], DruidRejected("No."), now=DAY)
    replay = batches.stage(ordered(batches, Cause.REPLAY, failed), ["a", "a"])
    work = batches.work([replay])
    work.ledger.work.give_back(work.heart.leases[replay.job_id], DruidUnavailable("Away."), next_try_at=DAY)
    (newer,) = claimed(batches, batches.world.job(failed.object_key))
    newer = batches.stage(newer, ["b", "b", "b"])
    batches.load([newer])

    batches.load(claimed(batches, replay.job_id))

    assert batches.outcomes([newer, replay]) == ["loaded", "superseded"]
    assert batches.counted() == {newer.job_id: 3}


def test_a_file_that_was_checked_under_another_contract_is_checked_again_and_its_siblings_are_loaded(
    batches: Batches,
) -> None:
    outdated, fresh = batches.staged(["a"], ["b"])
    batches.world.rows(
        'UPDATE ingestion_jobs SET staged = staged || \'{"contract_version": "older"}\' WHERE job_id = %s RETURNING 1',
        outdated.job_id,
    )
    jobs = batches.world.ledger.jobs.rows_of([outdated.job_id, fresh.job_id])

    batches.load(jobs)

    row = batches.world.row(outdated.job_id)
    assert (row["status"], row["error_code"], row["attempt_id"]) == ("retrying", "contract_changed", None)
    assert "It is checked again" in row["result"]["hint"]
    assert batches.counted() == {fresh.job_id: 1}


def test_a_replace_that_cannot_be_planned_keeps_no_other_change_waiting(batches: Batches) -> None:
    class Blind(Disturbed):
        def rows_by_job(self, *_: Any) -> dict[str, int]:
            raise DruidUnavailable("The historicals are away.")

    one, two = batches.staged(["a"], ["b"])
    batches.load([one, two])
    stuck = ordered(batches, Cause.UNDO, one)
    with pytest.raises(DruidUnavailable):
        batches.load([stuck], druid=Blind(batches.druid))
    (attempt,) = batches.world.ledger.attempts.of_job(stuck.job_id)
    assert (attempt.state, batches.world.row(stuck.job_id)["attempt_id"]) == (AttemptState.ABSENT, None)

    batches.load([ordered(batches, Cause.UNDO, two)])
    batches.load([stuck])

    assert batches.outcomes([one, two]) == ["undone", "undone"]


def test_a_replace_whose_run_ended_before_it_was_planned_is_begun_anew(batches: Batches) -> None:
    class Killed(BaseException):
        pass

    class Dying(Disturbed):
        def rows_by_job(self, *_: Any) -> dict[str, int]:
            raise Killed

    (old,) = batches.staged(["a", "b"])
    batches.load([old])
    undo = ordered(batches, Cause.UNDO, old)
    with pytest.raises(Killed):
        batches.load([undo], druid=Dying(batches.druid))

    batches.load([undo])

    assert batches.outcomes([old, undo]) == ["undone", "undone"]
    states = [attempt.state for attempt in batches.world.ledger.attempts.of_job(undo.job_id)]
    assert states == [AttemptState.ABSENT, AttemptState.PROVED]


def test_a_batch_that_was_counted_ends_loaded_though_one_of_its_files_was_replaced_since(batches: Batches) -> None:
    one, two = batches.staged(["a"], ["b", "b"])
    work = batches.work([one, two])
    complete, done = work.ledger.work.complete, []

    def dies_after_the_first(*arguments: Any, **rest: Any) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(complete(*arguments, **rest))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work.ledger.work, "complete", dies_after_the_first)
        with pytest.raises(KeyboardInterrupt):
            Loader(work).load([one, two], batches.contract)
    batches.load([ordered(batches, Cause.UNDO, one)])

    batches.load([two])

    assert batches.outcomes([one, two]) == ["undone", "loaded"]
    assert batches.counted() == {two.job_id: 2}


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
