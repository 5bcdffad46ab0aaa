"""Delimited text to records: where each one ends, also around quotes and line breaks inside cells.

What belongs here: cutting text, which is pure. What does not: streams, headers, types, looking at samples (`samples`).

A block of lines takes one of two ways. If nothing in it is quoted and the delimiters add up, every line is
a record and nothing has to be looked at. Otherwise it is told at once which lines are whole records
(`line_shapes`); only the others are read character by character: those that begin a cell with a line break in it,
those with a quote in the wrong place, those with too few or too many cells. What is wrong costs one record;
its neighbours are not touched.
"""

import re
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import polars as pl

from ingestion_pipeline.formats.base import MalformedRecord
from ingestion_pipeline.formats.line_shapes import lines_of

# A line's end, or the text's (a lone CR before it is what is left of a line's end).
_LINE_END = re.compile(r"\r?(?:\n|\Z)")
# A quote that nobody closes must not swallow the rest of the file.
MAX_RECORD_CHARACTERS = 1024 * 1024
# Text without line ends must not become a list of millions of cells.
MAX_CELLS = 10_000


@dataclass(frozen=True, slots=True)
class Dialect:
    """How cells are told apart.

    Attributes:
        delimiter: One character, or several ("a comma and a space").
        quote: One character; None: quotes have no meaning.
        escape: One character before a quote or a delimiter that belongs to the cell; quotes may be doubled as well.
        padded: Blanks around a cell in quotes are none of it.
        runs: The delimiter is that many blanks or more, and blanks at a line's edges delimit nothing.
        loose: Quotes inside a quoted cell are not doubled: only one before a delimiter or a line's end closes it.
    """

    delimiter: str
    quote: str | None
    escape: str | None = None
    padded: bool = False
    runs: bool = False
    loose: bool = False

    @property
    def is_simple(self) -> bool:
        """Whether a strict parser of bytes knows it: one ASCII delimiter, doubled quotes."""
        plain = not (self.padded or self.runs or self.loose or self.escape)
        return plain and len(self.delimiter) == 1 and self.delimiter.isascii() and (self.quote or "").isascii()


# What records of other dialects are rewritten to, for the strict parser.
CANONICAL = Dialect(",", '"')


@dataclass(frozen=True, slots=True)
class Record:
    """A parsed record and where it ends (`end` is the offset after its line's end).

    Attributes:
        quoted: Which cells stand in quotes.
        literal_quote: A quote stands inside a cell that is not quoted; it is taken literally, as it is
            by most programs, but a strict parser would stumble over it.
    """

    cells: list[str]
    quoted: list[bool]
    end: int
    line_count: int
    literal_quote: bool


@dataclass(frozen=True, slots=True)
class Broken:
    """Why no record begins here.

    Attributes:
        unclosed: A quoted cell does not end within the text.
        too_wide: It has more than `MAX_CELLS` cells.
    """

    reason: str
    unclosed: bool = False
    too_wide: bool = False


@dataclass(slots=True)
class Block:
    """What a stretch of text holds.

    Attributes:
        text: The good records, ready for a strict parser.
        lines: Int64, first physical line of each good record, counted from 0 at the start of the stretch.
        malformed: With lines counted the same way.
        blank_lines: Numbers of lines with nothing on them, which are no records.
        consumed: Characters that were used; the rest begins a record that ends later.
        line_count: Physical lines in the consumed part.
    """

    text: str
    lines: pl.Series
    malformed: list[MalformedRecord]
    blank_lines: list[int]
    consumed: int
    line_count: int
    _source: str
    _starts: list[int]
    _line_counts: dict[int, int]  # of records with line breaks in them, by first line

    def start_of(self, line: int) -> int:
        """The character at which a physical line begins."""
        return self._starts[line] if line < len(self._starts) else len(self._source)

    def lines_of(self, line: int) -> range:
        """The lines of the good record that begins on a line."""
        return range(line, line + self._line_counts.get(line, 1))

    def original(self, rows: pl.Series) -> pl.Series:
        """The exact text of some good records, by their numbers, without the line's end."""
        texts = []
        for line in self.lines.gather(rows).to_list():
            after = line + self._line_counts.get(line, 1)
            texts.append(without_line_end(self._source[self._starts[line] : self.start_of(after)]))
        return pl.Series(texts, dtype=pl.String)


def is_plain(data: bytes, dialect: Dialect, width: int, height: int) -> bool:
    """Whether text without quotes has exactly one record of `width` cells on each line.

    Args:
        height: The number of records that a parser found which refuses lines that are too long: a line that
            is too short cannot hide behind one of those.
    """
    line_count = data.count(b"\n") + (0 if data.endswith(b"\n") else 1)
    if height != line_count:
        return False
    if width == 1:
        return re.search(rb"(?:^|\n)\r*(?:\n|\Z)", data) is None
    return data.count(dialect.delimiter.encode()) == line_count * (width - 1)


