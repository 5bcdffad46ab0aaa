"""What appends and replaces share: posting an attempt, following its task, and ending its jobs.

The order is the guarantee. An attempt is saved before Druid hears of it; its task id never changes, so a second
POST of it is answered "exists"; what Druid says about the task is checked by counting; and a job enters a new
attempt only when the old one is shown to have changed nothing.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.batch import Heart, now
from ingestion_pipeline.domain.druid import TaskReport, TaskState, TaskStatus
from ingestion_pipeline.domain.interval import Interval
from ingestion_pipeline.domain.job import Attempt, AttemptState, Cause, Job, Lease, Outcome, encoding_of
from ingestion_pipeline.errors import (
    IngestionError,
    LeaseLost,
    ObjectMissing,
    PermanentError,
    TaskFailed,
    TransientError,
)
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages import monitor, submit

MAX_ATTEMPTS = 3
"""New attempts of a batch whose tasks fail for reasons that can heal."""

log = structlog.get_logger()


@dataclass(slots=True)
class AttemptWork:
    """What one run needs to bring attempts to their end.

    Attributes:
        proved: Rows counted in Druid by job id, of the jobs that were completed here.
        task_ids: Tasks that were followed, in order.
        doubled: Jobs of which Druid may hold more rows than it should: their rows are to be written anew.
    """

    ledger: Ledger
    bucket: ObjectStore
    druid: Druid
    values: Settings
    heart: Heart
    run_id: str
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    proved: dict[str, int] = field(default_factory=dict)
    task_ids: list[str] = field(default_factory=list)
    doubled: set[str] = field(default_factory=set)

    def new_task_id(self, datasource: str, job_ids: Sequence[str]) -> str:
        """An id that says which jobs and which try."""
        ids = sorted(job_ids)
        number = self.ledger.attempts.count_of_job(ids) + 1
        mark = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:20]
        return submit.task_id(datasource=datasource, attempt_id=f"{mark}-a{number}")

    def save(self, attempt: Attempt, jobs: Sequence[Job]) -> Attempt:
        """Freeze the batch; from here on it is this attempt or nothing."""
        self.ledger.attempts.save(
            attempt,
            leases=self.leases(jobs),
            cleaned_keys={job.job_id: cleaned_key(job) for job in jobs},
            organizations={job.job_id: job.organization for job in jobs},
            run_id=self.run_id,
            now=now(),
        )
        self.task_ids.append(attempt.attempt_id)
        return attempt

    def post(self, attempt: Attempt, jobs: Sequence[Job]) -> None:
        """Hand the task to Druid; safe to repeat.

        Raises:
            ObjectMissing: A cleaned object is gone; nothing was posted.
            DruidRejected, ConfigurationError: Druid will not have it.
            DruidUnavailable, S3Unavailable: Whether Druid has it is not known.
        """
        for uri in object_uris(attempt.spec):
            # Druid would retry a dead URL for four minutes, in a worker slot.
            if self.bucket.head(self._key(uri)) is None:
                raise ObjectMissing(
                    f"The cleaned object {uri} is gone, so Druid cannot read it.",
                    hint="Launch the asset again with the upload's key.",
                )
        answer = self.druid.submit(self._posted(attempt.spec))
        log.info("attempt_posted", attempt=attempt.attempt_id, run=self.run_id, answer=answer)
        self.mark(attempt, jobs, AttemptState.SUBMITTED)

    def follow(self, attempt: Attempt) -> tuple[TaskStatus, TaskReport | None]:
        """Wait for the task's end.

        Raises:
            TaskFailed: Druid has forgotten the task while it was waited for.
        """
        status, report = monitor.follow_task(
            self.druid, attempt.attempt_id, sleep=self.sleep, clock=self.clock, progress=self.progress
        )
        if status.state is TaskState.UNKNOWN:
            raise TaskFailed(f"Druid has forgotten task {attempt.attempt_id}; its rows are counted next.")
        return status, report

    def occupy(self, attempt: Attempt) -> bool:
        """Make sure that no late POST of an attempt that was never accepted can be accepted any more.

        Returns:
            False when one was accepted meanwhile: the attempt lives.
        """
        try:
            return self.druid.occupy(attempt.attempt_id) == "accepted"
        except PermanentError:
            return True  # Druid takes no task from this pipeline

    def end_without_rows(self, attempt: Attempt, jobs: Sequence[Job], error: IngestionError) -> IngestionError | None:
        """The attempt changed nothing: its jobs are free for a new one.

        Returns:
            The error, when trying the same again cannot help.
        """
        log.warning("attempt_without_rows", attempt=attempt.attempt_id, run=self.run_id, error=error.message)
        self.mark(attempt, jobs, AttemptState.ABSENT, error=error)
        return None if isinstance(error, TransientError) else error

    def end_unproved(self, attempt: Attempt, jobs: Sequence[Job], error: IngestionError) -> None:
        """Nobody can tell what Druid holds: an alarm, and never a blind second load."""
        log.error("attempt_unproved", attempt=attempt.attempt_id, run=self.run_id, error=error.message)
        self.mark(attempt, jobs, AttemptState.UNPROVED, error=error)
        self.fail(jobs, error)

    def end_doubled(self, attempt: Attempt, jobs: Sequence[Job], error: IngestionError) -> None:
        """Druid holds more rows than it was given: the jobs are free for a replace that writes exactly theirs anew.

        Druid runs a task again when everything stops between its publishing and its status being stored, and appends
        its rows a second time.
        """
        log.error("attempt_doubled", attempt=attempt.attempt_id, run=self.run_id, error=error.message)
        self.mark(attempt, jobs, AttemptState.UNPROVED, error=error, frees=True)
        self.doubled.update(job.job_id for job in jobs)

    def complete(self, job: Job, attempt: Attempt, rows: int) -> None:
        """End a job whose rows were counted."""
        if job.cause is Cause.UNDO:
            outcome, summary = Outcome.UNDONE, f"The rows of job {job.replaces_job_id} were taken out of Druid."
        elif job.rows_accepted == 0:
            outcome, summary = Outcome.EMPTY, "The file has a header and no rows; those of its predecessor are gone."
        else:
            rejected = f", {job.rows_rejected:,} rejected" if job.rows_rejected else ""
            outcome = Outcome.LOADED_WITH_REJECTS if job.rows_rejected else Outcome.LOADED
            summary = f"{job.rows_read:,} rows read{rejected}, {rows:,} loaded and counted in Druid."
        removed = sorted(old for old, by in attempt.removes.items() if by == job.job_id)
        self.ledger.work.complete(
            self.heart.leases[job.job_id],
            outcome,
            rows_queryable=rows,
            summary=summary + (f" They replace those of job {', '.join(removed)}." if removed and rows else ""),
            details={"druid_task_id": attempt.attempt_id, **({"replaced": removed} if removed else {})},
            now=now(),
        )
        self.heart.release(job.job_id)
        self.proved[job.job_id] = rows

    def fail(self, jobs: Sequence[Job], error: IngestionError) -> None:
        for job in jobs:
            self.ledger.work.fail(self.heart.leases[job.job_id], error, now=now())
            self.heart.release(job.job_id)

    def mark(
        self,
        attempt: Attempt,
        jobs: Sequence[Job],
        state: AttemptState,
        *,
        rows: int | None = None,
        error: IngestionError | None = None,
        frees: bool = False,
    ) -> None:
        self.ledger.attempts.mark(
            attempt.attempt_id,
            state,
            leases=self.leases(jobs),
            now=now(),
            rows_processed=rows,
            error_message=error.message if error else None,
            frees=frees,
        )

    def leases(self, jobs: Sequence[Job]) -> list[Lease]:
        self.heart.check(job.job_id for job in jobs)
        try:
            return [self.heart.leases[job.job_id] for job in jobs]
        except KeyError as error:
            raise LeaseLost(f"Job {error} is not this run's.", hint="This run stops writing.") from error

    def progress(self, state: monitor.Progress) -> None:
        self.heart.check()
        percent = {"waiting": 62, "ingesting": 75, "proving": 90}.get(state.step, 62)
        self.heart.tell(percent, step="submit", state=state.step, druid=state.state, rows=state.rows)

    def inputs(self, jobs: Sequence[Job], columns: Sequence[str]) -> submit.InputFiles | None:
        """The jobs' cleaned objects; None when none has any.

        What is stored names objects, never signed URLs; `_posted` turns it into what the cluster can read.
        """
        keys = [cleaned_key(job) for job in jobs if cleaned_key(job)]
        if not keys:
            return None
        (encoding,) = {encoding_of(key) for key in keys}
        return submit.InputFiles(
            kind="s3",
            uris=[self.bucket.url(key) for key in keys],
            format=encoding,
            columns=columns,
        )

    def _posted(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """The spec as this cluster can read it: its own S3 credentials, or signed URLs (a secret, never kept)."""
        if self.druid.capabilities().s3:
            return dict(spec)
        io_config = spec["spec"]["ioConfig"]
        source = io_config["inputSource"]
        if source["type"] == "combining":
            source = {**source, "delegates": [self._signed(delegate) for delegate in source["delegates"]]}
        return {**spec, "spec": {**spec["spec"], "ioConfig": {**io_config, "inputSource": self._signed(source)}}}

    def _signed(self, source: Mapping[str, Any]) -> dict[str, Any]:
        if source["type"] != "s3":
            return dict(source)
        seconds = self.values.presigned_url_seconds
        return {
            "type": "http",
            "uris": [self.bucket.presign_get(self._key(uri), seconds=seconds) for uri in source["uris"]],
        }

    def _key(self, uri: str) -> str:
        return uri.removeprefix(self.bucket.url(""))


def cleaned_key(job: Job) -> str:
    return (job.staged.cleaned_key if job.staged is not None else None) or ""


def object_uris(spec: Mapping[str, Any]) -> list[str]:
    """The objects that a spec reads."""
    source = spec["spec"]["ioConfig"]["inputSource"]
    return [uri for delegate in source.get("delegates", [source]) for uri in delegate.get("uris", ())]


def intervals_of(attempt: Attempt) -> list[Interval]:
    return [Interval.parse(text) for text in attempt.intervals]
