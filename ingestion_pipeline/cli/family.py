"""A file's family in words: what a job was made from, who took its rows, how many rejected rows are open.

What belongs here: sentences and their values for machines. What does not: the rules (`domain.correction`,
`domain.orders`), finding the family (`adapters.postgres_corrections`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ingestion_pipeline.cli.output import message
from ingestion_pipeline.domain.correction import fixes, keeper, open_rejects
from ingestion_pipeline.domain.job import Cause, Job
from ingestion_pipeline.domain.orders import SHORT_ID, short

_ORIGINS: Mapping[str, str] = {
    Cause.RETRY: "another try of job {}",
    Cause.REPLAY: "a replay of job {}",
    Cause.RESUBMIT: "corrected rows of job {}",
    Cause.UNDO: "an undo of job {}",
}


def origin(job: Mapping[str, Any]) -> str:
    """What it was made from or for; empty for a file that came by itself."""
    parent, replaces = job["parent_job_id"], job["replaces_job_id"]
    if parent and job["cause"] in _ORIGINS:
        return _ORIGINS[job["cause"]].format(_id(parent))
    return f"takes the place of job {_id(replaces)}" if replaces else ""


def taken_by(job: Mapping[str, Any], family: Sequence[Job] = ()) -> str:
    """Who replaced it or took its rows out."""
    by = job.get("replaced_by") or (job.get("result") or {}).get("replaced_by")
    if not by:
        return ""
    causes = {member.job_id: member.cause for member in family}
    how = {Cause.REPLAY: ", a replay", Cause.RETRY: ", another try"}.get(causes.get(by, Cause.UPLOADED), "")
    done = job["outcome"] if job["outcome"] in ("replaced", "undone") else "taken out"
    return f"{done} by job {_id(by)}{how}"


def open_rows(family: Sequence[Job]) -> int | None:
    """How many rejected rows of the file may still be corrected; None where corrections are not taken in."""
    if not family or not keeper(family).holds_rows or not keeper(family).rows_rejected:
        return None
    return open_rejects(family)


def rejects(family: Sequence[Job]) -> str:
    """What became of the rejected rows of the family's first job."""
    left = open_rows(family)
    if left is None:
        return ""
    rejected, made = keeper(family).rows_rejected, fixes(family)
    if not made:
        return f"{rejected:,} rejected, all open"
    by = f"by job {', '.join(short(fix) for fix in made)}"
    if left == 0:
        return f"{rejected:,} rejected, all fixed {by}"
    return f"{rejected:,} rejected, {rejected - left:,} of them fixed {by}, {left:,} open"


def note(job: Mapping[str, Any], family: Sequence[Job]) -> str:
    """One line of the table of jobs: why it waits or failed, where it comes from, what became of its rows."""
    fixed = rejects(family) if family and keeper(family).job_id == job["job_id"] and fixes(family) else ""
    return "; ".join(part for part in (message(job), origin(job), taken_by(job), fixed) if part)


def family_json(family: Sequence[Job]) -> list[dict[str, Any]]:
    """The family for machines, the file's first job first."""
    return [
        {
            "job_id": job.job_id,
            "cause": job.cause,
            "parent_job_id": job.parent_job_id,
            "status": job.status,
            "outcome": job.outcome,
            "rows_accepted": job.rows_accepted,
            "rows_rejected": job.rows_rejected,
            "replaced_by": job.result.get("replaced_by"),
        }
        for job in family
    ]


def _id(job_id: object) -> str:
    return str(job_id)[:SHORT_ID]
