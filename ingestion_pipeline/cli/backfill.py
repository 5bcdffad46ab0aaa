"""Command `backfill`: load history by partition day; `backfill list`, `backfill status`, `backfill stop`.

What belongs here: options, and what people see before and after. What does not: following one (`cli.backfill_follow`),
which days are worth loading (`domain.backfill`), the ledger's and Dagster's sides (adapters).
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestion_pipeline.cli.backfill_follow import asked_dagster, follow, report
from ingestion_pipeline.cli.connections import Connections, connected
from ingestion_pipeline.cli.output import AsJson, console, counted, json_text, moment, size, table
from ingestion_pipeline.cli.send import require_usable
from ingestion_pipeline.domain.backfill import Backfill, DayFiles, Duration, days_to_launch, duration, runs_needed
from ingestion_pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(no_args_is_help=True, invoke_without_command=True)

# Far more than run at once: the newest that are looked through for those of a datasource that have not ended.
_LOOKED_THROUGH = 100

Id = Annotated[str, typer.Argument(metavar="ID", help="As `backfill list` shows it.", show_default=False)]


@app.callback()
def backfill(
    context: typer.Context,
    *,
    datasource: Annotated[
        str | None, typer.Option("--datasource", "-d", help="Whose history is loaded.", show_default=False)
    ] = None,
    first: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], metavar="DAY", help="First partition day.", show_default=False),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], metavar="DAY", help="Last partition day.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be loaded, and load nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Show how far it is, until it is over.")] = True,
    as_json: AsJson = False,
) -> None:
    """Load the files of these days that wait for it; what is loaded is not loaded again.

    Exit code 0 all loaded or nothing to load, 1 a file or a day failed, or it was stopped.
    """
    if context.invoked_subcommand is not None:
        return
    for value, option in ((datasource, "--datasource"), (first, "--from"), (last, "--to")):
        if value is None:
            raise typer.BadParameter("It is needed to know what to load.", param_hint=option)
    assert datasource is not None and first is not None and last is not None  # noqa: PT018 - said above
    if first > last:
        raise typer.BadParameter("It is after --to.", param_hint="--from")
    page = console(stderr=as_json)
    with connected() as systems:
        require_usable(datasource, systems)
        span = {"first": first.date(), "last": last.date()}
        days = systems.ledger.backfills.days(datasource, **span, now=datetime.now(UTC))
        plan = Plan(systems, datasource, days, **span)
        if dry_run:
            if as_json:
                typer.echo(json_text(plan.as_dict()))
            else:
                plan.show(page)
            return
        code = _launch(systems, plan, page, wait=wait, as_json=as_json)
    raise typer.Exit(code)


@app.command(name="list")
def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    as_json: AsJson = False,
) -> None:
    """List backfills, newest first, also those that were started on Dagster's pages."""
    with connected() as systems, asked_dagster(systems) as dagster:
        found = dagster.latest(limit)
        if as_json:
            typer.echo(json_text([report(systems, dagster, one) for one in found]))
            return
        if not found:
            typer.echo("None yet: `ingestion-pipeline backfill --datasource NAME --from DAY --to DAY` starts one.")
            return
        numbers = ("days", "done", "failed", "loaded")
        made = table("backfill", "datasource", "status", "started", *numbers, right=numbers)
        for one in found:
            files = systems.ledger.backfills.files(one.backfill_id)
            cells = [one.backfill_id, one.datasource, one.status.lower(), moment(one.started_at)]
            made.add_row(*cells, *(f"{n:,}" for n in (one.days, one.days_done, one.days_failed, files.loaded)))
        console().print(made)


@app.command()
def status(backfill_id: Id, as_json: AsJson = False) -> None:
    """Show how far a backfill is: its days in Dagster, its files in the ledger."""
    with connected() as systems, asked_dagster(systems) as dagster:
        told = report(systems, dagster, dagster.get(backfill_id))
        if as_json:
            typer.echo(json_text(told))
            return
        for name, value in told.items():
            if value not in (None, ""):
                typer.echo(f"{name.replace('_', ' '):16} {value if not isinstance(value, datetime) else moment(value)}")


@app.command()
def stop(
    backfill_id: Id,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until its runs have ended.")] = True,
    as_json: AsJson = False,
) -> None:
    """Stop a backfill: what is loaded stays, what has not begun waits for the next one."""
    page = console(stderr=as_json)
    with connected() as systems, asked_dagster(systems) as dagster:
        found = dagster.get(backfill_id)
        if found.status.is_over:
            page.print(f"It is over already: {found.status.lower()}.", markup=False)
        else:
            dagster.cancel(backfill_id)
            systems.ledger.backfills.hold_back(backfill_id)
            if wait:
                follow(systems, dagster, backfill_id, page)
            found = dagster.get(backfill_id)
            _tell_stopped(systems, found, page)
        if as_json:
            typer.echo(json_text(report(systems, dagster, found)))


