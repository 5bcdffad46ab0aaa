"""Entries to rejected rows, and the text of each to the cells of its file.

What belongs here: one row after the other, for people to look at: the first 50,000 at most. What does not: showing them
(`workbook`).
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import polars as pl

from ingestion_pipeline.domain.contract import DELIMITED_TEXT
from ingestion_pipeline.formats.records import Broken, Dialect, parse_record

OTHER_KEYS = "other keys"
_ENTRY = ("line", "column", "rule", "reason", "row")


class Wrong(NamedTuple):
    """One rule that a row breaks; the contract's name of the column, or of several, or none."""

    column: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row with all that is wrong with it."""

    line: int
    text: str
    wrong: list[Wrong]

    @property
    def is_cut(self) -> bool:
        """Whether it has the header's cells."""
        return all(one.column for one in self.wrong)


def rows_of(entries: Iterable[pl.DataFrame]) -> Iterator[RejectedRow]:
    """The rows of entries in the file's order; a row begins at the entry that has its text."""
    row: RejectedRow | None = None
    for frame in entries:
        for line, column, rule, reason, text in frame.select(_ENTRY).iter_rows():
            if text is not None:
                if row is not None:
                    yield row
                row = RejectedRow(line, text, [])
            assert row is not None
            row.wrong.append(Wrong(column, rule, reason))
    if row is not None:
        yield row


class Columns:
    """The columns of a file, as its report tells them.

    Args:
        found: Format, dialect and header as the report has them.
        sources: The file's name of each column by the contract's; others are called alike.
    """

    def __init__(self, found: Mapping[str, Any], sources: Mapping[str, str]) -> None:
        self._dialect: Dialect | None = None
        names: list[str] = list(found["header"])
        whole = found.get("header_is_whole", True)
        if found["format"] == DELIMITED_TEXT:
            self._dialect = Dialect(found["delimiter"], found.get("quote"), found.get("escape"))
            names += [f"column {number + 1}" for number in range(len(names), found.get("columns") or 0)]
            self.names = names
        else:
            # Keys may come later than the report's header; a Parquet file has all of its columns in it.
            self.names = names if found["format"] == "Parquet" and whole else [*names, OTHER_KEYS]
        self._keys = names
        self._positions = {name: position for position, name in reversed(list(enumerate(names)))}
        self._sources = sources

    def cells(self, row: RejectedRow) -> list[str] | None:
        """The row's cells, one for each of `names`; None: it cannot be cut."""
        if not row.is_cut:
            return None
        if self._dialect is None:
            return self._members(row.text)
        record = parse_record(row.text, 0, self._dialect)
        if isinstance(record, Broken) or record.end < len(row.text) or len(record.cells) != len(self.names):
            return None
        return record.cells

    def marked(self, row: RejectedRow) -> dict[int, list[str]]:
        """The positions of the cells that break rules, each with its reasons."""
        marks: dict[int, list[str]] = {}
        for wrong in row.wrong:
            for position in self._of(wrong.column):
                marks.setdefault(position, []).append(wrong.reason)
        return marks

    def called(self, column: str) -> str:
        """What an entry's column, or columns, are called in the file."""
        return ", ".join(self._sources.get(name, name) for name in self._named(column))

    def _of(self, column: str) -> Sequence[int]:
        found = []
        for name in self._named(column):
            source = self._sources.get(name, name)
            # `a.b` may be a key of that name, or lie inside the object `a`.
            position = self._positions.get(source, self._positions.get(source.split(".")[0]))
            if position is not None:
                found.append(position)
        return found

    def _named(self, column: str) -> list[str]:
        """A rule about several columns names them with commas."""
        return [column] if column in self._sources or column in self._positions else column.split(", ")

    def _members(self, text: str) -> list[str] | None:
        try:
            members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeError):
            return None
        cells = [_member(members.pop(key)) if key in members else "" for key in self._keys]
        if len(self.names) > len(self._keys):
            rest = ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {_raw(value)}" for key, value in members.items())
            cells.append(f"{{{rest}}}" if rest else "")
        return cells


def _member(value: msgspec.Raw) -> str:
    """A text without its quotes, anything else as it stands in the file; nothing for null."""
    raw = _raw(value)
    if raw.startswith('"'):
        return msgspec.json.decode(raw, type=str)
    return "" if raw == "null" else raw


def _raw(value: msgspec.Raw) -> str:
    return bytes(value).decode()
