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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise
from operator import itemgetter

from ingestion_pipeline.formats.records import MAX_CELLS, Broken, Dialect, Record
from ingestion_pipeline.formats.samples import first_records

# In the order of preference where nothing else decides. The factor says how much of its evidence a delimiter may keep:
# spaces and colons stand in prose and in times, a tab hardly stands anywhere by chance.
DELIMITERS: dict[str, float] = {
    ",": 1.0,
    ";": 1.0,
    "\t": 1.1,
    "|": 1.05,
    "\x1f": 1.1,
    "\x01": 1.1,
    "\x02": 1.0,
    "\x14": 1.0,
    "\x1c": 1.0,
    "\x1e": 1.0,
    "\x0b": 0.9,
    "~": 0.9,
    "^": 0.9,
    "¦": 1.0,
    "¬": 1.0,
    "§": 0.95,
    "¶": 0.9,
    "•": 0.8,
    "·": 0.8,
    "│": 0.9,
    "｜": 0.9,
    "，": 0.8,
    "；": 0.8,
    ":": 0.75,
    " ": 0.75,
    "#": 0.6,
    "*": 0.6,
    "!": 0.6,
    "&": 0.6,
    "=": 0.6,
    "`": 0.6,
    # Nobody writes these by chance.
    "<>": 1.1,
    "<|>": 1.5,
    "|^|": 1.5,
    "|~|": 1.5,
    "[|]": 1.5,
    "$$": 1.1,
    "@@": 1.1,
    "%%": 1.1,
}
_NO_DELIMITERS = ",\x1f\x01\x02"
_QUOTES = "\"'þ"
# In addresses, these delimit something else.
_IN_ADDRESSES = "#&!=*"
# Doubled or between two others, a delimiter may be a longer one; but rather it is itself.
_LONGER = 0.9
_RUNS = 0.9
_MAJOR = ",;\t|"
# Between words there are spaces, whatever the delimiter is; a cell of one word that has one of these is cut wrongly.
_MINOR = ":~^¦§"
_RECORDS = 200
_VALUE_CHARACTERS = 200
# A dialect whose score is this near to the best one's, with another delimiter, leaves the file ambiguous.
RIVAL = 0.9
# A column without anything, not even a name, speaks for a longer delimiter.
_ALWAYS_EMPTY = 0.6
_DECIMALS = re.compile(r"(?<!\S)[+-]?\d+,\d+(?!\S)")
_IN_NUMBERS = 0.4
_BLANKS = re.compile(r"\S {2,}(?=\S)")
# On each line, but for the first one, which may be a name.
_ONE_QUOTED_CELL = re.compile(r'[\w "]*\r?\n(?:"(?:[^"\r\n]|"")*+"\r?\n)+')
_LEAST_LOOSE, _LOOSE_PART = 3, 0.04
_LEAST_OF_ANOTHER = 2
_SURE = 1.2
_IN_DIGITS = re.compile(r"\d,\d")
# Evidence below this is no table: one column.
_TABLE = 0.12

_DAY = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
_TIME = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?"
_ZONE = r"(?: ?(?:[AaPp][Mm]|UTC|GMT|Z|[+-]\d{2}:?\d{2}))?"
_TIMES = re.compile(rf"(?<![\d.,]){_TIME}(?!\d)(?:[+-]\d{{2}}:\d{{2}})?")
_HARDWARE = re.compile(r"\b(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\b")
_ADDRESSES = re.compile(r"\b\w{1,12}://[^\s,;|\"']+")
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
    r"|(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}"
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


