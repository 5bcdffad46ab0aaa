"""Command `demo`: everything started, a year of flights put into the bucket, watched, proved and asked about.

What belongs here: the order of the demo and what people see. What does not: the files (`demo_data`), the
comparison (`cli.proof`), starting services (`embedded`). The files go into the bucket by a plain PUT, so that
it is the sensor that finds them.
"""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestion_pipeline.cli import demo_after
from ingestion_pipeline.cli import proof as proofs
from ingestion_pipeline.cli.connections import Connections, connected
from ingestion_pipeline.cli.demo_questions import QUESTIONS
from ingestion_pipeline.cli.follow import hindrances
from ingestion_pipeline.cli.output import console, table
from ingestion_pipeline.cli.query import rows_table
from ingestion_pipeline.cli.stack import megabytes, show_up
from ingestion_pipeline.cli.watch import Watched, watch
from ingestion_pipeline.demo_data import DemoFile, write_demo_files
from ingestion_pipeline.domain.contract_patterns import UPLOADS_PREFIX
from ingestion_pipeline.errors import IngestionError
from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from ingestion_pipeline.embedded.stack import Stack

app = typer.Typer()

AIRLINES, NEWCOMER = "acme", "globex"
"""Organizations: the months and the weather are the first's, the file with errors is the second's."""
# The same key at every demo: what was loaded once is recognised as a duplicate.
_FOLDER = "demo"
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
_INGEST_TIMEOUT_SECONDS = 900.0


