"""Validation: validate and transform of the year file, S3 to S3, beside bare Polars moving the same file.

Ours reads the object in a stream, checks every row against the contract (types, rules, uniqueness), writes accepted
rows and quarantine to the bucket and from there the compressed object that Druid reads: the code of the ops, in one
process as in a run. Bare Polars does `scan_csv` -> `sink_csv` zstd on the same objects of the same server and checks
nothing. Each contender runs in a process of its own; its peak memory is that process's VmHWM, imports included (ours
has Dagster among them, as every run has). Seconds are of the work alone, after the imports that
every run has made by then; CPU seconds, over all threads, are steadier than seconds on a machine that does other work.

How to run (only the S3 server is started)::

    python -m benchmarks.validation                 the 31 MB file, a minute
    python -m benchmarks.validation --copies 20     621 MB, 6.7 million rows
    python -m benchmarks.validation --profile       and where our time goes

Copies differ in their carrier codes, so that the contract's uniqueness holds over the whole file.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from io import BytesIO, StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.common import (
    DATASOURCE,
    ORGANIZATION,
    month_files,
    peak_rss_bytes,
    run,
    running_stack,
    say,
    summary,
    table,
    year_file,
)
from ingestion_pipeline.settings import Settings

SOURCE = f"benchmarks/{DATASOURCE}.csv"
TARGET_RATIO = 1.3
TARGET_BYTES = 500_000_000
_CODE = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def ours(settings: Settings, profile: bool) -> dict[str, Any]:
    """Validate and transform, as the ops do; in a process of its own."""
    import cProfile
    import pstats

    import polars as pl

    from ingestion_pipeline.adapters.contracts import load_contracts
    from ingestion_pipeline.adapters.s3 import ObjectStore
    from ingestion_pipeline.defs.bucket_sink import BucketSink
    from ingestion_pipeline.stages.transform import transform
    from ingestion_pipeline.stages.validate import validate

    bucket = ObjectStore.from_settings(settings)
    contract = load_contracts(settings.contracts_dir).contracts[DATASOURCE]
    job_id = str(uuid4())
    imported = peak_rss_bytes()

    def parts(keys: list[str]) -> Iterator["pl.DataFrame"]:
        for key in keys:
            yield pl.read_ipc(BytesIO(bucket.get(key)))

    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    began, cpu = time.perf_counter(), time.process_time()
    with ExitStack() as stack:
        sink = BucketSink(bucket, f"{ORGANIZATION}/{DATASOURCE}/{job_id}/e1", stack)
        report = validate(bucket.read(SOURCE), contract=contract, name="flights.csv", sink=sink)
        sink.finish()
    validated = time.perf_counter()
    encoding: Any = "csv" if report.csv_safe else "ndjson"
    with bucket.writer(f"cleaned/{ORGANIZATION}/{DATASOURCE}/{job_id}/e1/rows.{encoding}.zst") as out:
        written = transform(
            parts(sink.parts), contract=contract, job_id=job_id, organization=ORGANIZATION, encoding=encoding, out=out
        )
    ended, used = time.perf_counter(), time.process_time() - cpu
    text = ""
    if profile:
        profiler.disable()
        buffer = StringIO()
        pstats.Stats(profiler, stream=buffer).sort_stats("tottime").print_stats(25)
        text = buffer.getvalue()
    bucket.delete(sink.parts)
    return {
        "seconds": ended - began,
        "cpu_seconds": used,
        "validate_seconds": validated - began,
        "transform_seconds": ended - validated,
        "rows": report.rows_read,
        "rejected": report.rows_rejected,
        "bytes_out": written.size_bytes,
        "imports_bytes": imported,
        "peak_bytes": peak_rss_bytes(),
        "profile": text,
    }


def bare(settings: Settings) -> dict[str, Any]:
    """Polars alone, nothing checked; in a process of its own."""
    import polars as pl

    assert settings.s3_access_key_id is not None
    assert settings.s3_secret_access_key is not None
    access = {
        "aws_endpoint_url": settings.s3_endpoint_url or "",
        "aws_region": settings.s3_region,
        "aws_access_key_id": settings.s3_access_key_id.get_secret_value(),
        "aws_secret_access_key": settings.s3_secret_access_key.get_secret_value(),
        "aws_allow_http": "true",
    }
    target = f"s3://{settings.s3_bucket}/benchmarks/bare.csv.zst"
    imported = peak_rss_bytes()
    began, cpu = time.perf_counter(), time.process_time()
    frame = pl.scan_csv(
        f"s3://{settings.s3_bucket}/{SOURCE}",
        null_values=["NA"],
        infer_schema_length=10_000,
        storage_options=access,
        credential_provider=None,
    )
    frame.sink_csv(
        target,
        compression="zstd",
        storage_options=access,
        credential_provider=None,
    )
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    return {"seconds": seconds, "cpu_seconds": used, "imports_bytes": imported, "peak_bytes": peak_rss_bytes()}


def in_own_process(function: Any, *arguments: Any) -> dict[str, Any]:
    """Call it in a fresh process: its peak memory is its own."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        result: dict[str, Any] = pool.submit(function, *arguments).result()
        return result


