"""Long scenarios on a stack of their own, with the defaults that users have: what a test of the suite cannot wait for.

How to run::

    python -m ingestion_pipeline_tests.guarantees.scenarios outage      Druid is away for ten minutes, 50 files
    python -m ingestion_pipeline_tests.guarantees.scenarios together    worker, code server and daemon die at once

Each prints what it saw and ends with exit code 1 when a promise did not hold.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from ingestion_pipeline.embedded.stack import DRUID, Stack
from ingestion_pipeline_tests.guarantees.surroundings import stack_options
from ingestion_pipeline_tests.guarantees.system import FINAL, System, now, readings

ROWS = 100
DAYS = 5
DATASOURCE = "patient"


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


@contextmanager
def own_system(**environment: str) -> Iterator[System]:
    root = Path(tempfile.mkdtemp(prefix="ingestion-scenario-"))
    surroundings = root / "surroundings"
    surroundings.mkdir()
    options = stack_options(surroundings)
    # The defaults, not the tests' short patience.
    for name in ("INGESTION_HEARTBEAT_SECONDS", "INGESTION_HEARTBEAT_LIMIT_SECONDS"):
        del options["extra_environment"][name]
    options["extra_environment"] |= environment
    stack = Stack(root / "data", use_free_ports=True, **options)
    try:
        say(f"The stack is ready after {stack.up().seconds:.0f} s.")
        system = System(stack)
        system.get_ready()
        yield system
        system.close()
    finally:
        stack.down()
        shutil.rmtree(root, ignore_errors=True)


def jobs(system: System) -> list[dict[str, Any]]:
    return system.rows("SELECT *, job_id::text AS job_id FROM ingestion_jobs WHERE datasource = %s", DATASOURCE)


def put(system: System, count: int, first: int = 0) -> list[str]:
    return [
        system.put(
            f"exports/{DATASOURCE}/2024-07-{number % DAYS + 1:02}/file-{number:03}.csv",
            readings(ROWS, day=f"2024-07-{number % DAYS + 1:02}", place=f"place-{number}"),
        )
        for number in range(first, first + count)
    ]


def all_loaded(system: System, count: int, *, seconds: float) -> list[dict[str, Any]]:
    said = time.monotonic()

    def look() -> list[dict[str, Any]] | None:
        nonlocal said
        found = jobs(system)
        if time.monotonic() - said >= 30:
            said = time.monotonic()
            say(f"  {dict(Counter(job['status'] for job in found))}")
        return found if len(found) == count and all(job["status"] in FINAL for job in found) else None

    return system.until(f"the end of {count} jobs", look, seconds=seconds)


def exact(system: System, found: list[dict[str, Any]]) -> bool:
    """Every job completed, and Druid has each one's rows once."""
    counted = {
        row["job"]: row["n"]
        for row in system.sql(f'SELECT "__job_id" AS job, COUNT(*) AS n FROM "{DATASOURCE}" GROUP BY 1')
    }
    outcomes = Counter((job["status"], job["outcome"]) for job in found)
    say(f"Jobs: {dict(outcomes)}. Rows in Druid: {sum(counted.values())} of {len(found) * ROWS}.")
    return outcomes == {("completed", "loaded"): len(found)} and counted == {job["job_id"]: ROWS for job in found}


