"""Delimited text (CSV, TSV and the like) to rows, in bounded memory.

What belongs here: the dialect, the header, blocks of text to frames of cells. What does not: where a
record ends (`records`), encodings (`text`), what a cell may hold (`stages.validate`).
"""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import polars as pl

from ingestion_pipeline.domain.contract import DELIMITED_TEXT, FileFormat
from ingestion_pipeline.domain.contract_names import ColumnNames
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.ahead import ahead
from ingestion_pipeline.formats.base import FormatFacts, MalformedRecord, RowChunk
from ingestion_pipeline.formats.beginning import told_by_contract, told_by_itself, unknown_columns
from ingestion_pipeline.formats.columns import UNUSED, shown
from ingestion_pipeline.formats.pages import without_repeats
from ingestion_pipeline.formats.records import (
    CANONICAL,
    Block,
    Dialect,
    is_plain,
    split_block,
)
from ingestion_pipeline.formats.rescued import json_objects, json_values
from ingestion_pipeline.formats.table_end import LOOKED_AT, MAX_BLANK_LINES, Look, Rest, end_of_table, may_be_padded
from ingestion_pipeline.formats.text import (
    MAX_LINE_BYTES,
    UPLOAD_HINT,
    LongLine,
    first_bytes,
    line_blocks,
    undecodable,
)
from ingestion_pipeline.formats.unreadable import behind_lines, shown_text, unreadable_lines, without_unreadable

# The longest header has to fit into a sample; dialect and layout are told by less.
_SAMPLE_BYTES = 8 * 1024 * 1024
_SHOWN_LINES, _SHOWN_LINE_CHARACTERS = 20, 500  # of a preamble in reports
# Memory grows with a chunk's cells too: of lines of two bytes, a chunk by bytes alone would have millions.
_CHUNK_LINES = 250_000
_OTHER_THAN_LINE_ENDS = re.compile(rb"[^\r\n]")


