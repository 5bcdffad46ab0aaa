"""Where validated rows go: the quarantine, twice, in objects of a bounded size, and the parts of accepted rows."""

import csv
import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs import bucket_sink
from ingestion_pipeline.defs.bucket_sink import BucketSink
from ingestion_pipeline.domain.quarantine import Quarantine
from ingestion_pipeline.errors import S3Unavailable
from ingestion_pipeline.stages.validate import REJECTED_SCHEMA
from ingestion_pipeline_tests.extent import LONG

BASE = "acme/things/1/e1"


class _Bucket:
    """A bucket with one written object, and others; the one named `refused` cannot be put."""

    def __init__(self, refused: str = "") -> None:
        self.object = io.BytesIO()
        self.objects: dict[str, bytes] = {}
        self.is_written = False
        self._refused = refused

    def put(self, key: str, data: bytes) -> None:
        if self._refused and key.endswith(self._refused):
            raise S3Unavailable("S3 is away.")
        self.objects[key] = data

    def url(self, key: str) -> str:
        return f"s3://b/{key}"

    @contextmanager
    def writer(self, key: str) -> Iterator[BinaryIO]:
        yield self.object
        self.is_written = True


def _entry(line: int, rule: str, row: str | None, value: str | None = 'é "x"') -> dict[str, Any]:
    return {"line": line, "column": "n", "rule": rule, "value": value, "reason": "is wrong", "row": row}


def _quarantined(entries: list[dict[str, Any]], bucket: _Bucket, *, at_once: int = 2) -> Quarantine | None:
    with ExitStack() as stack:
        sink = BucketSink(cast(ObjectStore, bucket), BASE, stack)
        for start in range(0, len(entries), at_once):
            sink.rejected(pl.DataFrame(entries[start : start + at_once], schema=REJECTED_SCHEMA))
    return sink.quarantine


def _parquet(bucket: _Bucket, kept: Quarantine | None) -> list[dict[str, Any]]:
    assert kept is not None
    return pl.concat([pl.read_parquet(bucket.objects[key]) for key in kept.parquet_keys]).to_dicts()


def test_frames_become_one_csv_with_one_header_and_each_rows_text_once() -> None:
    entries = [_entry(2, "type", 'x,"a\nb"'), _entry(2, "not_null", None), _entry(5, "type", "y")]
    bucket = _Bucket()
    kept = _quarantined(entries, bucket)
    assert kept == Quarantine(
        csv_url=f"s3://b/quarantine/{BASE}/rejected.csv",
        parquet_keys=(f"quarantine/{BASE}/rejected-00000.parquet",),
        entries=3,
        neutralised=0,
    )
    read = list(csv.DictReader(io.StringIO(bucket.object.getvalue().decode(), newline="")))
    assert read == [{name: str(cell or "") for name, cell in entry.items()} | {"neutralised": ""} for entry in entries]
    assert _parquet(bucket, kept) == entries


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(["=1+1", "-5", "\t@x", None]), min_size=1
    )
)
def test_parquet_has_every_value_exactly_whatever_the_csv_shows(values: list[str | None]) -> None:
    bucket, entries = _Bucket(), [_entry(line, "type", value or "", value) for line, value in enumerate(values)]
    kept = _quarantined(entries, bucket)
    assert _parquet(bucket, kept) == entries
    shown = list(csv.DictReader(io.StringIO(bucket.object.getvalue().decode(), newline="")))
    assert kept is not None
    assert kept.neutralised == sum(row["neutralised"] != "" for row in shown)


def test_rejected_rows_beyond_a_bound_go_to_further_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_sink, "_PARQUET_BYTES", 20_000)
    entries = [_entry(line, "type", f"{line},{'x' * 100}") for line in range(1000)]
    bucket = _Bucket()
    kept = _quarantined(entries, bucket, at_once=10)
    assert kept is not None
    assert len(kept.parquet_keys) > 5
    assert list(kept.parquet_keys) == sorted(bucket.objects)
    assert _parquet(bucket, kept) == entries


def test_where_no_row_is_rejected_nothing_is_written() -> None:
    bucket = _Bucket()
    assert _quarantined([], bucket) is None
    assert (bucket.objects, bucket.is_written) == ({}, False)


def test_a_quarantine_that_cannot_be_written_is_an_error_and_leaves_no_half_csv() -> None:
    bucket = _Bucket(refused="rejected-00000.parquet")
    with pytest.raises(S3Unavailable):
        _quarantined([_entry(2, "type", "x")], bucket)
    assert not bucket.is_written


def test_half_a_million_rejected_rows_need_hardly_more_memory_than_some() -> None:
    """Frames are made as validation makes them: a few rows of a chunk, which keep the memory of all of it.

    Held as they come, they take 50 MB more than this; with no object before the last, 200 MB more.
    """
    script = Path(__file__).with_name("reject_many.py")
    peaks = [
        int(subprocess.run([sys.executable, script, str(frames)], capture_output=True, text=True, check=True).stdout)
        for frames in (4, 800 if LONG else 200)
    ]
    assert peaks[1] < peaks[0] + 90_000_000


def _put_parts(sink: BucketSink, count: int) -> None:
    for part in range(count):
        sink.accepted(part, pl.DataFrame({"n": [part]}))
    sink.finish()


def test_all_parts_are_in_the_bucket_when_the_sink_is_finished() -> None:
    bucket = _Bucket()
    with ExitStack() as stack:
        sink = BucketSink(cast(ObjectStore, bucket), BASE, stack)
        _put_parts(sink, 3)
        assert list(bucket.objects) == sink.parts
    assert sink.parts == [f"cleaned/{BASE}/part-0000{part}.arrow" for part in range(3)]
    assert [pl.read_ipc(data).height for data in bucket.objects.values()] == [1, 1, 1]


@pytest.mark.parametrize("refused", ["part-00000.arrow", "part-00001.arrow"])
def test_a_part_that_cannot_be_put_is_an_error_and_is_among_those_to_clean_up(refused: str) -> None:
    with ExitStack() as stack:
        sink = BucketSink(cast(ObjectStore, _Bucket(refused)), BASE, stack)
        with pytest.raises(S3Unavailable):
            _put_parts(sink, 2)
    assert any(key.endswith(refused) for key in sink.parts)
