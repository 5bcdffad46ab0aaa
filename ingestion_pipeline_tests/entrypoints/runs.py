"""What runs do to the ledger, without their work: files loaded, failed, replaced and undone in a moment.

What belongs here: making states that a command then meets. What does not: Druid, which is never asked.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.job import Attempt, AttemptKind, AttemptState, Cause, Job, Lane, Lease, Outcome, Priority
from ingestion_pipeline.domain.quarantine import Quarantine
from ingestion_pipeline.domain.upload import StoredObject, Upload
from ingestion_pipeline.errors import IngestionError

DAY = date(2013, 3, 1)


@dataclass
class Runs:
    """Runs over one organization's files.

    Args:
        organization: Exists.
    """

    ledger: Ledger
    organization: str
    datasource: str = "flights"
    bucket: str = "ingestion"
    day: date = DAY

    def enter(self, name: str, *, day: date | None = None, folder: str = "x", datasource: str | None = None) -> str:
        """A new version of a key, found in the bucket; its job waits."""
        datasource, day = datasource or self.datasource, day or self.day
        now = datetime.now(UTC)
        stored = StoredObject(
            key=f"uploads/{self.organization}/{datasource}/{day}/{folder}/{name}",
            etag=uuid4().hex,
            size_bytes=1234,
            last_modified=now.replace(microsecond=0),
        )
        upload = Upload(
            organization=self.organization,
            datasource=datasource,
            bucket=self.bucket,
            stored=stored,
            partition_day=day,
        )
        (job_id,) = self.ledger.discovery.enter([(upload, Lane.LIVE)], job_ids=[uuid4()], now=now).new
        return job_id

    def loaded(self, name: str, *, accepted: int = 400, rejected: int = 0, **more: Any) -> str:
        """A file that was loaded."""
        return self.load(self.enter(name, **more), accepted=accepted, rejected=rejected)

    def load(
        self, job_id: str, *, accepted: int = 400, rejected: int = 0, quarantine: Quarantine | None = None, **found: Any
    ) -> str:
        """Load a waiting job, in the place of whatever it is to replace; for an undo only that."""
        job, lease = self.take(job_id)
        if job.cause is Cause.UNDO:
            accepted = 0
        else:
            report = {
                "rows_read": accepted + rejected,
                "rows_accepted": accepted,
                "rows_rejected": rejected,
                "rows_filtered": 0,
                **found,
            }
            self.ledger.work.record_validated(lease, report=report, staged=None, quarantine=quarantine)
        self._replace(job, lease, accepted)
        outcome = Outcome.LOADED_WITH_REJECTS if rejected else Outcome.LOADED
        self.end(lease, Outcome.UNDONE if job.cause is Cause.UNDO else outcome, rows=accepted)
        return job_id

    def ended(self, name: str, outcome: Outcome, **details: Any) -> str:
        """A file that completed without being loaded."""
        job, lease = self.take(self.enter(name))
        self.end(lease, outcome, **details)
        return job.job_id

    def end(self, lease: Lease, outcome: Outcome, *, rows: int = 0, **details: Any) -> None:
        self.ledger.work.complete(
            lease, outcome, rows_queryable=rows, summary=f"It is {outcome}.", details=details, now=datetime.now(UTC)
        )

    def failed(self, job_id: str, error: IngestionError) -> str:
        _, lease = self.take(job_id)
        self.ledger.work.fail(lease, error, now=datetime.now(UTC))
        return job_id

    def take(self, job_id: str) -> tuple[Job, Lease]:
        token = f"claim-{uuid4().hex}"
        self.ledger.queue.claim([job_id], token=token, now=datetime.now(UTC))
        (job,) = self.ledger.work.take(token=token, run_id="run-1", ancestors=[], now=datetime.now(UTC))
        return job, Lease(job_id=job.job_id, epoch=job.lease_epoch)

    def fixed(self, root: str, name: str, *, accepted: int, rejected: int = 0) -> str:
        """Corrected rows of a file, loaded."""
        return self.load(self.announced(name, fixes=root), accepted=accepted, rejected=rejected)

    def announced(self, name: str, *, fixes: str | None = None, replaces: str | None = None) -> str:
        """An upload that corrects another job's rows; it has arrived and waits."""
        job_id, now = str(uuid4()), datetime.now(UTC)
        key = f"uploads/{self.organization}/{self.datasource}/{self.day}/{job_id}/{name}"
        self.ledger.discovery.announce(
            job_id=job_id,
            organization=self.organization,
            datasource=self.datasource,
            bucket=self.bucket,
            object_key=key,
            size_bytes=1,
            uploaded_by="somebody",
            priority=Priority.MEDIUM,
            partition_day=self.day,
            upload_url=f"s3://{self.bucket}/{key}",
            now=now,
            fixes_job_id=fixes,
            replaces_job_id=replaces,
        )
        stored = StoredObject(key=key, etag=uuid4().hex, size_bytes=1, last_modified=now.replace(microsecond=0))
        arrived = Upload(
            organization=self.organization,
            datasource=self.datasource,
            bucket=self.bucket,
            stored=stored,
            partition_day=self.day,
        )
        self.ledger.discovery.enter([(arrived, Lane.LIVE)], job_ids=[uuid4()], now=now)
        return job_id

    def job(self, job_id: str) -> Job:
        return self.ledger.jobs.rows_of([job_id])[0]

    def _replace(self, job: Job, lease: Lease, rows: int) -> None:
        removes = self.ledger.corrections.holders([job])[job.job_id]
        if not removes:
            return
        attempt = Attempt(
            attempt_id=f"task-{uuid4().hex}",
            datasource=job.datasource,
            kind=AttemptKind.REPLACE,
            state=AttemptState.SAVED,
            spec_hash="",
            spec={},
            intervals=(),
            expected={job.job_id: rows},
            removes=dict.fromkeys(removes, job.job_id),
        )
        attempts, now = self.ledger.attempts, datetime.now(UTC)
        attempts.save(
            attempt,
            leases=[lease],
            cleaned_keys={job.job_id: f"cleaned/{job.job_id}"},
            organizations={job.job_id: job.organization},
            run_id="run-1",
            now=now,
        )
        attempts.mark(attempt.attempt_id, AttemptState.PROVED, leases=[lease], now=now)
