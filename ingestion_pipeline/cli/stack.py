"""Commands of the embedded stack: `up`, `down`, `status`, `logs`.

What belongs here: their options and what people see. What does not: starting and stopping (`embedded`).
"""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingestion_pipeline.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.table import Table

    from ingestion_pipeline.embedded.report import ServiceStatus, StackEvent, UpReport

app = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
_FOLLOW_SECONDS = 0.3


@app.command()
def up(
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Any free ports; they are remembered.")] = False,
    port: Annotated[list[str] | None, typer.Option(help="NAME=NUMBER, as often as needed.")] = None,
    contracts_dir: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Other contracts than the built-in; remembered.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start PostgreSQL, S3, Druid and Dagster on this machine; returns when all are ready."""
    from ingestion_pipeline.embedded.stack import Stack

    stack = Stack(ports=_ports(port or []), use_free_ports=free_ports, contracts_dir=contracts_dir)
    if as_json:
        report = stack.up()
        typer.echo(json.dumps({"data_dir": str(stack.root), **asdict(report)}))
        return
    report = show_up(stack.up)
    typer.echo("")
    for service in stack.status():
        if service.service in ("dagster-webserver", "druid-broker", "s3", "postgres"):
            typer.echo(f"  {service.service:18} {service.url}")
    typer.echo(f"\nReady after {report.seconds:.1f} s. Variables for other programs: {stack.root / 'stack.env'}")


@app.command()
def down(as_json: AsJson = False) -> None:
    """Stop everything; the data stays for the next `up`."""
    from ingestion_pipeline.embedded.stack import Stack

    stack = Stack()
    began = time.monotonic()
    stopped = stack.down() if stack.root.is_dir() else []
    if as_json:
        typer.echo(json.dumps({"stopped": stopped}))
    elif stopped:
        typer.echo(f"Stopped {', '.join(stopped)} in {time.monotonic() - began:.1f} s.")
    else:
        typer.echo("Nothing was running.")


@app.command()
def status(
    job: Annotated[str | None, typer.Argument(help="A job's id; without it, the services are shown.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one job, or the services: state, pid, port, memory, uptime. Exit code 1 if one is not ready."""
    if job is not None:
        from ingestion_pipeline.cli import jobs

        jobs.show_job(job, as_json=as_json)
        return
    from ingestion_pipeline.embedded.stack import Stack

    stack = Stack()
    services = stack.status() if stack.root.is_dir() else []
    if as_json:
        typer.echo(json.dumps([asdict(service) for service in services]))
    elif services:
        _console().print(_table(services))
    else:
        typer.echo(f"There is no stack in {stack.root} yet: run `ingestion-pipeline up`.")
    if not services or any(service.state != "ready" for service in services):
        raise typer.Exit(1)


@app.command()
def logs(
    service: Annotated[str, typer.Argument(help="As `status` names it.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 100,
) -> None:
    """Show a service's log; URLs without their query strings, which carry signatures."""
    from ingestion_pipeline.embedded import processes
    from ingestion_pipeline.embedded.stack import Stack

    log_file = Stack().log_file(service)
    if not log_file.is_file():
        raise StackError(f"{service} has written no log in {log_file.parent}.", hint="Run `ingestion-pipeline up`.")
    position = log_file.stat().st_size
    for line in processes.last_lines(log_file, count=lines):
        typer.echo(line)
    while follow:
        size = log_file.stat().st_size
        if size > position:
            with log_file.open("rb") as log:
                log.seek(position)
                new = log.read()
            whole = new[: new.rfind(b"\n") + 1]
            position += len(whole)
            for line in whole.decode("utf-8", errors="replace").splitlines():
                typer.echo(processes.without_secrets(line))
        elif size < position:  # a new file after rotation
            position = 0
        time.sleep(_FOLLOW_SECONDS)


def show_up(start: "Callable[..., UpReport]") -> "UpReport":
    """Run `Stack.up` with a progress bar for downloads and a line per service that is ready."""
    from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

    console = _console()
    waiting: set[str] = set()
    with (
        Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            transient=True,
        ) as downloads,
        console.status("Starting …") as line,
    ):
        task = downloads.add_task("Druid from Maven Central", total=None, visible=False)

        def progress(event: "StackEvent") -> None:
            if event.state == "downloading":
                downloads.update(task, completed=event.done, total=event.total, visible=event.done < event.total)
                return
            waiting.add(event.service) if event.state == "starting" else waiting.discard(event.service)
            if event.state == "ready":
                console.print(f"[green]✓[/] {event.service:18} {event.seconds:5.1f} s", highlight=False)
            line.update("Starting " + ", ".join(sorted(waiting)) + " …")

        report = start(progress=progress)
    if report.download_seconds:
        console.print(f"Downloads took {report.download_seconds:.1f} s (kept for all later starts).", highlight=False)
    return report


def megabytes(size_bytes: int) -> str:
    """A size for people, in MB of 10^6 bytes."""
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes else ""


def _table(services: "list[ServiceStatus]") -> "Table":
    from rich.table import Table

    table = Table(box=None)
    for name in ("service", "state", "pid", "port", "memory", "uptime"):
        table.add_column(name, no_wrap=True)
    table.add_column("url", overflow="fold")
    colours = {"ready": "green", "unready": "yellow", "dead": "red"}
    for service in services:
        colour = colours.get(service.state, "dim")
        table.add_row(
            service.service,
            f"[{colour}]{service.state}[/]",
            str(service.pid or ""),
            str(service.port or ""),
            megabytes(service.rss_bytes),
            _duration(service.uptime_seconds),
            service.url if service.pid else "",
        )
    return table


def _duration(seconds: float) -> str:
    if not seconds:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _console() -> "Console":
    from rich.console import Console

    return Console()


def _ports(given: list[str]) -> dict[str, int]:
    ports = {}
    for text in given:
        name, _, number = text.partition("=")
        if not number.isdigit():
            raise typer.BadParameter(f"{text!r} is not NAME=NUMBER", param_hint="--port")
        ports[name] = int(number)
    return ports
