"""JSON to rows: newline-delimited objects (NDJSON), an array of objects, one object, or an array inside objects.

What belongs here: the reader, lines of NDJSON, and what is told about the file. What does not: which kind it is
(`json_head`), cutting a document (`json_scan`), what an object's text means (`json_records`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from ingestion_pipeline.domain.contract import FileFormat
from ingestion_pipeline.domain.contract_names import ColumnNames
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats import json_scan
from ingestion_pipeline.formats.ahead import ahead
from ingestion_pipeline.formats.base import FormatFacts, MalformedRecord, RowChunk
from ingestion_pipeline.formats.columns import judge_unknown, tell_missing
from ingestion_pipeline.formats.json_head import JsonKind
from ingestion_pipeline.formats.json_records import JsonTables
from ingestion_pipeline.formats.json_scan import JsonDocument
from ingestion_pipeline.formats.text import line_blocks, undecodable

_NAMES = {"lines": "NDJSON", "array": "JSON array", "row": "JSON object", "inside": "JSON array"}
_WHITE = " \t\r"
_SHOWN_NAMES, _SHOWN_CHARACTERS = 200, 300
_CHUNK_LINES = 100_000


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Texts that are to be rows, the lines on which they begin, and line and text of what cannot be a row."""

    texts: pl.Series
    lines: pl.Series
    others: Sequence[tuple[int, str]] = ()


class JsonReader:
    """Rows of JSON; see `RowReader`. A row's text is its object's, without the white space around it.

    Args:
        stream: UTF-8 without a byte order mark.
        facts: Completed here with the format and the keys of the first rows.
        literal_keys: See `JsonTables`.

    Raises:
        UnreadableFile: The beginning is damaged, or no row of it has a required column.
    """

    def __init__(
        self,
        stream: Iterable[bytes],
        *,
        kind: JsonKind,
        options: FileFormat,
        names: ColumnNames,
        facts: FormatFacts,
        chunk_bytes: int,
        literal_keys: bool = False,
    ) -> None:
        self.facts = facts
        facts.format = _NAMES[kind.form]
        if kind.warning:
            facts.warnings.append(kind.warning)
        self._tables = JsonTables(names, options.null_values, literal_keys=literal_keys)
        self._names = names
        self._required_are_there = False
        self._blank_lines = 0
        stretches = self._lines(stream, chunk_bytes) if kind.form == "lines" else _elements(stream, kind, chunk_bytes)
        self._chunks = map(self._chunk, ahead(stretches))
        self._first = next(self._chunks, None)
        facts.header = list(self._tables.keys)[:_SHOWN_NAMES]
        facts.columns = len(self._tables.keys)
        facts.header_is_whole = facts.columns <= _SHOWN_NAMES and not self._tables.more_keys

    @property
    def keys(self) -> tuple[Sequence[str], bool]:
        """The top-level keys of the rows until now, in their order, and whether there are more than are kept."""
        found = self._tables.keys
        return sorted(found, key=lambda key: found[key]), self._tables.more_keys

    def chunks(self) -> Iterator[RowChunk]:
        """The rows; see `RowReader.chunks`."""
        if self._first is not None:
            yield self._first
            self._first = None
        yield from self._chunks
        if self._blank_lines:
            self.facts.warnings.append(f"{self._blank_lines} blank lines were skipped.")
        if warning := self._names.warning(self._tables.matched):
            self.facts.warnings.append(warning)
        self._judge_unknown()
        if self._required_are_there:
            tell_missing(self._tables.matched, self._names, self.facts)

    def _judge_unknown(self) -> None:
        tables = self._tables
        judge_unknown(list(tables.unknown), self._names, self.facts, what="Keys", more=tables.more_keys)

    def _chunk(self, stretch: _Stretch) -> RowChunk:
        table = self._tables.table(stretch.texts)
        if self._names.unknown == "fail":
            self._judge_unknown()
        if table.cells.height and not self._required_are_there:
            self._require()
            self._required_are_there = True
        whole = table.cells.height == len(stretch.texts)
        texts = stretch.texts if whole else stretch.texts.gather(table.rows)
        bad = pl.Series([row for row, _ in table.malformed], dtype=pl.UInt32)
        malformed = [
            MalformedRecord(line, text, reason)
            for line, text, (_, reason) in zip(
                stretch.lines.gather(bad), stretch.texts.gather(bad), table.malformed, strict=True
            )
        ]
        malformed += [MalformedRecord(line, text, "it is no JSON object") for line, text in stretch.others]
        return RowChunk(
            cells=table.cells,
            lines=stretch.lines if whole else stretch.lines.gather(table.rows),
            malformed=sorted(malformed, key=lambda record: record.line) if stretch.others else malformed,
            original=texts.gather,
        )

    def _require(self) -> None:
        """Rows came: each required column must have been in one of them.

        Later rows may lack it; it is null there, and the rules say whether that will do.
        """
        columns = enumerate(self._names.columns)
        missing = [column.source for n, column in columns if column.required and n not in self._tables.matched]
        if not missing:
            return
        listed = ", ".join(f"'{name}'" for name in missing)
        keys = list(self._tables.keys)
        raise UnreadableFile(
            f"No row at the beginning has the required column{'s' if len(missing) > 1 else ''} {listed}; "
            f"their keys are {', '.join(keys)[:_SHOWN_CHARACTERS]}.",
            hint="Add them, or correct the source of the columns or format.record_path in the contract.",
            details={"header": keys[:_SHOWN_NAMES], "columns": len(keys), "missing": missing},
        )

    def _lines(self, stream: Iterable[bytes], chunk_bytes: int) -> Iterator[_Stretch]:
        """The lines of NDJSON that are not blank."""
        first = 1
        blocks = line_blocks(
            stream,
            block_bytes=chunk_bytes,
            block_lines=_CHUNK_LINES,
            line_bytes=json_scan.MAX_RECORD_BYTES,
            too_long=_too_long,
        )
        for block in blocks:
            assert isinstance(block, bytes)
            try:
                text = block.decode()
            except UnicodeDecodeError as error:
                raise undecodable("utf-8", first + block.count(b"\n", 0, error.start)) from error
            texts = pl.Series([text]).str.split("\n").explode(empty_as_null=True)
            if text.endswith("\n"):
                texts = texts.head(len(texts) - 1)
            lines = pl.int_range(first, first + len(texts), dtype=pl.Int64, eager=True)
            first += len(texts)
            texts = texts.str.strip_chars(_WHITE)
            blank = texts == ""
            if blank.any():
                self._blank_lines += int(blank.sum())
                texts, lines = texts.filter(~blank), lines.filter(~blank)
            if len(texts):
                yield _Stretch(texts, lines)


def _elements(stream: Iterable[bytes], kind: JsonKind, chunk_bytes: int) -> Iterator[_Stretch]:
    """The elements of a document's array of rows, or its one row."""
    document = JsonDocument(stream, chunk_bytes)
    if kind.form == "array":
        found = document.array()
    elif kind.form == "row":
        found = document.row()
    else:
        found = document.at_path(kind.path) if kind.path else document.only_array()
    for part in found:
        yield _Stretch(pl.Series(part.texts, dtype=pl.String), pl.Series(part.lines, dtype=pl.Int64), part.others)


def _too_long() -> UnreadableFile:
    return UnreadableFile(
        f"A line is longer than {json_scan.MAX_RECORD_BYTES // 1024 // 1024} MiB: it is no JSON record.",
        hint="Upload an array of smaller objects, or one object per line.",
    )
