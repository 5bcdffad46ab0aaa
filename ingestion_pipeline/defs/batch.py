"""A run's batch: `take()` for every entry, the run's identity, and its heartbeat.

What belongs here: turning what a run names (a claim's token, keys, or nothing but its partition) into the
jobs that are really its own. What does not: what ops do with them.
"""

import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import dagster as dg
import structlog

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.postgres_queue import fresh_token
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.domain.contract import Contract, ContractBook
from ingestion_pipeline.domain.job import LOADED_OUTCOMES, UNCERTAIN_OUTCOMES, Job, Lease, Status
from ingestion_pipeline.domain.upload import StoredObject
from ingestion_pipeline.errors import ContractError, FileError, LeaseLost, LedgerUnavailable, ProofFailed
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages.discover import sort_page

CLAIM_TAG = "ingestion/claim"
ORIGIN_TAG = "ingestion/origin"
BACKFILL_TAG = "dagster/backfill"

log = structlog.get_logger()


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """Who a run is to the ledger.

    Attributes:
        ancestors: The runs that it retries: what they held, it may take over.
        token: The claim that it carries, if any.
    """

    run_id: str
    ancestors: tuple[str, ...]
    token: str | None
    from_sensor: bool

    @classmethod
    def of(cls, context: dg.OpExecutionContext) -> "RunIdentity":
        run = context.run
        ancestors = {run.parent_run_id, run.root_run_id} - {None, run.run_id}
        # A claim that the op's earlier try made is a tag of the run by now, not of the context's copy of it.
        latest = context.instance.get_run_by_id(run.run_id) if context.retry_number else None
        tags = latest.tags if latest is not None else run.tags
        return cls(
            run_id=run.run_id,
            ancestors=tuple(sorted(str(ancestor) for ancestor in ancestors)),
            token=tags.get(CLAIM_TAG),
            from_sensor=tags.get(ORIGIN_TAG) == "sensor",
        )


@dataclass(slots=True, kw_only=True)
class Taken:
    """The jobs of a run, and what is worth telling about those that are not."""

    jobs: list[Job] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def datasource_of(context: dg.OpExecutionContext) -> str:
    """The asset whose graph the op runs in: ops are shared, the graph is named like its datasource."""
    return context.op_handle.path[0]


def partition_days(context: dg.OpExecutionContext) -> list[date]:
    return [date.fromisoformat(key) for key in context.partition_keys]


def take(
    context: dg.OpExecutionContext,
    *,
    keys: Sequence[str],
    ledger: Ledger,
    bucket: ObjectStore,
    book: ContractBook,
    values: Settings,
) -> Taken:
    """The jobs that this run may work on.

    A claim's token names them; a stale token names none, and the run ends without doing anything. A run
    launched by hand names keys, a backfill's run nothing: their jobs are claimed here, under a new token that
    is kept as the run's tag, so that the run's retries and the sweep find them.
    """
    me = RunIdentity.of(context)
    taken = Taken()
    if me.token is not None:
        taken.jobs = ledger.work.take(token=me.token, run_id=me.run_id, ancestors=me.ancestors, now=now())
        if taken.jobs or me.from_sensor:
            if not taken.jobs:
                taken.notes.append("The claim of this run is stale: its jobs ended or belong to another run.")
            return taken
    contract = book.contracts.get(datasource_of(context))
    if contract is None:
        problem = book.broken_datasources.get(datasource_of(context))
        raise dg.Failure(
            f"The contract of {datasource_of(context)} is not usable: {problem or 'its file is gone'}",
            allow_retries=False,
        )
    token = fresh_token(uuid4())
    context.instance.add_run_tags(me.run_id, {CLAIM_TAG: token})
    days = partition_days(context)
    if keys:
        job_ids, taken.notes = _free_jobs_of_keys(keys, contract, days, ledger=ledger, bucket=bucket, book=book)
        claimed = ledger.queue.claim(job_ids, token=token, now=now())
        if len(claimed) < len(job_ids):
            taken.notes.append(f"{len(job_ids) - len(claimed)} jobs are being worked on by another run.")
    else:
        claimed, released = ledger.queue.claim_day(
            datasource=contract.datasource,
            days=days,
            token=token,
            backfill_id=context.run.tags.get(BACKFILL_TAG),
            now=now(),
            max_files=values.batch_max_files,
            max_bytes=values.batch_max_bytes,
        )
        if released:
            taken.notes.append(f"{released} more files of these days follow in further runs, launched by the sensor.")
        if not claimed:
            taken.notes.append("No file of these partition days is waiting: nothing to load, nothing loaded twice.")
    taken.jobs = ledger.work.take(token=token, run_id=me.run_id, ancestors=me.ancestors, now=now())
    return taken


