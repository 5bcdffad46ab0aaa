"""Commands that change what was loaded: `replay`, `undo`, `resubmit`; `upload --replaces` is the fourth.

What belongs here: options, what is said before anything is entered, entering it. What does not: what is refused
(`domain.orders`), rewriting Druid's rows (a run does it).
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from ingestion_pipeline.cli.connections import Connections, connected
from ingestion_pipeline.cli.follow import Followed, Timeout, Wait, follow
from ingestion_pipeline.cli.output import AsJson, console, counted, json_text, number, table
from ingestion_pipeline.cli.send import (
    Parcel,
    known_organization,
    priority_named,
    require_readable,
    require_usable,
    send_all,
    user_name,
)
from ingestion_pipeline.cli.targets import around, holding_rows, in_batches, rows_told, target_of
from ingestion_pipeline.domain.correction import fixes, is_fix, keeper
from ingestion_pipeline.domain.job import Cause, Job, Lane, Outcome, Priority
from ingestion_pipeline.domain.orders import (
    require_replayable,
    require_resubmittable,
    require_undoable,
    short,
)
from ingestion_pipeline.errors import ConfigurationError, CorrectionRefused

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()

MAX_FILES = 100_000
_DAY = ["%Y-%m-%d"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A replay or undo of one job; `job_id` is its own, None while it is only considered.

    Attributes:
        takes_out: Jobs whose rows go.
        rows: How many rows that is, as far as they were counted.
    """

    job_id: str | None
    cause: Cause
    parent_job_id: str
    file: str
    organization: str
    datasource: str
    key: str
    partition_day: date
    takes_out: tuple[str, ...]
    rows: int


