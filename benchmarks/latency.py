"""Latency: from a file in the bucket to its rows counted in Druid, beside the parts it cannot do without.

One after the other, monthly files of real flights (28,000 rows) are put into the bucket, where the sensor finds them;
then the whole year (336,776 rows, 31 MB). Between the puts, so that all share the machine's conditions, it measures

- bare Druid: POST of a task that loads the same cleaned object into a scratch datasource -> counted;
- a bare Dagster run: a job with one empty op, in a code location of its own on the same instance and executor,
  launched by GraphQL -> finished.

`put` is the moment when the object exists, `counted` the moment when the broker, asked every 50 ms by `__job_id`,
counts all rows: the same poll for both. The sensor's tick is five seconds, and puts come at random moments of it. The
promise: the median of put -> counted is at most bare Druid + bare run + one tick + 2 s. Where the time goes is told
from the timestamps of the ledger and of Dagster.

How to run::

    python -m benchmarks.latency                          10 months, 3 years: about 8 minutes
    python -m benchmarks.latency --files 2 --years 0      to see that it works
"""

import argparse
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.common import (
    DATASOURCE,
    POLL_SECONDS,
    Bench,
    month_files,
    run,
    running_stack,
    say,
    summary,
    table,
    today,
    wait_until,
    year_file,
)
from ingestion_pipeline.domain.job import Staged
from ingestion_pipeline.embedded.ports import free_ports
from ingestion_pipeline.stages import submit
from ingestion_pipeline.stages.transform import druid_columns, druid_dimensions

TICK_SECONDS = 5.0
ALLOWANCE_SECONDS = 2.0
SCRATCH = "bench_bare"
PATIENCE_SECONDS = 300.0
LOCATION = "bare"

_STATS = """query($id: ID!) { runOrError(runId: $id) { ... on Run { status
  stats { ... on RunStatsSnapshot { enqueuedTime launchTime startTime endTime } }
  stepStats { stepKey startTime endTime } } } }"""
_LAUNCH = """mutation($e: ExecutionParams!) { launchRun(executionParams: $e) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""

SEGMENTS = (
    "put -> discovered",
    "discovered -> claimed",
    "claimed -> run queued",
    "queued -> launched",
    "launched -> started",
    "started -> take()",
    "validate",
    "transform",
    "transform -> task posted",
    "posted -> counted",
)
"""The way of a file, in order; their sum is put -> counted."""


@dataclass
class Load:
    """One file's way: seconds from the put, all clocks of this machine."""

    job_id: str
    rows: int
    put_seconds: float
    counted: float
    completed: float
    run_finished: float
    segments: Mapping[str, float]
    staged: Staged


@dataclass
class Series:
    """Files of one size, and what was measured between them."""

    name: str
    loads: list[Load] = field(default_factory=list)
    druid: list[float] = field(default_factory=list)
    runs: list[float] = field(default_factory=list)


def load(bench: Bench, path: Path, rows: int) -> Load:
    """Put one file where the sensor looks, and wait until its run has ended."""
    key = bench.key(today(), path.name, str(uuid4()))
    before = time.time()
    bench.bucket.put_file(key, path)
    put = time.time()
    job_id = str(
        wait_until(
            lambda: bench.row("SELECT job_id FROM ingestion_jobs WHERE object_key = %s", key),
            seconds=PATIENCE_SECONDS,
            what=f"{key} in the ledger",
        )["job_id"]
    )
    counted = counted_at(bench, DATASOURCE, job_id, rows)
    wait_until(lambda: _job(bench, job_id)["finished_at"], seconds=PATIENCE_SECONDS, what=f"the end of job {job_id}")
    job = _job(bench, job_id)
    if job["status"] != "completed" or job["rows_queryable"] != rows:
        raise RuntimeError(f"Job {job_id} ended as {job['status']}: {job['error_message']}")
    stats = wait_until(
        lambda: _ended(bench.graphql(_STATS, {"id": job["run_id"]})["runOrError"]),
        seconds=PATIENCE_SECONDS,
        what=f"the end of run {job['run_id']}",
        every=0.3,
    )
    posted = bench.row("SELECT submitted_at FROM druid_attempts WHERE attempt_id = %s", job["attempt_id"])
    assert posted is not None
    steps = {step["stepKey"].rsplit(".", 1)[-1]: step for step in stats["stepStats"]}
    moments = [
        put,
        _epoch(job["created_at"]),
        _epoch(job["claimed_at"]),
        stats["stats"]["enqueuedTime"],
        stats["stats"]["launchTime"],
        stats["stats"]["startTime"],
        _epoch(job["started_at"]),
        steps["validate"]["endTime"],
        steps["transform"]["endTime"],
        _epoch(posted["submitted_at"]),
        counted,
    ]
    return Load(
        job_id=job_id,
        rows=rows,
        put_seconds=put - before,
        counted=counted - put,
        completed=_epoch(job["finished_at"]) - put,
        run_finished=stats["stats"]["endTime"] - put,
        segments=dict(zip(SEGMENTS, (b - a for a, b in pairwise(moments)), strict=True)),
        staged=Staged.from_dict(job["staged"]),
    )


