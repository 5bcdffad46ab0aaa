"""Where the table of a delimited text begins: its preamble and the rows of its header.

What belongs here: judging the first records. What does not: telling the dialect (`dialects`), the rows (`delimited`).

A header differs from the rows below it: over a column of numbers or dates stands a text. Where all columns are texts,
a header is a row of different, non-empty, short names that do not come again below.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ingestion_pipeline.formats.dialects import is_value
from ingestion_pipeline.formats.records import Broken, Dialect, first_records

_ROWS = 200
_MAX_HEADER_ROWS = 5
_MAX_PREAMBLE_ROWS = 100
_NAME_CHARACTERS = 100
_VALUE = "value"
_SMALL, _CAPITALS, _DIGITS = re.compile("[^\\W\\d_A-Z]+"), re.compile("[A-Z]+"), re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands before the first row.

    Attributes:
        header: One name per column, rows of a header joined by a space; empty if there is none.
        characters: Up to the first row.
        lines: Physical lines up to there.
        header_rows: Records that the header is made of.
        preamble: The lines before the header, without their ends; blank ones too.
    """

    header: list[str]
    characters: int
    lines: int
    header_rows: int = 0
    preamble: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Entry:
    start: int
    end: int
    line: int
    cells: list[str]

    @property
    def filled(self) -> int:
        return sum(1 for cell in self.cells if cell.strip())


def layout_of(sample: str, dialect: Dialect, width: int, *, whole: bool, header: bool | None) -> Layout:
    """Find the table.

    Args:
        width: The cells of a row, as `dialects.detect` found it.
        whole: The sample is the whole text.
        header: Whether there is a header, if that is known.
    """
    entries = list(_entries(sample, dialect, whole))
    # Where it is told that there is no header, there is nothing to look for: the first record is a row.
    first = 0 if header is False else _first_of_table(entries, width)
    table = entries[first:]
    rows = 0 if header is False else _header_rows(table, width)
    if header and table:
        rows = max(1, rows)
    begin = table[0].start if table else 0
    if rows < len(table):
        characters, lines = table[rows].start, table[rows].line
    else:
        characters = table[rows - 1].end if rows else begin
        lines = sample.count("\n", 0, characters) + (characters == len(sample) > 0 and not sample.endswith("\n"))
    return Layout(
        header=_joined(table[:rows], width),
        characters=characters,
        lines=lines,
        header_rows=rows,
        preamble=[line.rstrip("\r") for line in sample[:begin].split("\n")[:-1]],
    )


def records_with_starts(sample: str, start: int, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Where records begin, and their cells; one that is broken is its line."""
    for entry in _entries(sample[start:], dialect, True):
        yield start + entry.start, entry.cells


def looks_like_header(cells: Sequence[str], valued: Sequence[int]) -> bool:
    """Whether texts stand over the columns that hold values."""
    there = [cells[i] for i in valued if i < len(cells) and cells[i].strip()]
    return bool(there) and not any(is_value(cell) for cell in there)


def valued_columns(rows: Sequence[Sequence[str | None]], width: int) -> list[int]:
    """The columns in which at least four of five filled cells are numbers, dates and the like."""
    found = []
    for column in range(width):
        cells = [cell for row in rows if column < len(row) and (cell := (row[column] or "").strip())]
        if cells and sum(map(is_value, cells)) >= 0.8 * len(cells):
            found.append(column)
    return found


def _entries(sample: str, dialect: Dialect, whole: bool) -> Iterator[_Entry]:
    for place in islice(first_records(sample, dialect, whole=whole), _ROWS):
        record = place.record
        cells = [sample[place.start : place.end].rstrip("\r\n")] if isinstance(record, Broken) else record.cells
        yield _Entry(place.start, place.end, place.line, cells)


def _first_of_table(entries: Sequence[_Entry], width: int) -> int:
    if width < 2:
        return 0
    for position, entry in enumerate(entries[:_MAX_PREAMBLE_ROWS]):
        below = entries[position + 1 : position + 4]
        if len(entry.cells) == width:
            # Spreadsheets pad the lines above a table to its width: one filled cell of three is no header.
            if entry.filled <= 1 and width > 2 and any(e.filled > max(1, width // 2) for e in below):
                continue
            return position
        ragged = abs(len(entry.cells) - width) <= max(1, width // 4) and entry.filled >= 2
        if ragged and below and len(below[0].cells) == width and below[0].filled >= 2:
            names = entry.cells
            if not any(is_value(cell) for cell in names if cell.strip()) or position == 0:
                return position
    return 0


def _header_rows(table: Sequence[_Entry], width: int) -> int:
    if not table:
        return 0
    if len(table) == 1:
        return 0 if any(is_value(cell) for cell in table[0].cells if cell.strip()) else 1
    # A header that comes again stands where files were put one after the other.
    others = [entry for entry in table[1:] if entry.cells != table[0].cells]
    table = [table[0], *others] if others else table
    body = [entry.cells for entry in table[_MAX_HEADER_ROWS:] if len(entry.cells) == width]
    if len(body) < 3:
        body = [entry.cells for entry in table[1:] if len(entry.cells) == width][-max(1, len(table) // 2) :]
    looks = _looks(body, width)
    if looks:
        rows = 0
        for entry in table[:_MAX_HEADER_ROWS]:
            over = [(cell, looks[i]) for i, cell in enumerate(entry.cells) if i in looks and cell.strip()]
            alike = sum(_looks_like(cell, look) for cell, look in over)
            if alike > 0.25 * len(looks) or (not over and entry.filled < 2):
                break
            rows += 1
        else:
            # Five rows over columns of values and no value: texts such as `n/a`, not so many headers.
            rows = 1
        return min(rows, len(table) - 1)
    return 1 if _are_names(table[0].cells, [entry.cells for entry in table[1:]]) else 0


def _looks(rows: Sequence[Sequence[str]], width: int) -> dict[int, str]:
    """What four of five filled cells of a column look like: values, or a shape with figures or marks in it.

    Columns of words alone say nothing: a header is words too.
    """
    found = dict.fromkeys(valued_columns(rows, width), _VALUE)
    for column in range(width):
        shapes = Counter(_shape(row[column]) for row in rows if column < len(row) and row[column].strip())
        if column in found or not shapes:
            continue
        shape, count = shapes.most_common(1)[0]
        if count >= 0.8 * shapes.total() and not shape.replace(" ", "").isalpha():
            found[column] = shape
    return found


def _looks_like(cell: str, look: str) -> bool:
    return is_value(cell) if look == _VALUE else _shape(cell) == look


def _shape(cell: str) -> str:
    """Runs of small letters as `a`, of capitals as `A`, of digits as `9`; all else as it is."""
    return _DIGITS.sub("9", _CAPITALS.sub("A", _SMALL.sub("a", cell.strip())))


def _are_names(cells: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    names = [cell.strip() for cell in cells]
    filled = [name for name in names if name]
    if not filled or len(set(filled)) <= 0.5 * len(filled) or len(filled) < 0.5 * len(names):
        return False
    if any(is_value(name) or len(name) > _NAME_CHARACTERS for name in filled):
        return False
    again = sum(
        any(column < len(row) and row[column].strip() == name for row in below)
        for column, name in enumerate(names)
        if name
    )
    return again <= 0.2 * len(filled)


def _joined(rows: Sequence[_Entry], width: int) -> list[str]:
    count = max([width, *(len(row.cells) for row in rows[:1])]) if rows else 0
    return [
        " ".join(cell for row in rows if column < len(row.cells) and (cell := row.cells[column].strip()))
        for column in range(count)
    ]
