"""This pipeline: validate and transform, the code of the ops, in one process as in a run."""

import cProfile
import pstats
from collections.abc import Callable
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.contenders.task import Task, perform


def prepare(task: Task) -> Callable[[], dict[str, Any]]:
    import numpy as np  # the rule of uniqueness needs it

    from ingestion_pipeline.adapters.contracts import load_contract
    from ingestion_pipeline.adapters.s3 import ObjectStore
    from ingestion_pipeline.defs.bucket_sink import BucketSink
    from ingestion_pipeline.errors import FileError
    from ingestion_pipeline.settings import Settings
    from ingestion_pipeline.stages.transform import CleanedText
    from ingestion_pipeline.stages.validate import validate

    del np
    bucket = ObjectStore.from_settings(Settings(**task.settings))  # type: ignore[arg-type]
    contract = load_contract(Path(task.contract))
    job_id = str(uuid4())

    def work() -> dict[str, Any]:
        refused = ""
        with ExitStack() as stack:
            text = CleanedText(contract, job_id=job_id, organization="bench")
            sink = BucketSink(bucket, f"{task.target}/{job_id}/e1", stack, text=text)
            try:
                report = validate(bucket.read(task.source), contract=contract, name=task.source, sink=sink)
            except FileError as error:
                refused, report = error.message, error.report  # type: ignore[attr-defined]
            sink.finish()
        # The op `transform` has nothing left to do: all of it is CSV.
        assert [key.rsplit("/", 1)[1] for key in sink.cleaned.keys] == ["rows.csv.zst"]
        assert sink.cleaned.rows == report.rows_accepted
        return {
            "rows": report.rows_read,
            "rows_out": report.rows_accepted,
            "quarantine": [] if sink.quarantine is None else list(sink.quarantine.parquet_keys),
            "refused": refused,
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
