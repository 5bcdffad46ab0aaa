"""Columns that files bring beyond their contract, held against those that the datasource has in Druid.

What belongs here: which jobs bring which, and whether Druid can have them. What does not: which names a column may
have at all (`formats.added`).
"""

from collections.abc import Iterable, Mapping

from ingestion_pipeline.domain.contract_names import alike
from ingestion_pipeline.domain.job import Job
from ingestion_pipeline.errors import UnreadableFile

TEXT = "VARCHAR"
"""The SQL type of added columns."""


def added_columns(job: Job) -> tuple[str, ...]:
    """The columns that a job's file adds, in its order."""
    return job.staged.added_columns if job.staged is not None else ()


def union(jobs: Iterable[Job]) -> list[str]:
    """The columns that any of the jobs adds, in an order that the jobs' does not change."""
    return sorted({name for job in jobs for name in added_columns(job)})


def require_fitting(added: Iterable[str], present: Mapping[str, str]) -> None:
    """Refuse columns that would be another kind of column of Druid, or nearly the same one.

    Args:
        present: The datasource's columns with their SQL types.

    Raises:
        UnreadableFile: One of them cannot be added.
    """
    similar = {alike(name): name for name in present}
    for name in added:
        if (kind := present.get(name)) not in (TEXT, None):
            reason = f"Druid has a column of that name with values of type {kind}, and it would be text"
        elif kind is None and (other := similar.get(alike(name))) is not None:
            reason = f"Druid has the column '{other}', which differs in upper and lower case at most"
        else:
            continue
        raise UnreadableFile(
            f"The column '{name}' cannot be added: {reason}.",
            hint="Rename it in the file, or name it in the contract, with the type and the name that it is to have.",
            details={"column": name},
        )
