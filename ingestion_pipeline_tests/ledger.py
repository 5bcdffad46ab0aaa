"""What tests of the ledger share: uploads by one line, and the rows as the superuser sees them.

What belongs here: making and reading jobs. What does not: what is expected of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.rows import dict_row

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.job import Attempt, AttemptState, Job, Lane, Lease, Outcome
from ingestion_pipeline.domain.upload import StoredObject, Upload
from ingestion_pipeline_tests.conftest import LedgerDatabase

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = date(2026, 3, 1)
LIVE_STATUSES = ("pending", "processing", "retrying")


@dataclass
class World:
    """One test's corner of the ledger: an organization and a datasource of its own, and a clock that it sets."""

    database: LedgerDatabase
    ledger: Ledger
    name: str = field(default_factory=lambda: f"t{uuid4().hex[:10]}")
    now: datetime = START
    superuser: "psycopg.Connection[dict[str, Any]] | None" = None
    _versions: Any = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.ledger.discovery.add_organization(self.name)

    def later(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now

    def upload(self, key: str = "a.csv", **changes: Any) -> Upload:
        """A new version of a key, a second younger than the last one that was made."""
        number = next(self._versions)
        values: dict[str, Any] = {
            "etag": f"etag-{number}",
            "size_bytes": 100,
            "last_modified": START + timedelta(seconds=number),
        }
        organization = changes.pop("organization", self.name)
        day = changes.pop("partition_day", DAY)
        return Upload(
            organization=organization,
            datasource=changes.pop("datasource", self.name),
            bucket=changes.pop("bucket", self.name),
            stored=StoredObject(key=key, **(values | changes)),
            partition_day=day,
        )

    def enter(self, *uploads: Upload, lane: Lane = Lane.LIVE) -> list[str]:
        """Enter uploads; the ids of those that were new."""
        entered = self.ledger.discovery.enter(
            [(upload, lane) for upload in uploads], job_ids=[uuid4() for _ in uploads], now=self.now
        )
        return [str(job_id) for job_id in entered.new]

    def job(self, key: str = "a.csv", *, lane: Lane = Lane.LIVE, **changes: Any) -> str:
        """A waiting job of a new version of a key."""
        (job_id,) = self.enter(self.upload(key, **changes), lane=lane)
        return job_id

    def claimed(self, *keys: str, token: str | None = None) -> tuple[str, list[str]]:
        """Waiting jobs of new keys under one claim: its token, and the jobs in the order of the keys."""
        job_ids = [self.job(key) for key in keys or ("a.csv",)]
        token = token or f"claim-{uuid4().hex}"
        assert set(self.ledger.queue.claim(job_ids, token=token, now=self.now)) == set(job_ids)
        return token, job_ids

    def take(self, token: str, run_id: str = "run-1", *ancestors: str) -> list[Job]:
        return self.ledger.work.take(token=token, run_id=run_id, ancestors=ancestors, now=self.now)

    def taken(self, *keys: str, run_id: str = "run-1") -> list[Job]:
        token, _ = self.claimed(*keys)
        return self.take(token, run_id)

    def freeze(self, jobs: Sequence[Job], attempt_id: str | None = None) -> Attempt:
        """Save an attempt that holds these jobs."""
        attempt = attempt_of(jobs, attempt_id)
        save_attempt(self.ledger, attempt, jobs, now=self.now)
        return attempt

    def complete(self, job: Job, outcome: Outcome = Outcome.LOADED, rows: int = 0) -> None:
        self.ledger.work.complete(lease_of(job), outcome, rows_queryable=rows, summary="done", details={}, now=self.now)

    def row(self, job_id: str) -> dict[str, Any]:
        return self.rows("SELECT * FROM ingestion_jobs WHERE job_id = %s", job_id)[0]

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """What the superuser sees, past row-level security."""
        if self.superuser is not None:
            return self.superuser.execute(query, parameters).fetchall()  # type: ignore[arg-type]
        with psycopg.connect(self.database.superuser_dsn, row_factory=dict_row) as connection:
            return connection.execute(query, parameters).fetchall()  # type: ignore[arg-type]

    def events(self, job_id: str) -> list[tuple[int, str | None, str]]:
        found = self.rows("SELECT * FROM job_events WHERE job_id = %s ORDER BY seq", job_id)
        return [(event["seq"], event["from_status"], event["to_status"]) for event in found]

    def candidates(self) -> list[str]:
        found = self.ledger.queue.candidates(datasources={self.name: date.min}, now=self.now, per_organization=1000)
        return [candidate.job_id for candidate in found if not candidate.superseded]


def lease_of(job: Job) -> Lease:
    return Lease(job_id=job.job_id, epoch=job.lease_epoch)


def spec_of(*columns: str) -> dict[str, Any]:
    """As much of a Druid spec as the ledger reads."""
    dimensions = [{"type": "string", "name": name} for name in columns]
    return {"type": "index_parallel", "spec": {"dataSchema": {"dimensionsSpec": {"dimensions": dimensions}}}}


def attempt_of(jobs: Sequence[Job], attempt_id: str | None = None, **changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "spec": spec_of("place"),
        "intervals": ("2026-03-01T00:00:00.000Z/2026-03-02T00:00:00.000Z",),
    }
    return Attempt(
        attempt_id=attempt_id or f"task-{uuid4().hex}",
        datasource=jobs[0].datasource,
        state=AttemptState.SAVED,
        spec_hash="0" * 16,
        expected={job.job_id: 5 for job in jobs},
        **(values | changes),
    )


def save_attempt(ledger: Ledger, attempt: Attempt, jobs: Sequence[Job], *, now: datetime) -> None:
    ledger.attempts.save(
        attempt,
        leases=[lease_of(job) for job in jobs],
        cleaned_keys={job.job_id: f"cleaned/{job.job_id}" for job in jobs},
        organizations={job.job_id: job.organization for job in jobs},
        run_id="run-1",
        now=now,
    )