def parse_record(text: str, start: int, dialect: Dialect) -> Record | Broken:
    """Read the record that begins at `start`."""
    cells: list[str] = []
    quoted_cells: list[bool] = []
    literal_quote = False
    position, limit = start, min(len(text), start + MAX_RECORD_CHARACTERS)
    quoted, plain = _cell_patterns(dialect)
    opening, delimiter, lead = _marks(dialect)
    if lead is not None and (blanks := lead.match(text, position)):
        position = blanks.end()
    while True:
        if dialect.quote is not None and (
            text.startswith(dialect.quote, position) if opening is None else opening.match(text, position)
        ):
            found = quoted.match(text, position, limit)
            if found is None:
                return Broken("a quoted cell does not end", unclosed=True)
            cells.append(_unescaped(found[1].replace(dialect.quote * 2, dialect.quote), dialect))
            quoted_cells.append(True)
        else:
            found = plain.match(text, position)
            assert found is not None
            cells.append(_unescaped(found[0], dialect))
            quoted_cells.append(False)
            literal_quote = literal_quote or (dialect.quote is not None and dialect.quote in found[0])
        position = found.end()
        after = _after_delimiter(text, position, dialect, delimiter)
        if after is not None:
            if len(cells) == MAX_CELLS:
                return Broken(f"more than {MAX_CELLS:,} cells", too_wide=True)
            position = after
            continue
        if lead is not None and (blanks := lead.match(text, position)):
            position = blanks.end()
        line_end = _LINE_END.match(text, position)
        if line_end is None:
            return Broken("text after a closing quote")
        position = line_end.end()
        # The text's last line may have no line feed; it is a line all the same.
        line_count = text.count("\n", start, position) + (not text.endswith("\n", start, position))
        return Record(cells, quoted_cells, position, line_count, literal_quote)


def _after_delimiter(text: str, position: int, dialect: Dialect, runs: re.Pattern[str] | None) -> int | None:
    """Where the next cell begins; None: no delimiter stands here."""
    if runs is not None:
        found = runs.match(text, position)
        return found.end() if found else None
    return position + len(dialect.delimiter) if text.startswith(dialect.delimiter, position) else None


def split_block(text: str, dialect: Dialect, width: int, *, final: bool) -> Block:
    """Cut a text that begins with a record into records of `width` cells.

    Args:
        text: Ends with a line feed, unless `final`.
        final: Nothing comes after it, so a quote that is still open will not be closed.
    """
    return _Walk(text, dialect, width, *lines_of(text, dialect, width), final).run()


@dataclass(slots=True)
class _Walk:
    """The careful way through a block: from one odd line to the next."""

    text: str
    dialect: Dialect
    width: int
    odd: list[int]
    starts: list[int]
    final: bool

    def run(self) -> Block:
        begins = [True] * len(self.starts)  # whether a good record begins on the line
        pieces: list[str] = []
        malformed: list[MalformedRecord] = []
        line_counts: dict[int, int] = {}
        blank_lines: list[int] = []
        copied = 0
        stop = len(begins)
        for line in self.odd:
            if line < copied:
                continue  # inside a cell that was read already
            pieces.append(self._slice(copied, line))
            outcome = self._judge(line)
            if outcome is None:
                stop = copied = line
                break
            kind, line_count, value = outcome
            copied = line + line_count
            begins[line:copied] = [kind == "record", *[False] * (line_count - 1)]
            if kind == "record":
                pieces.append(value)
                line_counts[line] = line_count
            elif kind == "malformed":
                malformed.append(MalformedRecord(line, without_line_end(self._slice(line, copied)), value))
            else:
                blank_lines.append(line)
        pieces.append(self._slice(copied, stop))
        return Block(
            text="".join(pieces),
            lines=pl.Series(begins[:stop], dtype=pl.Boolean).arg_true().cast(pl.Int64),
            malformed=malformed,
            blank_lines=blank_lines,
            consumed=self._start(stop),
            line_count=stop,
            _source=self.text,
            _starts=self.starts,
            _line_counts=line_counts,
        )

    def _start(self, line: int) -> int:
        return self.starts[line] if line < len(self.starts) else len(self.text)

    def _slice(self, first: int, after: int) -> str:
        return self.text[self._start(first) : self._start(after)] if after > first else ""

    def _judge(self, line: int) -> tuple[Literal["blank", "malformed", "record"], int, str] | None:
        """What begins on an odd line: its kind, its number of lines, and a reason or its text.

        None: a record that goes on after the end of the text.
        """
        start = self._start(line)
        text = self._slice(line, line + 1)
        if is_blank(text, self.dialect, self.width):
            return "blank", 1, ""
        simple = self.dialect.is_simple
        if simple and (self.dialect.quote is None or self.dialect.quote not in text):
            # Nothing but the number of cells can be wrong; a file may be full of such lines.
            return "malformed", 1, f"{text.count(self.dialect.delimiter) + 1} cells instead of {self.width}"
        parsed = parse_record(self.text, start, self.dialect)
        if isinstance(parsed, Broken):
            if parsed.unclosed and not self.final and len(self.text) - start < MAX_RECORD_CHARACTERS:
                return None
            return "malformed", 1, parsed.reason
        if len(parsed.cells) != self.width:
            # If a line after the first is a record by itself, an open quote has swallowed it: free it.
            swallowed = range(line + 1, line + parsed.line_count)
            line_count = 1 if any(self._is_record(i) for i in swallowed) else parsed.line_count
            return "malformed", line_count, f"{len(parsed.cells)} cells instead of {self.width}"
        if not simple:
            return "record", parsed.line_count, _quoted(parsed, CANONICAL)
        if parsed.literal_quote:
            return "record", parsed.line_count, _quoted(parsed, self.dialect)
        return "record", parsed.line_count, self.text[start : parsed.end]

    def _is_record(self, line: int) -> bool:
        """Whether the line alone is a whole record."""
        if self.dialect.is_simple:
            at = bisect_left(self.odd, line)
            return at == len(self.odd) or self.odd[at] != line
        parsed = parse_record(self._slice(line, line + 1), 0, self.dialect)
        return isinstance(parsed, Record) and parsed.line_count == 1 and len(parsed.cells) == self.width


