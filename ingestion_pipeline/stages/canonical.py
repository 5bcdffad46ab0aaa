"""A file as it was understood, cell for cell: every row as text, nothing typed, nothing loaded.

What belongs here: rows to CSV, NDJSON or Parquet, and the report of it. What does not: reading (`formats`), judging by
a contract (`stages.validate`), where the files lie (the caller's streams).
"""

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Literal

import polars as pl

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats import open_rows
from ingestion_pipeline.formats.base import RowReader

Form = Literal["csv", "ndjson", "parquet"]
_SHOWN_REJECTS = 1000
_SHOWN_CHARACTERS = 500
_CHUNK_BYTES = 8 << 20


@dataclass(slots=True, kw_only=True)
class ReadingReport:
    """What was read.

    Attributes:
        rejected: The first of the records that are no rows: line, text, reason.
        columns: As they are named in the output.
    """

    format: dict[str, Any] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    rows_read: int = 0
    rows_accepted: int = 0
    rows_rejected: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_as_text(
    stored: Iterable[bytes],
    *,
    form: Form,
    out: BinaryIO,
    header: bool = False,
    table: int = 1,
    chunk_bytes: int = _CHUNK_BYTES,
) -> ReadingReport:
    """Write a file's rows in a canonical form.

    CSV is UTF-8 as RFC 4180 has it: commas, CRLF, quotes where they are needed; an empty cell without quotes stays
    one, and an empty text in quotes too.

    Args:
        stored: The file's bytes, as they are stored.
        table: Which of several tables, from 1.
        header: Also a file without a header gets one, of generated names.

    Raises:
        UnreadableFile: It cannot be read; what was written until then is not to be used.
    """
    reader = open_rows(stored, contract=None, chunk_bytes=chunk_bytes, table=table)
    report = ReadingReport()
    with_header = header or bool(reader.facts.header)
    with table_writer(form, out, header=with_header) as write:
        for cells in _texts(reader, report):
            report.columns = cells.columns
            if cells.width:  # an empty array of JSON has no columns
                write(cells)
    report.format, report.warnings = reader.facts.as_dict(), reader.facts.warnings
    report.rows_read = report.rows_accepted + report.rows_rejected
    if report.rows_read and not report.rows_accepted:
        first = report.rejected[0]
        raise UnreadableFile(
            f"None of its {report.rows_read:,} records is a row; line {first['line']}: {first['reason']}.",
            hint="If its dialect was not understood, a contract's format can say how it is written.",
        )
    return report


def _texts(reader: RowReader, report: ReadingReport) -> Iterator[pl.DataFrame]:
    for chunk in reader.chunks():
        report.rows_accepted += chunk.cells.height
        report.rows_rejected += len(chunk.malformed)
        for record in chunk.malformed[: max(0, _SHOWN_REJECTS - len(report.rejected))]:
            report.rejected.append(
                {"line": record.line, "text": record.text[:_SHOWN_CHARACTERS], "reason": record.reason}
            )
        yield chunk.cells


@contextmanager
def table_writer(form: Form, out: BinaryIO, *, header: bool) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Writes frames of one schema, one after the other; the table is complete at the end of the context."""
    if form == "parquet":
        with _parquet_writer(out) as write:
            yield write
    elif form == "ndjson":
        yield lambda rows: rows.write_ndjson(out)
    else:
        yield _Csv(out, header).write


class _Csv:
    def __init__(self, out: BinaryIO, header: bool) -> None:
        self._out, self._header = out, header

    def write(self, rows: pl.DataFrame) -> None:
        buffer = io.BytesIO()
        rows.write_csv(buffer, include_header=self._header, line_terminator="\r\n", quote_style="necessary")
        self._out.write(buffer.getbuffer())
        self._header = False


@contextmanager
def _parquet_writer(out: BinaryIO) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Frames lie in a temporary directory until the end: Parquet is written as one stream from them."""
    with tempfile.TemporaryDirectory(prefix="ingestion-read-") as directory:
        numbers = count()

        def write(rows: pl.DataFrame) -> None:
            rows.write_ipc(Path(directory) / f"{next(numbers):08}.arrow", compression="lz4")

        yield write
        if any(Path(directory).iterdir()):
            pl.scan_ipc(f"{directory}/*.arrow").sink_parquet(out)
        else:
            pl.DataFrame().write_parquet(out)
