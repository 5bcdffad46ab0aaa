"""Command `arrivals`: which expected files came, period by period.

What belongs here: its options and what people see. What does not: when files are expected (`domain.expectation`),
and what is said of what came (`stages.arrivals`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from ingestion_pipeline.cli.connections import Connections, connected
from ingestion_pipeline.cli.output import AsJson, console, escaped, json_text, moment, number, size, table
from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.domain.expectation import EVERYBODY
from ingestion_pipeline.errors import ConfigurationError
from ingestion_pipeline.stages.arrivals import State, Verdict, look

app = typer.Typer()

_SHOWN = {
    State.EXPECTED: "[dim]expected[/]",
    State.ON_TIME: "[green]on time[/]",
    State.CAME_LATE: "[green]came late[/]",
    State.LATE: "[yellow]late[/]",
    State.MISSING: "[red]missing[/]",
}


@app.command()
def arrivals(
    datasource: Annotated[str | None, typer.Option("--datasource", "-d")] = None,
    days: Annotated[int, typer.Option(min=1, max=14, help="How many days back.")] = 14,
    as_json: AsJson = False,
) -> None:
    """Show which of the files that contracts expect came: on time, late, missing, smaller than usual."""
    now = datetime.now(UTC)
    with connected() as systems:
        contracts = _expecting(systems, datasource)
        first_seen = systems.ledger.discovery.first_seen()
        found = {
            contract.datasource: [
                verdict
                for verdict in look(
                    contract, systems.ledger.arrivals.came, since=first_seen.get(contract.datasource), moment=now
                )
                if verdict.period.due >= now - timedelta(days=days)
            ]
            for contract in contracts
        }
    if as_json:
        typer.echo(json_text([_as_json(contract, found[contract.datasource]) for contract in contracts]))
        return
    if not contracts:
        typer.echo("No contract expects files. docs/how-to/expect-files.md shows how to say so.")
    for contract in contracts:
        _print(contract, found[contract.datasource])


def _expecting(systems: Connections, datasource: str | None) -> list[Contract]:
    book = systems.contracts
    if datasource is not None and datasource in book.broken_datasources:
        raise book.broken_datasources[datasource]
    if datasource is not None and datasource not in book.contracts:
        names = ", ".join(book.contracts) or "none"
        raise ConfigurationError(f"There is no contract '{datasource}'.", hint=f"There are: {names}.")
    return [
        contract
        for name, contract in book.contracts.items()
        if contract.expect is not None and datasource in (None, name)
    ]


def _print(contract: Contract, verdicts: Sequence[Verdict]) -> None:
    page = console()
    assert contract.expect is not None
    page.print(f"[bold]{contract.datasource}[/]  {escaped(contract.expect.sentence)}")
    if not verdicts:
        page.print("  Nothing was due since its contract was first seen.\n")
        return
    whose = ("organization",) if contract.expect.organizations else ()
    made = table("period", *whose, "due", "state", "files", "rows", "size", right=("files", "rows", "size"))
    for verdict in verdicts:
        came = verdict.came
        made.add_row(
            verdict.period.name,
            *([escaped(verdict.organization)] if whose else []),
            moment(verdict.period.due),
            _SHOWN[verdict.state] + _smaller(verdict),
            number(came.files),
            number(came.rows),
            size(came.size_bytes) if came.size_bytes else "",
        )
    page.print(made)
    page.print()


def _smaller(verdict: Verdict) -> str:
    if verdict.smaller is None:
        return ""
    return f" [yellow]smaller than usual ({verdict.smaller.usual:,} {verdict.smaller.measure})[/]"


def _as_json(contract: Contract, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    assert contract.expect is not None
    return {
        "datasource": contract.datasource,
        "expected": contract.expect.sentence,
        "periods": [
            {
                "period": verdict.period.name,
                "organization": None if verdict.organization == EVERYBODY else verdict.organization,
                "due": verdict.period.due,
                "missing_from": verdict.period.missing,
                "state": verdict.state,
                "findings": list(verdict.findings),
                "files": verdict.came.files,
                "rows": verdict.came.rows,
                "size_bytes": verdict.came.size_bytes,
                "usual": verdict.smaller.usual if verdict.smaller else None,
                "measure": verdict.smaller.measure if verdict.smaller else None,
            }
            for verdict in verdicts
        ],
    }
