"""The job that a correction is about: finding it by what a person types, and what the ledger knows around it.

What belongs here: reading. What does not: what is refused (`domain.orders`), the commands.
"""

from collections.abc import Callable, Iterable, Sequence

from ingestion_pipeline.adapters.postgres_orders import target_around
from ingestion_pipeline.cli.connections import Connections
from ingestion_pipeline.cli.jobs import find_jobs
from ingestion_pipeline.cli.output import counted
from ingestion_pipeline.domain.job import LOADED_OUTCOMES, Cause, Job
from ingestion_pipeline.domain.orders import Target, short

_AT_ONCE = 1000


def target_of(systems: Connections, text: str, *, prefer: Callable[[Job], bool]) -> Target:
    """The job that is meant, and what is around it.

    Args:
        text: As for `jobs.find_jobs`.
        prefer: Which of a key's jobs is meant where a key or a name is given; the newest of these, else the newest.
    """
    ids = [row["job_id"] for row in find_jobs(systems, text)]
    by_id = {job.job_id: job for job in systems.ledger.jobs.rows_of(ids)}
    found = [by_id[job_id] for job_id in ids]
    files = [job for job in found if job.cause is not Cause.UNDO]
    return around(systems, next((job for job in files if prefer(job)), (files or found)[0]))


def around(systems: Connections, job: Job) -> Target:
    """What the ledger knows around a job."""
    return target_around(systems.ledger, job)


def holding_rows(systems: Connections, cause: Cause, jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """Per job: those whose rows would go if this were ordered about it, itself first, then oldest first."""
    found: dict[str, list[Job]] = {}
    for batch in in_batches([job.job_id for job in jobs]):
        ids = systems.ledger.corrections.would_remove(cause, batch)
        rows = systems.ledger.jobs.rows_of(sorted(set().union(*ids.values())))
        for job_id in batch:
            found[job_id] = sorted(
                (job for job in rows if job.job_id in ids[job_id]), key=lambda job: job.job_id != job_id
            )
    return found


def rows_told(jobs: Sequence[Job]) -> str:
    """Rows in Druid by job, in words."""
    return " and ".join(
        f"{'the ' + counted(job.rows_queryable, 'row') if job.outcome in LOADED_OUTCOMES else 'whatever Druid has'} "
        f"of job {short(job)} ({job.file_name})"
        for job in jobs
    )


def in_batches(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    """So many that a statement about them ends soon."""
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
