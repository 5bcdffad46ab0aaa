"""The suite can fail: each guard taken away in turn, and a worker or server lost where the guard matters.

What belongs here: mutants as test subclasses, and for each the smallest situation in which its guard is needed, on the
real PostgreSQL, S3 and Druid, without Dagster. What does not: situations that no guard of the pipeline covers. Each is
played with the guard, and nothing is wrong; and without it, and the suite's own judgement says what was lost or
doubled. Guards overlap: task ids that follow from the batch make a second POST harmless, so the situations give the
second worker another batch, as a file that arrives meanwhile does.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from ingestion_pipeline.adapters import postgres_attempts, postgres_work
from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.postgres_jobs import Jobs
from ingestion_pipeline.adapters.postgres_work import Work
from ingestion_pipeline.defs.attempt_work import AttemptWork
from ingestion_pipeline.defs.attempts import Appender, Loader
from ingestion_pipeline.domain.job import Attempt, AttemptState, Cause, Job
from ingestion_pipeline.embedded.stack import Stack
from ingestion_pipeline.errors import DatasourceBusy, IngestionError, LeaseLost
from ingestion_pipeline_tests.conftest import LedgerDatabase, S3Access
from ingestion_pipeline_tests.guarantees.batches import VALUES, batches_of
from ingestion_pipeline_tests.guarantees.struck import Killed, Stage, StruckDruid, kill

pytestmark = pytest.mark.stack

HISTORICAL = "druid-historical"


@pytest.fixture(autouse=True)
def _without_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doubled rows are written anew, whoever doubled them: here that would hide what a missing guard does."""
    monkeypatch.setattr(AttemptWork, "end_doubled", AttemptWork.end_unproved)


@pytest.fixture
def stage(postgres: LedgerDatabase, s3: S3Access, druid: Stack, druid_client: Druid) -> Iterator[Stage]:
    stage = Stage(batches_of(postgres, s3.store(), druid_client), druid)
    yield stage
    stage.close()
    stage.batches.world.ledger.close()


# 1. A run takes only what nobody holds.


class Unguarded(Work):
    """Takes whatever of the datasource is open, as if nobody held it."""

    def take(self, **claim: Any) -> list[Job]:
        mine = super().take(**claim)
        with self._engine.begin() as connection:
            others = connection.exec_driver_sql(
                "SELECT job_id::text FROM ingestion_jobs WHERE status = 'processing' AND datasource = %(name)s",
                {"name": mine[0].datasource},
            ).scalars()
            return Jobs(self._engine).rows_of(list(others))


@pytest.mark.parametrize(
    ("work", "duplicated"), [pytest.param(Work, 0, id="guarded"), pytest.param(Unguarded, 2, id="mutant")]
)
def test_a_run_that_takes_what_another_holds_doubles_it(stage: Stage, work: type[Work], duplicated: int) -> None:
    world, batches = stage.batches.world, stage.batches
    first = stage.file("a", "b")
    seconds: list[Job] = []

    def meanwhile() -> None:
        """Another file arrives; its run takes, loads, and is killed after the POST."""
        token, (job_id,) = world.claimed(f"{uuid4().hex}.csv")
        taken = work(world.ledger.engine).take(token=token, run_id=f"run-{job_id}", ancestors=(), now=world.now)
        mine = [batches.stage(job, ["c"]) if job.job_id == job_id else job for job in taken]
        seconds.extend(job for job in mine if job.job_id == job_id)
        stage.expect(["c"])
        with pytest.raises(Killed):
            batches.load(mine, druid=StruckDruid(batches.druid, after_post=kill))

    batches.load([first], ledger=stage.struck(before_save=meanwhile))
    if not duplicated:
        stage.resume(*seconds)

    assert (stage.verdict().duplicated, stage.verdict().is_clean) == (duplicated, not duplicated)


# 2. An attempt is saved before Druid hears of it.


class PostingFirst(AttemptWork):
    """Tells the ledger of an attempt once Druid has it."""

    unsaved: tuple[Attempt, Sequence[Job]]

    def save(self, attempt: Attempt, jobs: Sequence[Job]) -> Attempt:
        self.unsaved = attempt, jobs
        return attempt

    def mark(self, attempt: Attempt, jobs: Sequence[Job], state: AttemptState, **rest: Any) -> None:
        if state is AttemptState.SUBMITTED:
            super().save(*self.unsaved)
        super().mark(attempt, jobs, state, **rest)


@pytest.mark.parametrize(
    ("kind", "duplicated"), [pytest.param(AttemptWork, 0, id="guarded"), pytest.param(PostingFirst, 2, id="mutant")]
)
def test_an_attempt_that_is_saved_after_its_post_is_loaded_twice(
    stage: Stage, kind: type[AttemptWork], duplicated: int
) -> None:
    batches = stage.batches
    first = stage.file("a", "b")
    with pytest.raises(Killed):
        batches.load([first], kind=kind, druid=StruckDruid(batches.druid, after_post=kill))

    # Another file arrives, and one run takes both.
    second = stage.file("c")
    stage.resume(first, second)

    assert (stage.verdict().duplicated, stage.verdict().is_clean) == (duplicated, not duplicated)


