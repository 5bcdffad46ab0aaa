"""What an op does about errors: short waits inside the op, long ones in the ledger, ends that Dagster can show."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import dagster as dg
import structlog

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.defs.batch import Heart, now
from ingestion_pipeline.domain.job import Job, Status
from ingestion_pipeline.errors import (
    IngestionError,
    LeaseLost,
    LedgerUnavailable,
    PermanentError,
    TaskFailed,
    TransientError,
)
from ingestion_pipeline.settings import Settings

OP_RETRIES = 3
"""Waits of 2, 4 and 8 seconds inside the op; what takes longer gives its run slot back."""

log = structlog.get_logger()


@contextmanager
def transient_errors_wait(
    context: dg.OpExecutionContext, ledger: Ledger, jobs: Sequence[Job], heart: Heart, values: Settings
) -> Generator[None, None, None]:
    """Turn a transient error into an op retry and, when those are used up, into jobs that wait in the ledger.

    `RetryRequested` is raised here and no `RetryPolicy` is set: with the in-process executor a policy makes a
    canceled op start again. Siblings that are done stay done; the op's next try leaves them out.
    """
    try:
        yield
    except LeaseLost as error:
        raise dg.Failure(f"{error}", allow_retries=False) from error
    except TransientError as error:
        log.warning("op_transient_error", run=context.run_id, code=error.code, error=error.message)
        if context.retry_number < OP_RETRIES:
            raise dg.RetryRequested(max_retries=OP_RETRIES, seconds_to_wait=2 ** (context.retry_number + 1)) from error
        waiting = give_back(ledger, jobs, heart, error, values)
        raise dg.Failure(f"{waiting} files wait and will be tried again. {error}", allow_retries=False) from error
    except PermanentError as error:
        failed = 0
        for lease in list(heart.leases.values()):
            heart.release(lease.job_id)
            ledger.work.fail(lease, error, now=now())
            failed += 1
        raise dg.Failure(f"{failed} files failed. {error}", allow_retries=False) from error
    except dg.DagsterExecutionInterruptedError as error:
        stop_jobs(ledger, jobs, heart)
        raise dg.Failure("The run was canceled.", allow_retries=False) from error


def give_back(ledger: Ledger, jobs: Sequence[Job], heart: Heart, error: IngestionError, values: Settings) -> int:
    """Let a later run take the unfinished jobs; returns how many wait.

    Failed tasks are counted, and a job that has had its share ends failed; an outage says nothing about the file.
    """
    if isinstance(error, LedgerUnavailable):
        return len(heart.leases)  # the sweep finds them by their silent heartbeat
    retries = {job.job_id: job.retry_count for job in jobs}
    waiting = 0
    for lease in list(heart.leases.values()):
        heart.release(lease.job_id)
        tries = retries.get(lease.job_id, 0)
        try:
            if isinstance(error, TaskFailed) and tries + 1 >= values.max_tries:
                ledger.work.fail(lease, error, now=now())
                continue
            wait = timedelta(seconds=min(600, 15 * 2 ** min(tries, 6)))
            ledger.work.give_back(lease, error, next_try_at=now() + wait)
            waiting += 1
        except LeaseLost:
            continue  # another run has it: it waits for nothing
    return waiting


def stop_jobs(ledger: Ledger, jobs: Sequence[Job], heart: Heart) -> None:
    """A person canceled the run: its jobs end canceled, unless Druid may hold rows of theirs."""
    attempts = {job.job_id: job.attempt_id for job in ledger.jobs.rows_of([job.job_id for job in jobs])}
    for lease in list(heart.leases.values()):
        heart.release(lease.job_id)
        try:
            if attempts.get(lease.job_id) is None:
                ledger.work.stop(lease, Stopped("Its run was canceled by a person."), now=now())
            else:
                ledger.work.give_back(
                    lease,
                    Stopped("Its run was canceled while Druid was loading it; a run will find out what became of it."),
                    next_try_at=now(),
                )
        except LeaseLost:
            continue


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
            metadata={"job_ids": dg.MetadataValue.json([job.job_id for job in jobs])},
            allow_retries=False,
        )