def outage(minutes: float, files: int) -> bool:
    """Druid goes away in the middle of an upload and comes back after `minutes`."""
    with own_system(INGESTION_BATCH_MAX_FILES="2") as system:
        put(system, files // 2)
        system.until(
            "runs that wait for Druid tasks", lambda: [job for job in jobs(system) if job["attempt_id"]], pause=0.05
        )
        say("Druid is killed.")
        began = time.monotonic()
        for service in DRUID:
            system.stack.kill(service)
        put(system, files - files // 2, first=files // 2)
        held = True
        while time.monotonic() - began < minutes * 60:
            time.sleep(min(30.0, max(0.1, minutes * 60 - (time.monotonic() - began))))
            found = jobs(system)
            live = system.graphql(
                "query { runsOrError(filter: {statuses: [STARTED, STARTING, QUEUED]}) { ... on Runs { count } } }"
            )["runsOrError"]["count"]
            say(f"{time.monotonic() - began:.0f} s: {dict(Counter(job['status'] for job in found))}, live runs: {live}")
        found = jobs(system)
        retrying = [job for job in found if job["status"] == "retrying"]
        pending = [job for job in found if job["status"] == "pending"]
        for job in (*retrying[:2], *pending[:2]):
            say(f"  {job['file_name']} {job['status']}: {job['waiting_reason']} Next try: {job['next_try_at']}")
        promises = {
            "those that were in runs are retrying, with reason and next time": bool(retrying)
            and all(job["waiting_reason"] and job["next_try_at"] > now() - timedelta(seconds=10) for job in retrying),
            "the others are pending with 'Druid unreachable since'": bool(pending)
            and all((job["waiting_reason"] or "").startswith("Druid unreachable since") for job in pending),
            "none is anything else but loaded": all(
                job["status"] in ("retrying", "pending") or job["outcome"] == "loaded" for job in found
            ),
            "no run slot is taken": live == 0,
        }
        say("Druid is started again.")
        system.stack.up(only=list(DRUID))
        back = time.monotonic()
        found = all_loaded(system, files, seconds=900)
        say(f"All jobs are final {time.monotonic() - back:.0f} s after Druid's return.")
        promises["all complete, exactly once"] = exact(system, found)
        for promise, kept in promises.items():
            say(f"{'HOLDS' if kept else 'DOES NOT HOLD'}: {promise}")
            held &= kept
        return held


def together(files: int) -> bool:
    """A batch's worker, the code server and the daemon are killed at the same moment; an init system restarts two."""
    with own_system() as system:
        limit = system.settings.heartbeat_limit_seconds
        began = time.monotonic()
        put(system, 1)
        all_loaded(system, 1, seconds=120)
        run_seconds = time.monotonic() - began
        say(f"A file alone takes {run_seconds:.1f} s; the heartbeat limit is {limit:.0f} s.")
        system.faults.begin("hold_dispatch")
        for number in range(1, files):
            system.put(
                f"exports/{DATASOURCE}/2024-07-20/file-{number:03}.csv",
                readings(ROWS, day="2024-07-20", place=f"place-{number}"),
            )
        system.faults.arm("before_post", DATASOURCE, "SIGSTOP")
        system.until("all files in the ledger", lambda: len(jobs(system)) == files)
        system.faults.end("hold_dispatch")
        worker = system.until("the worker before its POST", lambda: system.faults.struck("before_post", DATASOURCE))
        batch = Counter(job["status"] for job in jobs(system))
        say(f"In the middle of the batch: {dict(batch)}. Worker, code server and daemon are killed.")
        killed = time.monotonic()
        system.stack.kill("dagster-daemon")
        system.stack.kill("code-server")
        if psutil.pid_exists(worker):
            psutil.Process(worker).send_signal(signal.SIGKILL)
        time.sleep(2)
        system.stack.up()
        say(f"Code server and daemon serve again after {time.monotonic() - killed:.0f} s.")
        found = all_loaded(system, files, seconds=600)
        took = time.monotonic() - killed
        bound = 2 * limit + run_seconds
        say(f"Everything is final {took:.0f} s after the kill; the promise is {bound:.0f} s.")
        return exact(system, found) and took <= bound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=["outage", "together"])
    parser.add_argument("--minutes", type=float, default=10, help="of the outage (default 10)")
    parser.add_argument("--files", type=int, default=0, help="default: 50 for the outage, 11 for together")
    arguments = parser.parse_args()
    if arguments.scenario == "outage":
        held = outage(arguments.minutes, arguments.files or 50)
    else:
        held = together(arguments.files or 11)
    say("HOLDS" if held else "DOES NOT HOLD")
    sys.exit(not held)


if __name__ == "__main__":
    main()
