"""Where validated rows go: the quarantine, one CSV from many frames, and the parts of accepted rows."""

import csv
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, cast

import polars as pl
import pytest

from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.validate_op import BucketSink
from ingestion_pipeline.errors import S3Unavailable
from ingestion_pipeline.stages.validate import REJECTED_SCHEMA


class _Bucket:
    """A bucket with one written object, and parts; the part named `refused` cannot be put."""

    def __init__(self, refused: str = "") -> None:
        self.object = io.BytesIO()
        self.put_keys: list[str] = []
        self._refused = refused

    def put(self, key: str, data: bytes) -> None:
        if self._refused and key.endswith(self._refused):
            raise S3Unavailable("S3 is away.")
        assert pl.read_ipc(data).height == 1
        self.put_keys.append(key)

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


def _put_parts(sink: BucketSink, count: int) -> None:
    for part in range(count):
        sink.accepted(part, pl.DataFrame({"n": [part]}))
    sink.finish()


def test_all_parts_are_in_the_bucket_when_the_sink_is_finished() -> None:
    bucket = _Bucket()
    with ExitStack() as stack:
        sink = BucketSink(cast(ObjectStore, bucket), "acme/things/1/e1", stack)
        _put_parts(sink, 3)
        assert bucket.put_keys == sink.parts
    assert sink.parts == [f"cleaned/acme/things/1/e1/part-0000{part}.arrow" for part in range(3)]


@pytest.mark.parametrize("refused", ["part-00000.arrow", "part-00001.arrow"])
def test_a_part_that_cannot_be_put_is_an_error_and_is_among_those_to_clean_up(refused: str) -> None:
    with ExitStack() as stack:
        sink = BucketSink(cast(ObjectStore, _Bucket(refused)), "acme/things/1/e1", stack)
        with pytest.raises(S3Unavailable):
            _put_parts(sink, 2)
    assert any(key.endswith(refused) for key in sink.parts)
