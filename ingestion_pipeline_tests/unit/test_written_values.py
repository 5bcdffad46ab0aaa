"""Numbers, booleans, dates and nulls as people write them, as the contract says; anything else is a rejected row."""

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domain.contract import Column
from ingestion_pipeline.domain.contract_numbers import THOUSANDS_MARKS
from ingestion_pipeline.errors import TooManyRejects
from ingestion_pipeline.stages.validate import validate
from ingestion_pipeline.stages.validate.casting import cast_cells
from ingestion_pipeline_tests.unit.contracts import KeptRows, contract_of, problems_of

WRONG = "wrong"


def read(cell: str, **column) -> object:
    typed, wrong = cast_cells(pl.Series("x", [cell]), contract_of({"x": column}).columns[1])
    return WRONG if wrong is not None else typed.item()


@pytest.mark.parametrize(
    ("cell", "column", "value"),
    [
        ("1.234,56", {"decimal": ",", "thousands": "."}, 1234.56),
        ("-1.234.567,5", {"decimal": ",", "thousands": "."}, -1234567.5),
        ("1234,56", {"decimal": ",", "thousands": "."}, 1234.56),
        (",5", {"decimal": ","}, 0.5),
        ("5,", {"decimal": ","}, 5.0),
        ("1,5e3", {"decimal": ","}, 1500.0),
        (" 1 234,5 ", {"decimal": ",", "thousands": " "}, 1234.5),
        ("1\u00a0234\u202f567", {"thousands": " "}, 1234567.0),
        ("1 234", {"thousands": "\u00a0"}, 1234.0),
        ("1\u2019234.5", {"thousands": "'"}, 1234.5),
        ("1,234.5", {"thousands": ","}, 1234.5),
        ("1_000", {"thousands": "_"}, 1000.0),
        ("1.23.4", {"decimal": ",", "thousands": "."}, WRONG),
        ("1.5", {"decimal": ",", "thousands": "."}, WRONG),
        ("1.2345", {"decimal": ",", "thousands": "."}, WRONG),
        ("1234.567", {"decimal": ",", "thousands": "."}, WRONG),
        (".234", {"decimal": ",", "thousands": "."}, WRONG),
        ("1.234.", {"decimal": ",", "thousands": "."}, WRONG),
        ("1,234,5", {"decimal": ","}, WRONG),
        ("1.5", {"decimal": ","}, WRONG),
        ("1,234", {}, WRONG),
        ("1  234", {"thousands": " "}, WRONG),
    ],
)
def test_a_number_is_read_with_its_marks_and_strictly(cell, column, value):
    assert read(cell, type="float", **column) == value


def test_integers_and_decimals_have_marks_too():
    assert read("1.234.567", type="integer", thousands=".", decimal=",") == 1234567
    assert read("1.234,5", type="integer", thousands=".", decimal=",") == WRONG
    german = {"type": "decimal", "precision": 9, "scale": 2, "thousands": ".", "decimal": ","}
    assert read("1.234,50", **german) == Decimal("1234.50")
    assert read("1.234,505", **german) == WRONG


@pytest.mark.parametrize("number", ["1.234", "-0.5", "1234567", "1.5e3"])
def test_numbers_of_json_and_parquet_are_no_text_and_keep_their_value(number):
    contract = contract_of({"x": {"type": "float", "decimal": ",", "thousands": "."}})
    out = io.BytesIO()
    pl.DataFrame({"at": ["2024-05-01"], "x": [float(number)]}).write_parquet(out)
    flat = f'{{"at": "2024-05-01", "x": {number}}}'
    for data in (out.getvalue(), flat.encode(), flat.replace("}", ', "deep": []}').encode()):
        sink = KeptRows()
        validate([data], contract=contract, name="f", sink=sink)
        assert sink.rows["x"].to_list() == [float(number)]


def test_a_number_that_json_has_as_text_is_read_with_the_marks():
    sink = KeptRows()
    contract = contract_of({"x": {"type": "float", "decimal": ",", "thousands": "."}})
    rows = [{"at": "2024-05-01", "x": cell} for cell in ("1.234,5", "1.5", 1.5, None)]
    validate(["\n".join(map(json.dumps, rows)).encode()], contract=contract, name="f", sink=sink)
    assert sink.rows["x"].to_list() == [1234.5, 1.5]
    assert sink.broken == [(2, "x", "type"), (4, "x", "not_null")]


@settings(max_examples=300, deadline=None)
@given(
    number=st.integers(-(10**15), 10**15),
    scale=st.integers(0, 4),
    grouped=st.booleans(),
    mark=st.sampled_from(sorted(THOUSANDS_MARKS)),
    data=st.data(),
)
def test_any_number_written_with_marks_comes_back_and_a_moved_mark_does_not(number, scale, grouped, mark, data):
    decimal = "," if mark == "." else "."
    value = Decimal(number).scaleb(-scale)
    digits, _, fraction = f"{abs(value):f}".partition(".")
    text = f"{int(digits):,}".replace(",", mark) if grouped else digits
    sign = "-" if value < 0 else ""
    column = {"type": "decimal", "precision": 30, "scale": 4, "thousands": mark, "decimal": decimal}
    assert read(sign + text + (decimal + fraction if fraction else ""), **column) == value
    if mark in text:
        at = text.index(mark)
        moved = text.replace(mark, "", 1)
        to = data.draw(st.integers(1, len(moved) - 1).filter(lambda place: place != at))
        assert read(moved[:to] + mark + moved[to:], **column) == WRONG


