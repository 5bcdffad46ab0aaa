"""A file as it was understood, cell for cell: every row as text, nothing typed, nothing loaded.

What belongs here: rows to CSV, NDJSON or Parquet, and the report of it. What does not: reading (`formats`), judging by
a contract (`stages.validate`), where the files lie (the caller's streams).
"""

import io
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

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
    stored: Iterable[bytes], *, form: Form, out: BinaryIO, header: bool = False, chunk_bytes: int = _CHUNK_BYTES
) -> ReadingReport:
    """Write a file's rows in a canonical form.

    CSV is UTF-8 as RFC 4180 has it: commas, CRLF, quotes where they are needed; an empty cell without quotes stays
    one, and an empty text in quotes too.

    Args:
        stored: The file's bytes, as they are stored.
        header: Also a file without a header gets one, of generated names.

    Raises:
        UnreadableFile: It cannot be read; what was written until then is not to be used.
    """
    reader = open_rows(stored, contract=None, chunk_bytes=chunk_bytes)
    report = ReadingReport()
    with_header = header or bool(reader.facts.header)
    for number, cells in enumerate(_texts(reader, report)):
        if number == 0:
            report.columns = cells.columns
            writer = _WRITERS[form](out, with_header)
        writer.write(cells)
    if report.columns:
        writer.close()
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


class _Writer(Protocol):
    def __init__(self, out: BinaryIO, header: bool) -> None: ...

    def write(self, cells: pl.DataFrame) -> None: ...

    def close(self) -> None: ...


class _Csv:
    def __init__(self, out: BinaryIO, header: bool) -> None:
        self._out, self._header = out, header

    def write(self, cells: pl.DataFrame) -> None:
        buffer = io.BytesIO()
        cells.write_csv(buffer, include_header=self._header, line_terminator="\r\n", quote_style="necessary")
        self._out.write(buffer.getbuffer())
        self._header = False

    def close(self) -> None:
        pass


class _Ndjson:
    def __init__(self, out: BinaryIO, header: bool) -> None:
        self._out = out

    def write(self, cells: pl.DataFrame) -> None:
        cells.write_ndjson(self._out)

    def close(self) -> None:
        pass


class _Parquet:
    """Chunks lie in a temporary directory until the end: Parquet is written as one stream from them."""

    def __init__(self, out: BinaryIO, header: bool) -> None:
        self._out = out
        self._directory = tempfile.TemporaryDirectory(prefix="ingestion-read-")
        self._count = 0

    def write(self, cells: pl.DataFrame) -> None:
        cells.write_ipc(Path(self._directory.name) / f"{self._count:08}.arrow", compression="lz4")
        self._count += 1

    def close(self) -> None:
        with self._directory as directory:
            pl.scan_ipc(f"{directory}/*.arrow").sink_parquet(self._out)


_WRITERS: dict[Form, type[_Writer]] = {"csv": _Csv, "ndjson": _Ndjson, "parquet": _Parquet}