def detect(sample: str, *, whole: bool, delimiter: str | None = None) -> Detected:
    """The dialect of a text by its beginning.

    Args:
        sample: Some dozens of kilobytes with LF or CRLF line ends; lone CR are no line ends here.
        whole: The sample is the whole text; otherwise its last record may be cut off.
        delimiter: If that is known.
    """
    is_one_column = delimiter is None and _ONE_QUOTED_CELL.fullmatch(sample) is not None
    tried = [] if is_one_column else sorted(_tries(sample, whole, delimiter), key=lambda entry: -entry[0])
    if delimiter is not None and not tried:
        return Detected(Dialect(delimiter, '"'), 1.0, None, 1)
    if not tried or (tried[0][0] < _TABLE and delimiter is None):
        if any(line.count(",") >= MAX_CELLS for line in sample.split("\n")):
            return Detected(Dialect(",", '"'), 0.5, None, 1)  # a table of too many columns, and none of one
        # One column: nothing that stands in it delimits.
        unused = next(mark for mark in _NO_DELIMITERS if mark not in sample or mark == _NO_DELIMITERS[-1])
        records = islice(first_records(sample, Dialect(unused, '"'), whole=whole), _RECORDS)
        quote = None if any(isinstance(place.record, Broken) for place in records) else '"'
        return Detected(Dialect(unused, quote), 1.0 if not tried else 0.5, None, 1)
    score, dialect, width = _best(sample, tried) if delimiter is None else tried[0]
    dialect = _without_needless_quotes(sample, dialect, width, whole)
    if dialect.delimiter[:1] in (" ", ":"):
        width = width_of(sample, dialect, whole=whole)  # times and moments were hidden
    other = next(((s, d) for s, d, _ in tried if d.delimiter.strip() != dialect.delimiter.strip()), None)
    second = other[0] if other else 0.0
    rival = other[1].delimiter if other is not None and second >= RIVAL * score else None
    return Detected(dialect, round(1 - second / (score + second), 3), rival, width)


def width_of(sample: str, dialect: Dialect, *, whole: bool) -> int:
    """The cells of a row, where the dialect is known: the most frequent number, wider ones first."""
    return _score(sample, dialect, whole)[1]


def _without_needless_quotes(sample: str, dialect: Dialect, width: int, whole: bool) -> Dialect:
    """Without quotes, if cells of several lines are only there by them, and each of the lines is a row by itself.

    A comma may stand in each line of a text by chance. Where the quotes are without fault, the lines have to look like
    the other rows: a cell may hold a table that somebody pasted.
    """
    if dialect.quote is None or dialect.escape is not None or width < 3 or dialect.delimiter.strip() == ",":
        return dialect
    places = list(islice(first_records(sample, dialect, whole=whole), _RECORDS))
    long = [place for place in places if isinstance(place.record, Record) and place.record.line_count > 1]
    plain = Dialect(dialect.delimiter, None, runs=dialect.runs)
    found = [one.record for place in long for one in first_records(sample[place.start : place.end], plain, whole=True)]
    lines = [record.cells for record in found if isinstance(record, Record) and len(record.cells) == width]
    if not long or len(lines) < len(found):
        return dialect
    others = [place.record for place in places if place not in long and isinstance(place.record, Record)]
    rows = [record.cells for record in others if len(record.cells) == width]
    valued = [i for i in range(width) if rows[1:] and sum(is_value(row[i]) for row in rows) >= 0.5 * len(rows)]
    look_alike = bool(valued) and all(is_value(cells[i]) or not cells[i].strip() for cells in lines for i in valued)
    has_faults = dialect.loose or any(record.literal_quote for record in others)
    return plain if has_faults or look_alike else dialect


def _best(sample: str, tried: Sequence[tuple[float, Dialect, int]]) -> tuple[float, Dialect, int]:
    """The best dialect; or another, whose delimiter stands equally often on each line, the names' too.

    Within cells other marks can be as even as a delimiter, but for the header, and with blanks for all lines: points of
    shapes, groups of digits, addresses. The better look of what they cut out of a cell is no evidence then.
    """
    best = tried[0]
    is_weak = best[1].delimiter.isspace() and best[1].delimiter != "\t"
    if not is_weak and _fits_all(sample, best[1], best[2]):
        return best
    for score, dialect, width in tried[1:]:
        mark = dialect.delimiter
        if (
            mark not in _MAJOR
            or dialect.quote != '"'
            or dialect.escape
            or dialect.padded
            or mark == best[1].delimiter.strip()
        ):
            continue
        is_prose = sample.count(f"{mark} ") + sample.count(f"{mark}\n") >= sample.count(mark)
        if not is_prose and not (mark == "," and _IN_DIGITS.search(sample)) and _fits_all(sample, dialect, width):
            return max(score, _SURE * best[0]), dialect, width
    return best


