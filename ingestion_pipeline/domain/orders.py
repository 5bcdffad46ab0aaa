"""Orders: what a person may ask to be done about a job (replay, undo, replace, resubmit), and why not. Pure.

What belongs here: refusals that are known before anything is entered in the ledger, each with what to do instead.
What does not: what an order does once it is entered (`domain.correction`); the run judges again, by the ledger as it
is then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingestion_pipeline.domain.correction import fixes, is_fix, keeper, open_rejects
from ingestion_pipeline.domain.job import Cause, Job, Outcome
from ingestion_pipeline.errors import CorrectionRefused

SHORT_ID = 8  # characters of an id that people are shown; every command takes them


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A job that an order is about, and what the ledger knows around it.

    Attributes:
        family: The file's first job and every job made from it.
        successor: Who has taken its rows' place, or taken them out; the last in a line of replacements.
        predecessor_taken_by: The same for the job that it was ordered to replace.
        open_change: A replay or undo of it that has not ended.
        upload_deleted: Its object was deleted after it was loaded, as its contract says.
    """

    job: Job
    family: Sequence[Job]
    successor: Job | None = None
    predecessor_taken_by: Job | None = None
    open_change: Job | None = None
    upload_deleted: bool = False


def short(job: Job | str) -> str:
    """The beginning of a job's id, for people."""
    return (job if isinstance(job, str) else job.job_id)[:SHORT_ID]


def require_replayable(target: Target) -> None:
    """Refuse what cannot be loaded again.

    Raises:
        CorrectionRefused: With the job to replay instead, if there is one.
    """
    job = target.job
    if job.cause is Cause.UNDO:
        undone = short(job.replaces_job_id or "")
        raise _refused(
            job, f"Job {short(job)} is an undo: it has no file to load.", f"Replay {undone}, which it undid."
        )
    _require_final(job)
    if is_fix(job, target.family):
        root = short(keeper(target.family))
        raise _refused(
            job,
            f"Job {short(job)} holds corrected rows of job {root}; a correction is not replayed by itself.",
            f"Send the rows again with `resubmit {root} FILE`{', after `undo`' if job.holds_rows else ''}.",
        )
    _require_not_replaced(target, "Replay that: `ingestion-pipeline replay {}`.")
    if job.outcome == Outcome.DUPLICATE:
        raise _refused(job, f"Job {short(job)} loaded nothing: {_twin(job)}", f"Replay {_twin_id(job)}.")
    if job.outcome == Outcome.SUPERSEDED:
        raise _refused(
            job,
            f"Job {short(job)} loaded nothing: {job.result.get('summary') or 'it came too late.'}",
            "Replay the newest job of its key.",
        )
    if job.outcome == Outcome.EXPIRED:
        raise _refused(job, f"The object of job {short(job)} never came.", "Upload the file.")
    taken_by = target.predecessor_taken_by
    if taken_by is not None and taken_by.object_key != job.object_key:
        raise _refused(
            job,
            f"Job {short(job)} was to replace job {short(job.replaces_job_id or '')}, which job {short(taken_by)} has "
            f"{_done(taken_by)} meanwhile.",
            "Upload the file again; with --replaces and the present job if one has its rows.",
        )
    if target.upload_deleted:
        raise _refused(
            job,
            f"The file of job {short(job)} was deleted from the bucket after it was loaded, as its contract says "
            "(after_load).",
            f"Send it again with `upload FILE --replaces {short(job)}`.",
        )
    _require_no_open_change(target)


def require_undoable(target: Target) -> None:
    """Refuse an undo where there is nothing to take out.

    Raises:
        CorrectionRefused: With the reason.
    """
    job = target.job
    if job.cause is Cause.UNDO:
        raise _refused(job, f"Job {short(job)} is an undo itself and holds no rows.", "`replay` loads a file again.")
    _require_final(job)
    _require_not_replaced(target, "Undo that: `ingestion-pipeline undo {}`.")
    if not job.holds_rows:
        by = f" by job {short(target.successor)}" if target.successor else ""
        why = f"was undone already{by}" if target.successor else f"ended as {job.status}/{job.outcome}"
        raise _refused(job, f"Job {short(job)} has no rows in Druid: it {why}.", "There is nothing to undo.")
    _require_no_open_change(target)


