"""Delimited text (CSV, TSV and the like) to rows, in bounded memory.

What belongs here: the dialect, the header, blocks of text to frames of cells. What does not: where a
record ends (`records`), encodings (`text`), what a cell may hold (`stages.validate`).
"""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import NamedTuple

import polars as pl

from ingestion_pipeline.domain.contract import DELIMITED_TEXT, FileFormat
from ingestion_pipeline.domain.contract_names import ColumnNames
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.ahead import ahead
from ingestion_pipeline.formats.base import FormatFacts, MalformedRecord, RowChunk
from ingestion_pipeline.formats.columns import UNUSED, fitted, names_by_contract, names_without_contract, shown
from ingestion_pipeline.formats.dialects import detect, width_of
from ingestion_pipeline.formats.layout import layout_of, records_with_starts
from ingestion_pipeline.formats.records import (
    CANONICAL,
    MAX_CELLS,
    Block,
    Broken,
    Dialect,
    is_plain,
    parse_record,
    split_block,
)
from ingestion_pipeline.formats.rescued import json_objects, json_values
from ingestion_pipeline.formats.samples import iterate_records
from ingestion_pipeline.formats.table_end import LOOKED_AT, MAX_BLANK_LINES, Look, Rest, end_of_table
from ingestion_pipeline.formats.text import (
    MAX_LINE_BYTES,
    UPLOAD_HINT,
    LongLine,
    first_bytes,
    line_blocks,
    undecodable,
)
from ingestion_pipeline.formats.unreadable import behind_lines, shown_text, unreadable_lines, without_unreadable

_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_RECORDS = 20
_HEADER_RECORDS = 50
# The longest header has to fit into a sample; dialect and layout are told by less.
_SAMPLE_BYTES = 8 * 1024 * 1024
_LOOKED_AT_CHARACTERS = 128 * 1024
_SHOWN_LINES, _SHOWN_LINE_CHARACTERS = 20, 500  # of a preamble in reports
# Memory grows with a chunk's cells too: of lines of two bytes, a chunk by bytes alone would have millions.
_CHUNK_LINES = 250_000
# By its first line, Excel is told the delimiter.
_DELIMITER_LINE = re.compile(r'"?sep=([^\s\w"]|\t)"?\r?\n', re.IGNORECASE)
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
            _told_by_contract(sample, options, names, facts, lines_before)
            if names is not None
            else _told_by_itself(shown_text(sample), options, facts, whole=whole)
        )
        if not whole and begin.characters >= len(sample):
            raise _no_lines(_SAMPLE_BYTES)
        self._dialect, self._skip_lines = begin.dialect, lines_before + begin.lines
        rows = _after(stream, len(sample[: begin.characters].encode(errors="surrogateescape")))
        lines = line_blocks(rows, block_bytes=chunk_bytes, block_lines=_CHUNK_LINES)
        self._blocks = ahead(_with_last(lines))
        self._names = begin.names
        self._first_rows: list[tuple[str | None, ...]] = []
        self._bad_records = 0  # since the last row
        self._rescued = names.rescued if names is not None else None
        self._unknown = _unknown_columns(begin) if self._rescued is not None else {}
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
        return map(self._with_rescued, self._chunks()) if self._rescued is not None else self._chunks()

    def _with_rescued(self, chunk: RowChunk) -> RowChunk:
        """The columns that the contract does not name, as one of JSON."""
        members = [(label, json_values(chunk.cells[name])) for name, label in self._unknown.items()]
        objects = json_objects(members, chunk.cells.height).alias(self._rescued or "")
        return replace(chunk, cells=chunk.cells.drop(self._unknown).with_columns(objects))

    def _chunks(self) -> Iterator[RowChunk]:
        line, blank_lines = 1 + self._skip_lines, 0
        pending, after_blank = b"", False
        for data, final in self._blocks:
            if isinstance(data, LongLine):
                if pending:
                    # What is open there cannot be closed by a line that nobody reads.
                    chunk, count, blank = self._whole(pending, line)
                    yield chunk
                    line, blank_lines, pending = line + count, blank_lines + blank, b""
                yield self._too_long(data, line)
                line, after_blank = line + 1, False
                self._bad_records += 1
                continue
            block = pending + data
            pending = b""
            if not _OTHER_THAN_LINE_ENDS.search(block):
                count = block.count(b"\n") + (not block.endswith(b"\n"))
                blank_lines += count
                line += count
                after_blank = True
                continue
            cells = None if after_blank else self._plain_cells(block)
            if cells is not None:
                lines = pl.int_range(line, line + cells.height, dtype=pl.Int64, eager=True)
                yield RowChunk(cells=cells, lines=lines, malformed=(), original=_original_lines(block))
                line += cells.height
                self._keep_first_rows(cells)
                self._bad_records = 0
                continue
            text = _decoded(block, line, final=True, lenient=not self._by_contract)
            unreadable = unreadable_lines(text)
            if unreadable:
                text = shown_text(text)
            found = split_block(text, self._dialect, len(self._names), final=final)
            cells = self._parse(found.text.encode(), len(found.lines))
            end = None
            if blank_lines <= MAX_BLANK_LINES:
                end = end_of_table(found, cells, self._dialect, self._look(), after_blank=after_blank, final=final)
            stop = found.line_count if end is None else end.line
            blank_lines += sum(at < stop for at in found.blank_lines)
            pending = behind_lines(block, stop) if unreadable else text[found.start_of(stop) :].encode()
            chunk = _chunk(found, cells, line, stop)
            if unreadable:
                chunk = without_unreadable(chunk, found, unreadable, line)
            self._keep_first_rows(chunk.cells)
            last = chunk.lines[-1] if chunk.cells.height else 0
            bad = sum(record.line > last for record in chunk.malformed)
            self._bad_records = bad if last else self._bad_records + bad
            yield chunk
            line += stop
            if end is not None and end.decided:
                self._describe_rest(pending, line - 1)
                break
            after_blank = stop - 1 in found.blank_lines if stop else after_blank
        if line == 1 + self._skip_lines + blank_lines:
            # No row came: the columns are known all the same.
            yield self._no_rows()
        if blank_lines:
            self.facts.warnings.append(f"{blank_lines} blank lines were skipped.")

    def _whole(self, block: bytes, line: int) -> tuple[RowChunk, int, int]:
        """The records of a block that nothing comes after; how many lines it has, and how many blank ones."""
        text = _decoded(block, line, final=True, lenient=not self._by_contract)
        unreadable = unreadable_lines(text)
        found = split_block(shown_text(text) if unreadable else text, self._dialect, len(self._names), final=True)
        chunk = _chunk(found, self._parse(found.text.encode(), len(found.lines)), line, found.line_count)
        if unreadable:
            chunk = without_unreadable(chunk, found, unreadable, line)
        return chunk, found.line_count, len(found.blank_lines)

    def _too_long(self, data: LongLine, line: int) -> RowChunk:
        shown = data.head.decode(errors="replace")
        reason = (
            f"the line has {data.size_bytes:,} bytes, and {MAX_LINE_BYTES:,} at most are read; its beginning is shown"
        )
        return self._no_rows([MalformedRecord(line, shown, reason)])

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
        try:
            # Every column, used or not: Polars would not refuse a line too long if it were told to leave one out.
            cells = self._read(block, self._dialect)
        except pl.exceptions.PolarsError:
            return None  # a line too long, or bytes that are not UTF-8: the careful way says which
        # A short or blank line has no last cell. Where the last cells are all there, there is none.
        whole = cells.height > 0 and cells[self._names[-1]].null_count() == 0
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


