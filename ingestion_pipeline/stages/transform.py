"""Accepted rows to the object that Druid reads: mapping, lineage, text form, zstd.

What belongs here: what a cell looks like to Druid, and the dimensions that the spec names for it. What
does not: the rest of the spec (`stages.submit`), where the object goes (the caller's stream).

The object is `.csv.zst` (faster in Druid) or `.ndjson.zst` (says everything). Both have `__time` first, as
milliseconds since 1970, and the lineage columns last. The CSV has no header row: the spec lists the columns,
so that one task can read many files. In it, null is an empty cell; rows with an empty text, which a reader could
take for it, become NDJSON.
"""

import io
from collections.abc import Iterable, Iterator
from typing import IO, Any, BinaryIO, Literal, cast

import polars as pl
import zstandard

from ingestion_pipeline.domain.contract import (
    ISO_UTC,
    JOB_COLUMN,
    ORGANIZATION_COLUMN,
    TIME_COLUMN,
    Column,
    Contract,
)

Encoding = Literal["csv", "ndjson"]
# Of a year of flights, level 3 makes an object 1 % smaller and takes a quarter longer; threads leave the writing of
# text to go on meanwhile.
_ZSTD_LEVEL = 2
_ZSTD_THREADS = 2
# Druid's CSV reader ends a record at a line break even inside quotes, splits cells at its list delimiter
# (U+0001), and cannot be told an empty text from a null.
_LIST_DELIMITER = b"\x01"
_CSV_UNSAFE = r"[\r\n\x01]"
_READ_BYTES = 4 * 1024 * 1024


class CleanedText:
    """Accepted rows of one job as text that Druid reads.

    Args:
        job_id, organization: Of letters, digits, `-` and `_`.
    """

    def __init__(self, contract: Contract, *, job_id: str, organization: str) -> None:
        time = pl.col(contract.time.column).cast(pl.Datetime("ms")).dt.epoch("ms").alias(TIME_COLUMN)
        self._cells = [time, *(_cell(column) for column in contract.stored_columns)]
        self._lineage = [pl.lit(job_id).alias(JOB_COLUMN), pl.lit(organization).alias(ORGANIZATION_COLUMN)]
        # The same two cells end every line of CSV. As columns they would make a third of the work.
        self._line_end = f",{job_id},{organization}\n"
        self._texts = [column.name for column in contract.stored_columns if column.type == "string"]
        self._columns = {column.name for column in contract.columns}

    def csv(self, rows: pl.DataFrame) -> bytes | None:
        """Lines of CSV; None where it cannot carry some cell so that Druid gets it back as it is, or has other columns.

        Args:
            rows: In the contract's types, as validation gives them; perhaps with columns that were added to it.
        """
        if self._added(rows):
            return None  # all CSV of a Druid task has the same columns
        buffer = io.BytesIO()
        rows.select(self._cells).write_csv(
            buffer, include_header=False, quote_style="necessary", line_terminator=self._line_end
        )
        text = buffer.getvalue()
        return text if self._is_safe(text, rows) else None

    def ndjson(self, rows: pl.DataFrame) -> bytes:
        """Lines of JSON objects, which carry everything."""
        return _ndjson(rows.select([*self._cells, *self._added(rows), *self._lineage]))

    def _added(self, rows: pl.DataFrame) -> list[str]:
        return [name for name in rows.columns if name not in self._columns]

    def _is_safe(self, text: bytes, rows: pl.DataFrame) -> bool:
        # Polars quotes empty texts and cells with line breaks. Looking for that in bytes takes a moment; cell by cell
        # it takes longer than writing them.
        if _LIST_DELIMITER not in text and (
            b'"' not in text or (text.count(b"\n") == rows.height and b"\r" not in text and b',""' not in text)
        ):
            return True
        unsafe = (((pl.col(n) == "") | pl.col(n).str.contains(_CSV_UNSAFE)).any() for n in self._texts)
        return not rows.select(pl.any_horizontal(unsafe)).item()


