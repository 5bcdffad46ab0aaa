"""Delimited text (CSV, TSV and the like) to rows, in bounded memory.

What belongs here: the dialect, the header, blocks of text to frames of cells. What does not: where a
record ends (`records`), encodings (`text`), what a cell may hold (`stages.validate`).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice

import polars as pl

from ingestion_pipeline.domain.contract import Column, CsvFormat
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.ahead import ahead
from ingestion_pipeline.formats.base import FormatFacts, MalformedRecord, RowChunk
from ingestion_pipeline.formats.records import (
    MAX_CELLS,
    Broken,
    Dialect,
    is_plain,
    iterate_records,
    parse_record,
    split_block,
)
from ingestion_pipeline.formats.text import UPLOAD_HINT, slices, undecodable

_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_RECORDS = 20
_UNUSED = "\0"  # marks columns of the file that the contract does not name
# A header goes into reports and errors whole, unless it is longer than this many names of this many characters.
_SHOWN_NAMES, _SHOWN_CHARACTERS = 200, 200
# A record without an end in this much text is not delimited text.
_MAX_LINE_BYTES = 64 * 1024 * 1024
# Memory grows with a chunk's cells too: of lines of two bytes, a chunk by bytes alone would have millions.
_CHUNK_LINES = 250_000
_SLICE_BYTES = 512 * 1024
_OTHER_THAN_LINE_ENDS = re.compile(rb"[^\r\n]")


class DelimitedReader:
    """Rows of delimited text; see `RowReader`.

    Args:
        stream: UTF-8 without a byte order mark.
        facts: Completed here with delimiter, quote and header.

    Raises:
        UnreadableFile: No header, or one that lacks required columns.
    """

    def __init__(
        self,
        stream: Iterable[bytes],
        *,
        options: CsvFormat,
        columns: Sequence[Column],
        facts: FormatFacts,
        chunk_bytes: int,
    ) -> None:
        self.facts = facts
        self._options = options
        self._blocks = ahead(_line_blocks(stream, chunk_bytes))
        self._first, self._first_is_last = next(self._blocks, (b"", True))
        sample = self._decode(self._first, 1)
        self._dialect = _dialect(sample, options, columns)
        header, self._skip_lines, skip_characters = self._header(sample, columns)
        self._first = self._first[len(sample[:skip_characters].encode()) :]
        self._names = _column_names(header, columns, facts)
        self._kept = [i for i, name in enumerate(self._names) if not name.startswith(_UNUSED)]
        facts.format = "delimited text"
        facts.delimiter, facts.quote = self._dialect.delimiter, self._dialect.quote
        facts.header, facts.columns = _shown(header), len(header)
        facts.header_is_whole = facts.header == header
        if not facts.header_is_whole:
            facts.warnings.append(
                f"The header is too long to be shown: of its {len(header)} names, the first are kept, shortened."
            )

    def chunks(self) -> Iterator[RowChunk]:
        """The rows; see `RowReader.chunks`."""
        line, blank_lines = 1 + self._skip_lines, 0
        pending = b""
        for data, final in self._all_blocks():
            block = pending + data
            pending = b""
            if not _OTHER_THAN_LINE_ENDS.search(block):
                blank_lines += block.count(b"\n")
                line += block.count(b"\n")
                continue
            cells = self._plain_cells(block)
            if cells is not None:
                lines = pl.int_range(line, line + cells.height, dtype=pl.Int64, eager=True)
                yield RowChunk(cells=cells, lines=lines, malformed=(), original=_original_lines(block))
                line += cells.height
                continue
            text = self._decode(block, line)
            found = split_block(text, self._dialect, len(self._names), final=final)
            blank_lines += found.blank_lines
            pending = text[found.consumed :].encode()
            yield RowChunk(
                cells=self._parse(found.text.encode(), len(found.lines)),
                lines=found.lines + line,
                malformed=[MalformedRecord(m.line + line, m.text, m.reason) for m in found.malformed],
                original=found.original,
            )
            line += found.line_count
        if blank_lines:
            self.facts.warnings.append(f"{blank_lines} blank lines were skipped.")

    def _all_blocks(self) -> Iterator[tuple[bytes, bool]]:
        yield self._first, self._first_is_last
        self._first = b""
        yield from self._blocks

    def _decode(self, data: bytes, line: int) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise undecodable("utf-8", line + data.count(b"\n", 0, error.start)) from error

    def _header(self, sample: str, columns: Sequence[Column]) -> tuple[list[str], int, int]:
        """The header's cells, and the lines and characters before the first row."""
        start = len(sample) - len(sample.lstrip("\r\n"))
        blank_lines = sample.count("\n", 0, start)
        if not self._options.header:
            return [column.source for column in columns], blank_lines, start
        if start == len(sample):
            raise UnreadableFile("The file has no header: it is blank.", hint="Upload a file with rows.")
        record = parse_record(sample, start, self._dialect)
        if isinstance(record, Broken):
            if record.too_wide:
                raise UnreadableFile(
                    f"The header on line {blank_lines + 1} has more than {MAX_CELLS:,} columns.",
                    hint="Leave out what the contract does not name; if it is one long line, cut it into rows.",
                )
            raise UnreadableFile(
                f"The header on line {blank_lines + 1} cannot be read: {record.reason}.", hint="Correct its quotes."
            )
        return [cell.strip() for cell in record.cells], blank_lines + sample.count("\n", start, record.end), record.end

    def _plain_cells(self, block: bytes) -> pl.DataFrame | None:
        """The cells of a block in which every line is a record; None if that is not sure."""
        if self._dialect.quote is not None and self._dialect.quote.encode() in block:
            return None
        try:
            # Every column, used or not: Polars would not refuse a line too long if it were told to leave one out.
            cells = self._read(block)
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
        cells = self._read(data, self._kept)
        if cells.height != height:
            raise AssertionError(f"{height} records were cut, {cells.height} parsed")
        return cells

    def _read(self, data: bytes, columns: Sequence[int] | None = None) -> pl.DataFrame:
        return pl.read_csv(
            data,
            has_header=False,
            separator=self._dialect.delimiter,
            quote_char=self._dialect.quote,
            schema=dict.fromkeys(self._names, pl.String),
            null_values=list(self._options.null_values) or None,
            columns=columns,
        )


