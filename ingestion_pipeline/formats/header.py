"""Which of a table's first records are its header.

What belongs here: judging names against the rows below them. What does not: where the table begins (`layout`).

A header differs from the rows below it: over a column of numbers or dates stands a text, or years and days that go on
evenly from column to column. Where all columns are texts, a header is a row of different, non-empty, short names that
do not come again below. A word for a missing value says nothing of its column. A second row of names has to prove
itself more than the first: taken for one, a row of data would be lost.
"""

import re
from collections import Counter
from collections.abc import Sequence

from ingestion_pipeline.formats.dialects import is_value

MAX_HEADER_ROWS = 5
_NAME_CHARACTERS = 100
# Over columns of values, so many texts beside words are no row: not all of them would fail at once.
_MANY_NAMES = 4
_LEAST_OF_NAME = 3
_VALUE = "value"
_SMALL, _CAPITALS, _DIGITS = re.compile("[^\\W\\d_A-Z]+"), re.compile("[A-Z]+"), re.compile(r"\d+")
_YEAR = re.compile(r"1[5-9]\d\d|2[01]\d\d")
_DATE = re.compile(r"\d{1,4}[-/]\d{1,2}(?:[-/]\d{1,4})?|\d{1,2}\.\d{1,2}\.\d{2,4}")
# What stands over the first column where one year stands over the last: without it, that may be an amount.
# fmt: off
_KINDS = frozenset([
    "country", "countries", "state", "region", "area", "county", "city", "district", "place", "station", "school",
    "name", "code", "category", "indicator", "item", "product", "sector", "type", "kind", "group", "age", "sex", "land",
    "pays", "país", "paese", "series", "variable", "measure", "month", "team", "company", "entity", "geo", "iso",
])
# fmt: on
# Letters, or the signs of a unit.
_NAME = re.compile(r".*(?:[^\W\d_]|[%‰°€$£¥#])", re.DOTALL)
# A phone number, a postcode or another long number; a sentence.
_NO_NAME = re.compile(r"^\+\d|\b\d{5,}\b|\w\W+\w+\W+\w+[.!?]$")
_NO_LETTERS = re.compile(r"[\W_]+")
_IN_BRACKETS = re.compile(r"\(.*\)|\[.*\]|\{.*\}|<.*>", re.DOTALL)
_MISSING = frozenset(
    {"-", "--", "---", "–", "—", ".", "..", "...", "…", "?", "*", ":", "/", "x", "n/a", "na", "nan", "n.a.", "#n/a"}
    | {"null", "none", "nil", "\\n", "(null)", "<na>", "unknown", "missing", "k.a.", "s/d", "n.d."}
)


def looks_like_header(cells: Sequence[str], valued: Sequence[int]) -> bool:
    """Whether texts stand over the columns that hold values."""
    there = [cells[i] for i in valued if i < len(cells) and cells[i].strip() and not is_missing(cells[i])]
    return bool(there) and not any(is_value(cell) for cell in there)


def valued_columns(rows: Sequence[Sequence[str | None]], width: int) -> list[int]:
    """The columns in which at least four of five cells that say something are numbers, dates and the like."""
    found = []
    for column in range(width):
        cells = [cell for row in rows if column < len(row) and (cell := (row[column] or "").strip())]
        cells = [cell for cell in cells if not is_missing(cell)]
        if cells and sum(map(is_value, cells)) >= 0.8 * len(cells):
            found.append(column)
    return found


def is_missing(cell: str) -> bool:
    """Whether a cell is one of the words that stand where a value is missing."""
    return cell.strip().lower() in _MISSING


def looks_of(rows: Sequence[Sequence[str]], width: int) -> dict[int, str]:
    """What four of five filled cells of a column look like: values, or a shape with figures or marks in it.

    Columns of words alone say nothing: a header is words too.
    """
    found = dict.fromkeys(valued_columns(rows, width), _VALUE)
    for column in range(width):
        cells = [row[column] for row in rows if column < len(row) and row[column].strip()]
        shapes = Counter(_shape(cell) for cell in cells if not is_missing(cell))
        if column in found or not shapes:
            continue
        shape, count = shapes.most_common(1)[0]
        if count >= 0.8 * shapes.total() and not shape.replace(" ", "").isalpha():
            found[column] = shape
    return found


def alike(cells: Sequence[str], looks: dict[int, str]) -> float:
    """Of a record's cells in such columns, those that look like their column: from 0 to 1; 0 where there are none."""
    judged = [i for i in looks if i < len(cells) and cells[i].strip() and not is_missing(cells[i])]
    return sum(_looks_like(cells[i], looks[i]) for i in judged) / len(judged) if judged else 0.0


def rows_of_names(table: Sequence[Sequence[str]], body: Sequence[Sequence[str]], width: int) -> int:
    """How many of a table's first records are names.

    Args:
        table: Its first records, one at least.
        body: Rows below that look like the table's others.
    """
    looks = looks_of(body, width)
    if not looks:
        return 1 if _are_names(table[0], table[1:]) else 0
    if not _is_first_row_of_names(table[0], body, looks):
        return 0
    rows = 1
    for cells in table[1 : min(MAX_HEADER_ROWS, len(table) - 1)]:
        if not _is_further_row_of_names(cells, table[0], body, looks, width):
            break
        rows += 1
    # Five rows over columns of values and no value: texts such as `n/a`, not so many headers.
    return 1 if rows == MAX_HEADER_ROWS else rows


