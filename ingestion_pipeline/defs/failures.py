"""What an op does about errors: short waits inside the op, long ones in the ledger, ends that Dagster can show."""

import random
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

import dagster as dg
import structlog

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.defs.batch import BACKFILL_TAG, Heart, is_stopped, now
from ingestion_pipeline.defs.metadata import why_commands
from ingestion_pipeline.domain.job import Job, Status
from ingestion_pipeline.errors import (
    ContractChanged,
    DatasourceBusy,
    DruidUnavailable,
    IngestionError,
    LeaseLost,
    LedgerUnavailable,
    PermanentError,
    S3Unavailable,
    TaskFailed,
    TransientError,
)
from ingestion_pipeline.settings import Settings

OP_RETRIES = 3
"""Waits of 2, 4 and 8 seconds inside the op; what takes longer gives its run slot back."""

LONG_WAIT_SECONDS = 20.0
OUTAGES = (S3Unavailable, DruidUnavailable, LedgerUnavailable)

log = structlog.get_logger()


@contextmanager
def transient_errors_wait(
    context: dg.OpExecutionContext,
    ledger: Ledger,
    jobs: Sequence[Job],
    heart: Heart,
    values: Settings,
    *,
    on_cancel: Callable[[Sequence[str]], None] = lambda _: None,
) -> Generator[None, None, None]:
    """Turn a transient error into an op retry and, when those are used up, into jobs that wait in the ledger.

    `RetryRequested` is raised here and no `RetryPolicy` is set: with the in-process executor a policy makes a
    canceled op start again. Siblings that are done stay done; the op's next try leaves them out.

    Args:
        on_cancel: Called with the attempts in which Druid may be at work, when a person cancels the run.
    """
    try:
        yield
    except LeaseLost as error:
        raise dg.Failure(f"{error}", allow_retries=False) from error
    except TransientError as error:
        log.warning("op_transient_error", run=context.run_id, code=error.code, error=error.message)
        # A wait that has lasted is not repeated here: the run's slot is worth more.
        if context.retry_number < OP_RETRIES and error.details.get("waited_seconds", 0) < LONG_WAIT_SECONDS:
            raise dg.RetryRequested(max_retries=OP_RETRIES, seconds_to_wait=2 ** (context.retry_number + 1)) from error
        waiting = give_back(ledger, jobs, heart, error, values)
        raise dg.Failure(f"{waiting} files wait and will be tried again. {error}", allow_retries=False) from error
    except PermanentError as error:
        failed, waiting = fail_or_wait(ledger, jobs, heart, error)
        raise dg.Failure(f"{failed} files failed, {waiting} wait. {error}", allow_retries=False) from error
    except dg.DagsterExecutionInterruptedError as error:
        if is_stopped(context.instance, context.run.tags.get(BACKFILL_TAG)):
            waiting = put_back(ledger, heart)
            raise dg.Failure(f"The backfill was stopped: {waiting} files wait again.", allow_retries=False) from error
        stop_jobs(ledger, jobs, heart, before=on_cancel)
        raise dg.Failure("The run was canceled.", allow_retries=False) from error


def give_back(ledger: Ledger, jobs: Sequence[Job], heart: Heart, error: IngestionError, values: Settings) -> int:
    """Let a later run take the unfinished jobs; returns how many wait.

    Failed tasks are counted, and a job that has had its share ends failed. An outage says nothing about the file: it
    counts by time, and only for jobs of which Druid cannot hold anything; the others wait for the answer.
    """
    if isinstance(error, LedgerUnavailable):
        return len(heart.leases)  # the sweep finds them by their silent heartbeat
    rows = {job.job_id: job for job in ledger.jobs.rows_of([job.job_id for job in jobs])}
    waiting = 0
    for lease in list(heart.leases.values()):
        heart.release(lease.job_id)
        job, moment = rows[lease.job_id], now()
        since = (job.outage_since or moment) if isinstance(error, OUTAGES) else None
        too_long = since is not None and (moment - since).total_seconds() > values.outage_limit_seconds
        try:
            used_up = isinstance(error, TaskFailed) and job.tries >= values.max_tries
            if (used_up or too_long) and job.attempt_id is None:
                ledger.work.fail(lease, error, now=moment)
                continue
            ledger.work.give_back(
                lease,
                error,
                next_try_at=moment + backoff(error, job.retry_count),
                outage_since=since,
                counts=isinstance(error, TaskFailed),
            )
            waiting += 1
        except LeaseLost:
            continue  # another run has it: it waits for nothing
    return waiting