def counted_at(bench: Bench, datasource: str, job_id: str, rows: int) -> float:
    """When the broker counts all the job's rows."""
    wait_until(
        lambda: bench.counts(datasource, [job_id]).get(job_id, 0) >= rows,
        seconds=PATIENCE_SECONDS,
        what=f"{rows} rows of {job_id} in {datasource}",
    )
    return time.time()


def bare_druid(bench: Bench, done: Load) -> float:
    """POST a task for the cleaned object of a load, and poll until its rows are counted; seconds."""
    contract, staged = bench.contract, done.staged
    chunks = [datetime.fromisoformat(chunk) for chunk in staged.time_chunks]
    spec = submit.build_append_spec(
        task_id=submit.task_id(datasource=SCRATCH, attempt_id=uuid4().hex),
        datasource=SCRATCH,
        inputs=submit.InputFiles(
            kind="http",
            uris=[bench.bucket.presign_get(staged.cleaned_key or "", seconds=3600)],
            format="csv" if staged.encoding == "csv" else "ndjson",
            columns=druid_columns(contract),
        ),
        dimensions=druid_dimensions(contract),
        segment_granularity=contract.druid.segment_granularity,
        intervals=submit.chunk_intervals(chunks, contract.druid.segment_granularity),
    )
    began = time.time()
    answer = bench.http.post(f"{bench.settings.druid_overlord_url}/druid/indexer/v1/task", json=spec, timeout=30)
    answer.raise_for_status()
    return counted_at(bench, SCRATCH, done.job_id, done.rows) - began


def bare_run(bench: Bench) -> float:
    """Launch the empty job and wait for its end; seconds."""
    selector = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION, "jobName": "bare"}
    began = time.time()
    launched = bench.graphql(_LAUNCH, {"e": {"selector": selector, "runConfigData": {}}})["launchRun"]
    if launched["__typename"] != "LaunchRunSuccess":
        raise RuntimeError(f"The bare run was not launched: {launched.get('message', launched['__typename'])}")
    run_id = launched["run"]["runId"]
    # Asked at the pace of the counting poll; the end itself is Dagster's own timestamp.
    ended = wait_until(
        lambda: _ended(bench.graphql(_STATS, {"id": run_id})["runOrError"]),
        seconds=PATIENCE_SECONDS,
        what="the bare run",
        every=4 * POLL_SECONDS,
    )
    if ended["status"] != "SUCCESS":
        raise RuntimeError(f"The bare run ended as {ended['status']}.")
    return float(ended["stats"]["endTime"]) - began