class _Begin(NamedTuple):
    """What stands before the first row, and how the rows are to be read.

    Attributes:
        names: Of the columns, in order; those that are not wanted are marked.
        characters: Before the first row.
        lines: Physical ones before the first row.
    """

    dialect: Dialect
    header: list[str]
    names: list[str]
    characters: int
    lines: int
    preamble: list[str]


def _unknown_columns(begin: _Begin) -> dict[str, str]:
    """The marked names of columns that the contract does not name, each with the one that tells it in a report."""
    labels = names_without_contract(begin.header, len(begin.names))
    return {name: label for name, label in zip(begin.names, labels, strict=True) if name.startswith(UNUSED)}


def _told_by_itself(sample: str, options: FileFormat, facts: FormatFacts, *, whole: bool) -> _Begin:
    """Dialect and layout by the text alone, as far as they are not told."""
    if len(sample) > _LOOKED_AT_CHARACTERS:
        cut = sample.rfind("\n", 0, _LOOKED_AT_CHARACTERS) + 1
        if sample.count("\n", 0, cut) >= _SAMPLE_RECORDS:  # lines may be long
            sample, whole = sample[:cut], False
    told = _DELIMITER_LINE.match(sample) if options.delimiter is None else None
    line = told[0] if told else ""
    sample = sample.removeprefix(line)
    if options.delimiter is not None:
        dialect = Dialect(options.delimiter, options.quote, options.escape)
        width = width_of(sample, dialect, whole=whole)
    else:
        found = detect(sample, whole=whole, delimiter=told[1] if told else None)
        dialect, width = found.dialect, found.width
        facts.confidence, facts.rival = found.confidence, found.rival
    if dialect.runs:
        facts.warnings.append(f"Cells are told apart by {len(dialect.delimiter)} or more blanks.")
    layout = layout_of(sample, dialect, width, whole=whole, header=options.header)
    header = fitted(layout.header, width) if layout.header else []
    facts.header_rows = layout.header_rows
    if facts.rival:
        facts.warnings.append(
            f"Ambiguous: delimited by {dialect.delimiter!r} or as well by {facts.rival!r}; name it to be sure."
        )
    return _Begin(
        dialect,
        header,
        names_without_contract(header, width),
        len(line) + layout.characters,
        line.count("\n") + layout.lines,
        [text.rstrip("\r") for text in line.split("\n")[:-1]] + layout.preamble,
    )


