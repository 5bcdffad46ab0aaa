"""Names of columns in files: exact ones, aliases, other case and space; the same for every format."""

import io
import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domain.contract_names import AmbiguousNames, ColumnNames
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.stages.validate import ValidationReport, validate
from ingestion_pipeline_tests.unit.contracts import KeptRows, contract_of, problems_of

ORDERS = {
    "order_id": {"type": "string", "source": "Order No", "aliases": ["Order Number", "order_no"]},
    "n": {"type": "integer", "nullable": True, "required": False},
}
TABLE = {"csv", "json", "parquet"}


def as_file(kind: str, names: list[str], rows: list[list[str | None]]) -> bytes:
    if kind == "csv":
        return "".join(",".join(cell or "" for cell in row) + "\n" for row in [names, *rows]).encode()
    if kind == "json":
        objects = [
            ", ".join(f"{json.dumps(n)}: {json.dumps(v)}" for n, v in zip(names, row, strict=True)) for row in rows
        ]
        return "".join(f"{{{members}}}\n" for members in objects).encode()
    out = io.BytesIO()
    pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row").write_parquet(out)
    return out.getvalue()


def load(data: bytes, **keys) -> tuple[ValidationReport, KeptRows]:
    sink = KeptRows()
    report = validate([data], contract=contract_of(**{"columns": ORDERS, **keys}), name="orders", sink=sink)
    return report, sink


def name_warnings(report: ValidationReport) -> list[str]:
    return [warning for warning in report.warnings if "other names" in warning]


@pytest.mark.parametrize("kind", sorted(TABLE))
@pytest.mark.parametrize("name", ["Order No", "Order Number", "order_no", "ORDER NO", "order number", "Order_No"])
def test_a_column_is_found_under_its_names_in_any_case(kind, name):
    report, sink = load(as_file(kind, ["At", name], [["2024-05-01", "007"], ["2024-05-02", "008"]]))
    assert sink.rows["order_id"].to_list() == ["007", "008"]
    own = "" if name == "Order No" else f", order_id from '{name}'"
    assert name_warnings(report) == [f"Columns were read from other names than their own: at from 'At'{own}."]


@pytest.mark.parametrize("kind", sorted(TABLE - {"csv"}))
def test_space_around_a_name_is_forgiven(kind):
    _, sink = load(as_file(kind, [" at", "order_no "], [["2024-05-01", "7"]]))
    assert sink.rows["order_id"].to_list() == ["7"]


@pytest.mark.parametrize("kind", sorted(TABLE))
def test_an_exact_name_goes_before_one_that_is_only_alike_and_is_told_nowhere(kind):
    report, sink = load(as_file(kind, ["at", "ORDER NO", "Order No"], [["2024-05-01", "other", "own"]]))
    assert sink.rows["order_id"].to_list() == ["own"]
    assert name_warnings(report) == []
    assert any("does not name were left out: ORDER NO" in warning for warning in report.warnings) or kind == "json"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("names", [["ORDER NO", "order no"], ["Order No", "order_no"], ["ORDER_NO", "order number"]])
def test_two_names_that_fit_one_column_make_the_file_unreadable(kind, names):
    with pytest.raises(UnreadableFile, match=f"'{names[0]}' and '{names[1]}' both fit the column order_id") as error:
        load(as_file(kind, ["at", *names], [["2024-05-01", "a", "b"]]))
    assert "columns.order_id" in error.value.hint


def test_a_json_row_with_two_keys_that_fit_one_column_is_rejected_alone():
    rows = [
        {"at": "2024-05-01", "Order No": "a"},
        {"at": "2024-05-01", "order_no": "b", "ORDER_NO": "B"},
        {"at": "2024-05-01", "Order No": "c", "order_no": "C"},
        {"at": "2024-05-01", "ORDER NO": "d"},
    ]
    _, sink = load("".join(json.dumps(row) + "\n" for row in rows).encode())
    assert sink.rows["order_id"].to_list() == ["a", "b", "d"]
    (rejected,) = sink.rejects
    assert rejected.select("line", "rule", "reason").rows() == [
        (3, "row_shape", "its keys 'Order No' and 'order_no' both fit the column order_id, and only one can be read")
    ]


