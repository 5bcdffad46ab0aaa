"""Columns of a file that its contract does not name and is given: names, cells, and what Druid is told of them."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ingestion_pipeline.domain.added_columns import require_fitting
from ingestion_pipeline.domain.contract import Contract, ModuleSource
from ingestion_pipeline.errors import ContractError, UnreadableFile
from ingestion_pipeline.stages.transform import CleanedText, druid_dimensions
from ingestion_pipeline.stages.validate import ValidationReport, validate
from ingestion_pipeline_tests.unit.contracts import KeptRows, contract_of

ADD = contract_of({"n": {"type": "integer"}, "order_no": {"type": "string", "source": "No"}}, unknown_columns="add")
HEADER = "at,n,No"
ROW = "2024-05-01,1,x"


def load(data: bytes | str, contract: Contract = ADD, chunk_bytes: int = 8 << 20) -> tuple[ValidationReport, KeptRows]:
    sink = KeptRows()
    stored = [data.encode() if isinstance(data, str) else data]
    return validate(stored, contract=contract, name="things", sink=sink, chunk_bytes=chunk_bytes), sink


def parquet(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


def test_cells_are_text_as_the_file_has_them_under_their_headers_names() -> None:
    report, sink = load(f'color,{HEADER}, Size  in cm ,a.b\n007,{ROW},1.50,"x\ny"\n1e5,{ROW},,\nred,bad,2,y,,z\n')
    assert sink.rows.select("color", "Size in cm", "a.b").rows() == [("007", "1.50", "x\ny"), ("1e5", None, None)]
    assert sink.broken == [(5, "at", "type")]
    assert report.added_columns == ["color", "Size in cm", "a.b"]
    assert report.columns["color"] == "String"
    assert list(report.preview[0]) == ["at", "n", "order_no", "color", "Size in cm", "a.b"]
    assert report.warnings == ["Columns that the contract does not name were added as text: color, Size in cm, a.b."]


def test_names_that_a_header_lacks_or_has_twice_are_told_apart_by_their_place() -> None:
    _, sink = load(f"{HEADER},,x,x\n{ROW},a,b,c\n")
    assert sink.rows.select("column_4", "x", "x_2").rows() == [("a", "b", "c")]


def test_a_file_with_the_contracts_columns_alone_adds_none() -> None:
    report, sink = load(f"{HEADER}\n{ROW}\n")
    assert (report.added_columns, report.warnings) == ([], [])
    assert sink.rows.columns == ["at", "n", "order_no"]


def test_keys_of_any_row_of_json_are_added_in_whichever_chunk_they_come() -> None:
    contract = contract_of(
        {"n": {"type": "integer"}, "city": {"type": "string", "source": "who.city"}}, unknown_columns="add"
    )
    who = {"city": "Oslo", "age": 7}
    rows: list[dict[str, Any]] = [{"at": "2024-05-01", "n": n, "who": who, "x": 1.5} for n in range(50)]
    rows += [{"at": "2024-05-01", "n": 50, "who": who, "who.age": "dot", "late": {"a": [1, None]}}]
    report, sink = load("\n".join(map(json.dumps, rows)), contract, chunk_bytes=300)
    assert report.added_columns == ["x", "who.age", "late"]
    assert len(sink.parts) > 3
    assert sink.rows.select("city", "x", "who.age", "late").rows() == [
        *[("Oslo", "1.5", None, None)] * 50,
        ("Oslo", None, "dot", '{"a":[1,null]}'),
    ]
    assert load(json.dumps(rows), contract)[1].rows.equals(sink.rows)


def test_parquet_values_are_added_as_text_and_bytes_are_left_out() -> None:
    frame = pl.DataFrame({"at": ["2024-05-01"], "n": [1], "No": ["x"], "f": [1.5], "l": [[1, 2]], "raw": [b"\xff"]})
    report, sink = load(parquet(frame))
    assert sink.rows.select("f", "l").rows() == [("1.5", "[1,2]")]
    assert report.added_columns == ["f", "l"]
    assert "Columns that the contract does not name were left out: raw." in report.warnings


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("__time", "belong to the system"),
        ("__job_id", "belong to the system"),
        ("order_no", "the contract's column 'order_no' differs in upper and lower case and space at most"),
        ("Color,color", "the column 'Color' differs in upper and lower case"),
        ("x" * 101, "longer than 100 characters"),
        ("a\x01b", "cannot be shown"),
        (",".join(f"d{n}" for n in range(51)), "51 columns that the contract does not name, and at most 50 are added"),
    ],
    ids=["time", "lineage", "own name", "each other", "long", "control", "many"],
)
def test_a_name_that_no_column_can_have_costs_the_file_with_a_way_out(header: str, says: str) -> None:
    with pytest.raises(UnreadableFile, match=says) as error:
        load(f"{HEADER},{header}\n{ROW}{',' * (header.count(',') + 1)}\n")
    assert "unknown_columns" in error.value.hint


def test_the_modules_transform_gets_the_added_columns_and_has_to_keep_them() -> None:
    def by(source: str) -> Contract:
        return replace(ADD, module=ModuleSource(path=Path("things.py"), source=source))

    upper = "rows.with_columns(pl.col(pl.String).str.to_uppercase())"
    loud = f"import polars as pl\ndef transform(rows):\n    return {upper}\n"
    assert load(f"{HEADER},color\n{ROW},red\n", by(loud))[1].rows["color"].to_list() == ["RED"]
    with pytest.raises(ContractError, match="transform leaves out the column 'color'"):
        load(
            f"{HEADER},color\n{ROW},red\n", by("def transform(rows):\n    return rows.select('at', 'n', 'order_no')\n")
        )


def test_what_is_written_for_druid_has_the_added_columns_beside_the_contracts() -> None:
    report, sink = load(f'{HEADER},"a ""b"",c"\n{ROW},007\n{ROW},\n')
    text = CleanedText(ADD, job_id="j", organization="o")
    assert text.csv(sink.rows) is None  # all CSV of a task has the contract's columns
    written = [json.loads(line) for line in text.ndjson(sink.rows).splitlines()]
    assert [row['a "b",c'] for row in written] == ["007", None]
    assert list(written[0]) == ["__time", "n", "order_no", 'a "b",c', "__job_id", "__organization"]
    assert {"type": "string", "name": 'a "b",c'} in druid_dimensions(ADD.with_added(report.added_columns))


@pytest.mark.parametrize(
    ("present", "says"),
    [({"size": "BIGINT"}, "values of type BIGINT"), ({"Size": "VARCHAR"}, "the column 'Size', which differs")],
)
def test_a_column_that_druid_has_otherwise_is_refused(present: dict[str, str], says: str) -> None:
    with pytest.raises(UnreadableFile, match=says) as error:
        require_fitting(["color", "size"], {"color": "VARCHAR", "__time": "TIMESTAMP", **present})
    assert "name it in the contract" in error.value.hint
