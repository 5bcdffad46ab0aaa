"""A file's accepted rows on their way into the bucket, as Druid will read them.

What belongs here: which object a stretch of rows goes to, and that none appears unless all is well. What does not: the
text of rows and its compression (`stages.transform`).
"""

from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ingestion_pipeline.adapters.s3 import ObjectStore

if TYPE_CHECKING:
    import polars as pl

    from ingestion_pipeline.stages.transform import CleanedObject, CleanedText, Encoding


class CleanedObjects:
    """Rows as CSV and, from the first that CSV cannot carry, as NDJSON: one object, or one of each.

    Objects appear with `finish`; a block that ends without it leaves none under way.

    Attributes:
        keys: Of all that appeared or may have, in the file's order.
        rows: Lines that were written.
    """

    def __init__(self, bucket: ObjectStore, base: str, text: "CleanedText") -> None:
        self.keys: list[str] = []
        self.rows = self.size_bytes = 0
        self._bucket, self._base, self._text = bucket, base, text
        self._encoding: Encoding = "csv"
        self._object: CleanedObject | None = None
        self._upload = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        unfinished = _Unfinished()
        self._upload.__exit__(_Unfinished, unfinished, None)

    def add(self, rows: "pl.DataFrame") -> None:
        text = self._text.csv(rows) if self._encoding == "csv" else None
        if text is None:
            if self._encoding == "csv":
                self.finish()
                self._encoding = "ndjson"
            text = self._text.ndjson(rows)
        if self._object is None:
            self._object = self._begin()
        self._object.write(text)

    def finish(self) -> None:
        """The object that is under way, if one is, appears."""
        if self._object is not None:
            self._object.close()
            self._upload.close()
            self.rows += self._object.rows
            self.size_bytes += self._object.size_bytes
            self._object = None

    def _begin(self) -> "CleanedObject":
        from ingestion_pipeline.stages.transform import CleanedObject

        # Druid picks the codec by the suffix.
        key = f"cleaned/{self._base}/rows.{self._encoding}.zst"
        self.keys.append(key)
        return CleanedObject(self._upload.enter_context(self._bucket.writer(key)))


class _Unfinished(BaseException):
    """Tells an upload that it is not to appear."""
