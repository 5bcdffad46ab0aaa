"""Memory: what validate and transform hold of files of a tenth, one and five gigabytes, and of one with a huge line.

Each size comes clean and with errors planted in one row of a hundred, so that the rule of uniqueness and the
quarantine are at work; the last file has one line of 200 MB in its middle, and has to end in a clear outcome. Every
file is read in a process of its own; its peak is the sum of the VmHWM of that process and its children. Uniqueness
keeps 16 bytes a row, in a temporary file; in memory are the last million rows' and a filter, at most 32 MB.

How to run (only the S3 server is started; five gigabytes take a quarter of an hour, and three times that on disk)::

    python -m benchmarks.memory --sizes 0.1 1
    python -m benchmarks.memory --sizes 0.1 1 5
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks.common import Bench, month_files, run, running_stack, say, table, year_file
from benchmarks.side_by_side import OURS, perform, task_of, upload
from benchmarks.validation_files import write_contract, write_years

KINDS = ("clean", "planted")
KEY = "benchmarks/flights.csv"
TARGET_BYTES = 500_000_000
# From the smallest file of a kind to the largest it may differ by this much: the filter of uniqueness grows to 32 MB.
FLAT_BYTES = 120_000_000
LONG_LINE_BYTES = 200_000_000


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    results: dict[str, dict[str, Any]] = {}
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_stack(arguments.data_dir, only=["s3"], ledger=False) as bench,
    ):
        directory = Path(scratch)
        year = year_file(directory, month_files(directory))
        for gigabytes in arguments.sizes:
            copies = max(1, round(gigabytes * 1e9 / year.stat().st_size))
            for kind in KINDS:
                upload(bench, partial(_write, year, copies, kind), KEY)
                results[f"{gigabytes:g} GB, {kind}"] = _read(bench, directory, copies)
        upload(bench, partial(_write_long_line, year), KEY)
        long = results["one line of 200 MB"] = _read(bench, directory, 2)
    return report(results, long)


def _write(year: Path, copies: int, kind: str, out: BinaryIO) -> None:
    if kind == "clean":
        write_years(year, copies, out)
    else:
        with Path("/dev/null").open("wb") as nowhere:
            write_years(year, copies, nowhere, planted=out)


def _write_long_line(year: Path, out: BinaryIO) -> None:
    text = year.read_bytes()
    out.write(text)
    piece = b"a" * 1_000_000
    for _ in range(LONG_LINE_BYTES // len(piece)):
        out.write(piece)
    out.write(b"\n" + text.split(b"\n", 1)[1])


def _read(bench: Bench, directory: Path, copies: int) -> dict[str, Any]:
    contract = directory / "flights.yaml"
    write_contract(bench.settings.contracts_dir / "flights.yaml", contract, copies)
    task = task_of(bench, source=KEY, target="benchmarks/memory", contract=contract)
    figures = perform(OURS, task)
    if "failed" in figures:
        raise SystemExit(figures["errors"])
    say(f"  {figures['rows']:,} rows: {figures['peak_bytes'] // 10**6} MB, {figures['seconds']:.0f} s")
    return figures


def report(results: dict[str, dict[str, Any]], long: dict[str, Any]) -> dict[str, Any]:
    """Print and return the figures."""
    table(
        ["file", "rows", "rejected", "seconds", "CPU seconds", "MB after imports", "peak MB"],
        [
            (
                name,
                f["rows"],
                f["rows"] - f["rows_out"],
                f["seconds"],
                f["cpu_seconds"],
                f["imports_bytes"] // 10**6,
                f["peak_bytes"] // 10**6,
            )
            for name, f in results.items()
        ],
    )
    say(f"  The line of 200 MB: {long['refused'] or 'its row was rejected, the others were not'}")
    peaks = [figures["peak_bytes"] for figures in results.values()]
    spreads = {}
    for kind in KINDS:
        sizes = [figures["peak_bytes"] for name, figures in results.items() if name.endswith(kind)]
        spreads[kind] = max(sizes) - min(sizes)
    within, flat = max(peaks) <= TARGET_BYTES, max(spreads.values()) <= FLAT_BYTES
    say(f"\n{'HOLDS' if within else 'DOES NOT HOLD'}: at most {TARGET_BYTES // 10**6} MB, whatever the file.")
    told = ", ".join(f"{spread // 10**6} MB between the sizes of {kind} files" for kind, spread in spreads.items())
    say(f"{'HOLDS' if flat else 'DOES NOT HOLD'}: flat, {told} (at most {FLAT_BYTES // 10**6}).")
    return {"files": results, "holds": within and flat}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.1, 1.0], metavar="GB")


if __name__ == "__main__":
    run(__doc__, measure, options)
