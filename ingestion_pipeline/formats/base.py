"""What every reader gives: rows as chunks of cells, with their place in the original file.

What belongs here: the interface between reading and validating. What does not: any one format; a reader
lives in its own module and `formats.open_rows` chooses it by content.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import polars as pl


@dataclass(frozen=True, slots=True)
class MalformedRecord:
    """A record that cannot be cut into the header's cells.

    Attributes:
        line: 1-based physical line on which it begins.
        text: Its exact text, without the line's end.
    """

    line: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChunk:
    """Some rows of a file, in file order.

    Attributes:
        cells: One column per contract column that the file has, under the contract's name, and those that are added to
            the contract. Formats that
            are text give strings; a format with types of its own may give those.
        lines: Int64, the 1-based physical line on which each row begins; in a format without lines, its number.
        malformed: Records of the same stretch that are no rows.
        original: Maps row numbers of `cells` (a UInt32 series) to the rows' exact text in the file; a row of a format
            that is no text is told as a JSON object.
    """

    cells: pl.DataFrame
    lines: pl.Series
    malformed: Sequence[MalformedRecord]
    original: Callable[[pl.Series], pl.Series]


@dataclass(slots=True)
class FormatFacts:
    """What was found out about the file; the report shows it. Warnings may grow while reading.

    Attributes:
        header: As the file has it, of JSON the keys at its beginning; the beginnings of some names where it is too
            long for a report.
        columns: How many names the file's header has.
        confidence: From 0 to 1, how sure delimiter and quote are; None: they were told.
        rival: Another delimiter with which the file could be read as well.
        preamble: The lines before the header, as far as a report has room for them.
        footer: Lines after the last row that are no rows, likewise.
        further_tables: Tables after the first, which were not read.
        added: Names of columns that the contract does not name, and that are added to its own.
    """

    format: str
    compression: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    line_end: str | None = None
    confidence: float | None = None
    rival: str | None = None
    preamble: list[str] = field(default_factory=list)
    preamble_lines: int = 0
    header_rows: int = 0
    header: list[str] = field(default_factory=list)
    header_is_whole: bool = True
    columns: int = 0
    footer: list[str] = field(default_factory=list)
    further_tables: list[dict[str, int]] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Without the warnings and what was added, ready for JSON."""
        # PostgreSQL's JSON has no zero character, and UTF-16 may bring one.
        return {
            f.name: _without_zeros(getattr(self, f.name)) for f in fields(self) if f.name not in {"added", "warnings"}
        }


def _without_zeros(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_zeros(item) for item in value]
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


class RowReader(Protocol):
    """An opened file: its facts are known, its rows come once, in order, in bounded memory."""

    facts: FormatFacts

    def chunks(self) -> Iterator[RowChunk]:
        """The rows.

        Raises:
            UnreadableFile: The file turned out to be damaged.
        """
        ...