def _fits_all(sample: str, dialect: Dialect, width: int) -> bool:
    """Whether all records have the width, and no cell a part of a quoted one."""
    records = [place.record for place in islice(first_records(sample, dialect, whole=True), _RECORDS)]
    # The last one may be cut off.
    return len(records) > 1 and all(
        isinstance(record, Record)
        and len(record.cells) == width
        and not any(cell.count('"') % 2 for cell, quoted in zip(record.cells, record.quoted, strict=True) if not quoted)
        for record in records[:-1]
    )


def _tries(sample: str, whole: bool, told: str | None) -> Iterator[tuple[float, Dialect, int]]:
    for delimiter, weight in DELIMITERS.items() if told is None else [(told, 1.0)]:
        for text, part in _seen_as(sample, delimiter):
            if delimiter not in text:
                continue
            for dialect, likely in _dialects(text, delimiter):
                score, width = _score(text, dialect, whole)
                if told is None and len(delimiter) > 1 and (width < 3 or _is_around(text, delimiter)):
                    continue  # two words and their relation, or a mark around one
                if score > 0:
                    yield score * weight * part * likely, dialect, width


def _is_around(text: str, mark: str) -> bool:
    lines = [line.strip() for line in text.split("\n") if mark in line]
    return sum(line.startswith(mark) and line.endswith(mark) for line in lines) >= 0.8 * len(lines)


def _seen_as(sample: str, delimiter: str) -> Iterator[tuple[str, float]]:
    """The text to try a delimiter on, and how much that evidence is worth: colons within times are none, or little."""
    if delimiter == ":":
        text = _HARDWARE.sub("U", _SCHEMES.sub("U", sample))
        beside_times = _TIMES.sub("T", text)
        yield beside_times, 1.0
        # Numbers of two digits look like times too; but where all colons stand in such, they are times. Where cells
        # stand in quotes, times do too.
        if ":" in beside_times:
            yield text, 0.9 if any(_stands_at_edges(sample, ":", quote) for quote in "\"'") else 0.5
    elif delimiter == " ":
        yield _MOMENTS.sub("T", sample), 1.0
    elif delimiter == ",":
        yield sample, _IN_NUMBERS if _are_decimals(sample) else 1.0
    elif delimiter in _IN_ADDRESSES:
        yield _ADDRESSES.sub("U", sample), 1.0
    else:
        yield sample, 1.0


def _are_decimals(text: str) -> bool:
    """Whether commas stand in numbers between blanks, several on a line."""
    numbers = len(_DECIMALS.findall(text))
    lines = sum("," in line for line in text.split("\n"))
    return numbers >= 0.95 * text.count(",") and numbers >= 1.8 * lines > 0


def _dialects(text: str, delimiter: str) -> Iterator[tuple[Dialect, float]]:
    """With this delimiter, the dialects that the text gives reason for, and how likely; the plainest first."""
    longer = _longer(text, delimiter) if len(delimiter) == 1 else ()
    for each, likely in (*longer, (delimiter, 1.0)):
        for dialect in _quotings(text, each):
            yield dialect, likely
    if delimiter == " " and (found := _BLANKS.findall(text)):
        for blanks in (" ", "  ")[: 1 + (len(found) >= text.count("\n"))]:
            yield Dialect(blanks, '"', runs=True), _RUNS


