"""Where the table of a delimited text ends: at a footer, or where another table begins.

What belongs here: judging what follows a blank line, and describing what is behind the table. What does not: the
table's rows (`delimited`). Nothing that stands there is silently lost: its lines are counted, shown and warned of.

A table ends at a blank line after which no record of its width comes, or after which a row of names stands over the
columns that held values; and before lines of prose that end the file. Spreadsheets pad what is no row to the table's
width: a record of empty cells is a blank line here, one with its first cell alone may be a title or a footer.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ingestion_pipeline.formats.dialects import is_value
from ingestion_pipeline.formats.entries import bare
from ingestion_pipeline.formats.header import looks_like_header, valued_columns
from ingestion_pipeline.formats.records import Block, Dialect, Record, parse_record

_FOLLOWING = 5
_WORDS, _LETTERS = re.compile(r"[^\W\d_][\w.]*[ :]"), re.compile(r"[^\W\d_]{2}")
_IN_SENTENCES = ",;:"
# What a footer begins with or looks like, where nothing but its place says that it is no row.
_NOTE = re.compile(
    r"\s*(?:[*_†‡©#(\[]|-{2}|\d{1,2}[.)]\s|\d\)"
    r"|(?i:notes?|source|quelle|hinweis|stand|fonte|fuente|nota|(?:crown )?copyright|end of)\b"
    r"|\S[^:]{1,40}:\s|(?:\S+ ){4})"
)
# Behind one of these, whatever else has its first cell alone is a note as well.
_NOTED = re.compile(r"\s*(?i:notes?|source|quelle|hinweis|fonte|fuente|nota|(?:crown )?copyright|end of)\b")
# Words are looked for in the beginning of a line.
_JUDGED_CHARACTERS = 1000
# With fewer cells, an empty one is nothing unusual; with more records of the kind, they are the table's own.
_LEAST_PADDED, _MOST_SINGLE, _MOST_PADDED = 3, 10, 100_000
# Where there are more, blank lines are a habit of the file and separate no tables.
MAX_BLANK_LINES = 200
LOOKED_AT = 50
_SHOWN_LINES, _SHOWN_CHARACTERS = 20, 500
# More bad records in a row than these are no footer, wherever blocks of the file end.
_FOOTER_RECORDS = 100
_SHOWN_TABLES = 100


@dataclass(frozen=True, slots=True)
class Look:
    """What the table looks like, by what was read of it.

    Attributes:
        header: None: there is a contract. What is behind a blank line is rows then, good or rejected ones: to take it
            for another table would leave rows out.
        first_rows: The first `LOOKED_AT` rows before the block: they tell which columns hold values.
        bad_records: How many came since the last row before the block.
    """

    header: Sequence[str] | None
    first_rows: Sequence[tuple[str | None, ...]]
    bad_records: int


@dataclass(frozen=True, slots=True)
class End:
    """Where a block's part of the table ends.

    Attributes:
        line: From 0 in the block.
        decided: Otherwise more lines have to be seen from there on.
    """

    line: int
    decided: bool


def end_of_table(
    block: Block, cells: pl.DataFrame, dialect: Dialect, look: Look, *, after_blank: bool, final: bool
) -> End | None:
    """Where the table ends in a block; None if it goes on.

    Args:
        cells: The block's good records.
        after_blank: The line before the block is blank.
        final: Nothing comes after the block.
    """
    padded = _Padded.of(cells) if look.header is not None else _Padded()
    if look.header is not None and (block.blank_lines or padded.empty or after_blank):
        end = _after_a_blank_line(block, cells, padded, dialect, look, after_blank=after_blank, final=final)
        if end is not None:
            return end
    if not block.malformed and not padded.empty and not padded.single:
        return None
    return _prose_at_the_end(block, cells, padded, dialect, look, final=final)


@dataclass(frozen=True, slots=True)
class _Padded:
    """Good records that may be none.

    Attributes:
        empty: The numbers of those without a cell.
        single: Of those with the first cell alone.
        titles: Those of them that may be titles of tables: none where such records are usual.
    """

    empty: frozenset[int] = frozenset()
    single: frozenset[int] = frozenset()
    titles: frozenset[int] = frozenset()

    @classmethod
    def of(cls, cells: pl.DataFrame) -> "_Padded":
        if cells.width < _LEAST_PADDED:
            return cls()
        first, *others = cells.get_columns()
        is_thin = cells.select(pl.all_horizontal(pl.col([column.name for column in others]).is_null())).to_series()
        thin = is_thin.arg_true()
        if len(thin) > _MOST_PADDED:
            return cls()
        is_empty = first.gather(thin).is_null()
        empty, single = frozenset(thin.filter(is_empty)), frozenset(thin.filter(~is_empty))
        is_habit = len(single) > max(_MOST_SINGLE, (cells.height - len(empty)) / 2)
        return cls(empty, single, frozenset() if is_habit else single)


def may_be_padded(block: bytes, delimiter: str, width: int) -> bool:
    """Whether a record may have no cells, or the first one alone."""
    if width < _LEAST_PADDED:
        return False
    edge = (delimiter * (width - 1)).encode()
    return edge + b"\n" in block or edge + b"\r\n" in block or block.endswith(edge)


def _after_a_blank_line(
    block: Block,
    cells: pl.DataFrame,
    padded: _Padded,
    dialect: Dialect,
    look: Look,
    *,
    after_blank: bool,
    final: bool,
) -> End | None:
    if len(block.blank_lines) + len(padded.empty) > MAX_BLANK_LINES:
        return None
    bad = {record.line: record.text for record in block.malformed}
    lines = block.lines.to_list()
    rows = {line: row for row, line in enumerate(lines) if row not in padded.empty and row not in padded.titles}
    bad |= {lines[row]: cells.item(row, 0) for row in padded.titles}
    starts = sorted([*rows, *bad])
    gaps = sorted(block.blank_lines + [lines[row] for row in padded.empty])
    for blank in ([-1] if after_blank else []) + gaps:
        line = blank + 1
        place = bisect_left(starts, line)
        following = starts[place : place + _FOLLOWING]
        if not following or following[0] != line:
            continue  # another blank line
        if len(following) < _FOLLOWING and not final:
            # What may be padding is looked at again too: as rows, it would be out of sight.
            return End(_before_padding(line, lines, cells, padded), decided=False)
        good = next((at for at in following if at in rows), None)
        title = following if good is None else following[: following.index(good)]
        widths = [width_of_line(bad[at], dialect) for at in title]
        if good is None:
            # Rows of another width: names above others of their number are a table; all else is ragged rows.
            table = widths.count(widths[0]) > 1 and _are_names(bad[line], dialect)
            if table or is_prose(bad[line], dialect, cells.width):
                return End(_before_padding(line, lines, cells, padded), decided=True)
            continue
        above = rows[good]  # how many rows of the block come before it
        first_rows = [*look.first_rows, *cells.head(min(above, LOOKED_AT)).rows()][:LOOKED_AT]
        valued = valued_columns(first_rows, cells.width)
        names = [cell or "" for cell in cells.row(above)]
        if bare(names) == look.header:
            continue  # pages, or files put one after the other
        if all(_is_title(bad[at], dialect) for at in title) and looks_like_header(names, valued):
            return End(_before_padding(line, lines, cells, padded), decided=True)
    return None


def _before_padding(line: int, lines: Sequence[int], cells: pl.DataFrame, padded: _Padded) -> int:
    """The line, or that of the notes and the records of empty cells which stand right before it."""
    row = bisect_left(lines, line) - 1
    while _is_padding(row, cells, padded) and lines[row] == line - 1:
        line, row = lines[row], row - 1
    return line


def _is_padding(row: int, cells: pl.DataFrame, padded: _Padded) -> bool:
    return row in padded.empty or (row in padded.single and _NOTE.match(cells.item(row, 0)) is not None)


def _prose_at_the_end(
    block: Block, cells: pl.DataFrame, padded: _Padded, dialect: Dialect, look: Look, *, final: bool
) -> End | None:
    """Where prose begins that ends the block, and so the file if nothing comes after it."""
    width = cells.width
    row = _last_row(cells, padded, look)
    last_good = block.lines[row] if row >= 0 else -1
    last = [record for record in block.malformed if record.line > last_good]
    before = 0 if row >= 0 else look.bad_records
    if before + len(last) > _FOOTER_RECORDS:
        return None
    end = None
    behind: dict[int, str | None] = dict.fromkeys(block.lines[row + 1 :])
    behind |= {record.line: record.text for record in last}
    for line, text in sorted(behind.items(), reverse=True):
        # A contract's rows may be cut off after a word: that is a bad row, and told as one.
        if text is not None and not (
            _is_words(text, dialect) if look.header is None else is_prose(text, dialect, width)
        ):
            break
        end = line
    return None if end is None else End(end, decided=final)


def _last_row(cells: pl.DataFrame, padded: _Padded, look: Look) -> int:
    """The number of the last record that is no padding; -1 if all are."""
    last = row = cells.height - 1
    while row in padded.empty or row in padded.single:
        row -= 1
    stretch = range(row + 1, last + 1)
    singles = [at for at in stretch if at in padded.single]
    rows = [*look.first_rows, *cells.head(LOOKED_AT).rows()][:LOOKED_AT]
    look_like_notes = sum(_NOTE.match(cell) is not None for cell, *others in rows if cell and any(others))
    if len(singles) > _MOST_SINGLE or look_like_notes > 0.1 * len(rows):
        singles = []
    row = next((at - 1 for at in singles if _NOTED.match(cells.item(at, 0))), last)
    while row in padded.empty or (row in singles and _is_padding(row, cells, padded)):
        row -= 1
    return row


def _is_words(text: str, dialect: Dialect) -> bool:
    return _is_title(text, dialect) and _WORDS.search(text, 0, _JUDGED_CHARACTERS) is not None


def is_prose(text: str, dialect: Dialect, width: int) -> bool:
    """Whether a line is words and no row of so many cells: one cell, empty ones after it aside; or a sentence."""
    cells = width_of_line(text, dialect)
    if cells == 1:
        # Of two cells, a word may be what is left of one that lost its delimiter.
        return (
            not is_value(text) and (_WORDS if width < 3 else _LETTERS).search(text, 0, _JUDGED_CHARACTERS) is not None
        )
    parts = text.split(dialect.delimiter)
    is_sentence = dialect.delimiter in _IN_SENTENCES and all(part.startswith(" ") for part in parts[1:])
    return cells < width and is_sentence and len(text.split()) > cells + 1 and not any(map(is_value, parts[:-1]))


def _is_title(text: str, dialect: Dialect) -> bool:
    """Whether a line above names may be their table's title: one word is enough there."""
    return width_of_line(text, dialect) == 1 and not is_value(text)