def _free_jobs_of_keys(
    keys: Sequence[str],
    contract: Contract,
    days: Sequence[date],
    *,
    ledger: Ledger,
    bucket: ObjectStore,
    book: ContractBook,
) -> tuple[list[str], list[str]]:
    """Jobs to claim for keys named by hand, and one sentence for each key that has none."""
    present, notes = _objects_of_keys(keys, bucket)
    organizations = ledger.discovery.organizations()
    found = sort_page(present, bucket=bucket.bucket, book=book, organizations=organizations, first_seen={}, now=now())
    notes += [reason.message for _, reason in found.unmatched]
    mine = []
    for upload, lane in found.uploads:
        if upload.datasource != contract.datasource:
            notes.append(f"{upload.stored.key}: belongs to {upload.datasource}; launch that asset with it.")
        elif upload.partition_day not in days:
            notes.append(f"{upload.stored.key}: belongs to partition {upload.partition_day}; launch that one with it.")
        else:
            mine.append((upload, lane))
    ledger.discovery.enter(mine, job_ids=(uuid4() for _ in mine), now=now())
    newest = ledger.jobs.newest_of_keys(
        bucket.bucket, [upload.stored.key for upload, _ in mine], datasource=contract.datasource
    )
    free: list[str] = []
    for key, job in newest.items():
        if not job.status.is_final:
            free.append(job.job_id)
        elif job.outcome in LOADED_OUTCOMES:
            notes.append(
                f"{key}: loaded already by job {job.job_id[:8]}; nothing is done. Use `replay` to load it again."
            )
        elif job.status is Status.FAILED and job.outcome not in UNCERTAIN_OUTCOMES and job.attempt_id is None:
            retry_id = str(uuid4())
            ledger.jobs.retry_of(job, job_id=retry_id, now=now())
            free.append(retry_id)
        else:
            notes.append(
                f"{key}: job {job.job_id[:8]} ended as {job.status}/{job.outcome}. Use `replay` to load it again."
            )
    return free, notes


def _objects_of_keys(keys: Sequence[str], bucket: ObjectStore) -> tuple[list[StoredObject], list[str]]:
    """The objects as they are now, and one sentence for each key that cannot be read."""
    present: list[StoredObject] = []
    notes: list[str] = []
    for key in dict.fromkeys(key.removeprefix(f"s3://{bucket.bucket}/") for key in keys):
        try:
            stored = bucket.head(key)
        except FileError as error:
            notes.append(f"{key}: {error}")
            continue
        if stored is None:
            notes.append(f"{key}: there is no such object in bucket {bucket.bucket}.")
        else:
            present.append(stored)
    return present, notes


@dataclass(slots=True)
class Heart:
    """A run's heartbeat: says in the ledger, every few seconds, that it lives and where it stands.

    The thread stops with its process, also when that is only suspended: silence is how a lost worker shows. It
    outlives its op, until the next op leases the jobs again: a run that waits for a slot of Druid's pool, for
    longer than a worker may be silent, is alive.
    """

    ledger: Ledger
    leases: dict[str, Lease]
    seconds: float
    _lost: set[str] = field(default_factory=set)
    _progress: dict[str, Any] = field(default_factory=dict)
    _percent: int | None = None
    _op_ended: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)

    def tell(self, percent: int | None = None, **progress: Any) -> None:
        """What the next beat says; values must be JSON-ready."""
        self._percent, self._progress = percent, progress

    def check(self, job_ids: Iterable[str] | None = None) -> None:
        """Raise LeaseLost when another run has taken over one of these jobs (default: any)."""
        lost = self._lost & set(job_ids) if job_ids is not None else self._lost
        if lost:
            raise LeaseLost(
                f"{len(lost)} jobs of this run were taken over by another run.", hint="This run stops writing."
            )

    def release(self, job_id: str) -> None:
        """Stop beating for a job that has ended."""
        self.leases.pop(job_id, None)

    def _beat(self) -> None:
        while not self._stop.wait(self.seconds):
            leases = list(self.leases.values())
            if not leases and self._op_ended:
                return
            if not leases:
                continue
            # A beat that cannot be written is a missed beat, no more: the next write will say what is wrong.
            with suppress(LedgerUnavailable):
                held = self.ledger.work.heartbeat(leases, percent=self._percent, progress=self._progress, now=now())
                for lease in leases:
                    current = self.leases.get(lease.job_id)
                    if lease.job_id not in held and current is not None and current.epoch == lease.epoch:
                        self._lost.add(lease.job_id)
                if self._op_ended and not held:
                    return


@contextmanager
def heartbeat(ledger: Ledger, jobs: Sequence[Job], seconds: float) -> Generator[Heart, None, None]:
    """Beat for these jobs while the block runs and, when it ends well, until the next op takes them over."""
    heart = Heart(ledger, {job.job_id: Lease(job_id=job.job_id, epoch=job.lease_epoch) for job in jobs}, seconds)
    thread = threading.Thread(target=heart._beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield heart
    except BaseException as error:
        if not isinstance(error, dg.RetryRequested):
            heart._stop.set()
        raise
    finally:
        heart._op_ended = True
        if not heart.leases:
            heart._stop.set()
        if heart._stop.is_set():
            thread.join(timeout=5)


def lease_of(job: Job) -> Lease:
    return Lease(job_id=job.job_id, epoch=job.lease_epoch)


def job_log(context: dg.OpExecutionContext, job: Job) -> Any:
    return log.bind(
        job=job.job_id,
        organization=job.organization,
        datasource=job.datasource,
        run=context.run_id,
        attempt=job.attempt_id,
    )


def is_stopped(instance: dg.DagsterInstance, backfill_id: str | None) -> bool:
    """Whether somebody canceled the backfill; one that Dagster no longer knows was not stopped."""
    backfill = instance.get_backfill(backfill_id) if backfill_id else None
    return backfill is not None and backfill.status.name in ("CANCELING", "CANCELED")


def usable(contract: Contract | None, datasource: str) -> Contract:
    """The contract, or the error that every file of its datasource then ends with."""
    if contract is None:
        raise ContractError(f"The contract of {datasource} is not usable any more.", hint="See `contract check`.")
    return contract


def require_rows(written: int, accepted: int, job: Job) -> None:
    """Raise `ProofFailed` unless as many rows were written as accepted."""
    if written != accepted:
        raise ProofFailed(
            f"{job.file_name}: {written} rows were written and {accepted} accepted.",
            hint="This is a defect of the pipeline, not of the file: please report it.",
        )
