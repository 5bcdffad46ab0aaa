"""`reconcile` and `retention`: what Dagster's daily jobs of the same names do, by hand and at once.

What belongs here: options and showing. What does not: the work (`upkeep.reconcile`, `upkeep.retention`). Claims and
Dagster's own runs are looked after by Dagster alone: the command line has no part in it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ingestion_pipeline.cli.connections import connected
from ingestion_pipeline.cli.output import AsJson, console, counted, escaped, json_text, number, size, table

if TYPE_CHECKING:
    from rich.console import Console

    from ingestion_pipeline.upkeep.reconcile import Counted, Listing
    from ingestion_pipeline.upkeep.retention import Retained

app = typer.Typer()

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.command()
def reconcile(
    *,
    datasource: Annotated[str | None, typer.Option("--datasource", "-d", help="Count its rows only.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Count also what was counted a short time ago; still so many jobs at most.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Find uploads that nobody saw and rows that Druid has lost; enter the ones, load the others again."""
    from ingestion_pipeline.upkeep.reconcile import RowCounter, reconcile_listing

    page = console(stderr=as_json)
    with connected() as systems, _progress(page) as tell:
        now, book, settings = datetime.now(UTC), systems.contracts, systems.settings
        if everything:
            settings = settings.model_copy(update={"reconcile_after_days": 0.0})
        listing = reconcile_listing(systems.ledger, systems.bucket, book, now=now, dry_run=dry_run, tell=tell)
        rows = RowCounter(
            ledger=systems.ledger,
            bucket=systems.bucket,
            druid=systems.druid,
            book=book,
            settings=settings,
            now=now,
            tell=tell,
            datasource=datasource,
            dry_run=dry_run,
        ).run()
    if as_json:
        typer.echo(json_text({"dry_run": dry_run, "uploads": asdict(listing), "rows": asdict(rows)}))
    else:
        _show_reconciled(listing, rows, page, dry_run=dry_run)


@app.command()
def retention(*, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Put loaded uploads away, and take away what is old and what no live job, replay or open quarantine needs."""
    from ingestion_pipeline.upkeep.after_load import put_uploads_away
    from ingestion_pipeline.upkeep.retention import Retention

    page = console(stderr=as_json)
    with connected() as systems, _progress(page) as tell:
        now = datetime.now(UTC)
        uploads = put_uploads_away(
            systems.ledger, systems.bucket, systems.contracts, now=now, tell=tell, dry_run=dry_run
        )
        done = Retention(
            ledger=systems.ledger,
            bucket=systems.bucket,
            settings=systems.settings,
            now=now,
            tell=tell,
            dry_run=dry_run,
        ).run()
    if as_json:
        typer.echo(json_text({"dry_run": dry_run, "uploads": uploads, **asdict(done)}))
    else:
        _show_retained(done, page, dry_run=dry_run)
        for what, count in uploads.items():
            page.print(f"Uploads that are loaded, {what}: {count:,}.")


@contextmanager
def _progress(page: "Console") -> Iterator[Callable[[str], None]]:
    """A line that says what is being done, where somebody watches."""
    with page.status("…") as status:
        yield lambda text: status.update(escaped(text))


def _show_reconciled(listing: "Listing", rows: "Counted", page: "Console", *, dry_run: bool) -> None:
    verb = "would be entered" if dry_run else "entered"
    page.print(
        f"{counted(listing.objects, 'object')} listed; {listing.new:,} without a job {verb}, "
        f"{listing.missed:,} of them missed by the uploads sensor."
    )
    for key in listing.keys:
        page.print(f"  {key}", markup=False, soft_wrap=True)
    page.print(
        f"{counted(rows.jobs, 'job')} counted in Druid; {rows.right:,} right, {len(rows.drifts):,} not, "
        f"{rows.waiting:,} could not be judged now."
    )
    for drift in rows.drifts:
        page.print(f"  {drift.text}", markup=False, soft_wrap=True, style="yellow")
    for datasource, why in rows.why_waiting.items():
        page.print(f"  {datasource}: {why}", markup=False, soft_wrap=True)


def _show_retained(done: "Retained", page: "Console", *, dry_run: bool) -> None:
    made = table("what", "would go" if dry_run else "gone", "kept", right=("would go", "gone", "kept"))
    for name, removed in done.objects.items():
        what = f"objects: {name}" + (f" ({size(removed.size_bytes)})" if removed.size_bytes else "")
        made.add_row(what, number(removed.objects) or "0", number(sum(removed.kept.values())))
    made.add_row("unfinished uploads", str(done.unfinished_uploads), "")
    made.add_row("events", number(done.events) or "0", "")
    made.add_row("deliveries of callbacks", number(done.deliveries) or "0", "")
    made.add_row("specs of attempts", number(done.attempts) or "0", "")
    made.add_row("jobs", number(done.jobs.deleted) or "0", number(done.jobs.needed + done.jobs.in_bucket))
    page.print(made)
    page.print("Dagster's own old runs go with its job `retention`.")
