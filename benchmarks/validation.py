"""Validation: validate and transform of years of flights, S3 to S3, beside bare Polars and what else people use.

Ours reads the object in a stream, checks every row against the whole contract (types, rules, uniqueness), writes
accepted rows and quarantine to the bucket and from there the compressed object that Druid reads: the code of the ops,
in one process as in a run. Bare Polars does `scan_csv` -> `sink_csv` zstd on the same objects of the same server and
checks nothing; all ratios are to it, on the clean file. What the peers do is said in `benchmarks.contenders`, a module
each; none of them checks as much. The second file has errors of twelve kinds in one row of a hundred: what ours found
is compared with what was planted, entry by entry; of the others it is told how many rows they left out.

Each contender runs in a process of its own; its peak is the sum of the VmHWM of that process and its children, imports
included (ours has Dagster among them, as every run has). Seconds are of the work alone; CPU seconds, over all threads,
are steadier than seconds on a machine that does other work.

How to run (only the S3 server is started)::

    python -m benchmarks.validation                      the 31 MB file, a minute
    make bench-peers                                     an environment for the peers, once
    python -m benchmarks.validation --peers duckdb pandas
    python -m benchmarks.validation --copies 20          621 MB, 6.7 million rows
    python -m benchmarks.validation --profile            and where our time goes

Memory of larger files: `benchmarks.memory`.
"""

import argparse
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.common import Bench, month_files, run, running_stack, say, summary, year_file
from benchmarks.side_by_side import BARE, OURS, PEERS, Contender, compare, middle, perform, task_of, upload
from benchmarks.validation_files import Error, write_contract, write_years

CLEAN, PLANTED = "benchmarks/flights.csv", "benchmarks/flights-planted.csv"
GOAL_RATIO, CLEAN_RATIO, PLANTED_RATIO = 1.3, 2.0, 2.5
TARGET_BYTES = 500_000_000
PEER_SECONDS = 1800.0

Results = dict[Contender, list[dict[str, Any]]]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_stack(arguments.data_dir, only=["s3"], ledger=False) as bench,
    ):
        directory = Path(scratch)
        year = year_file(directory, month_files(directory))
        contract = directory / "flights.yaml"
        write_contract(bench.settings.contracts_dir / "flights.yaml", contract, arguments.copies)
        errors = upload(
            bench, lambda clean, planted: write_years(year, arguments.copies, clean, planted=planted), CLEAN, PLANTED
        )
        size = bench.bucket.head(CLEAN).size_bytes
        say(f"{size / 1e6:,.0f} MB in the bucket; {arguments.repetitions} repetitions, the contenders take turns.")
        peers = [peer for peer in PEERS if peer.module.split("_")[0] in arguments.peers]
        results: dict[str, Results] = {CLEAN: {}, PLANTED: {}}
        for number in range(arguments.repetitions):
            for source, contenders in ((CLEAN, (BARE, OURS)), (PLANTED, (OURS,))):
                # The peers are slow, and nothing is promised of them: one run.
                for contender in (*contenders, *(peers if number == 0 else ())):
                    task = task_of(
                        bench,
                        source=source,
                        target=f"benchmarks/{contender.module}/{Path(source).stem}-{number}",
                        contract=contract,
                    )
                    figures = perform(contender, task, seconds=PEER_SECONDS if contender.is_peer else None)
                    results[source].setdefault(contender, []).append(figures)
                    say(f"  {number + 1} {source}: {contender.name} {figures.get('failed') or figures['seconds']}")
        found = found_errors(bench, results[PLANTED][OURS][0]["quarantine"])
        if arguments.profile:
            task = task_of(bench, source=CLEAN, target="benchmarks/profile", contract=contract, profile=True)
            say(perform(OURS, task)["profile"])
    return report(results, size, set(errors), found)


def found_errors(bench: Bench, keys: list[str]) -> set[Error]:
    """What our quarantine says, as line, column and rule."""
    frames = [pl.read_parquet(BytesIO(bench.bucket.get(key)), columns=["line", "column", "rule"]) for key in keys]
    return {Error(*entry) for frame in frames for entry in frame.iter_rows()}


def report(results: dict[str, Results], size: int, errors: set[Error], found: set[Error]) -> dict[str, Any]:
    """Print and return the figures."""
    bare_runs, clean_runs, planted_runs = results[CLEAN][BARE], results[CLEAN][OURS], results[PLANTED][OURS]
    rows = clean_runs[0]["rows"]
    bare = {which: middle(bare_runs, which) for which in ("seconds", "cpu_seconds")}
    say(f"\nClean: {rows:,} rows, {size / 1e6:,.0f} MB")
    compare(results[CLEAN], rows, bare)
    say(f"\nWith {len(errors):,} planted errors:")
    compare(results[PLANTED], rows, bare)
    missed, invented = len(errors - found), len(found - errors)
    peak = max(run["peak_bytes"] for run in (*clean_runs, *planted_runs))
    ratios = {
        f"{name}{what}": round(middle(runs, which) / bare[which], 3)
        for name, runs in (("clean", clean_runs), ("planted", planted_runs))
        for what, which in (("", "seconds"), ("_cpu", "cpu_seconds"))
    }
    promises = {
        f"clean file: {ratios['clean']} times bare Polars' seconds, {ratios['clean_cpu']} times its CPU seconds "
        f"(at most {CLEAN_RATIO}; goal {GOAL_RATIO})": ratios["clean"] <= CLEAN_RATIO,
        f"planted errors: {ratios['planted']} times its seconds, {ratios['planted_cpu']} times its CPU seconds "
        f"(at most {PLANTED_RATIO})": ratios["planted"] <= PLANTED_RATIO,
        f"found at line, column and rule: {len(errors & found):,} of {len(errors):,}, missed {missed:,}, "
        f"invented {invented:,}": not missed and not invented,
        f"peak memory {peak // 10**6} MB (at most {TARGET_BYTES // 10**6})": peak <= TARGET_BYTES,
        f"nothing rejected of the clean file, {len(errors):,} rows of the other": clean_runs[0]["rows_out"] == rows
        and planted_runs[0]["rows_out"] == rows - len(errors),
    }
    say()
    for promise, holds in promises.items():
        say(f"{'HOLDS' if holds else 'DOES NOT HOLD'}: {promise}.")
    return {
        "rows": rows,
        "size_bytes": size,
        "clean": {c.module: _summary(runs) for c, runs in results[CLEAN].items()},
        "planted": {c.module: _summary(runs) for c, runs in results[PLANTED].items()},
        "ratios": ratios,
        "missed": missed,
        "invented": invented,
        "peak_bytes": peak,
        "holds": all(promises.values()),
    }


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    good = [run for run in runs if "failed" not in run]
    if not good:
        return {"failed": runs[0]["failed"]}
    return summary([run["seconds"] for run in good]) | {"peak_bytes": max(run["peak_bytes"] for run in good)}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--copies", type=int, default=1, help="how often the year is in the file")
    parser.add_argument("--repetitions", type=int, default=3)
    names = [peer.module.split("_")[0] for peer in PEERS]
    parser.add_argument("--peers", nargs="*", choices=names, default=names, help="dlt takes minutes for each 31 MB")
    parser.add_argument("--profile", action="store_true", help="one more run of ours under cProfile")


if __name__ == "__main__":
    run(__doc__, measure, options)
