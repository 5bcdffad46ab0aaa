"""Polars alone: `scan_csv` to `sink_csv`, zstd, S3 to S3. Types are guessed, nothing is checked."""

from collections.abc import Callable
from typing import Any

from benchmarks.contenders.task import Task, perform


def prepare(task: Task) -> Callable[[], dict[str, Any]]:
    import polars as pl

    def work() -> dict[str, Any]:
        frame = pl.scan_csv(
            f"s3://{task.bucket}/{task.source}",
            null_values=["NA"],
            infer_schema_length=10_000,
            storage_options=task.storage_options,
            credential_provider=None,
        )
        frame.sink_csv(
            f"s3://{task.bucket}/{task.target}/rows.csv.zst",
            compression="zstd",
            storage_options=task.storage_options,
            credential_provider=None,
        )
        return {}

    return work


if __name__ == "__main__":
    perform(prepare)