class CleanedObject:
    """One compressed object in the making.

    Attributes:
        rows: Lines so far.
        size_bytes: Compressed; whole after `close`.
    """

    def __init__(self, out: BinaryIO) -> None:
        self.rows = 0
        self._counted = _Counted(out)
        compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True, threads=_ZSTD_THREADS)
        self._compressed = compressor.stream_writer(cast(IO[bytes], self._counted), closefd=False)

    @property
    def size_bytes(self) -> int:
        return self._counted.size_bytes

    def write(self, text: bytes) -> None:
        """Add whole lines, none of which has a line break in a cell."""
        self._compressed.write(text)
        self.rows += text.count(b"\n")

    def close(self) -> None:
        """Write what is left; the stream stays open."""
        self._compressed.flush(zstandard.FLUSH_FRAME)


def ndjson_of(stored: Iterable[bytes], encoding: Encoding, contract: Contract) -> Iterator[bytes]:
    """The lines of a cleaned object as NDJSON, a few megabytes at a time.

    Args:
        stored: The object's bytes, in pieces of any size.
    """
    lines = _whole_lines(_decompressed(stored))
    if encoding == "ndjson":
        yield from lines
        return
    schema = {TIME_COLUMN: pl.Int64(), **{column.name: _text_type(column) for column in contract.stored_columns}}
    schema |= dict.fromkeys((JOB_COLUMN, ORGANIZATION_COLUMN), pl.String())
    for text in lines:
        yield _ndjson(pl.read_csv(text, has_header=False, schema=schema))


def druid_columns(contract: Contract) -> list[str]:
    """The columns of a cleaned object, in order."""
    return [TIME_COLUMN, *(column.name for column in contract.stored_columns), JOB_COLUMN, ORGANIZATION_COLUMN]


def druid_dimensions(contract: Contract) -> list[dict[str, Any]]:
    """Druid's dimensions for a cleaned object: all explicit, lineage included, `__time` not among them."""
    types = {"integer": "long", "boolean": "long", "float": "double"}
    dimensions = [{"type": types.get(column.type, "string"), "name": column.name} for column in contract.stored_columns]
    return [*dimensions, *({"type": "string", "name": name} for name in (JOB_COLUMN, ORGANIZATION_COLUMN))]


def _ndjson(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_ndjson(buffer)
    return buffer.getvalue()


def _decompressed(stored: Iterable[bytes]) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    for piece in stored:
        yield decompressor.decompress(piece)


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _READ_BYTES and b"\n" in piece:
            text = b"".join(held)
            cut = text.rfind(b"\n") + 1
            yield text[:cut]
            held, size = [text[cut:]], len(text) - cut
    if size:
        yield b"".join(held)


def _text_type(column: Column) -> pl.DataType:
    """The type of a cleaned cell, which is a number or text."""
    if column.type in {"integer", "boolean"}:
        return pl.Int64()
    return pl.Float64() if column.type == "float" else pl.String()


def _cell(column: Column) -> pl.Expr:
    """A cell as Druid takes it without loss: its numbers are long and double, everything else is text."""
    cell = pl.col(column.name)
    if column.type == "boolean":
        return cell.cast(pl.Int64)
    if column.type == "date":
        return cell.dt.strftime("%Y-%m-%d")
    if column.type == "datetime":
        return cell.map_batches(_as_iso, return_dtype=pl.String)
    if column.type == "decimal":
        return cell.cast(pl.String)
    return cell


def _as_iso(moments: pl.Series) -> pl.Series:
    """Moments as text; each is written once where many rows share it, which takes a quarter of the time."""
    distinct = moments.unique()
    if len(distinct) > len(moments) // 2:
        return moments.dt.strftime(ISO_UTC)
    return moments.replace_strict(distinct, distinct.dt.strftime(ISO_UTC))


class _Counted(io.RawIOBase):
    """Passes writes on and counts the bytes."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.size_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._out.write(data)
        self.size_bytes += len(data)
        return len(data)