@app.command()
def replay(
    job: Annotated[
        str | None, typer.Argument(metavar="JOB|KEY", help="A job's id or its beginning; a key: its newest job.")
    ] = None,
    *,
    datasource: Annotated[str | None, typer.Option("--datasource", "-d", help="For --from and --to.")] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=_DAY, help="First partition day whose files are replayed.")
    ] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=_DAY, help="Last one, included.")] = None,
    organization: Annotated[
        str | None, typer.Option("--organization", "-o", help="Only its files of these days.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    priority: Annotated[str, typer.Option(help="Of one job: urgent, high, medium or low.")] = "medium",
    wait: Wait = False,
    timeout: Timeout = 900.0,
    as_json: AsJson = False,
) -> None:
    """Load again what the bucket has: one job, or all files of some days; the rows loaded before are replaced."""
    one = job is not None
    if one == (first is not None or last is not None):
        raise typer.BadParameter("Name a job or key, or days with --datasource, --from and --to.")
    if one and (datasource or organization):
        raise typer.BadParameter("--datasource and --organization go with --from and --to.")
    if not one and (datasource is None or first is None or last is None or first > last):
        raise typer.BadParameter("Days need --datasource, --from and --to, the first not after the last.")
    chosen = priority_named(priority) if one else Priority.LOW
    page = console(stderr=as_json)
    with connected() as systems:
        if job is not None:
            jobs = [_replayable(systems, job, page)]
        else:
            assert datasource is not None
            assert first is not None
            assert last is not None
            jobs = _loaded_between(systems, datasource, first.date(), last.date(), organization=organization, page=page)
        goes = holding_rows(systems, Cause.REPLAY, jobs)
        _tell_replay(jobs, goes, page, by_day=dry_run and not one)
        if dry_run:
            orders = [_order(None, Cause.REPLAY, old, goes[old.job_id]) for old in jobs]
            code = _end(orders, systems, page, wait=False, timeout=timeout, as_json=as_json)
        else:
            lane = Lane.LIVE if one else Lane.BACKFILL
            orders = _enter(systems, Cause.REPLAY, jobs, goes, lane=lane, priority=chosen)
            code = _end(orders, systems, page, wait=wait, timeout=timeout, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def undo(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its id, the beginning of it, its key or file name.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Wait = False,
    timeout: Timeout = 900.0,
    as_json: AsJson = False,
) -> None:
    """Take the rows of a job, and of its corrections, out of Druid."""
    page = console(stderr=as_json)
    with connected() as systems:
        target = target_of(systems, job, prefer=lambda found: found.holds_rows)
        require_undoable(target)
        require_usable(target.job.datasource, systems)
        goes = holding_rows(systems, Cause.UNDO, [target.job])
        going = goes[target.job.job_id]
        page.print(
            f"Undo takes out of {target.job.datasource}: {rows_told(going)}. The file stays in the bucket.",
            markup=False,
            soft_wrap=True,
        )
        if not yes and not _confirmed(target.job):
            page.print("Nothing was changed.")
            raise typer.Exit(1)
        orders = _enter(systems, Cause.UNDO, [target.job], goes, lane=Lane.LIVE, priority=Priority.MEDIUM)
        code = _end(orders, systems, page, wait=wait, timeout=timeout, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def resubmit(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Whose rejected rows: its id, key or file name.")],
    file: Annotated[Path, typer.Argument(help="The corrected rows alone, with the header.", show_default=False)],
    *,
    priority: Annotated[str, typer.Option(help="urgent, high, medium or low.")] = "medium",
    wait: Wait = False,
    timeout: Timeout = 900.0,
    as_json: AsJson = False,
) -> None:
    """Send corrected rejected rows: they are added to the file's rows."""
    chosen = priority_named(priority)
    require_readable(file)
    page = console(stderr=as_json)
    with connected() as systems:
        named = target_of(systems, job, prefer=lambda found: found.holds_rows)
        root = around(systems, keeper(named.family))
        rows = require_resubmittable(root)
        require_usable(root.job.datasource, systems)
        rejected = counted(root.job.rows_rejected, "rejected row")
        page.print(
            f"Open of job {short(root.job)} ({root.job.file_name}): {rows:,} of {rejected}.",
            markup=False,
            soft_wrap=True,
        )
        parcel = Parcel(
            organization=root.job.organization,
            datasource=root.job.datasource,
            day=root.job.partition_day,
            priority=chosen,
            fixes_job_id=root.job.job_id,
        )
        sent = send_all([file], systems, parcel, page=page)
        code, shown = 0, [{**asdict(one), "fixes_job_id": root.job.job_id, "rows_open": rows} for one in sent]
        if wait:
            state, code = follow([one.followed() for one in sent], systems, page, timeout_seconds=timeout)
            shown = [{**one, "job": w.job} for one, w in zip(shown, state, strict=True)]
        elif not as_json:
            page.print(f"`ingestion-pipeline status {short(sent[0].job_id)}` tells how far it is.")
        if as_json:
            typer.echo(json_text(shown))
    raise typer.Exit(code)


def _replayable(systems: Connections, text: str, page: "Console") -> Job:
    def prefer(job: Job) -> bool:
        return job.status.is_final and job.outcome not in (Outcome.DUPLICATE, Outcome.SUPERSEDED)

    target = target_of(systems, text, prefer=prefer)
    require_replayable(target)
    require_usable(target.job.datasource, systems)
    if fixes(target.family):
        page.print(
            "Its corrected rows go too; what the file rejects again is to be corrected and resubmitted again.",
            style="yellow",
        )
    return target.job


def _loaded_between(
    systems: Connections, datasource: str, first: date, last: date, *, organization: str | None, page: "Console"
) -> list[Job]:
    """The files of these days that have rows in Druid and that nothing is about yet."""
    require_usable(datasource, systems)
    if organization is not None:
        known_organization(organization, systems.ledger.discovery.organizations())
    ledger = systems.ledger.corrections
    found = ledger.loaded_between(datasource, first, last, organization=organization, limit=MAX_FILES + 1)
    if len(found) > MAX_FILES:
        raise CorrectionRefused(f"These days have more than {MAX_FILES:,} files.", hint="Replay fewer days at a time.")
    tried_again = [job.job_id for job in found if job.cause is Cause.RETRY]
    families = ledger.families(tried_again) if tried_again else {}
    files = [job for job in found if job.job_id not in families or not is_fix(job, families[job.job_id])]
    busy: dict[str, str] = {}
    for batch in in_batches([job.job_id for job in files]):
        busy |= ledger.open_changes(batch)
    if busy:
        page.print(f"{counted(len(busy), 'file')} left alone: a replay or undo has not ended yet.", style="yellow")
    return [job for job in files if job.job_id not in busy]


def _tell_replay(jobs: Sequence[Job], goes: dict[str, list[Job]], page: "Console", *, by_day: bool) -> None:
    if not jobs:
        page.print("No file of these days is to be replayed: none of them has rows in Druid.")
        return
    if len(jobs) == 1:
        (job,) = jobs
        going = goes[job.job_id]
        place = f" Its rows take the place of {rows_told(going)}." if going else ""
        page.print(
            f"Job {short(job)} ({job.file_name}, {job.status}/{job.outcome}) is loaded again.{place}",
            markup=False,
            soft_wrap=True,
        )
        return
    if by_day:
        page.print(_days_table(jobs, goes))
    own = {job.job_id for job in jobs}
    gone = {job.job_id: job for going in goes.values() for job in going}
    rows = sum(job.rows_queryable for job in gone.values())
    others = [job for job in gone.values() if job.job_id not in own]
    text = f"{len(jobs):,} files are loaded again; their rows take the place of {counted(rows, 'row')}"
    if others:
        text += (
            f", {sum(job.rows_queryable for job in others):,} of them brought by {counted(len(others), 'correction')}"
        )
    page.print(f"{text}.", soft_wrap=True)


def _days_table(jobs: Sequence[Job], goes: dict[str, list[Job]]) -> object:
    made = table("partition day", "files", "rows in Druid", right=("files", "rows in Druid"))
    for day, members in groupby(sorted(jobs, key=lambda job: job.partition_day), key=lambda job: job.partition_day):
        files = list(members)
        rows = sum(going.rows_queryable for job in files for going in goes[job.job_id])
        made.add_row(day.isoformat(), number(len(files)), number(rows))
    return made


def _confirmed(job: Job) -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "Nobody can be asked here whether these rows are to go.", hint=f"Add --yes: `undo {short(job)} --yes`."
        )
    return typer.confirm("Take them out?", err=True)


def _order(job_id: str | None, cause: Cause, old: Job, going: Sequence[Job]) -> Order:
    return Order(
        job_id=job_id,
        cause=cause,
        parent_job_id=old.job_id,
        file=old.file_name,
        organization=old.organization,
        datasource=old.datasource,
        key=old.object_key,
        partition_day=old.partition_day,
        takes_out=tuple(job.job_id for job in going),
        rows=sum(job.rows_queryable for job in going),
    )


def _enter(
    systems: Connections,
    cause: Cause,
    jobs: Sequence[Job],
    goes: dict[str, list[Job]],
    *,
    lane: Lane,
    priority: Priority,
) -> list[Order]:
    """New rows in the ledger, one per job."""
    new_ids = {job.job_id: str(uuid4()) for job in jobs}
    for batch in in_batches(list(new_ids)):
        systems.ledger.corrections.begin(
            cause,
            batch,
            new_ids=[new_ids[job_id] for job_id in batch],
            now=datetime.now(UTC),
            user=user_name(),
            lane=lane,
            priority=priority,
        )
    return [_order(new_ids[job.job_id], cause, job, goes[job.job_id]) for job in jobs]


def _end(
    orders: Sequence[Order], systems: Connections, page: "Console", *, wait: bool, timeout: float, as_json: bool
) -> int:
    """Say what was entered, wait if wanted; the exit code."""
    entered = [(order, order.job_id) for order in orders if order.job_id is not None]
    code, shown = 0, [asdict(order) for order in orders]
    if wait and entered:
        began = datetime.now(UTC)
        names = [order.file for order in orders]
        followed = [
            Followed(
                name=order.file if names.count(order.file) == 1 else f"{order.file} ({short(job_id)})",
                job_id=job_id,
                since=began,
            )
            for order, job_id in entered
        ]
        state, code = follow(followed, systems, page, timeout_seconds=timeout)
        shown = [{**one, "job": w.job} for one, w in zip(shown, state, strict=True)]
    elif entered and not as_json:
        how = f"status {short(entered[0][1])}" if len(entered) == 1 else "jobs"
        page.print(f"`ingestion-pipeline {how}` tells how far it is.")
    if as_json:
        typer.echo(json_text(shown))
    return code
