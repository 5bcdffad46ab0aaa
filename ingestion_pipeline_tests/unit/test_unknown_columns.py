"""Columns of a file that its contract does not name: left out, refused, or kept as JSON."""

import io
import json
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.stages.transform import druid_dimensions
from ingestion_pipeline.stages.validate import validate
from ingestion_pipeline_tests.unit.contracts import KeptRows, contract_of, problems_of

RESCUE = contract_of({"n": {"type": "integer"}}, unknown_columns="rescue")


def load(data: bytes | str, contract=RESCUE, chunk_bytes: int = 8 << 20):
    sink = KeptRows()
    stored = [data.encode() if isinstance(data, str) else data]
    return validate(stored, contract=contract, name="things", sink=sink, chunk_bytes=chunk_bytes), sink


def parquet(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


def test_cells_without_a_column_are_kept_as_one_json_object():
    report, sink = load('at,color,n,,size,color\n2024-05-01,"red ""x""",1,a,,b\n2024-05-02,,2,,,\nbad,x,3,,,\n')
    assert [json.loads(text) if text else None for text in sink.rows["rescued_data"]] == [
        {"color": 'red "x"', "column_4": "a", "color_2": "b"},
        None,
    ]
    assert sink.broken == [(4, "at", "type")]
    assert report.warnings == [
        "Columns that the contract does not name were kept as JSON in rescued_data: "
        "color, (without a name), size, color."
    ]
    assert report.columns["rescued_data"] == "String"


def test_druid_gets_the_kept_cells_as_text_under_the_name_that_was_chosen():
    contract = contract_of({"n": {"type": "integer"}}, unknown_columns="rescue", rescued_column="more")
    assert {"type": "string", "name": "more"} in druid_dimensions(contract)
    _, sink = load("at,n,x\n2024-05-01,1,7\n", contract)
    assert sink.rows["more"].to_list() == ['{"x":"7"}']


def test_a_file_with_the_contracts_columns_alone_has_nothing_to_keep():
    report, sink = load("at,n\n2024-05-01,1\n")
    assert sink.rows["rescued_data"].to_list() == [None]
    assert report.warnings == []


def test_json_values_are_kept_as_they_are_written_whichever_way_they_are_read():
    rows = [
        '{"at": "2024-05-01", "n": 1, "x": 1.10, "y": "a\\u00e9\\"", "z": null}',
        '{"at": "2024-05-01", "n": 2, "x": 1e5, "y": "b", "z": true}',
        '{"at": "2024-05-01", "n": 3, "deep": { "a": [1, 2], "b": " x " }, "N ": 9}',
        '{"at": "2024-05-01", "n": 4}',
    ]
    report, sink = load("\n".join(rows))
    assert sink.rows["rescued_data"].to_list() == [
        '{"x":1.10,"y":"a\\u00e9\\""}',
        '{"x":1e5,"y":"b","z":true}',
        '{"deep":{"a":[1,2],"b":" x "},"N ":9}',
        None,
    ]
    assert report.warnings[-1] == (
        "Keys that the contract does not name were kept as JSON in rescued_data: x, y, z, deep, N ."
    )


def test_members_of_an_object_that_a_column_leads_into_are_not_unknown():
    contract = contract_of({"city": {"type": "string", "source": "who.city"}}, unknown_columns="rescue")
    _, sink = load('{"at": "2024-05-01", "who": {"city": "Oslo", "zip": 1}, "x": 1}', contract)
    assert sink.rows.select("city", "rescued_data").rows() == [("Oslo", '{"x":1}')]


def test_values_of_parquet_are_kept_by_their_types():
    frame = pl.DataFrame(
        {
            "at": ["2024-05-01", "2024-05-01"],
            "n": [1, 2],
            "f": [1.5, float("nan")],
            "t": ["a\nb", None],
            "d": [Decimal("1.50"), None],
            "l": [[1, 2], []],
            "raw": [b"\xff", b""],
        }
    )
    report, sink = load(parquet(frame))
    assert sink.rows["rescued_data"].to_list() == ['{"f":1.5,"t":"a\\nb","d":1.50,"l":[1,2]}', '{"f":"NaN","l":[]}']
    assert report.warnings[1:] == [
        "Columns that the contract does not name were kept as JSON in rescued_data: f, t, d, l.",
        "Columns of bytes that the contract does not name were left out: raw.",
    ]


@pytest.mark.parametrize(
    "data",
    [
        "at,n,x,y\n",
        '{"at": "2024-05-01", "n": 1, "x": 1, "y": null}',
        parquet(pl.DataFrame({name: ["1"] for name in ("at", "n", "x", "y")})),
    ],
    ids=["csv", "json", "parquet"],
)
def test_a_file_with_unknown_columns_is_refused_with_all_of_them(data):
    contract = contract_of({"n": {"type": "integer"}}, unknown_columns="fail")
    with pytest.raises(UnreadableFile, match="that the contract does not name: x, y") as error:
        load(data, contract)
    assert error.value.details["unknown"] == ["x", "y"]
    assert "unknown_columns" in error.value.hint


def test_a_key_that_comes_late_makes_the_file_unreadable_too():
    contract = contract_of({"n": {"type": "integer"}}, unknown_columns="fail")
    row = '{"at": "2024-05-01", "n": 1}\n'
    with pytest.raises(UnreadableFile, match="does not name: late"):
        load(row * 500 + '{"at": "2024-05-01", "n": 1, "late": 1}\n', contract, chunk_bytes=1000)
    assert load(row * 500, contract)[0].rows_accepted == 500


@pytest.mark.parametrize(
    ("keys", "key", "says"),
    [
        ({"unknown_columns": "fial"}, "unknown_columns", "'fail'"),
        ({"unknown_columns": "rescue", "rescued_column": "N"}, "rescued_column", "'n'"),
        ({"unknown_columns": "rescue", "rescued_column": "__job_id"}, "rescued_column", "system"),
        ({"unknown_columns": "rescue", "rescued_column": "a b"}, "rescued_column", "not a name"),
        ({"rescued_column": "more"}, "rescued_column", "unknown_columns: rescue"),
    ],
)
def test_a_mistake_is_told_with_its_key(keys, key, says):
    problems = problems_of(**keys)
    assert list(problems) == [key]
    assert says in problems[key]


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@example(names=[","], rows=[[None] * 4])
@example(names=[",", "y", "z,"], rows=[["a", None, ",", None], ["1,", "2", "", None]])
@given(
    names=st.lists(CELL, min_size=1, max_size=4, unique_by=lambda name: name.strip().casefold()),
    rows=st.lists(st.lists(st.none() | CELL, min_size=4, max_size=4), min_size=1, max_size=6),
)
def test_whatever_names_and_texts_are_kept_they_come_back(names, rows):
    names = [f"x{name}" for name in names]
    kept = [dict(zip(names, row, strict=False)) for row in rows]
    frame = pl.DataFrame(
        [{"at": "2024-05-01", "n": "1", **row} for row in kept],
        schema=dict.fromkeys(["at", "n", *names], pl.String),
        orient="row",
    )
    expected = [{name: cell for name, cell in row.items() if cell is not None} for row in kept]
    _, sink = load(frame.write_ndjson())
    assert [json.loads(text or "{}") for text in sink.rows["rescued_data"]] == expected


@pytest.mark.parametrize(
    "data", ["at\n2024-05-01\n", '{"at": "2024-05-01"}', parquet(pl.DataFrame({"at": ["2024-05-01"]}))]
)
def test_a_column_that_may_be_absent_and_is_is_told(data):
    report, sink = load(data, contract_of({"n": {"type": "integer", "required": False, "nullable": True}}))
    assert sink.rows["n"].to_list() == [None]
    assert report.warnings[-1] == "Columns that the file does not have are null: n."
