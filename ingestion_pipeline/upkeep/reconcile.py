"""Reconciliation: bucket against ledger, ledger against Druid; what differs is mended where that is safe.

What belongs here: asking the three, entering what is missing, ordering replays. What does not: what is a drift
(`stages.monitor.drift`), what is done about one (`domain.reconciliation`), claims (`defs.dispatcher` sweeps them).

Idempotency: uploads are entered once, whoever sees them; a job is replayed only while nothing else is about to change
it, and not again after a replay of it has failed. A run that dies anywhere is begun again from the longest-ago counts.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from uuid import uuid4

import structlog

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.postgres_orders import target_around
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.domain.contract import ContractBook
from ingestion_pipeline.domain.job import Cause, Job, Lane, Priority
from ingestion_pipeline.domain.orders import short
from ingestion_pipeline.domain.reconciliation import MARK, RECONCILER, Drift, Upload, remedy
from ingestion_pipeline.errors import FileError
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages import monitor
from ingestion_pipeline.stages.discover import Found, claimed_pages
from ingestion_pipeline.upkeep.entry import Entry

# What the sensor sees in its next tick is not missed.
MISSED_AFTER = timedelta(minutes=10)
_NAMED = 100  # keys and jobs that a report names

Tell = Callable[[str], None]
log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Listing:
    """The bucket against the ledger.

    Attributes:
        new: Objects that had no job; entered, unless it was a dry run.
        missed: Of these, those that have lain there longer than the sensor takes.
        keys: Some of the missed.
    """

    objects: int = 0
    new: int = 0
    missed: int = 0
    keys: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A drift, and what was done about it.

    Attributes:
        repaired_by: The job that loads the file again; None: a person has to look.
    """

    job_id: str
    file: str
    datasource: str
    expected: int
    counted: int
    text: str
    repaired_by: str | None


@dataclass(slots=True, kw_only=True)
class Counted:
    """The ledger against Druid.

    Attributes:
        waiting: Jobs that could not be judged now; `why_waiting` by datasource.
    """

    jobs: int = 0
    right: int = 0
    waiting: int = 0
    why_waiting: dict[str, str] = field(default_factory=dict)
    drifts: list[Told] = field(default_factory=list)

    @property
    def repaired(self) -> int:
        return sum(drift.repaired_by is not None for drift in self.drifts)


def reconcile_listing(
    ledger: Ledger, bucket: ObjectStore, book: ContractBook, *, now: datetime, dry_run: bool = False, tell: Tell
) -> Listing:
    """List everything that contracts claim, and enter what the ledger does not know."""
    entry = Entry.open(ledger, bucket.bucket, book, now=now)
    listing = Listing()
    for page in claimed_pages(bucket, book):
        listing.objects += len(page)
        fresh = entry.missing(page) if dry_run else entry.enter(page, Found())
        missed = [stored.key for stored in fresh if now - stored.last_modified > MISSED_AFTER]
        listing.new += len(fresh)
        listing.missed += len(missed)
        listing.keys += missed[: _NAMED - len(listing.keys)]
        tell(f"{listing.objects:,} objects listed, {listing.new:,} without a job")
    if listing.missed:
        log.warning("uploads_missed", count=listing.missed, keys=listing.keys[:10])
    return listing