def send_back(ledger: Ledger, heart: Heart, job: Job, error: TransientError) -> None:
    """Let a later run take one job, while this run goes on with its others; it is no try of the file's."""
    lease = heart.leases[job.job_id]
    heart.release(job.job_id)
    ledger.work.give_back(lease, error, next_try_at=now() + backoff(error, job.retry_count))


def fail_or_wait(ledger: Ledger, jobs: Sequence[Job], heart: Heart, error: IngestionError) -> tuple[int, int]:
    """End the jobs with a permanent error, except those of which Druid may hold rows: their end is what it holds.

    Returns:
        How many failed, how many wait.
    """
    rows = {job.job_id: job for job in ledger.jobs.rows_of([job.job_id for job in jobs])}
    failed = waiting = 0
    for lease in list(heart.leases.values()):
        heart.release(lease.job_id)
        job = rows[lease.job_id]
        if job.attempt_id is None:
            ledger.work.fail(lease, error, now=now())
            failed += 1
        else:
            ledger.work.give_back(lease, error, next_try_at=now() + backoff(error, job.retry_count))
            waiting += 1
    return failed, waiting


def backoff(error: IngestionError, times: int) -> timedelta:
    """How long to wait before the next try: 15 s, doubled with every time, up to ten minutes.

    An outage's end should not be slept through, so its limit is a minute; another change of the datasource is a matter
    of seconds, and a changed contract asks for none. Half of it is left to chance: many must not come back at once.
    """
    if isinstance(error, ContractChanged):
        return timedelta(0)
    if isinstance(error, DatasourceBusy):
        seconds = min(30, 10 * (1 + times))
    else:
        seconds = min(60 if isinstance(error, OUTAGES) else 600, 15 * 2 ** min(times, 6))
    return timedelta(seconds=seconds / 2 + random.uniform(0, seconds / 2))  # noqa: S311 - not a secret


def stop_jobs(
    ledger: Ledger, jobs: Sequence[Job], heart: Heart, *, before: Callable[[Sequence[str]], None] = lambda _: None
) -> None:
    """A person canceled the run: its jobs end canceled; where Druid may hold rows of them, the next run tells."""
    attempts = {job.job_id: job.attempt_id for job in ledger.jobs.rows_of([job.job_id for job in jobs])}
    open_attempts = sorted({attempts[job_id] or "" for job_id in heart.leases if job_id in attempts} - {""})
    try:
        before(open_attempts)
    except IngestionError as error:
        log.warning("cancel_incomplete", error=error.message)  # the next run follows the task to its end
    for lease in list(heart.leases.values()):
        heart.release(lease.job_id)
        try:
            if attempts.get(lease.job_id) is None:
                ledger.work.stop(lease, Stopped("Its run was canceled by a person."), now=now())
            else:
                ledger.work.request_cancel(lease, now=now())
                ledger.work.give_back(
                    lease,
                    Stopped("Its run was canceled while Druid was loading it; a run will find out what became of it."),
                    next_try_at=now(),
                )
        except LeaseLost:
            continue


def put_back(ledger: Ledger, heart: Heart) -> int:
    """A person stopped the run's backfill: its jobs wait again, and the sweep holds back what is history.

    A task that Druid has stays: the next run follows it to its end.

    Returns:
        How many wait.
    """
    waiting = 0
    for lease in list(heart.leases.values()):
        heart.release(lease.job_id)
        with suppress(LeaseLost):
            ledger.work.give_back(lease, Stopped("Its backfill was stopped."), next_try_at=now())
            waiting += 1
    return waiting


class Stopped(IngestionError):
    """A person stopped the run."""

    code = "stopped"
    retryable = True


def all_failed(jobs: Sequence[Job]) -> None:
    """Raise when no file of the batch is good: such a run is a failure, one with a good file is not."""
    if jobs and all(job.status is Status.FAILED for job in jobs):
        shown = "; ".join(f"{job.file_name}: {job.error_message}" for job in jobs[:5])
        more = f"; and {len(jobs) - 5} more" if len(jobs) > 5 else ""
        raise dg.Failure(
            f"No file of {len(jobs)} could be loaded. {shown}{more}",
            metadata={
                "job_ids": dg.MetadataValue.json([job.job_id for job in jobs]),
                "why": why_commands(jobs) or dg.MetadataValue.null(),
            },
            allow_retries=False,
        )