@pytest.mark.parametrize("kind", sorted(TABLE))
def test_with_case_exact_only_the_very_name_is_read(kind):
    data = as_file(kind, ["at", "order no"], [["2024-05-01", "7"]])
    with pytest.raises(UnreadableFile, match="'Order No'"):
        load(data, format={"case": "exact"})
    _, sink = load(as_file(kind, ["at", "order_no"], [["2024-05-01", "7"]]), format={"case": "exact"})
    assert sink.rows["order_id"].to_list() == ["7"]


def test_rows_of_json_may_have_a_column_under_different_names():
    rows = [{"at": "2024-05-01", "Order No": "a", "x": [1]}, {"AT": "2024-05-01", "ORDER NUMBER": "b", "N": "2"}]
    report, sink = load("".join(json.dumps(row) + "\n" for row in rows).encode())
    assert sink.rows.select("order_id", "n").rows() == [("a", None), ("b", 2)]
    assert report.warnings[-1] == "Keys that the contract does not name were left out: x."


def test_an_alias_may_lead_into_nested_objects():
    columns = {"city": {"type": "string", "aliases": ["customer.address.city"]}}
    nested = {"at": "2024-05-01", "customer": {"address": {"city": "Oslo"}}}
    _, sink = load(json.dumps(nested).encode(), columns=columns)
    assert sink.rows["city"].to_list() == ["Oslo"]
    out = io.BytesIO()
    pl.DataFrame([nested]).write_parquet(out)
    _, sink = load(out.getvalue(), columns=columns)
    assert sink.rows["city"].to_list() == ["Oslo"]


@pytest.mark.parametrize("header", ["AT;order number;N", "Report\nAT;ORDER_NO;n"])
def test_the_header_and_the_delimiter_are_found_by_names_that_are_alike(header):
    report, sink = load(f"{header}\n2024-05-01;7;1\n".encode())
    assert report.format["delimiter"] == ";"
    assert sink.rows.select("order_id", "n").rows() == [("7", 1)]


@pytest.mark.parametrize(
    ("columns", "format_", "key", "says"),
    [
        ({"a": {"aliases": ["b"]}, "b": {}}, {}, "columns.b.source", "'a' reads the same"),
        ({"a": {"aliases": ["x", "x"]}}, {}, "columns.a.aliases.1", "named already"),
        ({"a": {"aliases": ["a"]}}, {}, "columns.a.aliases.0", "named already"),
        ({"a": {"source": "N"}, "b": {"aliases": [" n"]}}, {}, "columns.b.aliases.0", "format.case to exact"),
        ({"a": {"source": "N"}, "b": {"aliases": [" n"]}}, {"case": "exact"}, None, ""),
        ({"a": {"aliases": ["A"]}}, {}, None, ""),
        ({"a": {"alias": ["A"]}}, {}, "columns.a.alias", "'aliases'"),
        ({}, {"case": "any"}, "format.case", "ignore, exact"),
    ],
)
def test_names_that_cannot_be_told_apart_are_a_mistake_in_the_contract(columns, format_, key, says):
    text = {name: {"type": "string", **column} for name, column in columns.items()}
    problems = problems_of(columns={"at": {"type": "datetime"}, **text}, format=format_)
    assert list(problems) == ([key] if key else [])
    assert says in problems.get(key, "")


@settings(max_examples=200, deadline=None)
@given(names=st.lists(st.sampled_from(["a", "A", " a", "b", "B", "c", "x", "X"]), unique=True), exact=st.booleans())
def test_every_name_means_one_column_at_most_and_an_exact_one_itself(names, exact):
    contract = contract_of({"a": {"type": "string", "aliases": ["x"]}, "b": {"type": "string"}})
    columns = ColumnNames(contract.columns, "exact" if exact else "ignore")
    fitting = {
        position: [name for name in names if name in own] or [] if exact else own_or_alike(names, own)
        for position, own in ((1, ("a", "x")), (2, ("b",)))
    }
    if any(len(found) > 1 for found in fitting.values()):
        with pytest.raises(AmbiguousNames):
            columns.matched(names)
        return
    assert columns.matched(names) == {position: found[0] for position, found in fitting.items() if found}


def own_or_alike(names: list[str], own: tuple[str, ...]) -> list[str]:
    exact = [name for name in names if name in own]
    return exact or [name for name in names if name.strip().lower() in own]