def _are_names(text: str, dialect: Dialect) -> bool:
    parsed = parse_record(text, 0, dialect)
    cells = [cell for cell in parsed.cells if cell.strip()] if isinstance(parsed, Record) else []
    return len(cells) > 1 and not any(is_value(cell) for cell in cells)


def width_of_line(text: str, dialect: Dialect) -> int:
    """How many cells a line has by itself; without the empty ones at its end, so that a padded title is one cell."""
    parsed = parse_record(text, 0, dialect)
    cells = parsed.cells if isinstance(parsed, Record) else text.split(dialect.delimiter)
    while len(cells) > 1 and not cells[-1].strip():
        cells = cells[:-1]
    return len(cells)


class Rest:
    """What stands behind the table, stretch by stretch between blank lines.

    Args:
        line: Physical lines before it.
    """

    def __init__(self, dialect: Dialect, line: int) -> None:
        self._dialect, self._line = dialect, line
        self._open: dict[str, int] | None = None
        self._part = ""
        self._first_line = line + 1
        self.footer: list[str] = []
        self.footer_lines = 0
        self.tables: list[dict[str, int]] = []
        self.table_lines = 0

    def add(self, text: str) -> None:
        lines = (self._part + text).split("\n")
        self._part = lines.pop()
        for line in lines:
            self._take(line.rstrip("\r"))

    def close(self) -> None:
        if self._part:
            self._take(self._part.rstrip("\r"))
            self._part = ""

    def _take(self, text: str) -> None:
        self._line += 1
        if not text.strip():
            self._open = None
            return
        if self._open is not None:
            self._open["lines"] += 1
            self.table_lines += 1
            return
        width = width_of_line(text, self._dialect)
        if width == 1:
            self.footer_lines += 1
            if len(self.footer) < _SHOWN_LINES:
                self.footer.append(text[:_SHOWN_CHARACTERS])
            return
        self._open = {"line": self._line, "columns": width, "lines": 1}
        self.table_lines += 1
        if len(self.tables) < _SHOWN_TABLES:
            self.tables.append(self._open)

    def warnings(self) -> list[str]:
        found = []
        if self.tables:
            first = self.tables[0]
            found.append(
                f"A further table begins on line {first['line']}; {self.table_lines} lines of further tables were not "
                f"read."
            )
        if self.footer_lines:
            found.append(
                f"{self.footer_lines} lines of text after the table (from line {self._first_line}) were left out."
            )
        return found