class DelimitedReader:
    """Rows of delimited text; see `RowReader`.

    Args:
        stream: UTF-8 without a byte order mark.
        names: Of the contract's columns; None: there is no contract, and every column of the file is kept.
        facts: Completed here with dialect, preamble and header.
        lines_before: Lines of the file that the stream does not have.

    Raises:
        UnreadableFile: No header, or one that lacks required columns.
    """

    def __init__(
        self,
        stream: Iterable[bytes],
        *,
        options: FileFormat,
        names: ColumnNames | None,
        facts: FormatFacts,
        chunk_bytes: int,
        lines_before: int = 0,
    ) -> None:
        self.facts = facts
        self._options = options
        self._by_contract = names is not None
        head, stream = first_bytes(stream, _SAMPLE_BYTES)
        whole = len(head) < _SAMPLE_BYTES
        sample = _decoded(head, 1, final=whole, lenient=not self._by_contract)
        begin = (
            told_by_contract(sample, options, names, facts, lines_before)
            if names is not None
            else told_by_itself(shown_text(sample), options, facts, whole=whole)
        )
        if not whole and begin.characters >= len(sample):
            raise _no_lines(_SAMPLE_BYTES)
        self._dialect, self._skip_lines = begin.dialect, lines_before + begin.lines
        rows = _after(stream, len(sample[: begin.characters].encode(errors="surrogateescape")))
        lines = line_blocks(rows, block_bytes=chunk_bytes, block_lines=_CHUNK_LINES)
        self._blocks = ahead(_with_last(lines))
        self._names = begin.names
        self._repeats = begin.repeats
        self._line, self._blank_lines = 1 + self._skip_lines, 0  # the next one; those that were passed over
        self._after_blank = False
        self._first_rows: list[tuple[str | None, ...]] = []
        self._bad_records = 0  # since the last row
        self._rescued = names.rescued if names is not None else None
        self._unknown = unknown_columns(begin) if self._rescued is not None else {}
        self._kept = [i for i, name in enumerate(self._names) if not name.startswith(UNUSED) or name in self._unknown]
        facts.format = DELIMITED_TEXT
        facts.delimiter, facts.quote, facts.escape = self._dialect.delimiter, self._dialect.quote, self._dialect.escape
        facts.header, facts.columns = shown(begin.header), len(begin.header) or len(begin.names)
        facts.header_is_whole = facts.header == begin.header
        facts.preamble = [text[:_SHOWN_LINE_CHARACTERS] for text in begin.preamble[:_SHOWN_LINES]]
        facts.preamble_lines = len(begin.preamble)
        if not facts.header_is_whole:
            facts.warnings.append(
                f"The header is too long to be shown: of its {len(begin.header)} names, the first are kept, shortened."
            )

    def chunks(self) -> Iterator[RowChunk]:
        """The rows; see `RowReader.chunks`."""
        if self._rescued is not None:
            return map(self._with_rescued, self._chunks())
        return without_repeats(self._chunks(), self._repeats, self.facts) if self._repeats else self._chunks()

    def _with_rescued(self, chunk: RowChunk) -> RowChunk:
        """The columns that the contract does not name, as one of JSON."""
        members = [(label, json_values(chunk.cells[name])) for name, label in self._unknown.items()]
        objects = json_objects(members, chunk.cells.height).alias(self._rescued or "")
        return replace(chunk, cells=chunk.cells.drop(self._unknown).with_columns(objects))

    def _chunks(self) -> Iterator[RowChunk]:
        pending = b""
        for data, final in self._blocks:
            if isinstance(data, LongLine):
                if pending:
                    # What is open there cannot be closed by a line that nobody reads.
                    yield self._careful_chunk(pending, final=True, may_end=False)[0]
                    pending = b""
                yield self._too_long(data)
                continue
            block = pending + data
            pending = b""
            if not _OTHER_THAN_LINE_ENDS.search(block):
                count = block.count(b"\n") + (not block.endswith(b"\n"))
                self._blank_lines += count
                self._line += count
                self._after_blank = True
                continue
            cells = None if self._after_blank else self._plain_cells(block)
            if cells is not None:
                yield self._plain_chunk(block, cells)
                continue
            chunk, pending, has_ended = self._careful_chunk(block, final=final)
            yield chunk
            if has_ended:
                self._describe_rest(pending, self._line - 1)
                break
        if self._line == 1 + self._skip_lines + self._blank_lines:
            # No row came: the columns are known all the same.
            yield self._no_rows()
        if self._blank_lines:
            self.facts.warnings.append(f"{self._blank_lines} blank lines were skipped.")

    def _plain_chunk(self, block: bytes, cells: pl.DataFrame) -> RowChunk:
        """The rows of a block in which every line is one."""
        lines = pl.int_range(self._line, self._line + cells.height, dtype=pl.Int64, eager=True)
        self._line += cells.height
        self._keep_first_rows(cells)
        self._bad_records = 0
        return RowChunk(cells=cells, lines=lines, malformed=(), original=_original_lines(block))

    def _careful_chunk(self, block: bytes, *, final: bool, may_end: bool = True) -> tuple[RowChunk, bytes, bool]:
        """The records of a block that were looked at one by one.

        Returns:
            Them, what is to be looked at again together with the next block, and whether the table ends before that.
        """
        line = self._line
        text = _decoded(block, line, final=True, lenient=not self._by_contract)
        unreadable = unreadable_lines(text)
        if unreadable:
            text = shown_text(text)
        found = split_block(text, self._dialect, len(self._names), final=final)
        cells = self._parse(found.text.encode(), len(found.lines))
        end = None
        if may_end and self._blank_lines <= MAX_BLANK_LINES:
            end = end_of_table(found, cells, self._dialect, self._look(), after_blank=self._after_blank, final=final)
        stop = found.line_count if end is None else end.line
        self._blank_lines += sum(at < stop for at in found.blank_lines)
        pending = behind_lines(block, stop) if unreadable else text[found.start_of(stop) :].encode()
        chunk = _chunk(found, cells, line, stop)
        if unreadable:
            chunk = without_unreadable(chunk, found, unreadable, line)
        self._keep_first_rows(chunk.cells)
        last = chunk.lines[-1] if chunk.cells.height else 0
        bad = sum(record.line > last for record in chunk.malformed)
        self._bad_records = bad if last else self._bad_records + bad
        self._line += stop
        has_ended = end is not None and end.decided
        if stop and not has_ended:
            self._after_blank = stop - 1 in found.blank_lines
        return chunk, pending, has_ended

    def _too_long(self, data: LongLine) -> RowChunk:
        shown = data.head.decode(errors="replace")
        reason = (
            f"the line has {data.size_bytes:,} bytes, and {MAX_LINE_BYTES:,} at most are read; its beginning is shown"
        )
        self._line += 1
        self._after_blank = False
        self._bad_records += 1
        return self._no_rows([MalformedRecord(self._line - 1, shown, reason)])

    def _no_rows(self, malformed: Sequence[MalformedRecord] = ()) -> RowChunk:
        nothing = pl.Series(dtype=pl.Int64)
        cells = self._parse(b"", 0)
        return RowChunk(cells=cells, lines=nothing, malformed=malformed, original=lambda rows: rows.cast(pl.String))

    def _look(self) -> Look:
        header = None if self._by_contract else self.facts.header
        return Look(header=header, first_rows=self._first_rows, bad_records=self._bad_records)

    def _keep_first_rows(self, cells: pl.DataFrame) -> None:
        if len(self._first_rows) < LOOKED_AT:
            self._first_rows.extend(cells.head(LOOKED_AT - len(self._first_rows)).rows())

    def _describe_rest(self, pending: bytes, lines: int) -> None:
        """What stands behind the table, after so many lines: read to its end, told in the report."""
        rest = Rest(self._dialect, lines)
        rest.add(pending.decode(errors="replace"))
        for data, _ in self._blocks:
            text = data.head + b"\n" if isinstance(data, LongLine) else data
            rest.add(text.decode(errors="replace"))
        rest.close()
        self.facts.footer, self.facts.further_tables = rest.footer, rest.tables
        self.facts.warnings.extend(rest.warnings())

    def _plain_cells(self, block: bytes) -> pl.DataFrame | None:
        """The cells of a block in which every line is a record; None if that is not sure."""
        if not self._dialect.is_simple or (self._dialect.quote is not None and self._dialect.quote.encode() in block):
            return None
        if not self._by_contract and may_be_padded(block, self._dialect.delimiter, len(self._names)):
            return None
        try:
            # Every column, used or not: Polars would not refuse a line too long if it were told to leave one out.
            # Without the line's end it would not notice a last line that ends with one delimiter too many.
            cells = self._read(block if block.endswith(b"\n") else block + b"\n", self._dialect)
        except pl.exceptions.PolarsError:
            return None  # a line too long, or bytes that are not UTF-8: the careful way says which
        # A short or blank line has no last cell. Where the last cells are all there, there is none.
        whole = cells.height > 0 and len(self._names) > 1 and cells[self._names[-1]].null_count() == 0
        if whole or is_plain(block, self._dialect, len(self._names), cells.height):
            return cells[:, self._kept]
        return None

    def _parse(self, data: bytes, height: int) -> pl.DataFrame:
        """The cells of records that were looked at one by one."""
        if height == 0:
            return pl.DataFrame(schema={self._names[position]: pl.String for position in self._kept})
        # Records of a dialect that the strict parser does not know were rewritten.
        cells = self._read(data, self._dialect if self._dialect.is_simple else CANONICAL, self._kept)
        if cells.height != height:
            raise AssertionError(f"{height} records were cut, {cells.height} parsed")
        return cells

    def _read(self, data: bytes, dialect: Dialect, columns: Sequence[int] | None = None) -> pl.DataFrame:
        if data.startswith(codecs.BOM_UTF8):
            # It belongs to the first cell; the parser would take it for the beginning of a file, and leave it out.
            data = codecs.BOM_UTF8 + data
        return pl.read_csv(
            data,
            has_header=False,
            separator=dialect.delimiter,
            quote_char=dialect.quote,
            schema=dict.fromkeys(self._names, pl.String),
            null_values=list(self._options.null_values) or None,
            columns=columns,
        )


