"""Corrections: what a job does to the rows of others, decided from the ledger alone. Pure.

What belongs here: whether a job appends, replaces or undoes, and when it comes too late. What does not: finding the
jobs concerned (`adapters.postgres_corrections`), rewriting time chunks (`stages.submit`).

A file's *family* is its job and those made from it to fix its rejected rows (`resubmit`). Whoever takes a file's rows
out takes its family's out: the new content has those rows itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ingestion_pipeline.domain.job import LOADED_OUTCOMES, UNCERTAIN_OUTCOMES, Cause, Job, Outcome, Status
from ingestion_pipeline.errors import FamilyChanged


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What loading a job does.

    Attributes:
        removes: Jobs whose rows it takes out; empty: its rows are appended, or nothing is to be done.
        pointless: Why there is nothing to do, in one sentence; None: there is.
    """

    removes: tuple[str, ...] = ()
    pointless: str | None = None


def effect_of(job: Job, *, related: Job | None, holders: Sequence[Job], cause: Cause | None = None) -> Effect:
    """What a job does to the rows of others.

    Args:
        related: The job that it is about (:func:`related_id`).
        holders: Jobs with rows in Druid (or perhaps) that are versions of its key, or of the job that it is
            ordered to replace; with their families.
        cause: Why its first try was made (:func:`origin`), when that is not its own cause.

    Raises:
        FamilyChanged: The job that it belongs to was replaced or undone meanwhile.
    """
    cause = cause or job.cause
    removes = tuple(sorted(holder.job_id for holder in holders))
    gone = None if related is None else _successor(related)
    if cause is Cause.UNDO:
        if removes:
            return Effect(removes=removes)
        return Effect(
            pointless=f"Job {job.replaces_job_id} has no rows in Druid{f' any more: {gone}' if gone else ''}."
        )
    newer = next((holder for holder in holders if _is_newer(holder, job)), None)
    if newer is not None:
        return Effect(pointless=f"A newer version of its key is in Druid: job {newer.job_id} has loaded it.")
    if gone is None or related is None:
        return Effect(removes=removes)
    if cause is Cause.RESUBMIT:
        raise FamilyChanged(
            f"The job whose rejected rows it fixes has no rows in Druid any more: {gone}.",
            hint="Fix the rows that its successor rejected, or replay it first.",
            details={"parent_job_id": related.job_id},
        )
    if related.outcome == Outcome.REPLACED:
        if cause is Cause.REPLAY:
            return Effect(pointless=f"What it was to load again is out of date: {gone}.")
        raise FamilyChanged(
            f"The job that it was to replace was replaced meanwhile: {gone}.",
            hint="Upload it again with --replaces and the present job.",
            details={"replaces_job_id": related.job_id},
        )
    return Effect(removes=removes)


def origin(job: Job, family: Sequence[Job]) -> Job:
    """The job whose errand this one runs: a job that tries a failed one again is for what that one was for.

    Args:
        family: The file's first job, then those made from it.
    """
    by_id = {member.job_id: member for member in family}
    at = job
    while at.cause in (Cause.RETRY, Cause.REPLAY):
        parent = by_id.get(at.parent_job_id or "")
        if parent is None or (at.cause is Cause.REPLAY and not _never_loaded(parent)):
            break
        at = parent
    return at


def related_id(job: Job) -> str | None:
    """The job that this one is ordered to replace or to take out, or else was made from."""
    return job.replaces_job_id or job.parent_job_id


def _never_loaded(job: Job) -> bool:
    return job.status in (Status.FAILED, Status.CANCELED) and job.outcome not in UNCERTAIN_OUTCOMES


def _is_newer(holder: Job, job: Job) -> bool:
    """Whether a job with rows in Druid has loaded a later version of this one's very key."""
    if (holder.bucket, holder.object_key) != (job.bucket, job.object_key) or holder.etag == job.etag:
        return False
    if job.cause in (Cause.RETRY, Cause.REPLAY):
        # S3 tells times in whole seconds. Of two versions of one, that of a job that was made later on purpose is not
        # the later version.
        return holder.last_modified >= job.last_modified
    return (holder.last_modified, holder.created_at) > (job.last_modified, job.created_at)


def _successor(job: Job) -> str | None:
    if job.outcome not in (Outcome.REPLACED, Outcome.UNDONE) and "replaced_by" not in job.result:
        return None
    return f"job {job.job_id} was {job.outcome} by job {job.result.get('replaced_by', 'unknown')}"


def keeper(family: Sequence[Job]) -> Job:
    """The job that stands for the file: the newest whose rows are in Druid and that is no fix, else the first.

    Args:
        family: The file's first job, then those made from it, oldest first.
    """
    return next((job for job in reversed(family) if job.holds_rows and not is_fix(job, family)), family[0])


def is_fix(job: Job, family: Sequence[Job]) -> bool:
    """Whether it holds corrected rows of another job, also by way of trying such a correction again."""
    return origin(job, family).cause is Cause.RESUBMIT


def fixes(family: Sequence[Job]) -> list[Job]:
    """The family's corrections of rejected rows that are in Druid, oldest first."""
    return [job for job in family if job.outcome in LOADED_OUTCOMES and is_fix(job, family)]


def open_rejects(family: Sequence[Job]) -> int:
    """Rejected rows of a file that no loaded correction has brought in yet."""
    return max(0, keeper(family).rows_rejected - sum(fix.rows_accepted for fix in fixes(family)))
