"""Command `demo`: everything started, a year of flights put into the bucket, watched, proved and asked about.

What belongs here: the order of the demo and what people see. What does not: the files (`demo_data`), the
comparison (`cli.proof`), starting services (`embedded`). The files go into the bucket by a plain PUT, so that
it is the sensor that finds them.
"""

import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestion_pipeline.cli import proof as proofs
from ingestion_pipeline.cli.connections import Connections, connected
from ingestion_pipeline.cli.demo_questions import QUESTIONS
from ingestion_pipeline.cli.output import SHORT_ID, console, message, status_text, step_text, table
from ingestion_pipeline.cli.query import rows_table
from ingestion_pipeline.cli.stack import megabytes, show_up
from ingestion_pipeline.cli.upload import hindrances
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
_FOLLOW_SECONDS = 1.0


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
                _stay(stack, page)
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
        self.peak_bytes = 0

    def look(self) -> None:
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


def _stay(stack: "Stack", page: "Console") -> None:
    """Say what can be done now, and show every file that arrives, until interrupted."""
    settings = stack_settings(stack)
    command = _command()
    sample = _shown_path(stack.root / "demo" / "flights-2013-01.csv")
    env = _shown_path(stack.root / "stack.env")
    router = next((service.url for service in stack.status() if service.service == "druid-coordinator"), "")
    target = f"{UPLOADS_PREFIX}{AIRLINES}/flights/{datetime.now(UTC):%Y-%m-%d}/mine/my-flights.csv"
    _title(page, "Yours now")
    page.print(f"Dagster  {settings.dagster_url}/assets/flights")
    page.print(f"Druid    {router}  (console of the cluster)")
    page.print("\n[bold]Drop a file of your own[/] (this one is made from a real month; use any with the same header):")
    lines = [
        f"head -1000 {sample} > my-flights.csv",
        f"{command} upload my-flights.csv --datasource flights --organization {AIRLINES} --wait",
        "",
        "# or straight into the bucket, by any S3 client; the sensor finds it:",
        f"set -a; . {env}; set +a",
        'curl --fail --aws-sigv4 "aws:amz:$INGESTION_S3_REGION:s3" '
        '--user "$INGESTION_S3_ACCESS_KEY_ID:$INGESTION_S3_SECRET_ACCESS_KEY" \\',
        f'  -T my-flights.csv "$INGESTION_S3_ENDPOINT_URL/$INGESTION_S3_BUCKET/{target}"',
        "",
        f"{command} jobs",
        f"{command} query 'SELECT carrier, COUNT(*) AS flights FROM flights GROUP BY 1 ORDER BY 2 DESC LIMIT 5'",  # noqa: S608 - shown
    ]
    for line in lines:
        page.print(f"  {line}", style="dim" if line.startswith("#") else "cyan", markup=False, soft_wrap=True)
    page.print("\nIt stays up until Ctrl-C. Files that arrive are shown here.")
    with connected(settings) as systems:
        _follow(systems, page)


def _follow(systems: Connections, page: "Console") -> None:
    since, shown = datetime.now(UTC), dict[str, str]()
    while True:
        time.sleep(_FOLLOW_SECONDS)
        try:
            rows = systems.ledger.jobs.latest(since=since, limit=100)
        except IngestionError as error:
            page.print(str(error), style="red", markup=False)
            time.sleep(10 * _FOLLOW_SECONDS)
            continue
        for job in reversed(rows):
            where = f"{status_text(job)} {step_text(job)}".strip()
            if shown.get(job["job_id"]) == where:
                continue
            shown[job["job_id"]] = where
            rows_told = f"  {job['rows_read']:,} rows, {job['rows_rejected']:,} rejected" if job["finished_at"] else ""
            page.print(f"{datetime.now(UTC):%H:%M:%S}  {job['job_id'][:SHORT_ID]}  {_escaped(job['file_name'])}  "
                       f"{where}{rows_told}  {_escaped(message(job))}", soft_wrap=True)  # fmt: skip


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


def _command() -> str:
    """How this program is called from here."""
    if shutil.which("ingestion-pipeline"):
        return "ingestion-pipeline"
    return shlex.quote(_shown_path(Path(sys.argv[0]).absolute()))


def _shown_path(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
