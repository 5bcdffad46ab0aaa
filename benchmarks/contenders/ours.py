"""This pipeline: validate and transform, the code of the ops, in one process as in a run."""

import cProfile
import pstats
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.contenders.task import Task, perform


def prepare(task: Task) -> Callable[[], dict[str, Any]]:
    import numpy as np  # the rule of uniqueness needs it
    import polars as pl

    from ingestion_pipeline.adapters.contracts import load_contract
    from ingestion_pipeline.adapters.s3 import ObjectStore
    from ingestion_pipeline.defs.bucket_sink import BucketSink
    from ingestion_pipeline.errors import FileError
    from ingestion_pipeline.settings import Settings
    from ingestion_pipeline.stages.transform import transform
    from ingestion_pipeline.stages.validate import validate

    del np
    bucket = ObjectStore.from_settings(Settings(**task.settings))  # type: ignore[arg-type]
    contract = load_contract(Path(task.contract))
    job_id = str(uuid4())

    def parts(keys: list[str]) -> Iterator["pl.DataFrame"]:
        for key in keys:
            yield pl.read_ipc(BytesIO(bucket.get(key)))

    def work() -> dict[str, Any]:
        began = time.perf_counter()
        refused = ""
        with ExitStack() as stack:
            sink = BucketSink(bucket, f"{task.target}/{job_id}/e1", stack)
            try:
                report = validate(bucket.read(task.source), contract=contract, name=task.source, sink=sink)
            except FileError as error:
                refused, report = error.message, error.report  # type: ignore[attr-defined]
            sink.finish()
        validated = time.perf_counter()
        encoding: Any = "csv" if report.csv_safe else "ndjson"
        with bucket.writer(f"cleaned/{task.target}/{job_id}/e1/rows.{encoding}.zst") as out:
            transform(
                parts(sink.parts), contract=contract, job_id=job_id, organization="bench", encoding=encoding, out=out
            )
        bucket.delete(sink.parts)
        return {
            "rows": report.rows_read,
            "rows_out": report.rows_accepted,
            "quarantine": [] if sink.quarantine is None else list(sink.quarantine.parquet_keys),
            "refused": refused,
            "validate_seconds": validated - began,
            "transform_seconds": time.perf_counter() - validated,
        }

    return _profiled(work) if task.profile else work


def _profiled(work: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    def profiled() -> dict[str, Any]:
        profiler = cProfile.Profile()
        found = profiler.runcall(work)
        buffer = StringIO()
        pstats.Stats(profiler, stream=buffer).sort_stats("tottime").print_stats(25)
        return found | {"profile": buffer.getvalue()}

    return profiled


if __name__ == "__main__":
    perform(prepare)
