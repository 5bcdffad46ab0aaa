"""A process of its own that rejects 2,500 rows of each of so many chunks and prints its peak memory, in bytes."""

import resource
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, cast

import polars as pl

from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.bucket_sink import BucketSink
from ingestion_pipeline.stages.transform import CleanedText
from ingestion_pipeline.stages.validate import REJECTED_SCHEMA

CHUNK, EVERY = 50_000, 20
TEXT = "\n".join(f"2024-05-01T10:00:00Z,{row},one of the rows of a chunk" for row in range(CHUNK))


class _Nowhere:
    """A bucket that counts what it gets."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def put(self, key: str, data: bytes) -> None:
        self.size_bytes += len(data)

    def url(self, key: str) -> str:
        return key

    @contextmanager
    def writer(self, key: str) -> Iterator[BinaryIO]:
        yield cast(BinaryIO, self)

    def write(self, data: memoryview) -> None:
        self.size_bytes += len(data)


def chunk(number: int) -> pl.DataFrame:
    # As the reader has them: all of a chunk's lines in one piece of memory, made anew for each chunk.
    lines = pl.Series([TEXT]).str.split("\n").explode(empty_as_null=True)
    at = pl.int_range(0, CHUNK, EVERY, dtype=pl.UInt32, eager=True)
    return pl.DataFrame(
        {
            "line": at.cast(pl.Int64) + number * CHUNK,
            "column": ["n"] * len(at),
            "rule": ["type"] * len(at),
            "value": lines.gather(at),
            "reason": ["is not a whole number"] * len(at),
            "row": lines.gather(at),
        },
        schema=REJECTED_SCHEMA,
    )


if __name__ == "__main__":
    bucket = _Nowhere()
    with ExitStack() as stack:
        sink = BucketSink(cast(ObjectStore, bucket), "acme/things/1/e1", stack, text=cast(CleanedText, None))
        for number in range(int(sys.argv[1])):
            sink.rejected(chunk(number))
    assert sink.quarantine is not None
    assert sink.quarantine.entries == int(sys.argv[1]) * CHUNK // EVERY
    sys.stdout.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
