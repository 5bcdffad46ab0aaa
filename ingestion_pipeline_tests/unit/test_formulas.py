"""A CSV for spreadsheets: nothing of a customer's file acts as a formula in it, and nothing else is changed."""

import csv
import io
import re
import unicodedata

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.stages.quarantine.formulas import NEUTRALISED, neutralised
from ingestion_pipeline.stages.validate import REJECTED_SCHEMA

SIGNS = "=+-@＝＋－＠"
NUMBER = re.compile(r"[+-](?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
PIECES = st.sampled_from([*SIGNS, *"\t\r\n ;,\"'|`", "\u00a0", "\ufeff", "\0", "\x1b", "5", ".5", "e3", "cmd", "é"])
CELLS = st.lists(PIECES, max_size=8).map("".join) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def shown(*values: str | None) -> pl.DataFrame:
    entries = [{"line": 2, "column": "n", "rule": "type", "value": v, "reason": "is wrong", "row": v} for v in values]
    return neutralised(pl.DataFrame(entries, schema=REJECTED_SCHEMA))


def seen(text: str) -> str:
    """What is left of a cell behind what cannot be seen and quotes, except apostrophes: one makes the rest a text."""
    for at, character in enumerate(text):
        if character not in '"`' and unicodedata.category(character) not in ("Cc", "Cf", "Zs", "Zl", "Zp"):
            return text[at:]
    return ""


def begins_as_formula(cell: str) -> bool:
    return cell[:1] in tuple("\t\r\n") or seen(cell)[:1] in tuple(SIGNS)


@given(st.lists(CELLS, min_size=1, max_size=5))
def test_no_cell_begins_as_a_formula_unless_it_is_a_plain_number(values: list[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(shown(*values).write_csv(), newline="")))
    assert len(rows) == len(values)
    for row, value in zip(rows, values, strict=True):
        for name in ("value", "row"):
            cell = row[name]
            assert not begins_as_formula(cell) or NUMBER.fullmatch(cell)
            # With a semicolon as list separator, Excel cuts here, quotes or not.
            for piece in re.split(r"[;\r\n]", cell)[1:]:
                assert seen(piece)[:1] not in tuple(SIGNS)
            assert (name in row[NEUTRALISED].split(", ")) == (cell != value)
            assert cell == value or len(cell) > len(value)


@pytest.mark.parametrize(
    ("cell", "is_shown"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        (' "=1+1"', '\' "=1+1"'),
        ("\ufeff=1", "'\ufeff=1"),
        ("＝1", "'＝1"),
        ("a;=1;b", "a;'=1;b"),
        ('2024,x,"a\n=1"', '2024,x,"a\n\'=1"'),
        ("-5,tea", "'-5,tea"),
        ("-", "'-"),
        ("+49 30 1234", "'+49 30 1234"),
    ],
)
def test_what_could_be_a_formula_gets_an_apostrophe(cell: str, is_shown: str) -> None:
    assert shown(cell).select("value", NEUTRALISED).row(0) == (is_shown, "value, row")


@pytest.mark.parametrize("cell", ["-5", "+1.5", "-.5", "-2e3", "tea", "a-b", "2024-05-01,=,x", "", None, "'"])
def test_plain_numbers_and_everything_else_stay_as_they_are(cell: str | None) -> None:
    assert shown(cell).select("value", "row", NEUTRALISED).row(0) == (cell, cell, "")