# 3. SUCCESS is not believed.


class Believing(Appender):
    """Completes what Druid calls a success."""

    def _prove(self, attempt: Attempt, jobs: Sequence[Job]) -> IngestionError | None:
        for job in jobs:
            self._work.complete(job, attempt, attempt.expected[job.job_id])
        return None


@pytest.mark.parametrize(
    ("kind", "lost"), [pytest.param(Appender, 0, id="guarded"), pytest.param(Believing, 2, id="mutant")]
)
def test_a_success_that_is_believed_completes_rows_that_nobody_can_see(
    stage: Stage, kind: type[Appender], lost: int
) -> None:
    batches = stage.batches
    warm_up = stage.file("z")
    batches.load([warm_up])
    first = stage.file("a", "b")
    killed: list[float] = []

    def kill_historical() -> None:
        stage.stack.kill(HISTORICAL)
        killed.append(time.monotonic())

    def sleep(seconds: float) -> None:
        """The historical comes back once its absence has been felt for some seconds."""
        if killed and time.monotonic() - killed[0] > 6:
            killed.clear()
            stage.stack.up(only=[HISTORICAL])
        time.sleep(seconds)

    work = batches.work(
        [first],
        druid=StruckDruid(batches.druid, after_post=kill_historical),
        sleep=sleep,
        values=VALUES.model_copy(update={"druid_proof_deadline_seconds": 300}),
    )
    loader = Loader(work)
    loader._append = kind(work)
    try:
        loader.load([first], batches.contract)
        assert batches.outcomes([first]) == ["loaded"]
        verdict = stage.verdict(settled=False)
    finally:
        stage.stack.up(only=[HISTORICAL])

    # With the historical the rows of the file before are away too: they are no loss of this one.
    assert verdict.lost - (1 if lost else 0) == lost
    assert stage.verdict().is_clean


# 4. Every write names the epoch that it was leased under.


@pytest.mark.parametrize(
    ("guarded", "duplicated"), [pytest.param(True, 0, id="guarded"), pytest.param(False, 2, id="mutant")]
)
def test_a_replaced_worker_whose_epoch_nobody_asks_for_loads_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, guarded: bool, duplicated: int
) -> None:
    batches = stage.batches
    first = stage.file("a", "b")

    def meanwhile() -> None:
        """The worker is stopped for so long that it is given up; another file arrives, and one run loads both."""
        second = stage.file("c")
        stage.resume(first, second)
        assert batches.outcomes([first, second]) == ["loaded", "loaded"]
        if not guarded:
            monkeypatch.setattr(postgres_attempts, "_hold", lambda *_: None)
            monkeypatch.setattr(postgres_work, "_MINE", "job_id = CAST(:job_id AS uuid) AND :epoch = :epoch")

    with suppress(LeaseLost):
        batches.load([first], ledger=stage.struck(before_save=meanwhile))

    assert (stage.verdict().duplicated, stage.verdict().is_clean) == (duplicated, not duplicated)


# 5. An open attempt is a lease: nobody takes out what is still on its way.


@pytest.mark.parametrize(
    ("guarded", "wrong"), [pytest.param(True, 0, id="guarded"), pytest.param(False, 2, id="mutant")]
)
def test_an_undo_that_passes_an_open_append_of_its_file_leaves_rows(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, guarded: bool, wrong: int
) -> None:
    world, batches = stage.batches.world, stage.batches
    kept, file = stage.file("k"), stage.file("a", "b")
    batches.load([kept])
    batches.load([file])
    # Its rejected rows come, corrected; their worker is killed with its attempt saved and not posted.
    (fix,) = stage.taken_again(*world.ledger.jobs.rows_of([stage.announce_fix(file)]))
    fix = batches.stage(fix, ["x", "y"])
    with pytest.raises(Killed):
        batches.load([fix], ledger=stage.struck(after_save=kill))

    # A person undoes the file.
    if not guarded:
        monkeypatch.setattr(postgres_attempts, "_require_no_conflict", lambda *_: None)
    (undo_id,) = world.ledger.corrections.begin(Cause.UNDO, [file.job_id], new_ids=[str(uuid4())], now=world.now)
    (undo,) = stage.taken_again(*world.ledger.jobs.rows_of([undo_id]))
    if guarded:
        with pytest.raises(DatasourceBusy):
            batches.load([undo])
    else:
        batches.load([undo])
    stage.resume(fix)
    stage.resume(undo)

    stage.expected = [row for row in stage.expected if row[1] == "k"]
    assert (stage.verdict().wrong, stage.verdict().is_clean) == (wrong, not wrong)