@pytest.mark.parametrize(
    ("cell", "column", "value"),
    [
        ("Ja", {"true_values": ["ja"], "false_values": ["Nein"]}, True),
        ("nein", {"true_values": ["ja"], "false_values": ["Nein"]}, False),
        ("yes", {"true_values": ["ja"], "false_values": ["Nein"]}, WRONG),
        ("TRUE", {"true_values": ["ja"], "false_values": ["Nein"]}, True),
        ("0", {"true_values": ["0"]}, True),
        ("n", {"true_values": ["0"]}, False),
        ("x", {"null_values": ["x"]}, None),
    ],
)
def test_a_boolean_is_read_by_its_words(cell, column, value):
    assert read(cell, type="boolean", **column) == value


def test_dates_may_be_written_in_several_ways_and_the_first_that_fits_counts():
    formats = ["%d.%m.%Y", "%Y-%m-%d", "%m/%d/%Y"]
    assert read("03.02.2024", type="date", format=formats) == date(2024, 2, 3)
    assert read("2024-02-03", type="date", format=formats) == date(2024, 2, 3)
    assert read("02/03/2024", type="date", format=formats) == date(2024, 2, 3)
    assert read("2024/02/03", type="date", format=formats) == WRONG
    times = ["%d.%m.%Y %H:%M", "epoch_s"]
    paris = {"type": "datetime", "format": times, "timezone": "Europe/Paris"}
    assert read("03.02.2024 12:00", **paris) == datetime(2024, 2, 3, 11, tzinfo=UTC)
    assert read("0", **paris) == datetime(1970, 1, 1, tzinfo=UTC)


def test_words_for_null_of_one_column_mean_nothing_in_another():
    contract = contract_of(
        {"n": {"type": "integer", "nullable": True, "null_values": ["-", "?"]}, "word": {"type": "string"}},
        format={"null_values": ["NA"]},
    )
    sink = KeptRows()
    validate([b"at,n,word\n2024-05-01,-,-\n2024-05-01,NA,?\n2024-05-01,x,NA\n"], contract=contract, name="f", sink=sink)
    assert sink.rows.select("n", "word").rows() == [(None, "-"), (None, "?")]
    assert sink.broken == [(4, "n", "type"), (4, "word", "not_null")]


@pytest.mark.parametrize(
    ("column", "key", "says"),
    [
        ({"type": "float", "decimal": ";"}, "decimal", '","'),
        ({"type": "float", "thousands": "1"}, "thousands", '"\'"'),
        ({"type": "float", "thousands": "."}, "thousands", "name the decimal mark too"),
        ({"type": "float", "thousands": ",", "decimal": ","}, "thousands", "decimal mark as well"),
        ({"type": "string", "decimal": ","}, "decimal", "only numbers"),
        ({"type": "string", "true_values": ["x"]}, "true_values", "only a boolean"),
        ({"type": "boolean", "true_values": ["X"], "false_values": ["x"]}, "false_values", "'x' would mean"),
        ({"type": "boolean", "true_values": ["false"]}, "true_values", "'false' would mean"),
        ({"type": "boolean", "true_values": []}, "true_values", "at least 1"),
        ({"type": "date", "format": ["%Y-%m-%d", "%Q"]}, "format.1", "%Y-%m-%d"),
        ({"type": "date", "format": ["%Y-%m-%d", "%Y-%m-%d"]}, "format.1", "already"),
        ({"type": "datetime", "format": ["epoch_s", "epoch_ms"]}, "format.0", "seconds or milliseconds"),
        ({"type": "date", "formats": ["%Y"]}, "formats", "'format'"),
        ({"type": "date", "null_values": "-"}, "null_values", "list"),
    ],
)
def test_a_mistake_is_told_with_its_key(column, key, says):
    problems = problems_of(columns={"at": {"type": "datetime"}, "x": column})
    assert next(iter(problems)) == f"columns.x.{key}"
    assert says in problems[f"columns.x.{key}"]


@pytest.mark.parametrize("rows", [3, 0])
def test_a_file_with_one_rejected_row_fails_whole_and_tells_every_one(rows):
    contract = contract_of({"n": {"type": "integer"}}, reject={"policy": "reject_file"})
    sink = KeptRows()
    data = "at,n\n" + "2024-05-01,1\n" * 5 + "2024-05-01,x\n" * rows
    if rows == 0:
        assert validate([data.encode()], contract=contract, name="f", sink=sink).rows_accepted == 5
        return
    with pytest.raises(TooManyRejects, match="3 of 8 rows were rejected, and the contract takes a file whole") as error:
        validate([data.encode()], contract=contract, name="f", sink=sink)
    assert "reject.policy" in error.value.hint
    assert sink.broken == [(line, "n", "type") for line in (7, 8, 9)]


@pytest.mark.parametrize(
    ("reject", "key"),
    [({"policy": "reject_file", "max_rows": 1}, "max_rows"), ({"policy": "reject"}, "policy")],
)
def test_a_policy_that_contradicts_itself_is_a_mistake(reject, key):
    assert list(problems_of(reject=reject)) == [f"reject.{key}"]


def test_a_column_without_such_keys_is_read_as_ever():
    column = Column(name="x", type="float", source="x")
    assert (column.decimal, column.thousands, column.null_values, column.formats) == (".", None, (), ())
