"""How a contract may say that numbers are written: the marks between their digits.

What belongs here: the marks, and text with them to text with a point alone. What does not: text to numbers
(`stages.validate.casting`).
"""

import re

import polars as pl

from ingestion_pipeline.domain.contract import Column

NUMBERS = ("integer", "float", "decimal")
DECIMAL_MARKS = (".", ",")
# Each with the characters that are written for it; a space is often one that does not break.
THOUSANDS_MARKS = {
    ",": ",",
    ".": ".",
    " ": " \u00a0\u202f\u2009",
    "\u00a0": " \u00a0\u202f\u2009",
    "'": "'\u2019",
    "_": "_",
}


def has_marks(column: Column) -> bool:
    """Its numbers are not written with a point alone."""
    return column.type in NUMBERS and (column.decimal != "." or column.thousands is not None)


def with_point(cells: pl.Series, column: Column) -> pl.Series:
    """Numbers as they are written with the column's marks, with a point alone; null where they are not written so.

    Groups are of three digits from the first mark on, or there are none: `1.23.4` is no number.
    """
    whole = r"\d+" if column.thousands is None else rf"(?:\d{{1,3}}(?:{_group(column.thousands)}\d{{3}})+|\d+)"
    fraction = rf"(?:{re.escape(column.decimal)}\d*)?"
    form = rf"^[+-]?(?:{whole}{fraction}|{re.escape(column.decimal)}\d+)(?:[eE][+-]?\d+)?$"
    plain = cells
    if column.thousands is not None:
        plain = plain.str.replace_all(_group(column.thousands), "")
    if column.decimal != ".":
        plain = plain.str.replace(column.decimal, ".", literal=True)
    fits = cells.str.contains(form)
    # NaN and the infinities have no marks; the rule `finite` tells them.
    return plain.set(~(fits | cells.str.contains(r"^(?i)[+-]?(?:nan|inf(?:inity)?)$")), None)


def with_marks(numbers: pl.Series, column: Column) -> pl.Series:
    """Numbers with a point, of a format that has numbers, as the column has them in text."""
    return numbers.str.replace(".", column.decimal, literal=True) if column.decimal != "." else numbers


def _group(mark: str) -> str:
    return f"[{re.escape(THOUSANDS_MARKS[mark])}]"