class Plan:
    """What a backfill of these days would take.

    Args:
        days: Those that have files, as the ledger knows them.
    """

    def __init__(
        self, systems: Connections, datasource: str, days: Sequence[DayFiles], *, first: date, last: date
    ) -> None:
        self.datasource, self.first, self.last, self.days = datasource, first, last, days
        contract, settings = systems.contracts.contracts[datasource], systems.settings
        self.runs = runs_needed(
            days,
            days_per_run=contract.backfill.days_per_run,
            max_files=settings.batch_max_files,
            max_bytes=settings.batch_max_bytes,
        )
        self.time: Duration | None = duration(
            runs=self.runs, files=self.total("history"), past=systems.ledger.backfills.past_runs(datasource)
        )

    def total(self, name: str) -> int:
        return sum(getattr(day, name) for day in self.days)

    @property
    def where(self) -> str:
        return f"{self.datasource}, {self.first} to {self.last}"

    @property
    def others(self) -> str:
        """What became of the files that do not wait."""
        return (
            f"{self.total('loaded'):,} loaded, {self.total('failed'):,} failed, {self.total('under_way'):,} under way"
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "datasource": self.datasource,
            "from": self.first,
            "to": self.last,
            "files": self.total("history"),
            "bytes": self.total("history_bytes"),
            "days": sum(1 for day in self.days if day.history),
            **{name: self.total(name) for name in ("loaded", "failed", "under_way")},
            "runs": self.runs,
            "seconds": asdict(self.time) if self.time else None,
            "by_day": [asdict(day) for day in self.days],
        }

    def show(self, page: "Console") -> None:
        waiting = [day for day in self.days if day.history]
        page.print(f"[bold]{self.where}[/]")
        facts = (
            ("waiting", f"{counted(self.total('history'), 'file')}, {size(self.total('history_bytes'))}"),
            ("days", f"{counted(len(waiting), 'day')} with files that wait, of {len(self.days):,} with any"),
            ("other files", self.others),
            ("runs", f"about {self.runs:,}" if self.runs else "none"),
            ("time", self.time_told()),
        )
        for name, value in facts:
            page.print(f"{name:12} {value}", markup=False, soft_wrap=True)

    def time_told(self) -> str:
        if not self.runs:
            return "none"
        if self.time is None:
            return f"not known: no run of {self.datasource} has loaded a file yet"
        shortest, longest = _span(self.time.shortest), _span(self.time.longest)
        span = shortest if shortest == longest else f"{shortest} to {longest}"
        return f"about {span}, one run after the other, judged by the last {counted(self.time.runs, 'run')}"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _launch(systems: Connections, plan: Plan, page: "Console", *, wait: bool, as_json: bool) -> int:
    """Start it and, if wanted, follow it; the exit code."""
    if not plan.total("history"):
        # Known without Dagster, and true whether it runs or not.
        page.print(f"Nothing to load: no file of {plan.where} waits for a backfill ({plan.others}).", soft_wrap=True)
        if as_json:
            typer.echo(json_text({**plan.as_dict(), "backfill_id": None}))
        return 0
    with asked_dagster(systems) as dagster:
        running = [
            one
            for one in dagster.latest(_LOOKED_THROUGH)
            if one.datasource == plan.datasource and not one.status.is_over
        ]
        if stopping := [one.backfill_id for one in running if one.status.is_stopped]:
            raise ConfigurationError(
                f"Backfill {stopping[0]} of {plan.datasource} is being stopped.",
                hint=f"Wait for its end: `ingestion-pipeline backfill status {stopping[0]}`.",
            )
        days = days_to_launch(plan.days, running)
        if not days:
            _tell_running(running, page, dagster.page(running[0].backfill_id))
            if as_json:
                typer.echo(json_text({**plan.as_dict(), "backfill_id": running[0].backfill_id}))
            return 0
        backfill_id = dagster.launch(plan.datasource, days, title=f"History of {plan.where}")
        files = sum(day.history for day in plan.days if day.day in set(days))
        page.print(
            f"Backfill {backfill_id}: {counted(files, 'file')} of {counted(len(days), 'day')}, {plan.time_told()}.\n"
            f"{dagster.page(backfill_id)}",
            markup=False,
            soft_wrap=True,
        )
        code = 0
        if wait:
            code = follow(systems, dagster, backfill_id, page, files=files)
        else:
            page.print(f"`ingestion-pipeline backfill status {backfill_id}` tells how far it is.", markup=False)
        if as_json:
            typer.echo(json_text(report(systems, dagster, dagster.get(backfill_id))))
        return code


def _tell_running(running: Sequence[Backfill], page: "Console", url: str) -> None:
    ids = ", ".join(one.backfill_id for one in running)
    page.print(f"Nothing to start: backfill {ids} is loading these days. {url}", markup=False, soft_wrap=True)


def _tell_stopped(systems: Connections, found: Backfill, page: "Console") -> None:
    files = systems.ledger.backfills.files(found.backfill_id)
    page.print(
        f"Stopped: {counted(files.loaded, 'file')} loaded"
        + (f", {files.open:,} at work or on their way into Druid, which are brought to their end" if files.open else "")
        + ". What has not begun waits: start the same backfill again to go on.",
        markup=False,
        soft_wrap=True,
    )
