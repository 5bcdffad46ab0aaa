"""Where a run's rows go while a file is validated: accepted ones as Druid reads them, rejected ones to quarantine.

What belongs here: objects in the bucket, written as rows come, in bounded memory. What does not: what is rejected
(`stages.validate`), what else is made of rejected rows later (`stages.quarantine`, `cli.rejected`).
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.cleaned_objects import CleanedObjects
from ingestion_pipeline.domain.quarantine import Quarantine

if TYPE_CHECKING:
    import polars as pl

    from ingestion_pipeline.stages.transform import CleanedText

_PARQUET_BYTES = 4 * 1024 * 1024
"""Of rejected rows that are held until they become an object: of plain text, a quarter of it as Parquet or less."""


class BucketSink:
    """A sink of validation in the bucket.

    Accepted rows are written in a thread while the next ones are checked. All are there after `finish`, which raises
    what went wrong with the last ones; without it, none are. The quarantine is whole after the stack's end, and costs
    nothing where no row is rejected.
    """

    def __init__(self, bucket: ObjectStore, base: str, stack: ExitStack, *, text: "CleanedText") -> None:
        self._bucket, self._base, self._stack = bucket, base, stack
        self._rejects: _RejectedRows | None = None
        self.cleaned = stack.enter_context(CleanedObjects(bucket, base, text))
        self._thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="cleaned"))
        self._under_way: Future[None] | None = None

    @property
    def quarantine(self) -> Quarantine | None:
        """Where the rejected rows are; None: there are none."""
        return None if self._rejects is None else self._rejects.quarantine

    def accepted(self, frame: "pl.DataFrame") -> None:
        self._wait()  # one at a time: memory holds two frames
        self._under_way = self._thread.submit(self.cleaned.add, frame)

    def finish(self) -> None:
        self._wait()
        self.cleaned.finish()

    def _wait(self) -> None:
        if self._under_way is not None:
            self._under_way.result()

    def rejected(self, frame: "pl.DataFrame") -> None:
        if frame.height == 0:
            return
        if self._rejects is None:
            self._rejects = self._stack.enter_context(_rejected_rows(self._bucket, f"quarantine/{self._base}/rejected"))
        self._rejects.add(frame)


@contextmanager
def _rejected_rows(bucket: ObjectStore, base: str) -> Iterator["_RejectedRows"]:
    """Objects of rejected rows, whole when the block ends well; when it raises, the CSV does not appear."""
    with bucket.writer(f"{base}.csv") as csv:
        rows = _RejectedRows(bucket, base, csv)
        yield rows
        rows.flush()


class _RejectedRows:
    """Rejected rows twice, whenever enough are held: in `….csv`, one stream, and in `…-00000.parquet` and so on."""

    def __init__(self, bucket: ObjectStore, base: str, csv: BinaryIO) -> None:
        self._bucket, self._base, self._csv = bucket, base, csv
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._keys: list[str] = []
        self._entries = self._neutralised = 0

    @property
    def quarantine(self) -> Quarantine:
        return Quarantine(
            csv_url=self._bucket.url(f"{self._base}.csv"),
            parquet_keys=tuple(self._keys),
            entries=self._entries,
            neutralised=self._neutralised,
        )

    def add(self, frame: "pl.DataFrame") -> None:
        # Written out, because a frame of a few rows of a chunk keeps the memory of the whole chunk.
        buffer = BytesIO()
        frame.write_ipc(buffer)
        self._held.append(buffer.getvalue())
        self._held_bytes += buffer.tell()
        if self._held_bytes >= _PARQUET_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held to the CSV, and as the next Parquet object."""
        if not self._held:
            return
        import polars as pl

        from ingestion_pipeline.stages.quarantine.formulas import NEUTRALISED, neutralised

        frame = pl.concat([pl.read_ipc(data) for data in self._held])
        shown = neutralised(frame)
        buffer = BytesIO()
        shown.write_csv(buffer, include_header=self._entries == 0)
        self._csv.write(buffer.getbuffer())
        self._entries += frame.height
        self._neutralised += shown.filter(shown[NEUTRALISED] != "").height
        buffer = BytesIO()
        frame.write_parquet(buffer)
        self._held, self._held_bytes = [], 0
        key = f"{self._base}-{len(self._keys):05d}.parquet"
        self._bucket.put(key, buffer.getvalue())
        self._keys.append(key)
