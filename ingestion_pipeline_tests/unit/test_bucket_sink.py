"""The quarantine file: one CSV from many frames, which `rejected` reads back."""

import csv
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, cast

import polars as pl

from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.validate_op import BucketSink
from ingestion_pipeline.stages.validate import REJECTED_SCHEMA


class _Bucket:
    """A bucket with one object."""

    def __init__(self) -> None:
        self.object = io.BytesIO()

    def url(self, key: str) -> str:
        return f"s3://b/{key}"

    @contextmanager
    def writer(self, key: str) -> Iterator[BinaryIO]:
        yield self.object


def _entry(line: int, rule: str, row: str | None) -> dict[str, Any]:
    return {"line": line, "column": "n", "rule": rule, "value": 'é "x"', "reason": "is wrong", "row": row}


def test_frames_become_one_csv_with_one_header_and_each_rows_text_once() -> None:
    entries = [_entry(2, "type", 'x,"a\nb"'), _entry(2, "not_null", None), _entry(5, "type", "y")]
    bucket = _Bucket()
    with ExitStack() as stack:
        sink = BucketSink(cast(ObjectStore, bucket), "acme/things/1/e1", stack)
        for start in range(0, 3, 2):
            sink.rejected(pl.DataFrame(entries[start : start + 2], schema=REJECTED_SCHEMA))
    assert sink.quarantine_url == "s3://b/quarantine/acme/things/1/e1/rejected.csv"
    read = list(csv.DictReader(io.StringIO(bucket.object.getvalue().decode(), newline="")))
    assert read == [{name: str(cell or "") for name, cell in entry.items()} for entry in entries]
