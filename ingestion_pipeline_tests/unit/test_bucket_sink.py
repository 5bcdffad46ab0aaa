"""Where validated rows go: rejected ones to quarantine, in objects of a bounded size; good ones as Druid reads them."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs import bucket_sink
from ingestion_pipeline.defs.bucket_sink import BucketSink
from ingestion_pipeline.domain.job import encoding_of
from ingestion_pipeline.domain.quarantine import Quarantine
from ingestion_pipeline.errors import S3Unavailable
from ingestion_pipeline.stages.transform import CleanedText, ndjson_of
from ingestion_pipeline.stages.validate import REJECTED_SCHEMA
from ingestion_pipeline_tests.extent import LONG
from ingestion_pipeline_tests.unit.contracts import contract_of

BASE = "acme/things/1/e1"
CONTRACT = contract_of({"word": {"type": "string", "nullable": True}})


class _Bucket:
    """A bucket; the object named `refused` cannot be written."""

    def __init__(self, refused: str = "") -> None:
        self.objects: dict[str, bytes] = {}
        self._refused = refused

    @property
    def csv(self) -> bytes | None:
        """Of the rejected rows."""
        return self.objects.get(f"quarantine/{BASE}/rejected.csv")

    def put(self, key: str, data: bytes) -> None:
        if self._refused and key.endswith(self._refused):
            raise S3Unavailable("S3 is away.")
        self.objects[key] = data

    def url(self, key: str) -> str:
        return f"s3://b/{key}"

    @contextmanager
    def writer(self, key: str) -> Iterator[BinaryIO]:
        out = io.BytesIO()
        yield out
        self.put(key, out.getvalue())


def _entry(line: int, rule: str, row: str | None, value: str | None = 'é "x"') -> dict[str, Any]:
    return {"line": line, "column": "n", "rule": rule, "value": value, "reason": "is wrong", "row": row}


def _sink(bucket: _Bucket, stack: ExitStack) -> BucketSink:
    text = CleanedText(CONTRACT, job_id="j-1", organization="acme")
    return BucketSink(cast(ObjectStore, bucket), BASE, stack, text=text)


def _quarantined(entries: list[dict[str, Any]], bucket: _Bucket, *, at_once: int = 2) -> Quarantine | None:
    with ExitStack() as stack:
        sink = _sink(bucket, stack)
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
    read = list(csv.DictReader(io.StringIO((bucket.csv or b"").decode(), newline="")))
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
    shown = list(csv.DictReader(io.StringIO((bucket.csv or b"").decode(), newline="")))
    assert kept is not None
    assert kept.neutralised == sum(row["neutralised"] != "" for row in shown)


def test_rejected_rows_beyond_a_bound_go_to_further_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_sink, "_PARQUET_BYTES", 20_000)
    entries = [_entry(line, "type", f"{line},{'x' * 100}") for line in range(1000)]
    bucket = _Bucket()
    kept = _quarantined(entries, bucket, at_once=10)
    assert kept is not None
    assert len(kept.parquet_keys) > 5
    assert list(kept.parquet_keys) == sorted(key for key in bucket.objects if key.endswith(".parquet"))
    assert _parquet(bucket, kept) == entries


def test_where_no_row_is_rejected_nothing_is_written() -> None:
    bucket = _Bucket()
    assert _quarantined([], bucket) is None
    assert bucket.objects == {}


def test_a_quarantine_that_cannot_be_written_is_an_error_and_leaves_no_half_csv() -> None:
    bucket = _Bucket(refused="rejected-00000.parquet")
    with pytest.raises(S3Unavailable):
        _quarantined([_entry(2, "type", "x")], bucket)
    assert bucket.csv is None


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


def _accepted(bucket: _Bucket, *words: str) -> BucketSink:
    """Each word comes in a frame of its own."""
    with ExitStack() as stack:
        sink = _sink(bucket, stack)
        for word in words:
            sink.accepted(pl.DataFrame({"at": [datetime(2024, 5, 1, tzinfo=UTC)], "word": [word]}))
        sink.finish()
    return sink


@pytest.mark.parametrize(
    ("words", "objects"),
    [
        ("abc", {"rows.csv.zst": "abc"}),
        (("a", "", "c"), {"rows.csv.zst": "a", "rows.ndjson.zst": ("", "c")}),
        (("\n", "b"), {"rows.ndjson.zst": ("\n", "b")}),
    ],
)
def test_rows_are_csv_until_some_cannot_be_and_ndjson_from_there(words: Any, objects: dict[str, Any]) -> None:
    bucket = _Bucket()
    sink = _accepted(bucket, *words)
    assert sink.cleaned.keys == list(bucket.objects) == [f"cleaned/{BASE}/{name}" for name in objects]
    assert sink.cleaned.rows == len(words)
    assert sink.cleaned.size_bytes == sum(map(len, bucket.objects.values()))
    for stored, (name, expected) in zip(bucket.objects.values(), objects.items(), strict=True):
        lines = b"".join(ndjson_of([stored], encoding_of(name), CONTRACT)).decode().splitlines()
        assert [json.loads(line)["word"] for line in lines] == list(expected)


def test_a_file_without_good_rows_leaves_no_object() -> None:
    bucket = _Bucket()
    assert (_accepted(bucket).cleaned.keys, bucket.objects) == ([], {})


def test_what_is_not_finished_does_not_appear() -> None:
    bucket = _Bucket()
    with ExitStack() as stack:
        _sink(bucket, stack).accepted(pl.DataFrame({"at": [datetime(2024, 5, 1, tzinfo=UTC)], "word": ["a"]}))
    assert bucket.objects == {}


@pytest.mark.parametrize("refused", ["rows.csv.zst", "rows.ndjson.zst"])
def test_an_object_that_cannot_be_written_is_an_error_and_is_not_there(refused: str) -> None:
    bucket = _Bucket(refused)
    with pytest.raises(S3Unavailable):
        _accepted(bucket, "a", "")
    assert not any(key.endswith(refused) for key in bucket.objects)
