"""Command `doing`: how ingestion is doing now, as the asset of that name says on Dagster's page."""

from datetime import UTC, datetime

import typer

from ingestion_pipeline.cli.connections import connected
from ingestion_pipeline.cli.output import AsJson, age, console, counted, escaped, json_text, number, size, table
from ingestion_pipeline.domain.figures import COUNTED, Ended

app = typer.Typer()


@app.command()
def doing(as_json: AsJson = False) -> None:
    """Show how ingestion is doing: what waits and since when, what ended lately, what a person should look at."""
    now = datetime.now(UTC)
    with connected() as systems:
        broken = {name: str(error) for name, error in systems.contracts.broken_datasources.items()}
        figures = systems.ledger.figures.now(now, disabled=broken)
    if as_json:
        typer.echo(json_text({"moment": now, **figures.numbers, "problems": figures.problems}))
        return
    page = console()
    for problem in figures.problems:
        page.print(f"[yellow]![/] {escaped(problem)}", soft_wrap=True)
    if not figures.problems:
        page.print("[green]✓[/] All is well.")
    page.print()
    if figures.waiting:
        waiting = table("waiting", "priority", "files", "size", "oldest", right=("files", "size", "oldest"))
        for group in figures.waiting:
            waiting.add_row(
                group.lane.value,
                group.priority.name.lower(),
                number(group.files),
                size(group.size_bytes),
                age(group.oldest, now),
            )
        page.print(waiting)
    else:
        page.print("Nothing waits for a run.")
    if figures.history:
        more = "more than " if figures.history > COUNTED else ""
        page.print(f"{more}{counted(min(figures.history, COUNTED), 'older file')} wait for a backfill.".capitalize())
    page.print(f"{counted(figures.in_work, 'file')} in {counted(figures.runs, 'run')} now.\n")
    ended = table(
        "ended within", "files", "failed", "rows in Druid", "size", right=("files", "failed", "rows in Druid")
    )
    for name, part in (("an hour", figures.last_hour), ("a day", figures.last_day)):
        ended.add_row(name, *_cells(part))
    page.print(ended)


def _cells(ended: Ended) -> tuple[str, str, str, str]:
    failed = f"{ended.failed:,} ({ended.failed_fraction:.1%})" if ended.failed else "0"
    return f"{ended.files:,}", failed, f"{ended.rows:,}", size(ended.size_bytes)
