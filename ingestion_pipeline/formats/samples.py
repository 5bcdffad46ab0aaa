"""The records of a text that is held whole, one after the other: samples, single lines.

What belongs here: walking from record to record. What does not: where one ends (`records`), what they say (`dialects`,
`layout`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ingestion_pipeline.formats.records import Broken, Dialect, Record, is_blank, parse_record

_BLANK_LINE = re.compile(r"\r|[^\S\n]*+(?:\n|\Z)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands in a text.

    Attributes:
        line: Its first one, from 0.
    """

    start: int
    end: int
    line: int
    record: Record | Broken


def first_records(text: str, dialect: Dialect, *, whole: bool) -> Iterator[Place]:
    """Every record from the beginning of a text on; of a broken one, one line is skipped. Blank lines are left out.

    Args:
        whole: Otherwise the text's last record may be cut off, and is left out unless it is the only one.
    """
    position = line = 0
    found = False
    while position < len(text):
        blank = _BLANK_LINE.match(text, position)
        if blank is not None and is_blank(blank[0], dialect):
            line += blank[0].endswith("\n")
            position = blank.end()
            continue
        record = parse_record(text, position, dialect)
        if isinstance(record, Broken):
            line_end = text.find("\n", position)
            end, lines = (len(text) if line_end < 0 else line_end + 1), 1
        else:
            end, lines = record.end, record.line_count
        if end >= len(text) and not whole and found:
            return
        yield Place(position, end, line, record)
        found = True
        position, line = end, line + lines


def iterate_records(text: str, dialect: Dialect) -> Iterator[Record | Broken]:
    """Every record of a text, one after the other; stops after one that is broken."""
    position = 0
    while position < len(text):
        parsed = parse_record(text, position, dialect)
        yield parsed
        if isinstance(parsed, Broken):
            return
        position = parsed.end