@dataclass(slots=True, kw_only=True)
class RowCounter:
    """Counts jobs' rows in Druid, and has those loaded again that are not as they should be.

    Attributes:
        datasource: Only its jobs.
        dry_run: Orders nothing and writes nothing.
    """

    ledger: Ledger
    bucket: ObjectStore
    druid: Druid
    book: ContractBook
    settings: Settings
    now: datetime
    tell: Tell
    datasource: str | None = None
    dry_run: bool = False
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def run(self) -> Counted:
        """Count the jobs whose last count is the longest ago.

        Raises:
            DruidUnavailable: The broker does not answer.
        """
        before = self.now - timedelta(days=self.settings.reconcile_after_days)
        held = self.ledger.upkeep.to_count(
            before=before, limit=self.settings.reconcile_max_jobs, datasource=self.datasource
        )
        result = Counted(jobs=len(held))
        for datasource, members in groupby(
            sorted(held, key=lambda job: (job.datasource, job.intervals)), key=lambda job: job.datasource
        ):
            jobs = list(members)
            self.tell(f"{datasource}: counting the rows of {len(jobs):,} jobs")
            found = monitor.find_drift(
                self.druid,
                datasource,
                jobs,
                expected_now=self.ledger.upkeep.expected_now,
                now=self.now,
                sleep=self.sleep,
                clock=self.clock,
                broker_refresh_seconds=self.settings.druid_refresh_seconds,
            )
            result.right += len(found.right)
            result.waiting += len(found.waiting)
            if found.waiting:
                result.why_waiting[datasource] = found.why_waiting
            result.drifts += self._mend(found.drifts)
            if not self.dry_run:
                # A drift is told again after the next count, not every day: the job itself keeps the warning.
                self.ledger.upkeep.counted(found.right, now=self.now, clears=MARK)
                self.ledger.upkeep.counted([drift.job_id for drift in found.drifts], now=self.now)
        return result

    def _mend(self, drifts: Sequence[Drift]) -> list[Told]:
        jobs = {job.job_id: job for job in self.ledger.jobs.rows_of([drift.job_id for drift in drifts])}
        told, left = [], self.settings.reconcile_max_repairs
        for drift in drifts:
            one = self._mend_one(drift, jobs[drift.job_id], may_replay=left > 0)
            left -= one.repaired_by is not None
            told.append(one)
        return told

    def _mend_one(self, drift: Drift, job: Job, *, may_replay: bool) -> Told:
        contract = self.book.contracts.get(job.datasource)
        decided = remedy(
            drift,
            target_around(self.ledger, job),
            upload=self._upload(job),
            contract_version=contract.version if contract else None,
        )
        text, new_id = decided.text, None
        if decided.replay and not may_replay:
            why = (
                f"So many files of {job.datasource} differ that a person should look first"
                if self.settings.reconcile_max_repairs
                else "Nothing is loaded again by itself (INGESTION_RECONCILE_MAX_REPAIRS)"
            )
            text = f"{text.partition(';')[0]}. {why}; `replay {short(job)}` loads it again."
        elif decided.replay:
            new_id = str(uuid4())
            text = f"{text} by job {new_id[:8]}."
        log.warning(
            "rows_differ",
            job=job.job_id,
            datasource=job.datasource,
            organization=job.organization,
            expected=drift.expected,
            counted=drift.counted,
            repaired_by=new_id,
        )
        if not self.dry_run:
            self._record(job, text, new_id)
        return Told(
            job_id=job.job_id,
            file=job.file_name,
            datasource=job.datasource,
            expected=drift.expected,
            counted=drift.counted,
            text=text,
            repaired_by=new_id,
        )

    def _record(self, job: Job, text: str, new_id: str | None) -> None:
        if new_id is not None:
            self.ledger.corrections.begin(
                Cause.REPLAY,
                [job.job_id],
                new_ids=[new_id],
                now=self.now,
                user=RECONCILER,
                lane=Lane.BACKFILL,
                priority=Priority.MEDIUM,
            )
        for job_id in (job.job_id, *((new_id,) if new_id else ())):
            self.ledger.upkeep.note_warning(job_id, mark=MARK, text=f"{MARK} {self.now:%Y-%m-%d}: {text}")

    def _upload(self, job: Job) -> Upload:
        source = self.ledger.upkeep.source_of(job)
        try:
            stored = None if source.deleted else self.bucket.head(source.key)
        except FileError:
            return "gone"  # it may not be read: a replay could not either
        if stored is None:
            return "gone"
        moved = source.key != job.object_key
        same = stored.etag == source.etag and (moved or stored.last_modified == job.last_modified)
        return "there" if same else "changed"
