"""Command `query`: SQL for the operator, who sees every organization's rows.

What belongs here: showing rows as a table, JSON or CSV. What does not: asking Druid (`adapters.druid`).
"""

import csv
import sys
from typing import Annotated, Any

import typer

from ingestion_pipeline.cli.connections import connected
from ingestion_pipeline.cli.output import console, json_text, table
from ingestion_pipeline.errors import DruidRejected

app = typer.Typer()


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="Druid SQL, or - to read it from standard input.")],
    as_json: Annotated[bool, typer.Option("--json", help="An array of objects.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="With a header; null and empty text look alike.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds, then Druid stops the query.")] = 60.0,
) -> None:
    """Ask Druid by SQL; its own words where it refuses."""
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other.")
    text = sys.stdin.read() if sql == "-" else sql
    with connected() as systems:
        try:
            rows = systems.druid.query(text, timeout_seconds=timeout)
        except DruidRejected as error:
            answer = error.details.get("answer")
            if not answer or str(answer) in error.message:
                raise
            raise DruidRejected(f"{error.message}\n  {answer}", hint=error.hint) from error
    if as_json:
        typer.echo(json_text(rows))
    elif as_csv:
        _write_csv(rows)
    elif rows:
        console().print(rows_table(rows))
        typer.echo(f"{len(rows):,} row{'s' if len(rows) != 1 else ''}.")
    else:
        typer.echo("No rows.")


def rows_table(rows: list[dict[str, Any]]) -> Any:
    """Rows of an answer as a table; numbers to the right."""
    from rich.markup import escape

    names = list(rows[0])
    numeric = [name for name in names if all(isinstance(row[name], int | float | None) for row in rows)]
    made = table(*names, right=numeric)
    for row in rows:
        made.add_row(*(escape(_cell(row[name])) for name in names))
    return made


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{round(value, 4):,}" if abs(value) >= 0.001 else f"{value:.4g}"
    return str(value)


def _write_csv(rows: list[dict[str, Any]]) -> None:
    if rows:
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
