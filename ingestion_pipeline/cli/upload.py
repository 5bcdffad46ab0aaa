"""Command `upload`: local files into the bucket and the ledger, and, if wanted, until they are proved.

What belongs here: its options, and whose place a file may take. What does not: sending (`cli.send`), waiting
(`cli.follow`).
"""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingestion_pipeline.cli.connections import Connections, connected
from ingestion_pipeline.cli.follow import Timeout, Wait, follow
from ingestion_pipeline.cli.output import AsJson, console, json_text
from ingestion_pipeline.cli.send import (
    Parcel,
    known_organization,
    priority_named,
    require_readable,
    require_usable,
    send_all,
)
from ingestion_pipeline.cli.targets import holding_rows, rows_told, target_of
from ingestion_pipeline.domain.job import Cause
from ingestion_pipeline.domain.orders import Target, require_replaceable, short

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()


@app.command()
def upload(
    files: Annotated[
        list[Path],
        typer.Argument(help="Delimited text (CSV, TSV, ...), JSON, Parquet; plain or compressed.", show_default=False),
    ],
    *,
    datasource: Annotated[str, typer.Option("--datasource", "-d", help="Whose contract they have to meet.")],
    organization: Annotated[
        str | None, typer.Option("--organization", "-o", help="Whose files they are; may be left out if there is one.")
    ] = None,
    replaces: Annotated[
        str | None, typer.Option("--replaces", metavar="JOB", help="The job whose rows the file takes the place of.")
    ] = None,
    day: Annotated[
        datetime | None,
        typer.Option(
            "--date",
            formats=["%Y-%m-%d"],
            help="Partition day; default: today in UTC, or the day of the job that it replaces.",
        ),
    ] = None,
    priority: Annotated[
        str | None, typer.Option(help="urgent, high, medium or low; default: the contract's.", show_default=False)
    ] = None,
    wait: Wait = False,
    timeout: Timeout = 900.0,
    as_json: AsJson = False,
) -> None:
    """Upload files. With --wait: exit code 0 all done, 1 one failed, 3 not done in time."""
    chosen = None if priority is None else priority_named(priority)
    if replaces is not None and len(files) > 1:
        raise typer.BadParameter("One file takes the place of a job, not several.", param_hint="--replaces")
    for path in files:
        require_readable(path)
    page = console(stderr=as_json)
    with connected() as systems:
        old = target_of(systems, replaces, prefer=lambda job: job.holds_rows) if replaces is not None else None
        if organization is None and old is not None:
            organization = old.job.organization
        tenant = known_organization(organization, systems.ledger.discovery.organizations())
        require_usable(datasource, systems)
        if old is not None:
            require_replaceable(old, organization=tenant, datasource=datasource)
            _tell_what_goes(old, systems, page)
        parcel = Parcel(
            organization=tenant,
            datasource=datasource,
            day=day.date() if day else old.job.partition_day if old else datetime.now(UTC).date(),
            priority=priority_named(systems.contracts.contracts[datasource].priority) if chosen is None else chosen,
            replaces_job_id=old.job.job_id if old else None,
        )
        sent = send_all(files, systems, parcel, page=page)
        if not wait:
            if as_json:
                typer.echo(json_text([asdict(one) for one in sent]))
            else:
                page.print(f"`ingestion-pipeline status {short(sent[0].job_id)}` tells how far it is.")
            return
        state, code = follow([one.followed() for one in sent], systems, page, timeout_seconds=timeout)
        if as_json:
            typer.echo(json_text([{**asdict(one), "job": w.job} for one, w in zip(sent, state, strict=True)]))
    raise typer.Exit(code)


def _tell_what_goes(old: Target, systems: Connections, page: "Console") -> None:
    jobs = holding_rows(systems, Cause.UNDO, [old.job])[old.job.job_id]
    if jobs:
        text = f"It takes the place of {rows_told(jobs)}."
    else:
        text = f"Job {short(old.job)} has no rows in Druid ({old.job.status}/{old.job.outcome}): nothing is taken out."
    page.print(text, markup=False, soft_wrap=True)