def _no_lines(size: int) -> UnreadableFile:
    return UnreadableFile(
        f"A line is longer than {size // 1024 // 1024} MiB: this is not delimited text.",
        hint=UPLOAD_HINT,
    )


def _with_last(blocks: Iterator[bytes | LongLine]) -> Iterator[tuple[bytes | LongLine, bool]]:
    """Each block, and whether it is the last one."""
    ready = next(blocks, None)
    while ready is not None:
        following = next(blocks, None)
        yield ready, following is None
        ready = following


def _chunk(found: Block, cells: pl.DataFrame, line: int, stop: int) -> RowChunk:
    """The rows of a block before its line `stop`; `line` is the block's first."""
    lines = found.lines.filter(found.lines < stop)
    return RowChunk(
        cells=cells.head(len(lines)),
        lines=lines + line,
        malformed=[MalformedRecord(m.line + line, m.text, m.reason) for m in found.malformed if m.line < stop],
        original=found.original,
    )


def _decoded(data: bytes, line: int, *, final: bool, lenient: bool) -> str:
    """Text; unless it is final, its last character may be cut off. Lenient: bytes that are no UTF-8 are surrogates."""
    try:
        return codecs.getincrementaldecoder("utf-8")("surrogateescape" if lenient else "strict").decode(data, final)
    except UnicodeDecodeError as error:
        raise undecodable("utf-8", line + data.count(b"\n", 0, error.start)) from error


def _after(stream: Iterable[bytes], count: int) -> Iterator[bytes]:
    """The stream without its first bytes."""
    for piece in stream:
        if count < len(piece):
            yield piece[count:]
        count = max(0, count - len(piece))


def _original_lines(block: bytes) -> Callable[[pl.Series], pl.Series]:
    @cache  # the texts are asked for stretch by stretch
    def lines() -> pl.Series:
        return pl.Series([block.decode()]).str.split("\n").explode(empty_as_null=True)

    def original(rows: pl.Series) -> pl.Series:
        return lines().gather(rows).str.strip_suffix("\r")

    return original