def require_replaceable(target: Target, *, organization: str, datasource: str) -> None:
    """Refuse a job whose place an upload cannot take.

    Raises:
        CorrectionRefused: With the job to name instead, if there is one.
    """
    job = target.job
    if (job.organization, job.datasource) != (organization, datasource):
        raise _refused(
            job,
            f"Job {short(job)} belongs to organization {job.organization} and datasource {job.datasource}; the upload "
            f"to {organization} and {datasource}.",
            "A file replaces one of its own organization and datasource.",
        )
    if job.cause is Cause.UNDO:
        raise _refused(job, f"Job {short(job)} is an undo: it has no rows.", "Upload the file without --replaces.")
    _require_final(job)
    if is_fix(job, target.family):
        root = short(keeper(target.family))
        raise _refused(
            job,
            f"Job {short(job)} holds corrected rows of job {root} only.",
            f"`--replaces {root}` takes the place of the whole file, its corrections included.",
        )
    _require_not_replaced(target, "Replace that: `--replaces {}`.")
    if job.outcome == Outcome.DUPLICATE:
        raise _refused(job, f"Job {short(job)} loaded nothing: {_twin(job)}", f"Use `--replaces {_twin_id(job)}`.")
    if target.successor is not None:
        present = _present(target.family)
        raise _refused(
            job,
            f"Job {short(job)} was undone by job {short(target.successor)}.",
            f"Job {short(present)} has the file's rows now: `--replaces {short(present)}`."
            if present
            else "There is nothing to replace: upload the file without --replaces.",
        )
    _require_no_open_change(target)


def require_resubmittable(target: Target) -> int:
    """Refuse where no corrected rows can be taken in.

    Args:
        target: Of the job that stands for the file (`keeper`).

    Returns:
        How many rejected rows are open.

    Raises:
        CorrectionRefused: None is open, or the file's rows are not in Druid.
    """
    root = target.job
    _require_final(root)
    if not root.holds_rows:
        present = _present(target.family)
        ended = (
            f"{root.outcome} by job {short(target.successor)}" if target.successor else f"{root.status}/{root.outcome}"
        )
        raise _refused(
            root,
            f"Job {short(root)} has no rows in Druid to add corrected ones to: it ended as {ended}.",
            f"Correct the whole file and send it with `upload FILE --replaces {short(present)}`."
            if present
            else "Correct the whole file and upload it.",
        )
    if not root.rows_rejected:
        raise _refused(root, f"Job {short(root)} has no rejected rows.", "A whole new file: `upload --replaces`.")
    rows = open_rejects(target.family)
    if not rows:
        by = ", ".join(short(fix) for fix in fixes(target.family))
        raise _refused(
            root,
            f"All {root.rows_rejected:,} rejected rows of job {short(root)} are fixed already, by job {by}.",
            f"`ingestion-pipeline undo {by.split(', ')[-1]}` takes a correction out again.",
        )
    _require_no_open_change(target)
    return rows


def _require_final(job: Job) -> None:
    if not job.status.is_final:
        raise _refused(
            job,
            f"Job {short(job)} is still at work ({job.status}).",
            f"Wait for its end: `ingestion-pipeline status {short(job)}`.",
        )


def _require_not_replaced(target: Target, hint: str) -> None:
    job, successor = target.job, target.successor
    if job.outcome == Outcome.REPLACED or (successor is not None and successor.cause is not Cause.UNDO):
        by = short(successor) if successor else str(job.result.get("replaced_by", "unknown"))
        raise _refused(job, f"Job {short(job)} was replaced by job {by}.", hint.format(by))


def _require_no_open_change(target: Target) -> None:
    change = target.open_change
    if change is not None:
        what = {Cause.UNDO: "An undo", Cause.REPLAY: "A replay"}.get(change.cause, "A replacement")
        raise _refused(
            target.job,
            f"{what} of job {short(target.job)} has not ended yet: job {short(change)}.",
            f"Wait for its end: `ingestion-pipeline status {short(change)}`.",
        )


def _present(family: Sequence[Job]) -> Job | None:
    """The member that has the file's rows in Druid now."""
    job = keeper(family)
    return job if job.holds_rows else None


def _done(taker: Job) -> str:
    return "undone" if taker.cause is Cause.UNDO else "replaced"


def _twin_id(job: Job) -> str:
    return short(str(job.result.get("duplicate_of", "")))


def _twin(job: Job) -> str:
    return f"job {_twin_id(job)} has the same content."


def _refused(job: Job, message: str, hint: str) -> CorrectionRefused:
    details: Mapping[str, str | None] = {"job_id": job.job_id, "status": job.status, "outcome": job.outcome}
    return CorrectionRefused(message, hint=hint, details=details)