def _longer(text: str, delimiter: str) -> Iterator[tuple[str, float]]:
    """Delimiters of several characters, if it nearly always stands in one."""
    least = 0.8 * text.count(delimiter)
    if delimiter != " ":
        for each in (f" {delimiter} ", f"{delimiter} "):
            if text.count(each) >= least:
                yield each, 1.0
    yield from ((delimiter * n, _LONGER) for n in (3, 2) if n * text.count(delimiter * n) >= least and delimiter != " ")
    for beside in "\t|~^:#*!&":
        if beside != delimiter and text.count(each := beside + delimiter + beside) >= least:
            yield each, 1.1  # nobody writes that by chance


def _quotings(text: str, delimiter: str) -> Iterator[Dialect]:
    found = {quote: _stands_at_edges(text, delimiter, quote) for quote in _QUOTES if quote in text}
    yield Dialect(delimiter, '"')
    if found.get('"'):
        yield Dialect(delimiter, None)
    yield from (Dialect(delimiter, quote) for quote in _QUOTES[1:] if found.get(quote))
    if found.get('"') and _has_loose_quotes(text, delimiter):
        yield Dialect(delimiter, '"', loose=True)
    for quote in _QUOTES:
        if found.get(quote) and f"\\{quote}" in text:
            yield Dialect(delimiter, quote, "\\")
        if quote in text and not delimiter.isspace() and _has_blanks_around(text, delimiter, quote):
            yield Dialect(delimiter, quote, padded=True)
    if f"\\{delimiter}" in text:
        yield Dialect(delimiter, '"', "\\")


def _has_loose_quotes(text: str, delimiter: str) -> bool:
    """Whether quotes stand among letters on so many lines that it is a habit, and no accident of one row."""
    edge = re.escape(delimiter[0])
    loose = re.findall(rf'[^{edge}\n"\\]"[^{edge}\r\n"][^\n]*', text)
    return len(loose) >= _LEAST_LOOSE and len(loose) >= _LOOSE_PART * text.count("\n")


def _has_blanks_around(text: str, delimiter: str, quote: str) -> bool:
    edge, mark = re.escape(delimiter), re.escape(quote)
    return re.search(rf"{edge} +{mark}|{mark} +{edge}", text) is not None


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
    outside = (widths[1] + _of_another_table(records, width, widths)) * 0.5 if len(fitting) > 1 else 0.0
    evenness = len(fitting) / (len(records) - outside)
    is_even = width > 2 and len(fitting) == len(records)
    if dialect.delimiter == " " and not is_even and not _has_values(fitting):
        return 0.0, 1  # prose
    empty = sum(all(not record.cells[i].strip() for record in fitting) for i in range(width)) if width > 2 else 0
    looks = sum(_look(record, dialect) for record in fitting) / len(fitting)
    looks -= _ALWAYS_EMPTY * empty / width
    return evenness**1.5 * looks * (width - 1) / width, width


def _of_another_table(records: Sequence[Record | Broken], width: int, widths: Counter[int]) -> int:
    """How many records of one other width stand all before, or all behind, those of this one."""
    other, count = max(((w, n) for w, n in widths.items() if w > 1 and w != width), key=itemgetter(1), default=(0, 0))
    if count < _LEAST_OF_ANOTHER:
        return 0
    order = [w for record in records if (w := len(record.cells) if isinstance(record, Record) else 0) in (width, other)]
    changes = sum(one != following for one, following in pairwise(order))
    return count if changes == 1 else 0


def _has_values(records: list[Record]) -> bool:
    return any(any(record.quoted) or any(map(is_value, record.cells)) for record in records)


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
    if any(value.count(mark) > 2 for mark in _MINOR) and "://" not in value:
        return 0.3
    if any(mark in value for mark in _MAJOR if mark != dialect.delimiter.strip(" ")):
        # A comma before a space is prose; any other delimiter inside a cell is probably the real one.
        return 0.5 * padded if not re.search(r",(?! )|[;\t|]", value) else 0.05
    return (0.9 if _WORDS.fullmatch(value) else 0.5) * padded
