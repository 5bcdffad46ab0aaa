"""How a delimited text is written, told from its beginning: delimiter, quote, escape.

What belongs here: trying dialects on a sample and weighing what they give. What does not: where the table begins and
what its header is (`layout`), reading the whole (`delimited`).

A dialect is right when it cuts the text into records of one width whose cells look like values. The measure follows
van den Burg, Nazábal and Sutton, "Wrangling messy CSV files by detecting row and type patterns" (2019): evenness of
the records times the part of cells with a known look. Where that paper counts row patterns, this looks at the most
frequent width, so that a preamble, ragged rows and further tables cost little.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from ingestion_pipeline.formats.records import Dialect, Record, first_records

# In the order of preference where nothing else decides. The factor says how much of its evidence a delimiter may keep:
# spaces and colons stand in prose and in times, a tab hardly stands anywhere by chance.
DELIMITERS: dict[str, float] = {
    ",": 1.0,
    ";": 1.0,
    "\t": 1.1,
    "|": 1.05,
    "\x1f": 1.1,
    "\x01": 1.1,
    "~": 0.9,
    "^": 0.9,
    "¦": 1.0,
    "§": 0.95,
    ":": 0.75,
    " ": 0.75,
    "#": 0.6,
    "*": 0.6,
    "!": 0.6,
    "&": 0.6,
}
_MAJOR = ",;\t|"
# Between words there are spaces, whatever the delimiter is; a cell of one word that has one of these is cut wrongly.
_MINOR = ":~^¦§"
_RECORDS = 200
_VALUE_CHARACTERS = 200
# A dialect whose score is this near to the best one's, with another delimiter, leaves the file ambiguous.
RIVAL = 0.9
# Evidence below this is no table: one column.
_TABLE = 0.12

_DAY = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
_TIME = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?"
_ZONE = r"(?: ?(?:[AaPp][Mm]|UTC|GMT|Z|[+-]\d{2}:?\d{2}))?"
_TIMES = re.compile(rf"(?<![\d.,]){_TIME}(?!\d)(?:[+-]\d{{2}}:\d{{2}})?")
_SCHEMES = re.compile(r"\b\w{1,12}://")
_MOMENTS = re.compile(rf"{_DAY} {_TIME}{_ZONE}")

_NUMBER = r"[+-]?(?:(?:\d{1,3}(?:[ ,.'’\u00a0\u202f]\d{3})+|\d+)(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?"
_VALUE = re.compile(
    rf"(?:[$€£¥]\s?)?{_NUMBER}\s?(?:%|‰|[$€£¥]|[A-Z]{{3}})?"
    rf"|{_DAY}(?:[T ]{_TIME}{_ZONE})?"
    rf"|{_TIME}(?: ?[AaPp][Mm])?"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|\w+://\S+"
    r"|(?:\d{1,3}\.){3}\d{1,3}"
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
)
_WORDS = re.compile(r"[\w\-./+()'’°%$€#&@ :?!]{1,80}")


@dataclass(frozen=True, slots=True)
class Detected:
    """The best dialect and what speaks for it.

    Attributes:
        confidence: From 0 to 1: how far it is ahead of the best dialect with another delimiter.
        rival: That delimiter, if it is close; the file is ambiguous then.
    """

    dialect: Dialect
    confidence: float
    rival: str | None
    width: int


def detect(sample: str, *, whole: bool) -> Detected:
    """The dialect of a text by its beginning.

    Args:
        sample: Some dozens of kilobytes with LF or CRLF line ends; lone CR are no line ends here.
        whole: The sample is the whole text; otherwise its last record may be cut off.
    """
    tried = sorted(_tries(sample, whole), key=lambda entry: -entry[0])
    if not tried or tried[0][0] < _TABLE:
        return Detected(Dialect(",", '"'), 1.0 if not tried else 0.5, None, 1)
    score, dialect, width = tried[0]
    other = next(((s, d) for s, d, _ in tried if d.delimiter.strip() != dialect.delimiter.strip()), None)
    second = other[0] if other else 0.0
    rival = other[1].delimiter if other is not None and second >= RIVAL * score else None
    return Detected(dialect, round(1 - second / (score + second), 3), rival, width)


def width_of(sample: str, dialect: Dialect, *, whole: bool) -> int:
    """The cells of a row, where the dialect is known: the most frequent number, wider ones first."""
    return _score(sample, dialect, whole)[1]


def _tries(sample: str, whole: bool) -> Iterator[tuple[float, Dialect, int]]:
    for delimiter, weight in DELIMITERS.items():
        for text, part in _seen_as(sample, delimiter):
            if delimiter not in text:
                continue
            for dialect in _dialects(text, delimiter):
                score, width = _score(text, dialect, whole)
                if score > 0:
                    yield score * weight * part, dialect, width


def _seen_as(sample: str, delimiter: str) -> Iterator[tuple[str, float]]:
    """The text to try a delimiter on, and how much that evidence is worth: colons within times are none, or little."""
    if delimiter == ":":
        text = _SCHEMES.sub("U", sample)
        beside_times = _TIMES.sub("T", text)
        yield beside_times, 1.0
        # Numbers of two digits look like times too; but where all colons stand in such, they are times. Where cells
        # stand in quotes, times do too.
        if ":" in beside_times:
            yield text, 0.9 if any(_stands_at_edges(sample, ":", quote) for quote in "\"'") else 0.5
    elif delimiter == " ":
        yield _MOMENTS.sub("T", sample), 1.0
    else:
        yield sample, 1.0


def _dialects(text: str, delimiter: str) -> Iterator[Dialect]:
    """With this delimiter, the dialects that the text gives reason for; the plainest first."""
    delimiters = [delimiter]
    if delimiter == "," and text.count(", ") >= 0.8 * text.count(","):
        delimiters.insert(0, ", ")
    for each in delimiters:
        double, single = (_stands_at_edges(text, each, quote) for quote in "\"'")
        yield Dialect(each, '"')
        if double:
            yield Dialect(each, None)
        if single:
            yield Dialect(each, "'")
        for quote, found in (('"', double), ("'", single)):
            if found and f"\\{quote}" in text:
                yield Dialect(each, quote, "\\")
        if f"\\{each}" in text:
            yield Dialect(each, '"', "\\")


def _stands_at_edges(text: str, delimiter: str, quote: str) -> bool:
    if quote not in text:
        return False
    edge = re.escape(delimiter)
    mark = re.escape(quote)
    opens = re.search(rf"(?:^|{edge}){mark}", text, re.MULTILINE)
    return opens is not None and re.search(rf"{mark}(?:{edge}|\r?$)", text, re.MULTILINE) is not None


def _score(text: str, dialect: Dialect, whole: bool) -> tuple[float, int]:
    records = [place.record for place in islice(first_records(text, dialect, whole=whole), _RECORDS)]
    widths = Counter(len(record.cells) if isinstance(record, Record) else 0 for record in records)
    width = max(widths, key=lambda w: (widths[w] * (w - 1) if w else -1, w))
    if width < 2:
        return 0.0, 1
    fitting = [record for record in records if isinstance(record, Record) and len(record.cells) == width]
    # Single cells around a table are its preamble and footer; what is ragged or broken speaks against the dialect.
    outside = widths[1] * 0.5 if len(fitting) > 1 else 0.0
    evenness = len(fitting) / (len(records) - outside)
    looks = sum(_look(record, dialect) for record in fitting) / len(fitting)
    return evenness**1.5 * looks * (width - 1) / width, width


def _look(record: Record, dialect: Dialect) -> float:
    """From 0 to 1: how much the cells look like values."""
    return sum(
        1.0 if quoted else _look_of(cell, dialect) for cell, quoted in zip(record.cells, record.quoted, strict=True)
    ) / len(record.cells)


def is_value(cell: str) -> bool:
    """Whether a cell looks like a number, an amount, a date, a time, an address."""
    return 0 < len(cell) <= _VALUE_CHARACTERS and _VALUE.fullmatch(cell.strip()) is not None and not cell.isspace()


def _look_of(cell: str, dialect: Dialect) -> float:
    return _look_of_short(cell, dialect) if len(cell) <= _VALUE_CHARACTERS else 0.4


@lru_cache(maxsize=4096)
def _look_of_short(cell: str, dialect: Dialect) -> float:
    value = cell.strip()
    padded = 0.9 if cell != value and dialect.delimiter != " " else 1.0
    if not value:
        return 0.5 if dialect.delimiter == " " else 0.8
    if value[0] in "\"'" or value[-1] in "\"'":
        return 0.1  # a quote that the dialect does not understand
    if _VALUE.fullmatch(value):
        return padded
    if dialect.delimiter == " " and any(mark in value for mark in _MINOR):
        return 0.3
    if any(mark in value for mark in _MAJOR if mark != dialect.delimiter.strip(" ")):
        # A comma before a space is prose; any other delimiter inside a cell is probably the real one.
        return 0.5 * padded if not re.search(r",(?! )|[;\t|]", value) else 0.05
    return (0.9 if _WORDS.fullmatch(value) else 0.5) * padded
