"""The target of an order (replay, undo, replace, resubmit): a job, and what the ledger knows around it."""

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.job import Cause, Job
from ingestion_pipeline.domain.orders import Target


def target_around(ledger: Ledger, job: Job) -> Target:
    """What the ledger knows around a job."""
    replaced = _one(ledger, job.replaces_job_id) if job.cause is not Cause.UNDO else None
    return Target(
        job=job,
        family=ledger.corrections.family(job.job_id),
        successor=_successor(ledger, job),
        predecessor_taken_by=_successor(ledger, replaced) if replaced else None,
        open_change=_one(ledger, ledger.corrections.open_changes([job.job_id]).get(job.job_id)),
        upload_deleted=ledger.upkeep.source_of(job).deleted,
    )


def _successor(ledger: Ledger, job: Job) -> Job | None:
    """The last in the line of those that took its rows' place; or who took its own rows out."""
    taker: Job | None = None
    current = job
    while (after := _one(ledger, current.result.get("replaced_by"))) is not None:
        if taker is not None and after.cause is Cause.UNDO:
            break  # of the successor: that is the one to name
        taker = current = after
    return taker


def _one(ledger: Ledger, job_id: str | None) -> Job | None:
    found = ledger.jobs.rows_of([job_id]) if job_id else []
    return found[0] if found else None
