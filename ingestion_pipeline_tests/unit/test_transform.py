"""Transformation: what Druid is given is exactly what was accepted, with the lineage of each row."""

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.stages.transform import druid_columns, druid_dimensions, transform
from ingestion_pipeline.stages.validate import validate
from ingestion_pipeline_tests.unit.contracts import KeptRows, contract_of

EVERYTHING = contract_of(
    {
        "i": {"type": "integer", "nullable": True},
        "f": {"type": "float", "nullable": True},
        "b": {"type": "boolean", "nullable": True},
        "s": {"type": "string", "nullable": True},
        "d": {"type": "date", "nullable": True},
        "t": {"type": "datetime", "nullable": True},
        "m": {"type": "decimal", "precision": 38, "scale": 9, "nullable": True},
    }
)
AT = datetime(2024, 5, 1, 10, 0, 0, 123456, UTC)


def frame(**columns) -> pl.DataFrame:
    from ingestion_pipeline.domain.contract_checks import polars_type

    height = len(next(iter(columns.values()))) if columns else 1
    return pl.DataFrame(
        {
            column.name: columns.get(column.name, [AT if column.name == "at" else None] * height)
            for column in EVERYTHING.columns
        },
        schema={column.name: polars_type(column) for column in EVERYTHING.columns},
    )


def written(*parts: pl.DataFrame, encoding="ndjson", contract=EVERYTHING):
    out = io.BytesIO()
    report = transform(parts, contract=contract, job_id="j-1", organization="demo", encoding=encoding, out=out)
    assert report.size_bytes == len(out.getvalue())
    text = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(out.getvalue())).read().decode()
    assert report.plain_bytes == len(text.encode())
    return report, text


def test_every_type_has_the_form_that_druid_reads_without_loss():
    _, text = written(
        frame(
            i=[9007199254740993],
            f=[0.1],
            b=[True],
            s=['é "x", y'],
            d=[date(2024, 2, 29)],
            t=[datetime(2024, 5, 1, 10, tzinfo=UTC)],
            m=[Decimal("12345678901234567890.123456789")],
        )
    )
    assert json.loads(text) == {
        "__time": 1714557600123,
        "i": 9007199254740993,
        "f": 0.1,
        "b": 1,
        "s": 'é "x", y',
        "d": "2024-02-29",
        "t": "2024-05-01T10:00:00Z",
        "m": "12345678901234567890.123456789",
        "__job_id": "j-1",
        "__organization": "demo",
    }


def test_fractions_of_a_second_stay_in_a_kept_datetime():
    _, text = written(frame(t=[AT]))
    assert json.loads(text)["t"] == "2024-05-01T10:00:00.123456Z"


def test_the_time_column_is_kept_under_its_name_only_on_request():
    kept = contract_of({"n": {"type": "integer"}}, time={"column": "at", "keep": True})
    rows = pl.DataFrame({"at": [AT], "n": [1]}, schema_overrides={"at": pl.Datetime("us", "UTC")})
    _, text = written(rows, contract=kept)
    assert json.loads(text)["at"] == "2024-05-01T10:00:00.123456Z"
    assert {"type": "string", "name": "at"} in druid_dimensions(kept)
    assert "at" not in druid_columns(EVERYTHING)


def test_a_date_can_be_the_time_column():
    contract = contract_of({"day": {"type": "date"}, "at": {"type": "string"}}, time={"column": "day"})
    rows = pl.DataFrame({"day": [date(1969, 12, 31)], "at": ["x"]}).select(c.name for c in contract.columns)
    _, text = written(rows, contract=contract)
    assert json.loads(text)["__time"] == -86_400_000


@pytest.mark.parametrize("encoding", ["csv", "ndjson"])
def test_columns_dimensions_and_cells_are_in_one_order(encoding):
    report, text = written(frame(i=[1, 2]), frame(i=[3]), encoding=encoding)
    assert list(report.columns) == druid_columns(EVERYTHING)
    assert [d["name"] for d in druid_dimensions(EVERYTHING)] == druid_columns(EVERYTHING)[1:]
    assert report.rows == len(text.splitlines()) == 3
    if encoding == "csv":
        assert text.splitlines()[0] == "1714557600123,1,,,,,,,j-1,demo"


def test_dimensions_are_explicit_and_typed():
    types = {d["name"]: d["type"] for d in druid_dimensions(EVERYTHING)}
    assert types == {
        "i": "long",
        "f": "double",
        "b": "long",
        "s": "string",
        "d": "string",
        "t": "string",
        "m": "string",
        "__job_id": "string",
        "__organization": "string",
    }


def test_no_rows_give_a_valid_empty_object():
    report, text = written()
    assert (report.rows, text, list(report.columns)) == (0, "", druid_columns(EVERYTHING))


TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(texts=st.lists(TEXT, min_size=1, max_size=5), numbers=st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_and_number_comes_back_from_ndjson(texts, numbers):
    _, text = written(frame(s=texts, f=[numbers] * len(texts)))
    rows = [json.loads(line) for line in text.split("\n")[:-1]]
    assert [row["s"] for row in rows] == texts
    assert all(row["f"] == numbers for row in rows)


@given(texts=st.lists(TEXT, min_size=1, max_size=5))
def test_what_is_called_safe_comes_back_from_a_line_based_csv_reader(texts):
    source = io.StringIO()
    rows = [["at", "s"], *(["2024-05-01", text] for text in texts)]
    for row in rows:
        source.write(",".join("" if c is None else '"' + c.replace('"', '""') + '"' for c in row) + "\n")
    contract = contract_of({"s": {"type": "string", "nullable": True}})
    sink = KeptRows()
    report = validate([source.getvalue().encode()], contract=contract, name="f", sink=sink)
    assert sink.rows["s"].to_list() == texts
    if report.csv_safe:
        _, text = written(*sink.parts, encoding="csv", contract=contract)
        lines = text.split("\n")[:-1]
        assert [next(csv.reader([line]))[1] or None for line in lines] == texts
