"""Parquet to rows: the file is kept on disk, its rows are read in slices by a process of its own.

What belongs here: the temporary file, the reader, and what is told about the file. What does not: decoding
(`parquet_process`), values as text (`parquet_text`).

The layout of a Parquet file stands at its end, so it cannot be read as it comes. In memory are, of one row group,
the compressed columns that the contract reads and a page of each, and the rows of a slice.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

import polars as pl

from ingestion_pipeline.domain.contract import Column
from ingestion_pipeline.domain.contract_names import ColumnNames
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.base import FormatFacts, RowChunk
from ingestion_pipeline.formats.columns import (
    UNUSED,
    judge_unknown,
    matched_names,
    tell_missing,
    text_columns,
    with_added,
)
from ingestion_pipeline.formats.parquet_process import DamagedParquet, ParquetProcess
from ingestion_pipeline.formats.parquet_text import CellText, cell_text
from ingestion_pipeline.formats.rescued import json_objects, json_values

_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_SHOWN_NAMES, _SHOWN_CHARACTERS = 200, 300
_NO_NUMBERS = ("NaN", "inf", "-inf")  # floats that JSON has no numbers for


class ParquetReader:
    """Rows of Parquet; see `RowReader`.

    `lines` are numbers of rows, from 1. A row's text is a JSON object of the columns that the contract reads, under
    the file's names.

    Args:
        stream: The file's bytes; read to the end here, into a temporary file that ends with the reader.
        names: Of the contract's columns; None: there is no contract, and every column is kept as text.
        facts: Completed here with the columns.

    Raises:
        UnreadableFile: It is no Parquet, damaged, encrypted, or lacks required columns.
    """

    def __init__(
        self,
        stream: Iterable[bytes],
        *,
        names: ColumnNames | None,
        null_values: Sequence[str],
        facts: FormatFacts,
        chunk_bytes: int,
    ) -> None:
        self.facts = facts
        self._null_values = list(null_values)
        self._process: ParquetProcess | None = None
        self._chunk_bytes = chunk_bytes
        # It has no name on the disk, so nothing stays of it, however this process ends.
        self._file = tempfile.TemporaryFile(prefix="ingestion-parquet-")  # noqa: SIM115 - it ends with the rows
        try:
            _spool(stream, self._file)
            try:
                self._process = ParquetProcess(self._file)
            except DamagedParquet as error:
                raise _damaged(error) from error
            schema = self._process.schema
            wanted = ColumnNames(text_columns(list(schema)), "exact") if names is None else names
            no_text = [name for name, dtype in schema.items() if dtype == pl.Binary]
            wanted = with_added(list(schema), wanted, facts, leave_out=no_text)
            self._cells = _contract_cells(schema, wanted, facts)
            self._rescued = wanted.rescued
            self._unknown = _unknown_cells(schema, self._cells, wanted, facts)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process and the file."""
        if self._process is not None:
            self._process.close()
        self._file.close()

    def chunks(self) -> Iterator[RowChunk]:
        """The rows; see `RowReader.chunks`."""
        assert self._process is not None
        offset = 0
        try:
            wanted = [(cell.name, cell.path) for cell in (*self._cells, *self._unknown)]
            for values in self._process.rows(wanted, self._chunk_bytes):
                yield self._chunk(values, offset)
                offset += values.height
        except DamagedParquet as error:
            raise _damaged(error) from error
        finally:
            self.close()

    def _chunk(self, values: pl.DataFrame, offset: int) -> RowChunk:
        texts = pl.DataFrame([cell.texts(values[cell.name]) for cell in self._cells])
        cells = texts
        if self._null_values:
            strings = pl.col(pl.String)
            cells = texts.with_columns(pl.when(~strings.is_in(self._null_values)).then(strings))
        if self._rescued is not None:
            members = [(cell.source, _json_texts(cell.texts(values[cell.name]), cell)) for cell in self._unknown]
            cells = cells.with_columns(json_objects(members, values.height).alias(self._rescued))
        lines = pl.int_range(offset + 1, offset + 1 + values.height, dtype=pl.Int64, eager=True)
        return RowChunk(cells=cells, lines=lines, malformed=(), original=_originals(texts, self._cells))


