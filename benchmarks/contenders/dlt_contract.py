"""dlt: its `filesystem` source and `read_csv`, typed columns with the data contract `discard_row`, to CSV in S3.

What comes closest there: rows whose cells are not of their column's type are discarded, the others are written
compressed. Ranges, patterns, uniqueness and rules between columns are not asked of it.
"""

import gzip
import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.contenders.duckdb_casts import COLUMNS
from benchmarks.contenders.task import Task, perform

_TEXTS = {"carrier", "tailnum", "origin", "dest"}


def _rows(task: Task) -> int:
    """Rows in what was written: the count that dlt tells is of something else."""
    import obstore

    store = task.store()
    keys = [entry["path"] for entry in obstore.list(store, f"{task.target}/dlt/flights").collect()]
    texts = (gzip.decompress(bytes(obstore.get(store, key).bytes())) for key in keys)
    return sum(text.count(b"\n") - 1 for text in texts)


def prepare(task: Task) -> Callable[[], dict[str, Any]]:
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "DO_NOT_TRACK": "1"}
    import dlt
    from dlt.destinations import filesystem as destination
    from dlt.sources.credentials import AwsCredentials
    from dlt.sources.filesystem import filesystem, read_csv

    credentials = AwsCredentials()
    credentials.aws_access_key_id = task.access_key
    credentials.aws_secret_access_key = task.secret_key
    credentials.endpoint_url = task.endpoint
    credentials.region_name = task.region
    types = {name: "text" if name in _TEXTS else "bigint" for name in COLUMNS} | {"time_hour": "timestamp"}

    def work() -> dict[str, Any]:
        prefix, name = task.source.rsplit("/", 1)
        files = filesystem(f"s3://{task.bucket}/{prefix}", credentials=credentials, file_glob=name)
        rows = (files | read_csv(chunksize=100_000, dtype=str, na_values=["NA"], on_bad_lines="skip")).with_name(
            "flights"
        )
        rows.apply_hints(
            columns={n: {"data_type": t, "nullable": True} for n, t in types.items()},  # type: ignore[arg-type]
            schema_contract={"data_type": "discard_row"},
            write_disposition="append",
        )
        with tempfile.TemporaryDirectory() as directory:
            pipeline = dlt.pipeline(
                "bench",
                pipelines_dir=directory,
                destination=destination(f"s3://{task.bucket}/{task.target}", credentials=credentials),
                dataset_name="dlt",
            )
            pipeline.run(rows, loader_file_format="csv")

        return {"rows_out": partial(_rows, task), "version": dlt.__version__}

    return work


if __name__ == "__main__":
    perform(prepare)
