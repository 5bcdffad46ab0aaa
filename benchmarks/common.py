"""What all benchmarks share: a stack, files of real flights, questions to the stack, figures and their output.

What belongs here: everything that two benchmarks need. What does not: what is measured, and what it is compared
with; each script says that itself. Absolute times depend on the machine and on what else it does: every script
prints its comparison from the same run, and the load of the machine at both ends.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import psycopg
import requests
from psycopg.rows import dict_row

from ingestion_pipeline.adapters.contracts import load_contracts
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.demo_data import DemoFile, write_demo_files
from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.embedded import postgres
from ingestion_pipeline.embedded.stack import Stack
from ingestion_pipeline.settings import Settings

ORGANIZATION = "bench"
DATASOURCE = "flights"
POLL_SECONDS = 0.05
# Neither the proof nor the bare figure may come from a cache.
_NO_CACHE = {"useCache": False, "populateCache": False, "useResultLevelCache": False, "populateResultLevelCache": False}
_LIVE_RUNS = "QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING"

T = TypeVar("T")


@dataclass
class Bench:
    """A running stack, and what a benchmark asks of it. For one thread."""

    stack: Stack

    @cached_property
    def settings(self) -> Settings:
        variables = self.stack.environment()
        prefix = "INGESTION_"
        return Settings(**{n.removeprefix(prefix).lower(): v for n, v in variables.items() if n.startswith(prefix)})  # type: ignore[arg-type]

    @cached_property
    def bucket(self) -> ObjectStore:
        return ObjectStore.from_settings(self.settings)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.settings.ledger_url.get_secret_value())

    @cached_property
    def contract(self) -> Contract:
        return load_contracts(self.settings.contracts_dir).contracts[DATASOURCE]

    @cached_property
    def http(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # loopback needs no proxy
        return session

    @cached_property
    def _connection(self) -> "psycopg.Connection[dict[str, Any]]":
        url = postgres.url(self.stack.site, "pipeline", driver="postgresql")
        return psycopg.connect(url, autocommit=True, row_factory=dict_row)

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows of the ledger, by the role `pipeline`."""
        return self._connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, *parameters: Any) -> dict[str, Any] | None:
        found = self.rows(sql, *parameters)
        return found[0] if found else None

    def counts(self, datasource: str, job_ids: Sequence[str]) -> dict[str, int]:
        """Rows per job as the broker counts them by SQL, without any cache; a table it does not know has none."""
        marks = ", ".join("?" * len(job_ids))
        answer = self.http.post(
            f"{self.settings.druid_broker_url}/druid/v2/sql",
            json={
                "query": f'SELECT "__job_id" AS j, COUNT(*) AS n FROM "{datasource}" '
                f'WHERE "__job_id" IN ({marks}) GROUP BY 1',
                "parameters": [{"type": "VARCHAR", "value": job} for job in job_ids],
                "context": _NO_CACHE,
            },
            timeout=30,
        )
        if answer.status_code == 400 and "not found" in answer.text:
            return {}
        answer.raise_for_status()
        return {row["j"]: int(row["n"]) for row in answer.json()}

    def graphql(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Data of an answer of Dagster's webserver."""
        answer = self.http.post(
            f"{self.settings.dagster_url}/graphql",
            json={"query": query, "variables": variables or {}},
            headers={"Connection": "close"},  # uvicorn closes idle ones after five seconds, perhaps at this moment
            timeout=30,
        )
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        if body.get("errors"):
            raise RuntimeError(f"GraphQL: {body['errors'][0]['message']}")
        data: dict[str, Any] = body["data"]
        return data

    def live_runs(self) -> int:
        """Runs that are queued, starting or at work."""
        query = f"{{ runsOrError(filter: {{statuses: [{_LIVE_RUNS}]}}) {{ ... on Runs {{ results {{ runId }} }} }} }}"
        return len(self.graphql(query)["runsOrError"]["results"])

    def wait_for_quiet(self, seconds: float = 120) -> None:
        """Until no run is left: the next measurement shares the machine with nothing of the last one."""
        wait_until(lambda: self.live_runs() == 0, seconds=seconds, every=0.3, what="the runs to end")

    def start_code_server(self, *, files_per_run: int) -> None:
        """Anew, with another cap of files a run, and no daemon: what is put now waits until that is started."""
        self.stack.stop("dagster-daemon")
        self.stack.stop("code-server")
        stack = Stack(
            self.stack.root,
            use_free_ports=True,
            extra_environment={"INGESTION_BATCH_MAX_FILES": str(files_per_run)},
            contracts_dir=self.settings.contracts_dir,
        )
        stack.up(only=["code-server"])

    def key(self, day: date, name: str, *parts: str) -> str:
        """A key of the built-in uploads prefix; `parts` make it distinct."""
        return "/".join(["uploads", ORGANIZATION, DATASOURCE, day.isoformat(), *parts, name])

    def close(self) -> None:
        for name in ("_connection", "http", "ledger"):
            if name in self.__dict__:
                self.__dict__[name].close()


@contextmanager
def running_stack(
    data_dir: Path | None,
    *,
    only: Iterable[str] | None = None,
    ledger: bool = True,
    extra_environment: Mapping[str, str] | None = None,
    contracts_dir: Path | None = None,
) -> Iterator[Bench]:
    """A stack of the benchmark's own on free ports, removed afterwards; or the one in `data_dir`, left as it was.

    Args:
        only: These services and what they require.
        ledger: PostgreSQL is among them: make the benchmarks' organization.
        extra_environment: For the Dagster processes that are started here.
        contracts_dir: Instead of the built-in contracts.
    """
    root = data_dir or Path(tempfile.mkdtemp(prefix="ingestion-bench-"))
    stack = Stack(root, use_free_ports=True, extra_environment=extra_environment, contracts_dir=contracts_dir)
    ran_before = data_dir is not None and any(service.pid for service in stack.status())
    bench = Bench(stack)
    try:
        say("Starting the stack ...")
        say(f"Ready after {stack.up(only=only).seconds:.0f} s.")
        if ledger:
            bench.ledger.discovery.add_organization(ORGANIZATION)
        yield bench
    finally:
        bench.close()
        if not ran_before:
            stack.down()
        if data_dir is None:
            shutil.rmtree(root, ignore_errors=True)


# -- files ------------------------------------------------------------------------------------------------


def month_files(directory: Path) -> list[DemoFile]:
    """The twelve monthly files of real flights, about 28,000 rows each."""
    return [file for file in write_demo_files(directory) if file.kind == "month"]


def year_file(directory: Path, months: Sequence[DemoFile]) -> Path:
    """All of them as one file: 336,776 rows, 31 MB."""
    path = directory / "flights-2013.csv"
    with path.open("wb") as out:
        for position, month in enumerate(months):
            header, rows = month.path.read_bytes().split(b"\n", 1)
            out.write(rows if position else header + b"\n" + rows)
    return path


# -- time -------------------------------------------------------------------------------------------------


def wait_until(look: Callable[[], T | None], *, seconds: float, what: str, every: float = POLL_SECONDS) -> T:
    """Ask until the answer is true; returns it.

    Raises:
        TimeoutError: Not within the seconds; names what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {seconds:.0f} s in vain for {what}.")
        time.sleep(every)
    return seen


def today() -> date:
    return datetime.now(UTC).date()


def peak_rss_bytes() -> int:
    """The most memory that this process has held (VmHWM)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM: this benchmark needs Linux.")


# -- output -----------------------------------------------------------------------------------------------


def say(text: str = "") -> None:
    print(text, flush=True)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns under their names; numbers to the right, two digits after the point."""
    cells = [
        [f"{c:,.2f}" if isinstance(c, float) else f"{c:,}" if isinstance(c, int) else str(c) for c in r] for r in rows
    ]
    numeric = [
        all(not row[i] or row[i].lstrip("-+")[:1].isdigit() for row in cells) and bool(cells)
        for i in range(len(header))
    ]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    for row in [list(header), ["-" * width for width in widths], *cells]:
        aligned = (c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric, strict=True))
        say("  " + "  ".join(aligned).rstrip())


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, extremes and all values, rounded to milliseconds."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
        "values": [round(value, 3) for value in values],
    }


def run(
    doc: str | None,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    options: Callable[[argparse.ArgumentParser], None] = lambda _: None,
) -> None:
    """The body of every script: arguments, an orderly end on SIGTERM, figures as JSON; exits 1 on a broken promise.

    Args:
        measure: Prints its tables and returns the figures; ``"holds": False`` says that a promise was not kept.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--data-dir", type=Path, help="use the stack of this directory instead of a new one")
    options(parser)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _terminated)
    before = os.getloadavg()[0]
    say(f"{os.cpu_count()} cores, load average {before:.1f} at the start.")
    _quiet_logs()
    figures = measure(arguments)
    after = os.getloadavg()[0]
    say(f"Load average {after:.1f} at the end.")
    figures = {"cores": os.cpu_count(), "load_before": before, "load_after": after, **figures}
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2, default=str) + "\n", encoding="utf-8")
    sys.exit(0 if figures.get("holds", True) else 1)


def _terminated(number: int, frame: FrameType | None) -> None:
    # Raised in the main thread: `finally` blocks stop the stack and remove its directory.
    sys.exit(128 + number)


def _quiet_logs() -> None:
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
