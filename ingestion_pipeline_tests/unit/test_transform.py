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

from ingestion_pipeline.stages.transform import CleanedObject, CleanedText, druid_columns, druid_dimensions, ndjson_of
from ingestion_pipeline_tests.unit.contracts import contract_of

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


def text_of(contract=EVERYTHING) -> CleanedText:
    return CleanedText(contract, job_id="j-1", organization="demo")


def written(*parts: pl.DataFrame, encoding="ndjson", contract=EVERYTHING) -> str:
    text = getattr(text_of(contract), encoding)
    return b"".join(text(part) for part in parts).decode()


def test_every_type_has_the_form_that_druid_reads_without_loss():
    text = written(
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
    text = written(frame(t=[AT]))
    assert json.loads(text)["t"] == "2024-05-01T10:00:00.123456Z"


def test_the_time_column_is_kept_under_its_name_only_on_request():
    kept = contract_of({"n": {"type": "integer"}}, time={"column": "at", "keep": True})
    rows = pl.DataFrame({"at": [AT], "n": [1]}, schema_overrides={"at": pl.Datetime("us", "UTC")})
    text = written(rows, contract=kept)
    assert json.loads(text)["at"] == "2024-05-01T10:00:00.123456Z"
    assert {"type": "string", "name": "at"} in druid_dimensions(kept)
    assert "at" not in druid_columns(EVERYTHING)


def test_a_date_can_be_the_time_column():
    contract = contract_of({"day": {"type": "date"}, "at": {"type": "string"}}, time={"column": "day"})
    rows = pl.DataFrame({"day": [date(1969, 12, 31)], "at": ["x"]}).select(c.name for c in contract.columns)
    text = written(rows, contract=contract)
    assert json.loads(text)["__time"] == -86_400_000


def test_columns_dimensions_and_cells_are_in_one_order():
    rows = frame(i=[1, 2])
    assert [d["name"] for d in druid_dimensions(EVERYTHING)] == druid_columns(EVERYTHING)[1:]
    assert [list(json.loads(line)) for line in written(rows).splitlines()] == [druid_columns(EVERYTHING)] * 2
    assert written(rows, encoding="csv").splitlines() == [f"1714557600123,{i},,,,,,,j-1,demo" for i in (1, 2)]


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


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("plain", True),
        ("a,b", True),
        ('a "b"', True),
        ('x,",y', True),
        (None, True),
        ("", False),
        ("a\nb", False),
        ("a\rb", False),
        ("\x01", False),
        ('"\x01', False),
    ],
)
def test_csv_is_taken_only_where_druid_gets_every_text_back_as_it_is(cell, safe):
    assert (text_of().csv(frame(s=[cell, "other"])) is not None) is safe


def test_an_object_is_one_frame_and_knows_its_rows_and_size():
    out = io.BytesIO()
    cleaned = CleanedObject(out)
    for _ in range(3):
        cleaned.write(b"a\nb\n")
    cleaned.close()
    assert (cleaned.rows, cleaned.size_bytes) == (6, len(out.getvalue()))
    assert zstandard.ZstdDecompressor().stream_reader(io.BytesIO(out.getvalue())).read() == b"a\nb\n" * 3


def cleaned(*texts: bytes) -> bytes:
    out = io.BytesIO()
    made = CleanedObject(out)
    for text in texts:
        made.write(text)
    made.close()
    return out.getvalue()


@pytest.mark.parametrize("encoding", ["csv", "ndjson"])
def test_an_object_of_many_megabytes_becomes_ndjson_in_pieces_of_whole_lines(encoding):
    many = pl.concat([frame(i=[number], s=[f"row {number} " + "x" * 1000]) for number in range(5)] * 2000)
    stored = cleaned(*[getattr(text_of(), encoding)(part) for part in many.iter_slices(3000)])
    pieces = list(ndjson_of([stored[at : at + 997] for at in range(0, len(stored), 997)], encoding, EVERYTHING))
    assert len(pieces) > 1
    assert max(map(len, pieces)) < 16 << 20
    assert b"".join(pieces).decode() == written(many)


TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(texts=st.lists(TEXT, min_size=1, max_size=5), numbers=st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_and_number_comes_back_from_ndjson(texts, numbers):
    text = written(frame(s=texts, f=[numbers] * len(texts)))
    rows = [json.loads(line) for line in text.split("\n")[:-1]]
    assert [row["s"] for row in rows] == texts
    assert all(row["f"] == numbers for row in rows)


@given(texts=st.lists(TEXT, min_size=1, max_size=5))
def test_what_is_written_as_csv_comes_back_from_a_line_based_reader(texts):
    text = text_of().csv(frame(s=texts))
    if text is not None:
        lines = text.decode().split("\n")[:-1]
        assert [next(csv.reader([line]))[4] or None for line in lines] == texts


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "i": st.none() | st.integers(-(2**63), 2**63 - 1),
                "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
                "b": st.none() | st.booleans(),
                "s": TEXT,
                "d": st.none() | st.dates(),
                "m": st.none() | st.decimals(-(10**20), 10**20, places=9),
            }
        ),
        min_size=1,
        max_size=5,
    )
)
def test_csv_made_ndjson_is_what_would_have_been_written(rows):
    data = frame(**{name: [row[name] for row in rows] for name in rows[0]})
    text = text_of().csv(data)
    if text is not None:
        stored = cleaned(text)
        assert b"".join(ndjson_of([stored], "csv", EVERYTHING)) == text_of().ndjson(data)
