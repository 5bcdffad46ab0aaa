"""Retention: takes away what is old and what nothing needs any more, a bounded piece at a time.

What belongs here: the order, the limits of one run, and where a walk goes on. What does not: what may go
(`domain.retention`, the ledger's policies), Dagster's own runs (`defs.upkeep`).

Idempotency: what is gone is gone; a run that dies leaves the rest to the next. Nothing is written but positions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.adapters.s3_upkeep import BucketUpkeep
from ingestion_pipeline.domain.contract_patterns import OWN_PREFIXES, UPLOADS_PREFIX
from ingestion_pipeline.domain.correction import open_rejects
from ingestion_pipeline.domain.job import Cause, Job
from ingestion_pipeline.domain.retention import Ages, JobFacts
from ingestion_pipeline.errors import FileError
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages.retention import Removed, remove_by_age, remove_run_objects

MAX_PAGES = 500  # of 1,000 objects, below each prefix, in one run
MAX_ROWS = 20_000  # events of an organization, specs of attempts
MAX_JOBS = 2_000  # each may cost a question to the bucket
UNFINISHED_AGE = timedelta(days=1)
MAX_UNFINISHED = 1_000
_BATCH = 500

Tell = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class JobsForgotten:
    """What became of ended jobs that are old.

    Attributes:
        needed: Something in the ledger refers to them, or they to rows in Druid.
        in_bucket: Their object is still there: without its row it would be taken for a new one.
    """

    deleted: int = 0
    needed: int = 0
    in_bucket: int = 0


@dataclass(slots=True, kw_only=True)
class Retained:
    """What one run took away; in a dry run, what it would."""

    objects: dict[str, Removed] = field(default_factory=dict)
    unfinished_uploads: int = 0
    deliveries: int = 0
    events: int = 0
    attempts: int = 0
    jobs: JobsForgotten = field(default_factory=JobsForgotten)


@dataclass(slots=True, kw_only=True)
class Retention:
    """One run.

    Attributes:
        dry_run: Only tells what would go.
    """

    ledger: Ledger
    bucket: ObjectStore
    settings: Settings
    now: datetime
    tell: Tell
    dry_run: bool = False

    def run(self) -> Retained:
        done = Retained()
        done.objects = {
            "cleaned": self._run_objects("cleaned/"),
            "quarantine": self._run_objects("quarantine/"),
            "op outputs": self._op_outputs(),
        }
        done.unfinished_uploads = self._unfinished_uploads()
        before = self.now - timedelta(days=self.settings.retention_jobs_days)
        done.deliveries = self._deliveries()
        done.events = sum(self._events(name, before) for name in sorted(self.ledger.discovery.organizations()))
        done.attempts = self.ledger.upkeep.strip_attempts(before=before, limit=MAX_ROWS, dry_run=self.dry_run)
        done.jobs = self._forget_jobs(before)
        return done

    def _deliveries(self) -> int:
        """Callbacks that were delivered or given up; what a dry run would forget is not counted."""
        if self.dry_run:
            return 0
        before = self.now - timedelta(days=self.settings.retention_deliveries_days)
        return self.ledger.deliveries.forget_deliveries(before, MAX_ROWS)

    def _events(self, organization: str, before: datetime) -> int:
        walk = f"events {organization}"
        gone, position = self.ledger.upkeep.delete_events(
            organization, before=before, after=self._position(walk), limit=MAX_ROWS, dry_run=self.dry_run
        )
        self._note(walk, position)
        return gone

    def _run_objects(self, prefix: str) -> Removed:
        removed = remove_run_objects(
            self.bucket,
            prefix,
            after=self._position(prefix),
            max_pages=MAX_PAGES,
            facts=self._facts,
            organizations=self.ledger.discovery.organizations(),
            ages=Ages(
                cleaned=timedelta(days=self.settings.retention_cleaned_days),
                quarantine=timedelta(days=self.settings.retention_quarantine_days),
            ),
            now=self.now,
            dry_run=self.dry_run,
        )
        return self._noted(prefix, removed)

    def _op_outputs(self) -> Removed:
        removed = remove_by_age(
            self.bucket,
            "dagster/",
            after=self._position("dagster/"),
            max_pages=MAX_PAGES,
            age=timedelta(days=self.settings.retention_cleaned_days),
            now=self.now,
            dry_run=self.dry_run,
        )
        return self._noted("dagster/", removed)

    def _position(self, walk: str) -> str:
        return self.ledger.upkeep.position(f"retention {walk}")

    def _note(self, walk: str, position: str) -> None:
        if not self.dry_run:
            self.ledger.upkeep.note_position(f"retention {walk}", position, now=self.now)

    def _noted(self, prefix: str, removed: Removed) -> Removed:
        self._note(prefix, removed.position)
        self.tell(f"{prefix} {removed.objects:,} objects, {removed.size_bytes:,} bytes")
        return removed

    def _facts(self, job_ids: Sequence[str]) -> Mapping[str, JobFacts]:
        endings = self.ledger.upkeep.endings(job_ids)
        rejecting = [
            job.job_id for job in self.ledger.jobs.rows_of(list(endings)) if job.holds_rows and job.rows_rejected
        ]
        families = self.ledger.corrections.families(rejecting) if rejecting else {}
        prefix = self.bucket.url("")
        return {
            job_id: JobFacts(
                finished_at=finished_at,
                open_attempt=is_open,
                open_rejects=job_id in families and open_rejects(families[job_id]) > 0,
                quarantine_key=url.removeprefix(prefix) if url else None,
            )
            for job_id, (finished_at, is_open, url) in endings.items()
        }

    def _unfinished_uploads(self) -> int:
        bucket, before = BucketUpkeep(self.bucket), self.now.astimezone(UTC) - UNFINISHED_AGE
        return sum(
            bucket.abort_unfinished(prefix, before=before, limit=MAX_UNFINISHED, dry_run=self.dry_run)
            for prefix in (*OWN_PREFIXES, UPLOADS_PREFIX)
        )

    def _forget_jobs(self, before: datetime) -> JobsForgotten:
        upkeep, done = self.ledger.upkeep, JobsForgotten()
        piece = upkeep.old_jobs(before=before, after=self._position("jobs"), limit=MAX_JOBS)
        done.needed = piece.seen - len(piece.spent)
        going: list[str] = []
        for job in piece.spent:
            if self._would_come_back(job):
                done.in_bucket += 1
            else:
                going.append(job.job_id)
        done.deleted = len(going)
        if not self.dry_run:
            batches = (going[start : start + _BATCH] for start in range(0, len(going), _BATCH))
            done.deleted = sum(upkeep.delete_jobs(batch) for batch in batches)
        self._note("jobs", piece.position)
        self.tell(f"{done.deleted:,} of {piece.seen:,} old jobs without rows in Druid")
        return done

    def _would_come_back(self, job: Job) -> bool:
        """Whether discovery would enter its object again: the row is what says that it is known."""
        if job.cause not in (Cause.DISCOVERED, Cause.UPLOADED, Cause.RESUBMIT) or not job.etag:
            return False
        if "\ufffd" in job.object_key or "…" in job.object_key:
            return True  # its name may not be the object's (`storable_key`), so it cannot be asked for
        try:
            stored = self.bucket.head(job.object_key)
        except FileError:
            return True
        return stored is not None and (stored.etag, stored.last_modified) == (job.etag, job.last_modified)
