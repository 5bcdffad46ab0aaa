"""Where the table of a delimited text begins: its preamble and the rows of its header.

What belongs here: judging where the first records belong. What does not: which of a table's are names (`header`),
telling the dialect (`dialects`), the rows (`delimited`).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from ingestion_pipeline.formats.dialects import is_value
from ingestion_pipeline.formats.entries import (
    Entry,
    bare,
    entries_of,
    fits,
    rows_of,
    with_mended_first,
    without_empty_rows,
)
from ingestion_pipeline.formats.header import (
    MAX_HEADER_ROWS,
    alike,
    is_missing,
    looks_like_header,
    looks_of,
    rows_of_names,
    valued_columns,
)
from ingestion_pipeline.formats.records import Dialect

_MAX_PREAMBLE_ROWS = 100
# Rows of the table's width before a gap and a header: more of them are a table of their own.
_MAX_FITTING_PREAMBLE_ROWS = 10
# A table before a wider one has so many lines; with fewer, it is what stands above that one.
_LEAST_TABLE_ROWS, _LEAST_ROWS_OF_PAIRS = 4, 10
# So many times the rows behind make a short table before them what a device says of itself.
_MANY_TIMES = 5
# Over numbered or named rows these are their names, and the column without one is another.
_NAMES_OF_ROWS = frozenset(
    ("id", "no", "nr", "num", "number", "index", "idx", "key", "name", "label", "code", "row", "#")
)
_FIELDS, _MARKED_NAME = re.compile(r"#\s*fields:?\s+(.*\S)", re.IGNORECASE), re.compile(r"#\w")
_COMMENT = re.compile(r"\s*(?:#|%|//)")
# A line drawn under names, as Markdown and consoles have it.
_RULE = re.compile(r"[\s:+|]*[-=_]{2,}[\s:+|=_-]*")


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands before the first row.

    Attributes:
        header: One name per column, rows of a header joined by a space; empty if there is none.
        characters: Up to the first row.
        lines: Physical lines up to there.
        header_rows: Records that the header is made of.
        preamble: The lines before the header, without their ends; blank ones too.
        repeats: Records that are no rows wherever they come again, cells without blanks around them: those of the
            header, if it cannot be mistaken for a row.
    """

    header: list[str]
    characters: int
    lines: int
    header_rows: int = 0
    preamble: list[str] = field(default_factory=list)
    repeats: list[list[str]] = field(default_factory=list)


def layout_of(sample: str, dialect: Dialect, width: int, *, whole: bool, header: bool | None) -> Layout:
    """Find the table.

    Args:
        width: The cells of a row, as `dialects.detect` found it.
        whole: The sample is the whole text.
        header: Whether there is a header, if that is known.
    """
    found = list(entries_of(sample, dialect, whole))
    if header is None and (named := _named_by_a_comment(found, sample, dialect, width)):
        return named
    if header is False:
        # There is nothing to look for: the first record is a row.
        entries, first, rows = found, 0, 0
    else:
        entries = without_empty_rows(with_mended_first(found, sample, dialect, width, whole), width)
        first = _behind_comments(entries, _behind_a_gap(entries, width), width)
        first += _behind_a_title(entries[first:], width)
        rows = _header_rows(entries[first:], width)
        if first == rows == 0:
            entries = found
    table = entries[first:]
    if header and table:
        rows = max(1, rows)
    begin = table[0].start if table else 0
    if rows < len(table):
        characters, lines = table[rows].start, table[rows].line
    else:
        characters = table[rows - 1].end if rows else begin
        lines = sample.count("\n", 0, characters) + (characters == len(sample) > 0 and not sample.endswith("\n"))
    names = _joined(table[:rows], width)
    if rows == 1 and _has_row_names(table, width):
        names = ["", *names[:-1]]
    return Layout(
        header=names,
        characters=characters,
        lines=lines,
        header_rows=rows,
        preamble=[line.rstrip("\r") for line in sample[:begin].split("\n")[:-1]],
        repeats=_repeats(table[:rows], table[rows:], width),
    )


