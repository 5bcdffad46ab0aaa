"""Command `why KEY|JOB`: one plain answer to why a file is not loaded, and what to do about it.

What belongs here: showing the answer and what it rests on, for people and for machines. What does not: asking the
systems (`cli.facts`), judging what they say (`stages.diagnose`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ingestion_pipeline.cli.connections import connected
from ingestion_pipeline.cli.facts import PATIENCE_SECONDS, gather
from ingestion_pipeline.cli.output import AsJson, console, escaped, json_text, table
from ingestion_pipeline.domain.diagnosis import DagsterNow, Facts, NoAnswer
from ingestion_pipeline.stages.diagnose import Answer, Evidence, Mark, Standing, diagnose, evidence

app = typer.Typer()

EXIT_NEEDS_A_PERSON = 5
_STYLES: Mapping[Standing, str] = {
    Standing.FINE: "green",
    Standing.ON_ITS_WAY: "yellow",
    Standing.NEEDS_A_PERSON: "red",
}
_MARKS: Mapping[Mark, str] = {
    Mark.GOOD: "[green]✓[/]",
    Mark.OPEN: "[yellow]…[/]",
    Mark.BAD: "[red]✗[/]",
    Mark.UNKNOWN: "[magenta]?[/]",
}


@app.command()
def why(
    file: Annotated[
        str, typer.Argument(metavar="KEY|JOB", help="An object's key, a file's name, an s3:// URL, or a job's id.")
    ],
    as_json: AsJson = False,
) -> None:
    """Tell why a file is not loaded, and what to do. Exit code 5: it stays so until a person does something."""
    page = console()
    with connected(patience_seconds=PATIENCE_SECONDS) as systems:
        with console(stderr=True).status("Asking the ledger, the bucket, Dagster and Druid …"):
            facts = gather(systems, file, now=datetime.now(UTC))
        run_url = _run_url(facts, systems.settings.dagster_url)
    answer, parts = diagnose(facts), evidence(facts)
    if as_json:
        typer.echo(json_text(_for_machines(facts, answer, parts, run_url)))
    else:
        name = facts.key.rsplit("/", 1)[-1] or facts.key
        page.print(f"[bold]{escaped(name)}[/]  [{_STYLES[answer.standing]}]{_verdict(answer)}[/]", soft_wrap=True)
        page.print(escaped(answer.told), soft_wrap=True)
        page.print()
        page.print(_table(parts))
        if run_url:
            page.print(f"Dagster's page: {escaped(run_url)}", soft_wrap=True)
        page.print(f"\n[bold]What now:[/] {escaped(answer.next_step)}", soft_wrap=True)
    if answer.standing is Standing.NEEDS_A_PERSON:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


def _verdict(answer: Answer) -> str:
    words = {
        Standing.FINE: "done",
        Standing.ON_ITS_WAY: "is on its way",
        Standing.NEEDS_A_PERSON: "needs a person",
    }
    return f"{words[answer.standing]} ({answer.cause})"


def _table(parts: Sequence[Evidence]) -> Any:
    made = table("system", "", "what it says")
    for part in parts:
        made.add_row(part.about, _MARKS[part.mark], escaped(part.told))
    return made


def _run_url(facts: Facts, dagster_url: str) -> str | None:
    """The page of the run that works on it, is to do so, or was the last."""
    if facts.job is None:
        return None
    runs = facts.dagster.runs if isinstance(facts.dagster, DagsterNow) else ()
    run_id = facts.job.lease_run_id or (runs[0].run_id if runs else facts.job.run_id)
    return f"{dagster_url}/runs/{run_id}" if run_id else None


def _for_machines(facts: Facts, answer: Answer, parts: Sequence[Evidence], run_url: str | None) -> dict[str, Any]:
    job = facts.job.job if facts.job is not None else None
    return {
        "asked": facts.asked,
        "key": facts.key,
        "job_id": job.job_id if job else None,
        "status": job.status if job else None,
        "outcome": job.outcome if job else None,
        "cause": answer.cause,
        "standing": answer.standing,
        "told": answer.told,
        "next_step": answer.next_step,
        "commands": answer.commands,
        "run_url": run_url,
        "evidence": [asdict(part) for part in parts],
        "facts": {
            name: _plain(value)
            for name, value in (
                ("object", facts.stored),
                ("queue", facts.place),
                ("attempt", facts.attempt),
                ("sensor", facts.dagster.last_tick if isinstance(facts.dagster, DagsterNow) else facts.dagster),
                ("runs", facts.dagster.runs if isinstance(facts.dagster, DagsterNow) else None),
                ("druid", facts.druid),
            )
        },
    }


def _plain(value: Any) -> Any:
    """A fact as JSON; null: it was not asked for, or is not there."""
    if isinstance(value, NoAnswer):
        return {"could_not_be_asked": value.problem}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value) or None
    return value
