"""Accepted rows to the object that Druid reads: mapping, lineage, text form, zstd.

What belongs here: what a cell looks like to Druid, and the dimensions that the spec names for it. What
does not: the rest of the spec (`stages.submit`), where the object goes (the caller's stream).

The object is `.csv.zst` (faster in Druid) or `.ndjson.zst` (says everything). Both have `__time` first, as
milliseconds since 1970, and the lineage columns last. The CSV has no header row: the spec lists the columns,
so that one task can read many files. In it, null is an empty cell; an empty text, which a reader could take
for it, never gets there: such batches are NDJSON (`ValidationReport.csv_safe`).
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
from ingestion_pipeline.formats.ahead import ahead

Encoding = Literal["csv", "ndjson"]
# Of a year of flights, level 3 makes an object 1 % smaller and takes a quarter longer; threads leave the writing of
# text to go on meanwhile.
_ZSTD_LEVEL = 2
_ZSTD_THREADS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformReport:
    """What was written.

    Attributes:
        size_bytes: Compressed.
        columns: Names and Polars types, in the order of the CSV's cells.
    """

    rows: int
    size_bytes: int
    plain_bytes: int
    encoding: Encoding
    columns: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "rows": self.rows,
            "size_bytes": self.size_bytes,
            "plain_bytes": self.plain_bytes,
            "encoding": self.encoding,
            "columns": self.columns,
        }


def transform(
    parts: Iterable[pl.DataFrame],
    *,
    contract: Contract,
    job_id: str,
    organization: str,
    encoding: Encoding,
    out: BinaryIO,
) -> TransformReport:
    """Write one job's accepted rows as one compressed object; memory holds a few parts at a time.

    Args:
        parts: Frames as validation gives them (`ValidationSink.accepted`), in file order.
        encoding: `csv` only where the file's report says `csv_safe`.
        out: Left open.
    """
    mapping = _mapping(contract, job_id, organization)
    columns: dict[str, str] = {}
    rows = plain_bytes = 0
    counted = _Counted(out)
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True, threads=_ZSTD_THREADS)
    with compressor.stream_writer(cast(IO[bytes], counted), closefd=False) as compressed:
        # Three at work: one fetches, one writes text, one compresses.
        for frame, text in ahead(_as_text(ahead(parts), mapping, encoding)):
            compressed.write(text)
            plain_bytes += len(text)
            rows += frame.height
            columns = columns or {name: str(dtype) for name, dtype in frame.schema.items()}
    return TransformReport(
        rows=rows,
        size_bytes=counted.size_bytes,
        plain_bytes=plain_bytes,
        encoding=encoding,
        columns=columns or dict.fromkeys(druid_columns(contract), "String"),
    )


def druid_columns(contract: Contract) -> list[str]:
    """The columns of a cleaned object, in order."""
    return [TIME_COLUMN, *(column.name for column in contract.stored_columns), JOB_COLUMN, ORGANIZATION_COLUMN]


def druid_dimensions(contract: Contract) -> list[dict[str, Any]]:
    """Druid's dimensions for a cleaned object: all explicit, lineage included, `__time` not among them."""
    types = {"integer": "long", "boolean": "long", "float": "double"}
    dimensions = [{"type": types.get(column.type, "string"), "name": column.name} for column in contract.stored_columns]
    return [*dimensions, *({"type": "string", "name": name} for name in (JOB_COLUMN, ORGANIZATION_COLUMN))]


def _as_text(
    parts: Iterable[pl.DataFrame], mapping: list[pl.Expr], encoding: Encoding
) -> Iterator[tuple[pl.DataFrame, memoryview]]:
    for part in parts:
        frame = part.select(mapping)
        buffer = io.BytesIO()
        if encoding == "csv":
            frame.write_csv(buffer, include_header=False, quote_style="necessary")
        else:
            frame.write_ndjson(buffer)
        yield frame, buffer.getbuffer()


def _mapping(contract: Contract, job_id: str, organization: str) -> list[pl.Expr]:
    time = pl.col(contract.time.column).cast(pl.Datetime("ms")).dt.epoch("ms").alias(TIME_COLUMN)
    return [
        time,
        *(_cell(column) for column in contract.stored_columns),
        pl.lit(job_id).alias(JOB_COLUMN),
        pl.lit(organization).alias(ORGANIZATION_COLUMN),
    ]


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