@dataclass(slots=True)
class Stages:
    """Seconds by stage, in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = time.monotonic() - began


@app.command()
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Stop everything at the end; exit code 0 only if all is proved.")
    ] = False,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Any free ports instead of the usual ones.")] = False,
) -> None:
    """Start everything, ingest a year of real flights, prove every row; stays up until Ctrl-C."""
    from ingestion_pipeline.embedded.stack import Stack

    page = console()
    stack = Stack(use_free_ports=free_ports)
    was_up = stack.root.is_dir() and any(service.pid for service in stack.status())
    signal.signal(signal.SIGTERM, _interrupt)
    code = EXIT_FAILED
    try:
        if _run(stack, page):
            code = 0
        if not once:
            with suppress(KeyboardInterrupt):
                _title(page, "Yours now")
                demo_after.stay(stack, stack_settings(stack), page, organization=AIRLINES)
    except KeyboardInterrupt:
        page.print("\nInterrupted.")
        code = EXIT_INTERRUPTED
    finally:
        _stop(stack, page, was_up=was_up)
    raise typer.Exit(code)


def _run(stack: "Stack", page: "Console") -> bool:
    """The whole demo; True if everything was proved."""
    began = time.monotonic()
    stages = Stages()
    _title(page, "Starting")
    with stages.stage("start"):
        report = show_up(stack.up)
    stages.seconds["start"] = report.seconds
    with connected(stack_settings(stack)) as systems:
        with stages.stage("write files"):
            files = write_demo_files(stack.root / "demo")
        _title(page, "Ingesting")
        with stages.stage("put"):
            since = datetime.now(UTC)
            put = _put(files, systems)
        workers = _Workers(stack)
        with stages.stage("ingest"):
            state = _wait(put, systems, workers, page, since=since)
        _title(page, "Proof")
        with stages.stage("proof"):
            made = proofs.prove([(one.file, _job_id(one, state)) for one in put], systems)
        proofs.print_proof(made, page)
        with stages.stage("questions"):
            _ask(systems, page)
        stages.seconds["total"] = time.monotonic() - began - report.download_seconds
        stages.seconds["download (apart)"] = report.download_seconds
        _costs(stack, stages, workers, page)
        not_proved = proofs.problems(made)
        if not_proved:
            page.print(f"\nNot proved ({len(not_proved)}):", style="bold red")
            for problem in not_proved[:20]:
                page.print(f"  {problem}", style="red", markup=False, soft_wrap=True)
            for sentence in hindrances(systems):
                page.print(f"  {sentence}", style="yellow", markup=False, soft_wrap=True)
        else:
            page.print("\nEverything was proved: every accepted row is in Druid, once.", style="bold green")
        return not not_proved


@dataclass(frozen=True, slots=True)
class Put:
    """A file of the demo in the bucket."""

    file: DemoFile
    key: str
    put_at: datetime


def _put(files: Sequence[DemoFile], systems: Connections) -> list[Put]:
    discovery = systems.ledger.discovery
    for organization in (AIRLINES, NEWCOMER):
        discovery.add_organization(organization)
    # Before the first PUT: objects older than a contract's first sight are history and would wait.
    discovery.note_contracts(systems.contracts, now=datetime.now(UTC))
    put = []
    for file in files:
        organization = NEWCOMER if file.kind == "planted" else AIRLINES
        key = f"{UPLOADS_PREFIX}{organization}/{file.datasource}/{file.day.isoformat()}/{_FOLDER}/{file.path.name}"
        systems.bucket.put_file(key, file.path)
        put.append(Put(file, key, datetime.now(UTC)))
    return put


def _wait(
    put: Sequence[Put], systems: Connections, workers: "_Workers", page: "Console", *, since: datetime
) -> list[Watched]:
    def read() -> list[Watched]:
        workers.look()
        rows = [
            row
            for organization in (AIRLINES, NEWCOMER)
            for row in systems.ledger.jobs.latest(organization=organization, since=since, limit=500)
        ]
        # Newest first: of a key that somebody puts again meanwhile, the oldest is ours.
        by_key = {row["object_key"]: row for row in rows}
        return [Watched(name=one.file.path.name, put_at=one.put_at, job=by_key.get(one.key)) for one in put]

    return watch(
        read, console=page, timeout_seconds=_INGEST_TIMEOUT_SECONDS, notices=lambda: hindrances(systems)
    )  # fmt: skip


def _job_id(one: Put, state: Sequence[Watched]) -> str | None:
    return next((w.job["job_id"] for w in state if w.job and w.job["object_key"] == one.key), None)


def _ask(systems: Connections, page: "Console") -> None:
    _title(page, "Three questions, asked of Druid by SQL")
    for question, sql in QUESTIONS:
        page.print(f"\n[bold]{question}[/]")
        try:
            page.print(rows_table(systems.druid.query(sql.format(organization=AIRLINES))))
        except IngestionError as error:
            page.print(f"  {error}", style="red", markup=False)


class _Workers:
    """Peak memory of Dagster's run workers: children of the code server, gone when their run ends."""

    def __init__(self, stack: "Stack") -> None:
        self._stack = stack
        self._look_at = 0.0
        self.peak_bytes = 0

    def look(self) -> None:
        """Remember the largest; at most every two seconds, for it walks through all processes."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + 2.0
        import psutil

        from ingestion_pipeline.embedded.processes import memory_bytes

        pid = self._stack.pid("code-server")
        try:
            children = psutil.Process(pid).children(recursive=True) if pid else []
        except psutil.Error:
            return
        self.peak_bytes = max(self.peak_bytes, memory_bytes(children)[1])


def _costs(stack: "Stack", stages: Stages, workers: _Workers, page: "Console") -> None:
    from rich.columns import Columns

    _title(page, "Time and memory")
    times = table("stage", "seconds", right=("seconds",))
    for name, seconds in stages.seconds.items():
        times.add_row(name, f"{seconds:.1f}", style={"total": "bold"}.get(name))
    memory = table("process", "peak memory", right=("peak memory",))
    for service in stack.status():
        memory.add_row(service.service, megabytes(service.peak_rss_bytes))
    memory.add_row("run workers, largest", megabytes(workers.peak_bytes) or "not seen")
    page.print(Columns([times, memory], padding=(0, 6)))


def stack_settings(stack: "Stack") -> Settings:
    """The settings of this very stack: the caller's own variables must not lead the demo elsewhere."""
    prefix = "INGESTION_"
    values: dict[str, Any] = {
        name.removeprefix(prefix).lower(): value
        for name, value in stack.environment().items()
        if name.startswith(prefix)
    }
    default = Settings.model_fields["contracts_dir"].default
    return Settings(**{"contracts_dir": default, **values})


def _stop(stack: "Stack", page: "Console", *, was_up: bool) -> None:
    if was_up:
        page.print("The stack was up before and stays up: `ingestion-pipeline down` stops it.")
        return
    # A second Ctrl-C, or the one that a terminal sends to every process of `make`, must not leave half of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    began = time.monotonic()
    page.print("Stopping …")
    stopped = stack.down()
    page.print(f"Stopped {len(stopped)} services in {time.monotonic() - began:.1f} s; the data stays in {stack.root}.")


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _title(page: "Console", text: str) -> None:
    page.print(f"\n[bold]── {text} ──[/]")
