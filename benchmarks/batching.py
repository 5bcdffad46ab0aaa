"""Batching: many small files at once, with batch caps of 1, 10 and 100 files a run.

A run costs seconds of CPU whatever it carries, so its cap decides how many small files a minute go through. For each
cap, in one run of this script: the daemon is stopped, the code server is started anew with that cap
(`INGESTION_BATCH_MAX_FILES`), the files (500 rows of real flights each) are put into the bucket, the daemon is started.
Time runs from its start, which is part of every cap's time alike, to the moment when the ledger has the last file
completed. The time without the daemon's start, from the first claim on, is told too. Every file's rows are counted by
the broker, apart from the pipeline's own proof. The promise: cap 100 is at least 20 times as fast as cap 1.

The largest cap goes first, so that there is something to see early; each cap appends to the segments of those before.

How to run::

    python -m benchmarks.batching                 300 files a cap: 20 to 30 minutes, nearly all of it for cap 1
    python -m benchmarks.batching --files 12      to see that it works (its ratio says little)
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.common import DATASOURCE, Bench, month_files, run, running_stack, say, table, today

TARGET_RATIO = 20
ROWS = 500
_QUERY_JOBS = 100


def small_files(directory: Path, count: int) -> Iterator[bytes]:
    """Files of 500 consecutive rows, from the year's beginning on."""
    made = 0
    for month in month_files(directory):
        header, *rows = month.path.read_bytes().splitlines()
        for start in range(0, len(rows) - ROWS + 1, ROWS):
            if made == count:
                return
            made += 1
            yield b"\n".join([header, *rows[start : start + ROWS], b""])
    raise SystemExit(f"The year has {made} such files, not {count}.")


def one_cap(bench: Bench, files: Sequence[bytes], cap: int, *, patience_seconds: float) -> dict[str, Any]:
    """Put the files while nothing looks, then start the daemon and wait until the last is completed."""
    bench.wait_for_quiet()
    bench.start_code_server(files_per_run=cap)
    mark, day = f"cap{cap}-{uuid4().hex[:8]}", today()
    keys = [bench.key(day, f"rows-{number:04d}.csv", mark) for number in range(len(files))]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bench.bucket.put, keys, files))
    began = time.time()
    bench.stack.up(only=["dagster-daemon"])
    ended = _wait(bench, keys, f"cap {cap}", began, patience_seconds)
    jobs = bench.rows(
        "SELECT job_id::text AS job_id, status, rows_queryable, claimed_at, finished_at, run_id FROM ingestion_jobs "
        "WHERE object_key = ANY(%s)",
        keys,
    )
    failed = [job for job in jobs if job["status"] != "completed"]
    counted = _counted(bench, [job["job_id"] for job in jobs])
    proved = [job for job in jobs if job["rows_queryable"] == ROWS and counted.get(job["job_id"]) == ROWS]
    last = max((job["finished_at"].timestamp() for job in jobs if job["finished_at"]), default=ended)
    first_claim = min((job["claimed_at"].timestamp() for job in jobs if job["claimed_at"]), default=began)
    runs = len({job["run_id"] for job in jobs if job["run_id"]})
    seconds = last - began
    return {
        "cap": cap,
        "files": len(files),
        "runs": runs,
        "failed": len(failed),
        "proved": len(proved),
        "seconds": round(seconds, 2),
        "seconds_from_first_claim": round(last - first_claim, 2),
        "files_per_minute": round(60 * len(proved) / seconds, 2),
        "files_per_minute_from_first_claim": round(60 * len(proved) / max(last - first_claim, 0.01), 2),
    }


def _wait(bench: Bench, keys: list[str], name: str, began: float, patience_seconds: float) -> float:
    """Until every file is at its end; prints how far it is about every half minute."""
    said = began
    while True:
        row = bench.row(
            "SELECT count(*) FILTER (WHERE finished_at IS NOT NULL) AS ended, count(*) AS known FROM ingestion_jobs "
            "WHERE object_key = ANY(%s)",
            keys,
        )
        assert row is not None
        now = time.time()
        if row["ended"] == len(keys):
            return now
        if now - began > patience_seconds:
            say(f"  {name}: given up after {now - began:.0f} s with {row['ended']} of {len(keys)} files ended.")
            return now
        if now - said >= 30:
            said = now
            say(f"  {name}: {row['ended']} of {len(keys)} files after {now - began:.0f} s")
        time.sleep(0.5)


def _counted(bench: Bench, job_ids: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for start in range(0, len(job_ids), _QUERY_JOBS):
        counts |= bench.counts(DATASOURCE, job_ids[start : start + _QUERY_JOBS])
    return counts


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    caps = sorted(set(arguments.caps), reverse=True)
    with tempfile.TemporaryDirectory() as scratch, running_stack(arguments.data_dir) as bench:
        files = list(small_files(Path(scratch), arguments.files))
        say(f"{len(files)} files of {ROWS} rows for each cap of {', '.join(map(str, caps))}.")
        say("Warming up with one file: JVMs, and the first load of the datasource ...")
        warm_up = bench.key(today(), "rows.csv", f"warm-up-{uuid4().hex[:8]}")
        bench.bucket.put(warm_up, files[0])
        _wait(bench, [warm_up], "warm-up", time.time(), 300)
        results = []
        try:
            for cap in caps:
                results.append(one_cap(bench, files, cap, patience_seconds=60 * arguments.minutes))
                say(f"  cap {cap}: {results[-1]['proved']} files proved in {results[-1]['seconds']:.1f} s")
        finally:
            # A given stack goes on with its own cap.
            bench.wait_for_quiet(300)
            if arguments.data_dir:
                bench.stack.restart("code-server")
    return report(results)


def report(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Print and return the figures."""
    slowest = results[-1]["files_per_minute"] or 0.01
    say("\nTime runs from the daemon's start to the last file completed; every file counted by the broker")
    table(
        ["cap", "files", "proved", "failed", "runs", "seconds", "files/min", "ratio", "s from 1st claim", "files/min"],
        [
            (
                *(result[name] for name in ("cap", "files", "proved", "failed", "runs", "seconds")),
                result["files_per_minute"],
                result["files_per_minute"] / slowest,
                result["seconds_from_first_claim"],
                result["files_per_minute_from_first_claim"],
            )
            for result in results
        ],
    )
    proved = all(result["proved"] == result["files"] for result in results)
    by_cap = {result["cap"]: result["files_per_minute"] for result in results}
    figures: dict[str, Any] = {"caps": list(results), "all_proved": proved, "holds": proved}
    say(f"\n{'All files proved.' if proved else 'NOT ALL FILES PROVED.'}")
    if 1 in by_cap and 100 in by_cap:
        ratio = by_cap[100] / max(by_cap[1], 0.01)
        holds = ratio >= TARGET_RATIO
        figures |= {"ratio_100_to_1": round(ratio, 2), "holds": proved and holds}
        say(f"{'HOLDS' if holds else 'DOES NOT HOLD'}: cap 100 is {ratio:.1f} times cap 1 (at least {TARGET_RATIO}).")
    return figures


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--files", type=int, default=300, help="files for each cap")
    parser.add_argument("--caps", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--minutes", type=float, default=40, help="patience with one cap")


if __name__ == "__main__":
    run(__doc__, measure, options)