def _told_by_contract(
    sample: str, options: FileFormat, wanted: ColumnNames, facts: FormatFacts, lines_before: int
) -> _Begin:
    """Dialect by the contract, or the one with which a record looks most like its header."""
    dialect = _dialect(sample, options, wanted)
    start = len(sample) - len(sample.lstrip("\r\n"))
    blank_lines = sample.count("\n", 0, start)
    if not options.header:
        header = [column.source for column in wanted.columns]
        return _Begin(dialect, header, [column.name for column in wanted.columns], start, blank_lines, [])
    if start == len(sample):
        raise UnreadableFile("The file has no header: it is blank.", hint="Upload a file with rows.")
    start = _header_start(sample, start, dialect, wanted)
    before = sample.count("\n", 0, start)
    header_line = lines_before + before + 1
    record = parse_record(sample, start, dialect)
    if isinstance(record, Broken):
        if record.too_wide:
            raise UnreadableFile(
                f"The header on line {header_line} has more than {MAX_CELLS:,} columns.",
                hint="Leave out what the contract does not name; if it is one long line, cut it into rows.",
            )
        raise UnreadableFile(
            f"The header on line {header_line} cannot be read: {record.reason}.", hint="Correct its quotes."
        )
    header = [cell.strip() for cell in record.cells]
    facts.header_rows = 1
    preamble = sample[:start].split("\n")[:-1] if before > blank_lines else []
    names = names_by_contract(header, wanted, facts)
    if preamble:
        facts.warnings.append(f"The header is on line {header_line}; the lines before it were left out.")
    return _Begin(dialect, header, names, record.end, before + sample.count("\n", start, record.end), preamble)


def _header_start(sample: str, start: int, dialect: Dialect, wanted: ColumnNames) -> int:
    """Where the header begins: the first record, unless a later one has more of the wanted names."""
    best, most = start, -1
    for position, cells in islice(records_with_starts(sample, start, dialect), _HEADER_RECORDS):
        count = _wanted_among(cells, wanted)
        if count > most:
            best, most = position, count
        if count == len(wanted.columns):
            break
    return best


def _wanted_among(cells: Iterable[str], wanted: ColumnNames) -> int:
    """How many columns of the contract are named by the cells of a record."""
    return len({wanted.fits(cell.strip()) for cell in cells} - {None})


def _dialect(sample: str, options: FileFormat, wanted: ColumnNames) -> Dialect:
    """The contract's delimiter, or the one with which a record looks most like the contract."""
    if options.delimiter is not None:
        return Dialect(options.delimiter, options.quote, options.escape)
    best, best_score = Dialect(_DELIMITERS[0], options.quote, options.escape), (-1, -1)
    text = sample.lstrip("\r\n")
    for delimiter in _DELIMITERS:
        dialect = Dialect(delimiter, options.quote, options.escape)
        found = list(islice(iterate_records(text, dialect), _SAMPLE_RECORDS))
        if found and isinstance(found[0], Broken) and found[0].too_wide:
            return dialect  # the header will be refused
        records = [record for record in found if not isinstance(record, Broken)]
        if not records:
            continue
        if options.header:
            score = (max(_wanted_among(record.cells, wanted) for record in records), len(set(records[0].cells)))
        else:
            fitting = sum(len(record.cells) == len(wanted.columns) for record in records)
            score = (fitting, len(records[0].cells))
        if score > best_score:
            best, best_score = dialect, score
    return best


def _original_lines(block: bytes) -> Callable[[pl.Series], pl.Series]:
    @cache  # the texts are asked for stretch by stretch
    def lines() -> pl.Series:
        return pl.Series([block.decode()]).str.split("\n").explode(empty_as_null=True)

    def original(rows: pl.Series) -> pl.Series:
        return lines().gather(rows).str.strip_suffix("\r")

    return original
