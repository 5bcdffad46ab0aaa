"""Which lines of delimited text may be something else than one whole record, found without looking at them one by one.

What belongs here: the two ways to find them, and where lines begin. What does not: what such a line is (`records`).
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

if TYPE_CHECKING:
    from ingestion_pipeline.formats.records import Dialect

# The regular expression of a whole record grows with its cells, and a compiled one may not be of any size:
# in wider files every line with a quote in it is read character by character.
_MAX_EXPRESSION_CELLS = 1000
# Where more lines than this have quotes, looking at all of them by one expression is faster.
_FEW_QUOTED = 1 / 8


class Lines(NamedTuple):
    """The lines of a text.

    Attributes:
        odd: Numbers of those that may be anything else than one record, in order.
        starts: The character at which each begins.
    """

    odd: list[int]
    starts: list[int]


def lines_of(text: str, dialect: "Dialect", width: int) -> Lines:
    """Look at every line of a text that is to have records of `width` cells."""
    found = counted(text, dialect, width) if text and dialect.is_simple and width > 1 and text.isascii() else None
    return found or matched(text, dialect, width)


def counted(text: str, dialect: "Dialect", width: int) -> Lines | None:
    """Of ASCII text that is not empty, by counting delimiters, several times as fast as by an expression.

    None: many lines have quotes.
    """
    import numpy as np  # takes its time, and clean files do without

    data = np.frombuffer(text.encode(), np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    starts = np.concatenate((np.zeros(1, ends.dtype), ends + 1))
    if starts[-1] == len(data):
        starts = starts[:-1]
    counts = np.add.reduceat((data == ord(dialect.delimiter)).view(np.uint8), starts, dtype=np.int32)
    odd = counts != width - 1
    if dialect.quote is not None and dialect.quote in text:
        quoted = np.unique(np.searchsorted(ends, np.flatnonzero(data == ord(dialect.quote))))
        if len(quoted) > len(starts) * _FEW_QUOTED:
            return None
        after = np.append(starts[1:], len(data) + (not text.endswith("\n"))) - 1
        lines = [text[starts[line] : after[line]] for line in quoted]
        odd[quoted] = _not_whole(pl.Series(lines, dtype=pl.String), dialect, width).to_numpy()
    return Lines(np.flatnonzero(odd).tolist(), starts.tolist())


def matched(text: str, dialect: "Dialect", width: int) -> Lines:
    """Of any text, by an expression."""
    lines = pl.Series([text]).str.split("\n").explode(empty_as_null=True)
    if text.endswith("\n"):
        lines = lines.head(len(lines) - 1)
    odd = _not_whole(lines, dialect, width).arg_true().to_list() if dialect.is_simple else list(range(len(lines)))
    lengths = lines.str.len_bytes() if text.isascii() else lines.str.len_chars()
    starts = (lengths.cast(pl.Int64) + 1).cum_sum().shift(1, fill_value=0)
    return Lines(odd, starts.to_list())


def _not_whole(lines: pl.Series, dialect: "Dialect", width: int) -> pl.Series:
    if width <= _MAX_EXPRESSION_CELLS:
        return ~lines.str.contains(_whole_record(dialect, width)) | (lines.str.strip_chars("\r") == "")
    odd = lines.str.count_matches(dialect.delimiter, literal=True) != width - 1
    return odd if dialect.quote is None else odd | lines.str.contains(dialect.quote, literal=True)


@lru_cache(maxsize=64)
def _whole_record(dialect: "Dialect", width: int) -> str:
    """A regular expression (Rust's syntax) for a line that is a whole record of `width` cells."""
    delimiter = re.escape(dialect.delimiter)
    cell = f"[^{delimiter}]*"
    if dialect.quote is not None:
        quote = re.escape(dialect.quote)
        cell = f"(?:{quote}(?:[^{quote}]|{quote}{quote})*{quote}|[^{delimiter}{quote}]*)"
    return f"^{cell}(?:{delimiter}{cell}){{{width - 1}}}\r?$"
