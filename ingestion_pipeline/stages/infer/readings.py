"""The ways to read a column of text: which there are, and what a cell of each looks like.

What belongs here: the types' looks, which are narrower than what the types accept: a contract that takes `007`, `1e5`
or a telephone number for a number loads it, and has lost what it was. What does not: collecting evidence (`evidence`),
choosing among the ways that are left (`decisions`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

import polars as pl

from ingestion_pipeline.domain.contract import Column, ColumnType, Contract
from ingestion_pipeline.domain.contract_document import read_document
from ingestion_pipeline.stages.infer.draft import LOOK

Cast = Callable[[pl.Series, Column], tuple[pl.Series, pl.Series | None]]
"""How validation types a column of text: the typed cells, and where one is not of the type (None: nowhere)."""

# Eighteen digits always fit into 64 bits; more are an identifier. A plus before many digits is a telephone number.
_INTEGER = r"-?(?:0|[1-9]\d{0,17})|\+[1-9]\d{0,5}"
# `1e5` alone is a code; beside numbers with a point it is a number (`decisions`).
_FLOAT = r"(?:-?(?:0|[1-9]\d{0,17})|\+(?:0|[1-9]\d{0,5}))(?:\.\d*)?(?:[eE][+-]?\d{1,3})?|[+-]?\.\d+"
_COMMA_NUMBER = r"[+-]?(?:\d{1,3}(?:[. ’']\d{3})+|\d+),\d+|[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?"
_OBJECT = r"(?s)\{.*\}"
_BOOLEANS = ("(?i)true|false", "(?i)yes|no")
_SHORT_BOOLEANS = ("(?i)t|f", "(?i)y|n")
_ISO_DATE = r"\d{4}-\d{1,2}-\d{1,2}"
_ISO_LOCAL = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?"
_ISO_DATETIME = rf"{_ISO_LOCAL}(?:Z|[+-]\d{{2}}:?\d{{2}})?"
_COMPACT_DATE = r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_EPOCHS = {"epoch_s": r"[1-3]\d{9}", "epoch_ms": r"[1-3]\d{12}"}  # the years 2001 to 2096

_DATES = (
    *("%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y"),
    *("%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d/%b/%Y"),
)
_TIMES = ("%H:%M:%S", "%H:%M:%S%.f", "%H:%M", "%I:%M:%S %p", "%I:%M %p")
_DATETIMES = (
    *(f"{day}{mark}{time}{zone}" for day, mark, time, zone in product(_DATES, (" ", "T"), _TIMES, ("", "%z", " %z"))),
    *("%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d %I:%M %p"),  # ISO but for its hours
    *("%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %z", "%a %b %d %H:%M:%S %Y"),  # web logs, mail, C
    *("%Y%m%d%H%M%S", "%Y%m%dT%H%M%SZ"),
)
_TOKENS = {
    "%Y": r"\d{4}",
    "%y": r"\d{2}",
    "%m": r"\d{1,2}",
    "%d": r"\d{1,2}",
    "%b": r"[A-Za-z]{3}",
    "%B": r"[A-Za-z]{3,9}",
    "%a": r"[A-Za-z]{3}",
    "%H": r"\d{1,2}",
    "%I": r"\d{1,2}",
    "%M": r"\d{2}",
    "%S": r"\d{2}",
    "%.f": r"(?:\.\d{1,9})?",
    "%p": r"[AaPp][Mm]",
    "%z": r"[+-]\d{2}:?\d{2}",
}
_TOKEN = re.compile("|".join(map(re.escape, _TOKENS)))

# Columns of digits that are no numbers, and numbers that are times or truths, by a word of their name.
_TEXT_WORDS = frozenset(
    {
        *("zip", "zipcode", "postal", "postcode", "plz", "phone", "telephone", "tel", "mobile", "fax"),
        *("ssn", "iban", "bic", "isbn", "issn", "ean", "upc", "gtin", "vat", "barcode", "version"),
        *("account", "sku"),
    }
)
_TIME_WORDS = frozenset(("time", "timestamp", "ts", "epoch", "datetime", "date", "day", "at"))
_TRUTH_WORDS = frozenset(("is", "has", "flag"))


@dataclass(slots=True)
class Reading:
    """One way to read a column, and the values it has given so far.

    Attributes:
        look: What a cell looks like, as a regular expression of the whole cell.
        local: Its moments name no zone.
        needs_both: One value alone is not enough: T, F, Y and N are also grades, sexes, directions.
        remark: What a person should know if it is chosen.
        low: The smallest value until now, in Python's type; `high` is the greatest.
    """

    type: ColumnType
    look: str
    format: str | None = None
    local: bool = False
    needs_both: bool = False
    remark: str = ""
    low: Any = None
    high: Any = None

    def takes(self, cells: pl.Series, cast: Cast) -> bool:
        """Whether all of some cells (text, not empty, without spaces around) can be read so; notes their bounds."""
        if not cells.str.contains(f"^(?:{self.look})$").all():
            return False
        typed, wrong = cast(cells, written_column(self.type, self.format))
        if wrong is not None or (self.type == "float" and not typed.is_finite().all()):
            return False
        low, high = typed.min(), typed.max()
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)
        return True


@cache
def written_column(type_: ColumnType, format_: str | None = None) -> Column:
    """The column that a contract with these keys has, under the name `x`: what is tried is what the draft will say."""
    keys = {"type": type_} | ({"format": format_} if format_ is not None else {})
    document = {
        "datasource": "x",
        "partition_start": "2020-01-01",
        "time": {"column": "at"},
        "columns": {"at": {"type": "datetime"}, "x": keys},
    }
    contract = read_document(document, version="")
    assert isinstance(contract, Contract), contract
    return contract.column("x")


def readings_for(name: str, cell: str) -> list[Reading]:
    """The ways in which a column of that name could be read that has such a cell; those to be preferred come first."""
    words = set(name.split("_"))
    if words & _TEXT_WORDS:
        return []
    named = [*_TRUTHS] if words & _TRUTH_WORDS else []
    named += [*_MOMENTS_OF_DIGITS] if words & _TIME_WORDS else []
    return [replace(reading) for reading in (*named, *_READINGS) if _pattern(reading.look).fullmatch(cell)]


def rival_of(format_: str) -> str:
    """The format with day and month in each other's place."""
    return re.sub("%[dm]", lambda found: {"%d": "%m", "%m": "%d"}[found[0]], format_)


