"""The first records of a delimited text, as they are judged: where each stands, its cells, what is odd about it.

What belongs here: records of a sample, and what a person would overlook in them. What does not: what they are
(`layout`, `header`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from ingestion_pipeline.formats.header import looks_like_header, valued_columns
from ingestion_pipeline.formats.records import Broken, Dialect, Record, parse_record
from ingestion_pipeline.formats.samples import first_records

_ROWS = 200
_OTHER_DELIMITERS = ",;\t| "
# What stands around cells where pages or files begin, too.
_EDGES = " \t\r\f\v\ufeff"


@dataclass(frozen=True, slots=True)
class Entry:
    """One of the first records.

    Attributes:
        start: In the sample, as is `end`.
        line: Its first one, from 0.
        cells: Of a broken record, the line.
        is_broken: It cannot be cut into cells.
        after_blank: A blank line stands before it, or a record of empty cells.
        is_empty: All its cells are, of three or more.
    """

    start: int
    end: int
    line: int
    cells: list[str]
    is_broken: bool
    after_blank: bool
    is_empty: bool = False

    @property
    def filled(self) -> int:
        """How many cells say something."""
        return sum(1 for cell in self.cells if cell.strip())


def entries_of(sample: str, dialect: Dialect, whole: bool) -> Iterator[Entry]:
    """The first records of a sample, blank lines left out."""
    end = 0
    for place in islice(first_records(sample, dialect, whole=whole), _ROWS):
        record, after_blank = place.record, place.start > end
        end = place.end
        if isinstance(record, Broken):
            yield Entry(place.start, end, place.line, [sample[place.start : end].rstrip("\r\n")], True, after_blank)
        else:
            is_empty = len(record.cells) > 2 and not any(record.quoted) and not any(map(str.strip, record.cells))
            yield Entry(place.start, end, place.line, record.cells, False, after_blank, is_empty)


def without_empty_rows(entries: Sequence[Entry], width: int) -> list[Entry]:
    """Where a table begins, spreadsheets write blank lines as rows of empty cells."""
    kept: list[Entry] = []
    gap = False
    for entry in entries:
        if entry.is_empty and width > 2:
            gap = True
            continue
        kept.append(replace(entry, after_blank=True) if gap else entry)
        gap = False
    return kept


def with_mended_first(entries: list[Entry], sample: str, dialect: Dialect, width: int, whole: bool) -> list[Entry]:
    """A header with a stray quote, or with another delimiter, names the columns all the same."""
    first = sample[: sample.find("\n") + 1]
    if not entries or entries[0].start or not first or fits(entries[0], width):
        return entries
    cells = _mended(first, dialect, width)
    if cells is None:
        return entries
    rest = [
        replace(each, start=each.start + len(first), end=each.end + len(first), line=each.line + 1)
        for each in entries_of(sample[len(first) :], dialect, whole)
    ]
    valued = valued_columns(rows_of(rest[1:], width), width)
    below = rest[0].cells if rest else []
    if not looks_like_header(cells, valued) or looks_like_header(below, valued):
        return entries
    return [Entry(0, len(first), 0, cells, False, False), *rest]


def _mended(line: str, dialect: Dialect, width: int) -> list[str] | None:
    """The cells of a line that is wrong in one way, if they are as many as the columns."""
    for delimiter in _OTHER_DELIMITERS:
        record = parse_record(line, 0, replace(dialect, delimiter=delimiter))
        if isinstance(record, Record) and len(record.cells) == width and not record.literal_quote:
            return record.cells
    cells = [cell.strip(f" {dialect.quote or ''}") for cell in line.rstrip("\r\n").split(dialect.delimiter)]
    return cells if len(cells) == width else None


def records_with_starts(sample: str, start: int, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Where records begin, and their cells; one that is broken is its line."""
    for entry in entries_of(sample[start:], dialect, True):
        yield start + entry.start, entry.cells


def fits(entry: Entry, width: int) -> bool:
    """Whether it is as wide as the table."""
    return len(entry.cells) == width and not entry.is_broken


def rows_of(entries: Iterable[Entry], width: int) -> list[list[str]]:
    """The cells of those that are as wide as the table."""
    return [entry.cells for entry in entries if fits(entry, width)]


def bare(cells: Sequence[str | None]) -> list[str]:
    """Cells without what stands around them where pages or files begin: blanks, form feeds, byte order marks."""
    return [(cell or "").strip(_EDGES) for cell in cells]