def _is_first_row_of_names(cells: Sequence[str], body: Sequence[Sequence[str]], looks: dict[int, str]) -> bool:
    filled = _filled(cells)
    if len(filled) < 2 and not any(i in looks for i in filled):
        return False
    judged = [cells[i] for i in filled if i in looks]
    if judged and all(is_missing(cell) and cell.strip() not in "xX" for cell in judged):
        return _are_names(cells, body)  # nothing but `n/a` speaks for it
    if _VALUE not in looks.values() and any(_NO_NAME.search(cells[i]) for i in filled):
        return False
    return alike(cells, looks) <= 0.25 or _names_by_steps(cells, body, looks)


def _is_further_row_of_names(
    cells: Sequence[str], first: Sequence[str], body: Sequence[Sequence[str]], looks: dict[int, str], width: int
) -> bool:
    filled = _filled(cells)
    gaps = [i for i in filled if i and (i >= len(first) or not first[i].strip())]
    if len(cells) != width:
        return False
    above = [first[i].strip() for i in filled if i < len(first)]
    if (
        not cells[0].strip()
        and first[0].strip()
        and len(set(above)) < len(above)
        and _names_by_steps(cells, body, looks)
    ):
        return True  # years or days under names that come again
    if any(is_value(cells[i]) for i in filled) or alike(cells, looks):
        return False
    values = [i for i, look in looks.items() if look == _VALUE]
    over_values = [i for i in filled if i in values]
    explained = sum(_explains(cells[i], first[i]) for i in filled if i < len(first))
    if len({cells[i] for i in filled}) > 1 and explained == len(filled) and (over_values or not values):
        return True
    if values and not over_values:
        return len(gaps) > 1  # answers under one question, with nothing where each row has its number
    names = [i for i in over_values if _NAME.match(cells[i]) and not is_missing(cells[i])]
    if not names or len(names) < 0.6 * len(over_values):
        return False
    others = [i for i in filled if i not in values]
    if len({cells[i] for i in filled}) > 1:
        others = [i for i in others if not _IN_BRACKETS.fullmatch(cells[i].strip())]
    # A row that fills the columns of words as well may be one of data, in which the others say `absent`.
    least = 2 if explained >= len(filled) / 2 else _MANY_NAMES
    is_various = len(names) >= max(least, len(others)) and len({cells[i] for i in names}) > 1
    return not others or bool(gaps) or is_various


def _explains(cell: str, name: str) -> bool:
    """Whether a cell under a name belongs to it: a unit or remark in brackets, or the name with more words."""
    words, name = (_NO_LETTERS.sub("", text).lower() for text in (cell, name))
    return (len(name) >= _LEAST_OF_NAME and name in words) or _IN_BRACKETS.fullmatch(cell.strip()) is not None


def _filled(cells: Sequence[str]) -> list[int]:
    return [position for position, cell in enumerate(cells) if cell.strip()]


def _names_by_steps(cells: Sequence[str], body: Sequence[Sequence[str]], looks: dict[int, str]) -> bool:
    """Whether the values among the names are years, days or numbers that go on from column to column; few rows' do."""
    kind = _steps(cells, looks)
    return kind is not None and sum(_steps(row, looks) == kind for row in body) <= len(body) / 3


def _steps(cells: Sequence[str], looks: dict[int, str]) -> str | None:
    values = [cell for c in cells if is_value(cell := c.strip())]
    if _VALUE not in looks.values() or not values or len(set(values)) < len(values):
        return None
    if all(map(_YEAR.fullmatch, values)) and values in (sorted(values), sorted(values, reverse=True)):
        return "years" if len(values) > 1 or cells[0].strip().lower() in _KINDS else None
    if len(values) < 2:
        return None
    if all(map(_DATE.fullmatch, values)) and len(set(map(_shape, values))) == 1:
        return "days"
    counted = [str(n) for n in range(len(values))], [str(n + 1) for n in range(len(values))]
    return "numbers" if len(values) > 2 and values in counted and not is_value(cells[0]) else None


def _looks_like(cell: str, look: str) -> bool:
    return is_value(cell) if look == _VALUE else _shape(cell) == look


def _shape(cell: str) -> str:
    """Runs of small letters as `a`, of capitals as `A`, of digits as `9`; all else as it is."""
    return _DIGITS.sub("9", _CAPITALS.sub("A", _SMALL.sub("a", cell.strip())))


def _are_names(cells: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether they can be names of columns of words."""
    used = [i for i, cell in enumerate(cells) if cell.strip() or any(i < len(row) and row[i].strip() for row in below)]
    names = [cells[i].strip() for i in used]
    filled = [name for name in names if name]
    if not filled or len(set(filled)) <= 0.5 * len(filled) or len(filled) < 0.5 * len(names):
        return False
    if any(is_value(name) or len(name) > _NAME_CHARACTERS or _NO_NAME.search(name) for name in filled):
        return False
    again = sum(
        any(column < len(row) and row[column].strip() == name for row in below)
        for column, name in zip(used, names, strict=True)
        if name
    )
    return again <= 0.2 * len(filled)
