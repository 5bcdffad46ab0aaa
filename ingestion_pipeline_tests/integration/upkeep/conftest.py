"""Upkeep on real PostgreSQL and S3: a ledger and a bucket of its own, and jobs in every state.

What belongs here: making jobs and objects, and letting time pass. What does not: what is expected of upkeep.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.domain.contract import Contract, ContractBook
from ingestion_pipeline.domain.contract_patterns import FilePattern
from ingestion_pipeline.domain.job import AttemptState, Job, Outcome
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.upkeep.retention import Retained, Retention
from ingestion_pipeline_tests.conftest import LedgerDatabase, S3Access
from ingestion_pipeline_tests.ledger import World, lease_of
from ingestion_pipeline_tests.unit.contracts import contract_of

YEARS = timedelta(days=800)
BASE = datetime.now(UTC).replace(microsecond=0)
"""Objects are of this moment: S3 sets no time by order. Retention is told another one."""


@dataclass
class Site:
    world: World
    bucket: ObjectStore

    def book(self, **changes: Any) -> ContractBook:
        """Its datasource's contract alone: it claims `exports/*.csv`."""
        pattern = FilePattern(pattern="exports/*.csv", organization=self.world.name)
        contract: Contract = replace(contract_of(), datasource=self.world.name, files=(pattern,), **changes)
        return ContractBook(contracts={contract.datasource: contract})

    @property
    def ledger(self) -> Ledger:
        return self.world.ledger

    def retain(self, now: datetime, *, dry_run: bool = False) -> Retained:
        told: list[str] = []
        return Retention(
            ledger=self.ledger,
            bucket=self.bucket,
            settings=Settings(),
            now=now,
            tell=told.append,
            dry_run=dry_run,
        ).run()

    def objects(self, prefix: str = "") -> set[str]:
        return {stored.key for stored in self.bucket.list_page(prefix)}

    def put(self, kind: str, job_id: str, epoch: int, name: str) -> str:
        key = f"{kind}/{self.world.name}/{self.world.name}/{job_id}/e{epoch}/{name}"
        self.bucket.put(key, b"x")
        return key

    def ended(self, what: str, key: str) -> Job:
        """A job in a state, its upload in the bucket."""
        self.bucket.put(key, what.encode())
        stored = self.bucket.head(key)
        assert stored is not None
        job_id = self.world.job(
            key, bucket=self.bucket.bucket, etag=stored.etag, last_modified=stored.last_modified, size_bytes=1
        )
        return self.end(what, job_id)

    def end(self, what: str, job_id: str) -> Job:
        world = self.world
        token = f"claim-{uuid4().hex}"
        if what == "waiting":
            return self.ledger.jobs.rows_of([job_id])[0]
        assert self.ledger.queue.claim([job_id], token=token, now=world.now) == [job_id]
        (job,) = world.take(token, f"run-{job_id}")
        if what in ("working", "attempted"):
            if what == "attempted":
                world.freeze([job])
            return job
        if what == "failed":
            self.ledger.work.fail(lease_of(job), UnreadableFile("No."), now=world.now)
        elif what == "duplicate":
            world.complete(job, Outcome.DUPLICATE)
        else:
            attempt = world.freeze([job])
            rejected = 2 if what == "rejects" else 0
            world.rows(
                "UPDATE ingestion_jobs SET rows_read = %s, rows_accepted = 5, rows_rejected = %s, quarantine_url = %s "
                "WHERE job_id = %s RETURNING 1",
                5 + rejected,
                rejected,
                self.bucket.url(f"quarantine/{world.name}/{world.name}/{job_id}/e1/rejected.csv"),
                job_id,
            )
            self.ledger.attempts.mark(attempt.attempt_id, AttemptState.PROVED, leases=[lease_of(job)], now=world.now)
            world.complete(job, Outcome.LOADED_WITH_REJECTS if rejected else Outcome.LOADED, rows=5)
            if what == "undone":
                self.sql("UPDATE ingestion_jobs SET outcome = 'undone' WHERE job_id = %s", job_id)
        return self.ledger.jobs.rows_of([job_id])[0]

    def sql(self, statement: str, *values: Any) -> None:
        self.world.rows(f"{statement} RETURNING 1", *values)

    def make_old(self) -> None:
        """Everything in the ledger happened 800 days ago."""
        past = BASE - YEARS
        self.sql(
            "UPDATE ingestion_jobs SET created_at = %s, finished_at = %s WHERE finished_at IS NOT NULL", past, past
        )
        self.sql("UPDATE job_events SET created_at = %s WHERE true", past)
        self.sql("UPDATE druid_attempts SET finished_at = %s WHERE finished_at IS NOT NULL", past)

    def known(self) -> set[str]:
        return {str(row["job_id"]) for row in self.world.rows("SELECT job_id FROM ingestion_jobs")}


@pytest.fixture(scope="module")
def database(fresh_database: Callable[[], LedgerDatabase]) -> LedgerDatabase:
    return fresh_database()


@pytest.fixture
def site(database: LedgerDatabase, s3: S3Access) -> Iterator[Site]:
    ledger = Ledger(database.pipeline_url)
    bucket = s3.store(bucket=f"{s3.bucket}-retention")
    if not bucket.ensure_bucket():
        while page := bucket.list_page():
            bucket.delete([stored.key for stored in page])
    made = Site(World(database, ledger, now=BASE), bucket)
    made.sql("DELETE FROM attempt_jobs WHERE true")
    made.sql("DELETE FROM job_events WHERE true")
    made.sql("DELETE FROM ingestion_jobs WHERE true")
    made.sql("DELETE FROM druid_attempts WHERE true")
    made.sql("DELETE FROM upkeep WHERE true")
    yield made
    ledger.close()