def is_blank(line: str, dialect: Dialect, width: int = 2) -> bool:
    """Whether nothing stands on a line; of a wide table, also where blanks stand."""
    if line.strip("\r\n") == "":
        return True
    return width > 1 and not line.strip() and (dialect.runs or dialect.delimiter not in line)


def without_line_end(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _quoted(record: Record, dialect: Dialect) -> str:
    """The record as a strict parser reads it; empty cells without quotes stay so, since they mean null."""
    quote = dialect.quote or ""
    cells = [
        quote + cell.replace(quote, quote * 2) + quote if cell or was_quoted else ""
        for cell, was_quoted in zip(record.cells, record.quoted, strict=True)
    ]
    return dialect.delimiter.join(cells) + "\n"


@lru_cache(maxsize=64)
def _marks(dialect: Dialect) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None, re.Pattern[str] | None]:
    """Of dialects with blanks that do not count: a cell's opening quote, a delimiter, blanks at a line's edges."""
    opening = re.compile(f" *{re.escape(dialect.quote)}") if dialect.padded and dialect.quote else None
    if not dialect.runs:
        return opening, None, None
    return opening, re.compile(rf" {{{len(dialect.delimiter)},}}(?![ \r\n]|\Z)"), re.compile(" +")


@lru_cache(maxsize=64)
def _cell_patterns(dialect: Dialect) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns of a quoted and of a plain cell."""
    quote = re.escape(dialect.quote or "\0")
    if dialect.is_simple:
        delimiter = re.escape(dialect.delimiter)
        quoted = re.compile(f"{quote}((?:[^{quote}]++|{quote}{quote})*+){quote}", re.DOTALL)
        return quoted, re.compile(rf"(?:[^{delimiter}\r\n]++|\r(?!\n|\Z))*+")
    # The delimiter's first character ends a cell only where the rest of the delimiter follows.
    first, rest = re.escape(dialect.delimiter[0]), re.escape(dialect.delimiter[1:])
    alone = f"|{first}(?!{rest})" if rest else ""
    escape = re.escape(dialect.escape) if dialect.escape else ""
    escaped = f"|{escape}[^\r\n]" if escape else ""
    literal = f"|{escape}" if escape else ""
    blanks = " *" if dialect.padded else ""
    if dialect.loose:
        inside = f"(?:[^{quote}]++|{quote}(?!{re.escape(dialect.delimiter)}|\\r?\\n|\\r?\\Z))*+"
        return re.compile(f"{quote}({inside}){quote}", re.DOTALL), re.compile(
            rf"(?:[^{first}\r\n]++{alone}|\r(?!\n|\Z))*+"
        )
    quoted = re.compile(
        f"{blanks}{quote}((?:[^{quote}{escape}]++|{quote}{quote}{escaped and f'|{escape}.'})*+){quote}{blanks}",
        re.DOTALL,
    )
    return quoted, re.compile(rf"(?:[^{first}{escape}\r\n]++{escaped}{literal}{alone}|\r(?!\n|\Z))*+")


def _unescaped(cell: str, dialect: Dialect) -> str:
    """Without the escapes before quotes, delimiters and escapes; before anything else, the character is itself."""
    if dialect.escape is None or dialect.escape not in cell:
        return cell
    meant = re.escape(dialect.escape + (dialect.quote or "")) + "".join(map(re.escape, dialect.delimiter[:1]))
    return re.sub(rf"{re.escape(dialect.escape)}([{meant}])", r"\1", cell)


def cell_spans(text: str, dialect: Dialect) -> list[tuple[int, int]]:
    """Where each cell of a record stands in its text, its quotes included; of a broken one, the cells before that.

    Args:
        dialect: One that a contract can name: blanks count in it.
    """
    spans: list[tuple[int, int]] = []
    quoted, plain = _cell_patterns(dialect)
    position = 0
    while len(spans) < MAX_CELLS:
        in_quotes = dialect.quote is not None and text.startswith(dialect.quote, position)
        found = (quoted if in_quotes else plain).match(text, position)
        if found is None:
            return spans
        spans.append((position, found.end()))
        position = found.end()
        if not text.startswith(dialect.delimiter, position):
            return spans
        position += len(dialect.delimiter)
    return spans