def width_of_first_table(sample: str, dialect: Dialect, width: int, *, whole: bool) -> int:
    """The cells of a row of the first table, where the most frequent width is that of a wider one behind it."""
    entries = list(entries_of(sample, dialect, whole))
    begin = next((at for at, entry in enumerate(entries) if len(entry.cells) == width), 0)
    before = Counter(len(entry.cells) for entry in entries[:begin] if not entry.is_broken and entry.filled > 1)
    if not before:
        return width
    narrow, count = before.most_common(1)[0]
    if count < 3 or count < 0.9 * before.total():
        return width
    if sum(len(entry.cells) == narrow for entry in entries[begin:]) > 0.1 * len(entries[begin:]):
        return width  # ragged rows
    table = [entry.cells for entry in entries[:begin] if len(entry.cells) == narrow]
    valued = valued_columns(table[1:], narrow)
    least = _LEAST_TABLE_ROWS if narrow > 2 else _LEAST_ROWS_OF_PAIRS
    # Keys have words for values, too: a short table proves itself by the gap behind it, one of pairs by two columns.
    has_gap = any(entry.after_blank for entry in entries[max(0, begin - 1) : begin + 1])
    is_sure = has_gap and (narrow > 2 or len(valued) == narrow) and not _is_metadata(count, entries[begin:], width)
    if count < least and not is_sure:
        return width
    is_named = all(map(str.strip, table[0])) and looks_like_header(table[0], valued)
    return narrow if is_named else width