def _ended(run: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return run if run.get("status") in ("SUCCESS", "FAILURE", "CANCELED") and run["stats"].get("endTime") else None


def _job(bench: Bench, job_id: str) -> dict[str, Any]:
    found = bench.row("SELECT * FROM ingestion_jobs WHERE job_id = %s", job_id)
    assert found is not None
    return found


def _epoch(moment: datetime) -> float:
    return moment.timestamp()


@contextmanager
def bare_location(bench: Bench) -> Iterator[None]:
    """Serve `bare_run.py` beside the pipeline; webserver and daemon are started anew to see it, and again after."""
    port = free_ports(["bare"])["bare"]
    workspace = bench.stack.root / "dagster" / "workspace.yaml"
    text = workspace.read_text(encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("INGESTION_", "DAGSTER_"))}
    module = Path(__file__).with_name("bare_run.py")
    with (bench.stack.root / "logs" / "bare-code-server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(port), "-f", str(module)],
            env={**inherited, **bench.stack.environment()},
            cwd=workspace.parent,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: _listens(port), seconds=PATIENCE_SECONDS, what="the bare code location")
        workspace.write_text(
            f"{text.rstrip()}\n  - grpc_server: {{host: 127.0.0.1, port: {port}, location_name: {LOCATION}}}\n",
            encoding="utf-8",
        )
        _reload(bench)
        yield
    finally:
        workspace.write_text(text, encoding="utf-8")
        server.terminate()
        server.wait(timeout=20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _reload(bench: Bench) -> None:
    for service in ("dagster-webserver", "dagster-daemon"):
        bench.stack.restart(service)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch, running_stack(arguments.data_dir) as bench:
        directory = Path(scratch)
        months = month_files(directory)
        year, year_rows = year_file(directory, months), sum(month.rows for month in months)
        with bare_location(bench):
            say("Warming up with one month: JVMs, and the first load of each datasource ...")
            bare_druid(bench, load(bench, months[-1].path, months[-1].rows))
            bare_run(bench)
            monthly, yearly = Series("one month"), Series("the year, 31 MB")
            for number in range(arguments.files):
                month = months[number % (len(months) - 1)]
                step(bench, monthly, month.path, month.rows, number=number, of=arguments.files, moments=moments)
            for number in range(arguments.years):
                step(bench, yearly, year, year_rows, number=number, of=arguments.years, moments=moments)
    series = [one for one in (monthly, yearly) if one.loads]
    runs = [seconds for one in series for seconds in one.runs]
    figures = {one.name: report(one, runs) for one in series}
    return {**figures, "holds": all(figure["holds"] for figure in figures.values())}


def step(bench: Bench, series: Series, path: Path, rows: int, *, number: int, of: int, moments: random.Random) -> None:
    """One load at a random moment of the tick, then the bare figures under the same conditions."""
    time.sleep(moments.uniform(0, TICK_SECONDS))
    done = load(bench, path, rows)
    bench.wait_for_quiet()
    series.loads.append(done)
    series.druid.append(bare_druid(bench, done))
    # Half as many runs: they cost three seconds of CPU and differ little.
    if number % 2 == 0:
        series.runs.append(bare_run(bench))
    runs = f", bare run {series.runs[-1]:.2f} s" if number % 2 == 0 else ""
    say(
        f"  {series.name} {number + 1}/{of}: put -> counted {done.counted:.2f} s, "
        f"bare Druid {series.druid[-1]:.2f} s{runs}"
    )


def report(series: Series, runs: Sequence[float]) -> dict[str, Any]:
    """Print the comparison and where the time went; returns the figures."""
    median = statistics.median
    counted = [one.counted for one in series.loads]
    say(f"\n{series.name}: {len(counted)} files of {series.loads[0].rows:,} rows (seconds)")
    total = median(series.druid) + median(runs) + TICK_SECONDS
    difference = median(counted) - total
    table(
        ["", "median", "min", "max"],
        [
            ("put -> counted", median(counted), min(counted), max(counted)),
            ("bare Druid, POST -> counted", median(series.druid), min(series.druid), max(series.druid)),
            ("bare Dagster run, launch -> finished", median(runs), min(runs), max(runs)),
            ("one tick", TICK_SECONDS, "", ""),
            ("sum of the three", total, "", ""),
            ("difference", difference, "", ""),
        ],
    )
    holds = difference <= ALLOWANCE_SECONDS
    say(
        f"  {'HOLDS' if holds else 'DOES NOT HOLD'}: median {median(counted):.2f} s <= "
        f"sum {total:.2f} s + {ALLOWANCE_SECONDS:g} s"
    )
    say("\n  Where the time goes (medians; put -> counted is their sum up to rounding of medians)")
    parts = {name: median(one.segments[name] for one in series.loads) for name in SEGMENTS}
    after = {
        "put -> 'completed' in the ledger": median(one.completed for one in series.loads),
        "put -> run finished": median(one.run_finished for one in series.loads),
        "(the put itself, not counted above)": median(one.put_seconds for one in series.loads),
    }
    table(["", "seconds"], [*parts.items(), *after.items()])
    return {
        "rows": series.loads[0].rows,
        "put_to_counted": summary(counted),
        "put_to_completed": summary([one.completed for one in series.loads]),
        "bare_druid": summary(series.druid),
        "bare_run": summary(runs),
        "tick_seconds": TICK_SECONDS,
        "sum": round(total, 3),
        "difference": round(difference, 3),
        "segments": {name: round(seconds, 3) for name, seconds in parts.items()},
        "holds": holds,
    }


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--files", type=int, default=10, help="monthly files")
    parser.add_argument("--years", type=int, default=3, help="loads of the year file")
    parser.add_argument("--seed", type=int, default=2013, help="of the moments at which files are put")


if __name__ == "__main__":
    run(__doc__, measure, options)