@cache
def _pattern(look: str) -> re.Pattern[str]:
    return re.compile(look)


def _look_of(format_: str) -> str:
    look, at = "", 0
    for token in _TOKEN.finditer(format_):
        look += re.escape(format_[at : token.start()]) + _TOKENS[token[0]]
        at = token.end()
    return look + re.escape(format_[at:])


_TRUTHS = (Reading("boolean", "[01]"),)
_MOMENTS_OF_DIGITS = (
    *(Reading("datetime", look, format_) for format_, look in _EPOCHS.items()),
    Reading("date", _COMPACT_DATE, "%Y%m%d"),
)
_READINGS = (
    *(Reading("boolean", look) for look in _BOOLEANS),
    *(Reading("boolean", look, needs_both=True) for look in _SHORT_BOOLEANS),
    Reading("integer", _INTEGER),
    Reading("float", _FLOAT),
    Reading("date", _ISO_DATE),
    Reading("datetime", _ISO_LOCAL, local=True),
    Reading("datetime", _ISO_DATETIME),
    *(Reading("date", _look_of(format_), format_) for format_ in _DATES),
    *(Reading("datetime", _look_of(format_), format_, local="z" not in format_.lower()) for format_ in _DATETIMES),
    Reading("string", _COMMA_NUMBER, remark=f"{LOOK}: numbers with commas, kept as text"),
    Reading("string", _OBJECT, remark=f"{LOOK}: JSON objects; a source with dots reads what is in them"),
)
