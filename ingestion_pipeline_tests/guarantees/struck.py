"""Workers that are struck at a named point, without Dagster, and the stage that they are struck on.

What belongs here: a worker's end in the middle of its work, a run's situation before and after, the suite's judgement
of what is then in Druid. What does not: which guard is tried (`test_mutants`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal
from uuid import uuid4

import requests

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.postgres_attempts import Attempts
from ingestion_pipeline.domain.job import Attempt, Job, Priority
from ingestion_pipeline.embedded.stack import Stack
from ingestion_pipeline_tests.guarantees.batches import DAY, Batches
from ingestion_pipeline_tests.guarantees.suite import checks
from ingestion_pipeline_tests.guarantees.suite.content import Row

COLUMNS = ("__time", "place", "__organization")
_NOTHING = staticmethod(lambda: None)


class Killed(BaseException):
    """The worker is gone: nothing that follows this line of it is ever done."""


def kill() -> None:
    raise Killed


class StruckDruid:
    """The real Druid, for a worker that is struck beside its POST."""

    def __init__(self, druid: Druid, *, after_post: Callable[[], None]) -> None:
        self._druid, self._after_post = druid, after_post

    def submit(self, spec: Any) -> Literal["accepted", "exists"]:
        answer = self._druid.submit(spec)
        self._after_post()
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._druid, name)


class StruckAttempts(Attempts):
    """The ledger's attempts, for a worker that is struck before or after it saves one."""

    before_save: Callable[[], None] = _NOTHING
    after_save: Callable[[], None] = _NOTHING

    def save(self, attempt: Attempt, **rest: Any) -> None:
        self.before_save()
        super().save(attempt, **rest)
        self.after_save()


class StruckLedger(Ledger):
    """A ledger whose next attempt meets a blow."""

    def struck(self, **blows: Callable[[], None]) -> "StruckLedger":
        for name, blow in blows.items():
            setattr(self.attempts, name, blow)
        return self

    @cached_property
    def attempts(self) -> StruckAttempts:
        return StruckAttempts(self.engine)


@dataclass
class Stage:
    """One situation: batches of real jobs, and what must be in Druid in the end."""

    batches: Batches
    stack: Stack
    expected: list[Row] = field(default_factory=list)
    _ledgers: list[Ledger] = field(default_factory=list)

    def struck(self, **blows: Callable[[], None]) -> StruckLedger:
        ledger = StruckLedger(self.batches.world.database.pipeline_url)
        self._ledgers.append(ledger)
        return ledger.struck(**blows)

    def file(self, *places: str) -> Job:
        """A file that a run has taken and prepared; its rows are expected."""
        (job,) = self.batches.staged(places)
        self.expect(places)
        return job

    def expect(self, places: Sequence[str]) -> None:
        name = self.batches.world.name
        self.expected += [
            (f"{DAY + timedelta(seconds=at):%Y-%m-%dT%H:%M:%S}.000Z", place, name) for at, place in enumerate(places)
        ]

    def announce_fix(self, file: Job) -> str:
        """An upload of a file's rejected rows, corrected, whose object has arrived; its job's id."""
        world, job_id, key = self.batches.world, str(uuid4()), f"{uuid4().hex}.csv"
        world.ledger.discovery.announce(
            job_id=job_id,
            organization=world.name,
            datasource=world.name,
            bucket=world.name,
            object_key=key,
            size_bytes=10,
            uploaded_by="someone",
            priority=Priority.MEDIUM,
            partition_day=file.partition_day,
            upload_url="",
            now=world.now,
            fixes_job_id=file.job_id,
        )
        world.enter(world.upload(key))
        return job_id

    def taken_again(self, *jobs: Job) -> list[Job]:
        """What the sweep and the next run do: fence, release, and claim them together."""
        world = self.batches.world
        for job in jobs:
            (row,) = world.rows("SELECT claim_token FROM ingestion_jobs WHERE job_id = %s", job.job_id)
            if row["claim_token"] is not None:
                world.ledger.queue.fence(row["claim_token"])
                world.ledger.queue.release(
                    row["claim_token"], reason="lost", now=world.now, wait=timedelta(0), max_tries=9
                )
        token = f"claim-{uuid4().hex}"
        claimed = world.ledger.queue.claim([job.job_id for job in jobs], token=token, now=world.now)
        return world.take(token, f"run-{uuid4().hex}") if claimed else []

    def resume(self, *jobs: Job) -> None:
        """The next run brings to an end what has none."""
        open_jobs = [j for j in self.batches.world.ledger.jobs.rows_of([j.job_id for j in jobs]) if j.outcome is None]
        if open_jobs and (taken := self.taken_again(*open_jobs)):
            self.batches.load(taken)

    def verdict(self, *, settled: bool = True) -> checks.RowsVerdict:
        """The suite's judgement.

        Args:
            settled: Wait for every task's end first; else judge what anybody would see now.
        """
        broker, name = self.stack.environment()["INGESTION_DRUID_BROKER_URL"], self.batches.world.name
        if settled:
            self._wait_for_tasks()
            found = checks.read_everything(broker, name, settle_seconds=3, patience_seconds=60, columns=COLUMNS)
        else:
            found = self._as_seen_now(broker, name)
        return checks.compare(self.expected, (one.row for one in found))

    @staticmethod
    def _as_seen_now(broker: str, name: str) -> list[checks.Found]:
        """What a query gives, as soon as the broker has noticed which servers are gone."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return list(checks.read_rows(broker, name, COLUMNS))
            except requests.HTTPError:
                assert time.monotonic() < deadline, "the broker answers no query"
                time.sleep(0.5)

    def _wait_for_tasks(self) -> None:
        attempts = self.batches.world.rows(
            "SELECT attempt_id FROM druid_attempts WHERE datasource = %s", self.batches.world.name
        )
        for row in attempts:
            deadline = time.monotonic() + 180
            while (status := self.batches.druid.status(row["attempt_id"])) and not status.state.is_terminal:
                assert time.monotonic() < deadline, f"task {row['attempt_id']} does not end"
                time.sleep(0.3)

    def close(self) -> None:
        for ledger in self._ledgers:
            ledger.close()
