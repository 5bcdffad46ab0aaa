"""Commands `organizations add` and `organizations list`: the tenants; a path in the bucket does not make one.

What belongs here: their options and what people see. What does not: the table (`adapters.postgres_discovery`).
"""

import re
from typing import Annotated

import typer

from ingestion_pipeline.cli.connections import connected
from ingestion_pipeline.cli.output import json_text
from ingestion_pipeline.errors import ConfigurationError

app = typer.Typer(help="Add and list organizations.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
# As the table's check constraint has it.
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="As it stands in keys: a-z, 0-9, - and _.")],
    title: Annotated[str, typer.Option(help="What people call it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Add an organization; its files are taken from the sensor's next tick on."""
    if not _SLUG.fullmatch(name):
        raise ConfigurationError(
            f"'{name}' cannot be an organization's name.",
            hint="It stands in keys: a-z, 0-9, - and _, beginning with a letter or digit, at most 63 characters.",
        )
    with connected() as systems:
        is_new = systems.ledger.discovery.add_organization(name, name=title)
    if as_json:
        typer.echo(json_text({"organization": name, "new": is_new}))
    else:
        typer.echo(f"Organization {name} {'added' if is_new else 'exists already'}.")


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List organizations."""
    with connected() as systems:
        names = sorted(systems.ledger.discovery.organizations())
    if as_json:
        typer.echo(json_text([{"organization": name} for name in names]))
    else:
        typer.echo("\n".join(names) or "None yet: `ingestion-pipeline organizations add NAME`.")
