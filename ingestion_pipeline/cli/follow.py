"""Following jobs that a command has just made (`--wait`): from their ids to an exit code.

What belongs here: reading their state, what went wrong with each, why they wait. What does not: the table that shows
them meanwhile (`cli.watch`), making them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestion_pipeline.cli.connections import Connections
from ingestion_pipeline.cli.dagster_health import sensor_problem
from ingestion_pipeline.cli.jobs import print_rejected, waiting_for
from ingestion_pipeline.cli.output import escaped, message, status_text
from ingestion_pipeline.cli.watch import Watched, watch
from ingestion_pipeline.domain.job import LOADED_OUTCOMES, Status

if TYPE_CHECKING:
    from rich.console import Console

EXIT_FAILED, EXIT_TIMEOUT = 1, 3
_SHOWN_ERRORS = 5

Wait = Annotated[bool, typer.Option("--wait", "-w", help="Until every file is done.")]
Timeout = Annotated[float, typer.Option(min=0, help="Seconds that --wait waits.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A job to wait for.

    Attributes:
        name: What people call its file.
        since: The seconds shown run from here.
    """

    name: str
    job_id: str
    since: datetime


def follow(
    jobs: Sequence[Followed], systems: Connections, page: "Console", *, timeout_seconds: float
) -> tuple[list[Watched], int]:
    """Show the jobs until all are done or the time is over: their last state, and the exit code."""
    state = watch(
        lambda: watched(jobs, systems),
        console=page,
        timeout_seconds=timeout_seconds,
        notices=lambda: hindrances(systems),
    )
    return state, _show_end(state, systems, page)


def watched(jobs: Sequence[Followed], systems: Connections) -> list[Watched]:
    """The present state of jobs."""
    rows = systems.ledger.jobs.latest(job_ids=[one.job_id for one in jobs], limit=len(jobs))
    by_id = {row["job_id"]: row for row in rows}
    return [Watched(name=one.name, put_at=one.since, job=by_id.get(one.job_id)) for one in jobs]


def hindrances(systems: Connections) -> list[str]:
    """What holds every file up at the moment, with since when."""
    sensor = sensor_problem(systems.settings.dagster_url, now=datetime.now(UTC))
    return [*waiting_for(systems), *([sensor] if sensor else [])]


def _show_end(state: Sequence[Watched], systems: Connections, page: "Console") -> int:
    """What went wrong, file by file; the exit code."""
    code = 0
    for one in state:
        if one.job is None or not one.is_final:
            continue
        if one.job["status"] != Status.COMPLETED:
            code = EXIT_FAILED
        if one.job["outcome"] in LOADED_OUTCOMES and not one.job["rows_rejected"]:
            continue
        job: dict[str, Any] = systems.ledger.jobs.get(one.job["job_id"]) or one.job
        result = job.get("result") or {}
        why = message(job) or (result.get("summary") or "" if job["outcome"] not in LOADED_OUTCOMES else "")
        page.print(f"\n{status_text(job, exact=True)}  [bold]{escaped(one.name)}[/]  {escaped(why)}", soft_wrap=True)
        if result.get("hint"):
            page.print(f"  {result['hint']}", markup=False, soft_wrap=True)
        if job.get("validation_errors"):
            print_rejected(job, page, limit=_SHOWN_ERRORS)
    late = [one for one in state if not one.is_final]
    if late:
        page.print(f"\nNot done in time: {', '.join(one.name for one in late)}.", style="yellow", markup=False)
        for sentence in hindrances(systems):
            page.print(f"  {sentence}", style="yellow", markup=False, soft_wrap=True)
    return code or (EXIT_TIMEOUT if late else 0)