def write_copies(year: Path, target: Path, copies: int) -> None:
    """The year `copies` times under one header; each copy has carrier codes of its own."""
    import polars as pl

    frame = pl.read_csv(year, infer_schema=False)
    carriers = frame["carrier"].unique().sort().to_list()
    if len(carriers) * copies > len(_CODE) ** 2:
        raise SystemExit(f"At most {len(_CODE) ** 2 // len(carriers)} copies can be told apart.")
    with target.open("wb") as out:
        for copy in range(copies):
            numbers = {carrier: position * copies + copy for position, carrier in enumerate(carriers)}
            codes = {carrier: _CODE[n // len(_CODE)] + _CODE[n % len(_CODE)] for carrier, n in numbers.items()}
            frame.with_columns(pl.col("carrier").replace_strict(codes)).write_csv(out, include_header=copy == 0)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_stack(arguments.data_dir, only=["s3"], ledger=False) as bench,
    ):
        directory = Path(scratch)
        source = year_file(directory, month_files(directory))
        if arguments.copies > 1:
            write_copies(source, directory / "copies.csv", arguments.copies)
            source = directory / "copies.csv"
        size = source.stat().st_size
        bench.bucket.put_file(SOURCE, source)
        say(f"{size / 1e6:,.0f} MB in the bucket; {arguments.repetitions} repetitions, the contenders take turns.")
        polars, mine = [], []
        for number in range(arguments.repetitions):
            polars.append(in_own_process(bare, bench.settings))
            mine.append(in_own_process(ours, bench.settings, False))
            say(f"  {number + 1}: bare Polars {polars[-1]['seconds']:.2f} s, ours {mine[-1]['seconds']:.2f} s")
        profile = in_own_process(ours, bench.settings, True)["profile"] if arguments.profile else ""
    return report(polars, mine, size, profile)


def report(polars: list[dict[str, Any]], mine: list[dict[str, Any]], size: int, profile: str) -> dict[str, Any]:
    """Print and return the figures; medians of seconds, the highest of the peaks."""
    rows = mine[0]["rows"]

    def line(name: str, results: list[dict[str, Any]]) -> tuple[Any, ...]:
        seconds = statistics.median(result["seconds"] for result in results)
        peak, imports = (max(result[which] for result in results) // 10**6 for which in ("peak_bytes", "imports_bytes"))
        cpu = statistics.median(result["cpu_seconds"] for result in results)
        return name, seconds, cpu, int(rows / seconds), size / 1e6 / seconds, imports, peak

    bare_line, our_line = line("bare Polars, nothing checked", polars), line("validate + transform", mine)
    say(f"\n{rows:,} rows, {size / 1e6:,.0f} MB, {mine[0]['rejected']:,} rejected")
    table(["", "seconds", "CPU seconds", "rows/s", "MB/s", "MB after imports", "peak MB"], [bare_line, our_line])
    for step in ("validate", "transform"):
        say(f"  of it {step}: {statistics.median(result[f'{step}_seconds'] for result in mine):.2f} s")
    ratio, cpu_ratio = our_line[1] / bare_line[1], our_line[2] / bare_line[2]
    within = our_line[6] * 10**6 <= TARGET_BYTES
    say(f"\nOurs takes {ratio:.2f} times bare Polars' seconds (aim: {TARGET_RATIO}), {cpu_ratio:.2f} times its CPU.")
    say(f"Peak memory {our_line[6]} MB: {'within' if within else 'ABOVE'} the promised {TARGET_BYTES // 10**6} MB.")
    if profile:
        say(profile)
    return {
        "rows": rows,
        "size_bytes": size,
        "bare": summary([result["seconds"] for result in polars]) | {"peak_bytes": bare_line[6] * 10**6},
        "ours": summary([result["seconds"] for result in mine]) | {"peak_bytes": our_line[6] * 10**6},
        "ratio": round(ratio, 3),
        "cpu_ratio": round(cpu_ratio, 3),
        "holds": within,
    }


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--copies", type=int, default=1, help="how often the year is in the file")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="one more run of ours under cProfile")


if __name__ == "__main__":
    run(__doc__, measure, options)