def _spool(stream: Iterable[bytes], file: BinaryIO) -> None:
    """Write the stream into the file, and look at both of its ends.

    Raises:
        UnreadableFile: It is no whole Parquet file, or encrypted.
    """
    for piece in stream:
        file.write(piece)
    file.flush()
    size = file.seek(0, 2)
    file.seek(0)
    begin = file.read(4)
    file.seek(max(0, size - 4))
    end = file.read(4)
    if _ENCRYPTED in (begin, end):
        raise UnreadableFile("The Parquet file is encrypted.", hint="Upload it without encryption.")
    if begin != _MAGIC:
        raise UnreadableFile(
            "The file is not Parquet, which the contract says it is.",
            hint="Upload Parquet, or correct format.type of the contract.",
        )
    if end != _MAGIC:
        raise UnreadableFile(
            "The Parquet file has no end: it was cut off or is damaged.", hint="Upload the whole file again."
        )


def _damaged(error: DamagedParquet) -> UnreadableFile:
    return UnreadableFile(f"The Parquet file is damaged: {error}.", hint="Write the file again and upload it.")


def _contract_cells(schema: pl.Schema, wanted: ColumnNames, facts: FormatFacts) -> list[CellText]:
    """How each contract column that the file has is read.

    Raises:
        UnreadableFile: A required column is missing, or one is of a type that has no text.
    """
    names = list(schema)
    facts.header, facts.columns = [name[:_SHOWN_CHARACTERS] for name in names[:_SHOWN_NAMES]], len(names)
    facts.header_is_whole = facts.header == names
    cells: list[CellText] = []
    missing: list[str] = []
    found: set[int] = set()
    matched = matched_names(names, wanted, facts)
    for position, column in enumerate(wanted.columns):
        cell = cell_text(column, matched.get(position), schema)
        if cell is not None:
            cells.append(cell)
            found.add(position)
        elif column.required:
            missing.append(column.source)
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing)
        raise UnreadableFile(
            f"The file lacks the required column{'s' if len(missing) > 1 else ''} {listed}; "
            f"it has {', '.join(names)[:_SHOWN_CHARACTERS]}.",
            hint="Add them.",
            details={"header": facts.header, "columns": facts.columns, "missing": missing},
        )
    facts.warnings.append("The lines of this file are numbers of rows, counted from 1: Parquet has no lines.")
    tell_missing(found, wanted, facts)
    return cells


def _unknown_cells(
    schema: pl.Schema, cells: Sequence[CellText], wanted: ColumnNames, facts: FormatFacts
) -> list[CellText]:
    """How the columns that the contract does not name are read, if they are kept; bytes have no JSON.

    Raises:
        UnreadableFile: A file must have none.
    """
    used = {cell.path[0] for cell in cells}
    unknown = [name for name in schema if name not in used]
    kept = [name for name in unknown if wanted.rescued and schema[name] != pl.Binary]
    judge_unknown(kept if wanted.rescued else unknown, wanted, facts)
    if wanted.rescued and len(kept) < len(unknown):
        left = ", ".join(name for name in unknown if name not in kept)[:_SHOWN_CHARACTERS]
        facts.warnings.append(f"Columns of bytes that the contract does not name were left out: {left}.")
    columns = (Column(name=f"{UNUSED}{n}", type="string", source=name) for n, name in enumerate(kept))
    return [cell for column in columns if (cell := cell_text(column, column.source, schema)) is not None]


def _json_texts(texts: pl.Series, cell: CellText) -> pl.Series:
    if not cell.is_json:
        return json_values(texts)
    no_number = texts.is_in(_NO_NUMBERS)
    return texts if not no_number.any() else texts.zip_with(~no_number, json_values(texts))


def _originals(texts: pl.DataFrame, cells: Sequence[CellText]) -> Callable[[pl.Series], pl.Series]:
    keys = [json.dumps(cell.source, ensure_ascii=False) for cell in cells]

    def original(rows: pl.Series) -> pl.Series:
        objects = []
        for row in texts[rows].select(pl.all().cast(pl.String)).iter_rows():
            members = (
                f"{key}:{_json_value(text, is_json=cell.is_json)}"
                for key, text, cell in zip(keys, row, cells, strict=True)
            )
            objects.append("{" + ",".join(members) + "}")
        return pl.Series(objects, dtype=pl.String)

    return original


def _json_value(text: str | None, *, is_json: bool) -> str:
    if text is None:
        return "null"
    return text if is_json and text not in _NO_NUMBERS else json.dumps(text, ensure_ascii=False)
