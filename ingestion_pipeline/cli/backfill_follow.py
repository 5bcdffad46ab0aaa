"""Following a backfill until it is over: its days as Dagster has them, its files as the ledger does.

What belongs here: the loop, what it shows, the exit code. What does not: starting and stopping (`cli.backfill`).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingestion_pipeline.cli.connections import Connections
from ingestion_pipeline.cli.follow import EXIT_FAILED, hindrances
from ingestion_pipeline.cli.output import counted
from ingestion_pipeline.domain.backfill import Backfill, BackfillFiles, BackfillStatus
from ingestion_pipeline.errors import DagsterUnavailable

if TYPE_CHECKING:
    from rich.console import Console

    from ingestion_pipeline.adapters.dagster_backfills import DagsterBackfills

POLL_SECONDS = 2.0
# Without a terminal: a line when something changed, not more often than this.
_LINE_SECONDS = 10.0
_NOTICE_SECONDS = 15.0
_FAILED = (BackfillStatus.FAILED, BackfillStatus.COMPLETED_FAILED)


@contextmanager
def asked_dagster(systems: Connections) -> Iterator["DagsterBackfills"]:
    """Dagster's backfills, by its webserver."""
    from ingestion_pipeline.adapters.dagster_backfills import DagsterBackfills

    dagster = DagsterBackfills(systems.settings.dagster_url)
    try:
        yield dagster
    finally:
        dagster.close()


def report(systems: Connections, dagster: "DagsterBackfills", found: Backfill) -> dict[str, Any]:
    """A backfill for machines: days and files."""
    files = systems.ledger.backfills.files(found.backfill_id)
    return {
        "backfill_id": found.backfill_id,
        "datasource": found.datasource,
        "status": found.status.value.lower(),
        "page": dagster.page(found.backfill_id),
        "started_at": found.started_at,
        "ended_at": found.ended_at,
        "days": found.days,
        "days_done": found.days_done,
        "days_failed": found.days_failed,
        "days_in_progress": found.days_in_progress,
        **{f"files_{name}" if name != "rows_queryable" else name: n for name, n in asdict(files).items()},
        "problem": found.problem,
    }


def follow(
    systems: Connections, dagster: "DagsterBackfills", backfill_id: str, page: "Console", *, files: int | None = None
) -> int:
    """Show it until it is over in Dagster and none of its files is at work; the exit code.

    Args:
        files: How many it is to load; None: not known.
    """
    try:
        found, done = _watch(systems, dagster, backfill_id, page, files)
    except KeyboardInterrupt:
        page.print(f"The backfill goes on. `ingestion-pipeline backfill stop {backfill_id}` stops it.", markup=False)
        raise
    if found.status.is_stopped:
        return EXIT_FAILED
    page.print(
        f"{found.days_done:,} of {counted(found.days, 'day')} done, {counted(done.loaded, 'file')} loaded, "
        f"{done.failed:,} failed, {done.rows_queryable:,} rows counted in Druid.",
        markup=False,
        soft_wrap=True,
    )
    if found.problem:
        page.print(found.problem.strip().splitlines()[0], style="red", markup=False, soft_wrap=True)
    if done.failed:
        page.print(
            f"`ingestion-pipeline jobs --datasource {found.datasource} --status failed` tells why.", markup=False
        )
    return EXIT_FAILED if done.failed or found.days_failed or found.status in _FAILED else 0


def _watch(
    systems: Connections, dagster: "DagsterBackfills", backfill_id: str, page: "Console", files: int | None
) -> tuple[Backfill, BackfillFiles]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("days"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    said, said_at, noticed_at = "", 0.0, time.monotonic()
    found: Backfill | None = None
    with Progress(*columns, console=page, transient=True, disable=not page.is_terminal) as bars:
        bar = bars.add_task("", total=None)
        while True:
            found, done = _asked(dagster, backfill_id, found), systems.ledger.backfills.files(backfill_id)
            ended = found.days_done + found.days_failed
            text = _files_told(done, files)
            bars.update(bar, total=found.days, completed=ended, description=text)
            line = f"{ended:,} of {counted(found.days, 'day')}, {text}"
            if not page.is_terminal and line != said and time.monotonic() - said_at >= _LINE_SECONDS:
                page.print(f"{datetime.now(UTC):%H:%M:%S}  {line}", markup=False, soft_wrap=True)
                said, said_at = line, time.monotonic()
            # What exceeded a run's batch is launched by the sensor, and may end after the backfill; of a stopped one,
            # what is on its way into Druid.
            if found.status.is_over and (not done.open or found.status.is_stopped):
                return found, done
            if time.monotonic() - noticed_at >= _NOTICE_SECONDS:
                noticed_at = time.monotonic()
                for sentence in hindrances(systems):
                    page.print(sentence, style="yellow", markup=False, soft_wrap=True)
            time.sleep(POLL_SECONDS)


def _asked(dagster: "DagsterBackfills", backfill_id: str, before: Backfill | None) -> Backfill:
    """The backfill now; as it was while the webserver is away: the daemon works on, and `hindrances` tells of it."""
    try:
        return dagster.get(backfill_id)
    except DagsterUnavailable:
        if before is None:
            raise
        return before


def _files_told(done: BackfillFiles, files: int | None) -> str:
    of = f" of {files:,}" if files is not None else ""
    others = f", {done.other:,} ended otherwise" if done.other else ""
    return f"{done.loaded:,}{of} files loaded, {done.failed:,} failed{others}"