def _first_of_table(entries: Sequence[Entry], width: int) -> int:
    if width < 2:
        return 0
    for position, entry in enumerate(entries[:_MAX_PREAMBLE_ROWS]):
        below = entries[position + 1 : position + 4]
        if len(entry.cells) == width:
            # Spreadsheets pad the lines above a table to its width: one filled cell of three is no header.
            following = entries[position + 1 : position + 1 + _MAX_FITTING_PREAMBLE_ROWS]
            if entry.filled <= 1 and width > 2 and any(e.filled > max(1, width // 2) for e in following):
                continue
            return position
        ragged = abs(len(entry.cells) - width) <= max(1, width // 4) and entry.filled >= 2
        if ragged and below and len(below[0].cells) == width and below[0].filled >= 2:
            names = entry.cells
            if len(names) == 2 and position and not any(is_value(cell) for cell in below[0].cells):
                continue  # a key and its value
            if looks_like_header(below[0].cells, valued_columns(rows_of(entries[position + 2 :], width), width)):
                continue  # a title with a comma in it
            if not any(is_value(cell) for cell in names if cell.strip()) or position == 0:
                return position
        if _is_short_header(entry, entries[position + 1 :], width):
            return position
    return 0


def _is_short_header(entry: Entry, below: Sequence[Entry], width: int) -> bool:
    """Whether names stand over some columns, and the last ones have none."""
    names = entry.cells
    if not max(3, width / 3) <= len(names) < width or entry.is_broken or entry.filled < len(names):
        return False
    if not below or not fits(below[0], width) or below[0].after_blank:
        return False
    valued = valued_columns(rows_of(below, width), len(names))
    return looks_like_header(names, valued) and not looks_like_header(below[0].cells, valued)


def _behind_a_gap(entries: Sequence[Entry], width: int) -> int:
    """Where the table begins: at the header over the first row that looks like the others.

    Keys and values, or prose with delimiters in it, may be as wide as the table; but between them and its header is a
    blank line, or a line that is not.
    """
    first = _first_of_table(entries, width)
    fitting = rows_of(entries[first:], width)
    looks = looks_of(fitting[len(fitting) // 2 :], width)
    rows = (
        position
        for position, entry in enumerate(entries[:_MAX_PREAMBLE_ROWS])
        if position >= first and fits(entry, width) and alike(entry.cells, looks) > 0.5
    )
    row = next(rows, None) if looks else None
    if row is None or _is_table(entries[first:row], entries[row:], width):
        return first
    begin = row
    while begin > first and _is_header_above(entries[begin - 1], entries[begin], width):
        begin -= 1
    if begin == row and begin > first and entries[row].after_blank and fits(entries[begin - 1], width):
        begin -= 1  # a blank line between names and rows
        while begin > first and _is_header_above(entries[begin - 1], entries[begin], width):
            begin -= 1
    before = sum(fits(entry, width) for entry in entries[first:begin])
    is_preamble = begin < row and before <= min(_MAX_FITTING_PREAMBLE_ROWS, len(entries) - row)
    cells = entries[begin].cells
    names_something = any(i < len(cells) and cells[i].strip() and not is_missing(cells[i]) for i in looks)
    return begin if is_preamble and names_something and entries[begin].filled > 1 else first


def _is_table(entries: Sequence[Entry], behind: Sequence[Entry], width: int) -> bool:
    """Whether records before a gap are names and rows; keys and values may look so, too, where columns are two."""
    rows = rows_of(takewhile(lambda entry: not entry.after_blank, entries[1:]), width)
    if len(rows) < 2 or not fits(entries[0], width) or entries[0].filled < width:
        return False
    valued = valued_columns(rows, width)
    is_sure = (width > 2 or len(valued) == width) and not _is_metadata(len(rows), behind, width)
    return is_sure and looks_like_header(entries[0].cells, valued)


def _is_metadata(rows: int, behind: Sequence[Entry], width: int) -> bool:
    """Whether rows before so many others are what a device says of itself, rather than a table."""
    return rows < _LEAST_TABLE_ROWS and sum(fits(entry, width) for entry in behind) > _MANY_TIMES * rows


def _named_by_a_comment(entries: Sequence[Entry], sample: str, dialect: Dialect, width: int) -> Layout | None:
    """The layout of a log whose line `#Fields:` names the columns, among other comments."""
    at = next((n for n, entry in enumerate(entries) if not _COMMENT.match(sample, entry.start)), 0)
    for entry in entries[:at]:
        fields = _FIELDS.match(sample[entry.start : entry.end])
        names = (fields[1].split(dialect.delimiter), fields[1].split()) if fields else ()
        header = next((found for found in names if len(found) == width), None)
        if header is not None:
            first = entries[at]
            if bare(first.cells) == bare(header):
                return None  # its own header says the same
            lines = [line.rstrip("\r") for line in sample[: first.start].split("\n")[:-1]]
            return Layout([name.strip() for name in header], first.start, first.line, 1, lines)
    return None


def _behind_comments(entries: Sequence[Entry], first: int, width: int) -> int:
    """Comments with as many delimiters as a row are none of the table, but the last one may be its header."""
    behind = first
    while behind < len(entries) and _COMMENT.match(entries[behind].cells[0]):
        behind += 1
    comments = behind - first
    if not comments or behind == len(entries) or comments > _MAX_PREAMBLE_ROWS:
        return first
    table = entries[behind - 1 :]
    looks = looks_of(rows_of((entry for entry in table[2:] if not _is_rule(entry)), width), width)
    if looks and alike(table[1].cells, looks) <= 0.25:
        return behind
    # Names and their units, each behind a mark of its own.
    pair = entries[behind - 2 : behind]
    are_names = comments > 1 and all(fits(entry, width) and _MARKED_NAME.match(entry.cells[0]) for entry in pair)
    return behind - 2 if are_names else behind - 1


def _is_header_above(above: Entry, below: Entry, width: int) -> bool:
    return not below.after_blank and not above.is_broken and (len(above.cells) == width or above.filled > 1)


def _header_rows(table: Sequence[Entry], width: int) -> int:
    rows = _rows_of_names(table, width)
    while 0 < rows < len(table) - 1 and _is_rule(table[rows]):
        rows += 1
    return rows


def _is_rule(entry: Entry) -> bool:
    return entry.filled > 0 and all(_RULE.fullmatch(cell) for cell in entry.cells if cell.strip())


def _behind_a_title(table: Sequence[Entry], width: int) -> int:
    """Whether a title of two cells, padded with empty ones, stands over the names: 1 if it does."""
    if len(table) < 3 or width < 4 or not (fits(table[0], width) and fits(table[1], width)):
        return 0
    title, names = table[0].cells, table[1].cells
    is_padded = table[0].filled < width / 2 and all(map(str.strip, title[: table[0].filled]))
    is_named = names[0].strip() and table[1].filled > table[0].filled
    is_header = looks_like_header(names, valued_columns(rows_of(table[2:], width), width))
    return int(is_padded and bool(is_named) and is_header)


def _rows_of_names(table: Sequence[Entry], width: int) -> int:
    if not table:
        return 0
    if len(table) == 1:
        return 0 if any(is_value(cell) for cell in table[0].cells if cell.strip()) else 1
    # A header that comes again stands where files were put one after the other.
    names = bare(table[0].cells)
    others = [entry for entry in table[1:] if bare(entry.cells) != names]
    again = next((at for at, entry in enumerate(table) if bare(entry.cells) != names), 1) - 1
    table = [table[0], *others] if others else table
    rows_of_cells = [entry.cells for entry in table[1:] if fits(entry, width) and (entry.filled > 1 or width < 3)]
    # What stands behind a gap may be another table, whose names and rows are not like these.
    part = [table[1], *takewhile(lambda entry: not entry.after_blank, table[2:])]
    rows_before_gap = rows_of(part, width)
    body = _body(rows_of_cells)
    if len(rows_before_gap) >= 3 or (rows_before_gap and not looks_of(body, width)):
        body = _body(rows_before_gap)
    if table[0].is_broken:
        return 0
    first_part = list(takewhile(lambda entry: not entry.is_broken, table))
    rows = rows_of_names([entry.cells for entry in first_part], body, width)
    return rows + again if rows else 0


def _repeats(header: Sequence[Entry], rows: Sequence[Entry], width: int) -> list[list[str]]:
    names = bare(header[0].cells) if header and fits(header[0], width) else []
    if len(names) < 2 or len(set(names)) < width:
        return []
    # Of further rows of names only drawn lines: others may be like a row.
    records = [names, *(bare(entry.cells) for entry in header[1:] if fits(entry, width) and _is_rule(entry))]
    fitting = [cells for cells in rows_of(rows, width) if bare(cells) not in records]
    return records if looks_like_header(names, valued_columns(fitting, width)) else []


def _has_row_names(table: Sequence[Entry], width: int) -> bool:
    """Whether the first column has no name because it names or numbers rows: so R writes tables, and pandas prints."""
    body = rows_of(table[1:], width)
    if len(table[0].cells) != width - 1 or width < 3 or not body or table[0].filled < width - 1:
        return False
    ends_filled = sum(bool(row[-1].strip()) for row in body) >= 0.8 * len(body)
    if table[0].cells[0].strip().lower().rstrip(".") in _NAMES_OF_ROWS or not ends_filled:
        return False
    first = [row[0].strip() for row in body]
    if first[:2] in (["0", "1"], ["1", "2"]):
        return first == [str(number + int(first[0])) for number in range(len(first))]
    are_names = all(first) and len(set(first)) == len(first) and not any(map(is_value, first))
    return are_names and valued_columns(body, width) == list(range(1, width))


def _body(rows: Sequence[list[str]]) -> Sequence[list[str]]:
    """The rows that cannot be names any more; of few, the last half."""
    body = rows[MAX_HEADER_ROWS - 1 :]
    return body if len(body) >= 3 else rows[-max(1, (len(rows) + 1) // 2) :]


def _joined(rows: Sequence[Entry], width: int) -> list[str]:
    names = [[cell.strip() for cell in row.cells] for row in rows]
    if names and len(names[0]) == width + 1 and _COMMENT.fullmatch(names[0][0]):
        names[0].pop(0)  # it only says that the line is no row
    count = max(width, len(names[0])) if names else 0
    return [
        " ".join(row[column] for row in names if column < len(row) and row[column] and not _RULE.fullmatch(row[column]))
        for column in range(count)
    ]