def _line_blocks(stream: Iterable[bytes], chunk_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """Stretches of whole lines of about `chunk_bytes`, or `_CHUNK_LINES` short ones; the flag marks the last one."""
    parts: list[bytes] = []
    size = lines = 0
    ready: bytes | None = None
    for piece in slices(stream, min(chunk_bytes, _SLICE_BYTES)):  # a caller's large pieces must not make large chunks
        parts.append(piece)
        size += len(piece)
        lines += piece.count(b"\n")
        if size < chunk_bytes and lines < _CHUNK_LINES:
            continue
        data = b"".join(parts)
        cut = data.rfind(b"\n") + 1
        parts, size, lines = [data[cut:]], len(data) - cut, 0
        if cut == 0:
            if size > _MAX_LINE_BYTES:
                raise UnreadableFile(
                    f"A line is longer than {_MAX_LINE_BYTES // 1024 // 1024} MiB: this is not delimited text.",
                    hint=UPLOAD_HINT,
                )
            continue
        if ready is not None:
            yield ready, False
        ready = data[:cut]
    last = b"".join(parts)
    if last:
        if ready is not None:
            yield ready, False
        ready = last
    if ready is not None:
        yield ready, True


def _dialect(sample: str, options: CsvFormat, columns: Sequence[Column]) -> Dialect:
    """The contract's delimiter, or the one with which the first record looks most like the contract."""
    if options.delimiter is not None:
        return Dialect(options.delimiter, options.quote)
    wanted = {column.source for column in columns}
    best, best_score = Dialect(_DELIMITERS[0], options.quote), (-1, -1)
    text = sample.lstrip("\r\n")
    for delimiter in _DELIMITERS:
        dialect = Dialect(delimiter, options.quote)
        found = list(islice(iterate_records(text, dialect), _SAMPLE_RECORDS))
        if found and isinstance(found[0], Broken) and found[0].too_wide:
            return dialect  # the header will be refused
        records = [record for record in found if not isinstance(record, Broken)]
        if not records:
            continue
        header = {cell.strip() for cell in records[0].cells}
        fitting = sum(len(record.cells) == len(columns) for record in records)
        score = (len(wanted & header), len(header)) if options.header else (fitting, len(records[0].cells))
        if score > best_score:
            best, best_score = dialect, score
    return best


def _column_names(header: Sequence[str], columns: Sequence[Column], facts: FormatFacts) -> list[str]:
    """The contract's name for each column of the file; those that it does not name are marked unused.

    Raises:
        UnreadableFile: A required column is missing, or one that the contract reads stands there twice.
    """
    by_source = {column.source: column.name for column in columns}
    counts = Counter(header)
    twice = sorted(name for name in by_source if counts[name] > 1)
    if twice:
        raise UnreadableFile(
            f"The header has the column '{twice[0]}' more than once.",
            hint="Rename one of them.",
            details={"header": _shown(header), "columns": len(header), "repeated": twice},
        )
    missing = [column.source for column in columns if column.required and column.source not in counts]
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing)
        no_header = not any(name in by_source for name in header)
        hint = "If the file has no header, set format.header to false." if no_header else "Add them."
        shown = ", ".join(header)[:300]
        raise UnreadableFile(
            f"The header lacks the required column{'s' if len(missing) > 1 else ''} {listed}; it has {shown}.",
            hint=hint,
            details={"header": _shown(header), "columns": len(header), "missing": missing},
        )
    unknown = [name for name in header if name not in by_source]
    if unknown:
        facts.warnings.append(f"Columns that the contract does not name were left out: {', '.join(unknown)[:300]}.")
    return [by_source.get(name, f"{_UNUSED}{position}") for position, name in enumerate(header)]


def _shown(header: Sequence[str]) -> list[str]:
    """The header, if it is not too long for a report; else the beginnings of its first names."""
    if sum(map(len, header)) <= _SHOWN_NAMES * _SHOWN_CHARACTERS:
        return list(header)
    return [name[:_SHOWN_CHARACTERS] for name in header[:_SHOWN_NAMES]]


def _original_lines(block: bytes) -> Callable[[pl.Series], pl.Series]:
    @cache  # the texts are asked for stretch by stretch
    def lines() -> pl.Series:
        return pl.Series([block.decode()]).str.split("\n").explode(empty_as_null=True)

    def original(rows: pl.Series) -> pl.Series:
        return lines().gather(rows).str.strip_suffix("\r")

    return original
