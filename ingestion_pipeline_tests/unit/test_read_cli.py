"""`read`: clean text and an honest report for every file, whatever its neighbours are."""

import json

import polars as pl
import pytest

RAGGED = 'Report\n\na;b;c\n1,5;2;3\n7;8\n4,5;"x;\ny";\n'


def test_a_file_is_written_as_rfc_4180_has_it_and_what_is_no_row_is_reported(call, file, tmp_path):
    answer = call("read", file("in.txt", RAGGED), "--to", tmp_path / "out.csv", "--report", "-")
    assert answer.code == 4
    assert (tmp_path / "out.csv").read_bytes() == b'a,b,c\r\n"1,5",2,3\r\n"4,5","x;\ny",\r\n'
    found = answer.json
    assert (found["outcome"], found["rows_read"], found["rows_accepted"], found["rows_rejected"]) == (
        "partly read",
        3,
        2,
        1,
    )
    assert found["rejected"] == [{"line": 5, "text": "7;8", "reason": "2 cells instead of 3"}]
    assert (found["format"]["delimiter"], found["format"]["preamble"]) == (";", ["Report", ""])
    assert "1 record left out" in answer.err


def test_cells_are_never_altered(call, file, tmp_path):
    text = "id,code,when,amount,word\n" + "".join(f"00{n},1e5,00:15,12345678901234567890,NULL\n" for n in range(6))
    assert call("read", file("in.csv", text), "--to", tmp_path / "out.csv").code == 0
    assert (tmp_path / "out.csv").read_text() == text


@pytest.mark.parametrize(("option", "first"), [((), "1,2,3"), (("--header",), "column_1,column_2,column_3")])
def test_a_file_without_a_header_gets_one_only_on_demand(call, file, tmp_path, option, first):
    answer = call("read", file("in.csv", "1,2,3\n4,5,6\n7,8,9\n"), "--to", tmp_path / "out.csv", *option)
    assert answer.code == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == first


@pytest.mark.parametrize("suffix", ["parquet", "ndjson"])
def test_other_forms_hold_the_same_cells(call, file, tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    assert call("read", file("in.txt", "a;b\n1;x\n;y\n"), "--to", out).code == 0
    found = pl.read_parquet(out) if suffix == "parquet" else pl.read_ndjson(out)
    assert found.rows() == [("1", "x"), (None, "y")]


def test_one_bad_file_among_several_stops_no_other_and_leaves_nothing_behind(call, file, tmp_path):
    directory = tmp_path / "out"
    directory.mkdir()
    files = [
        file("good.csv", "a,b\n1,2\n"),
        file("bad.csv", b"\x00\x01"),
        tmp_path / "absent.csv",
        file("too.tsv", "a\tb\n1\t2\n"),
    ]
    answer = call("read", *files, "--to", directory, "--report", tmp_path / "report.json")
    assert answer.code == 1
    assert sorted(path.name for path in directory.iterdir()) == ["good.csv", "too.csv"]
    found = json.loads((tmp_path / "report.json").read_text())
    assert [entry["outcome"] for entry in found] == ["read", "rejected", "rejected", "read"]
    assert "zero bytes" in found[1]["error"]["message"]
    assert "absent.csv" in found[2]["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("one.csv", "two.csv", "--to", "out.csv"), "no directory"),
        (("one.csv", "--to", "out.xls"), ".parquet"),
    ],
    ids=["several files into one", "a form that is not written"],
)
def test_what_cannot_be_done_is_said_before_anything_is_read(call, arguments, says):
    answer = call("read", *arguments)
    assert answer.code == 1
    assert says in answer.err


def test_a_directory_for_several_files_is_made_if_it_is_not_there(call, file, tmp_path):
    answer = call("read", file("a.csv", "a,b\n1,2\n"), file("b.csv", "a,b\n3,4\n"), "--to", tmp_path / "new" / "out")
    assert answer.code == 0
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == ["a.csv", "b.csv"]


def test_two_files_that_would_become_one_are_refused(call, file, tmp_path):
    (tmp_path / "out").mkdir()
    answer = call("read", file("a.csv", "a,b\n1,2\n"), file("a.txt", "a,b\n1,2\n"), "--to", tmp_path / "out")
    assert answer.code == 1
    assert "both become" in answer.err


def test_a_header_alone_is_a_file_without_rows(call, file, tmp_path):
    answer = call("read", file("in.csv", "id;name;note\n"), "--to", tmp_path / "out.csv", "--report", "-")
    assert answer.code == 0
    assert (tmp_path / "out.csv").read_text() == "id,name,note\n"
    assert (answer.json["rows_read"], answer.json["columns"]) == (0, ["id", "name", "note"])


@pytest.mark.parametrize("to", ["in.csv", "."], ids=["the same name", "its directory"])
def test_a_file_is_never_written_over_itself(call, file, tmp_path, to):
    source = file("in.csv", "a;b\n1;2\n")
    answer = call("read", source, "--to", tmp_path / to)
    assert answer.code == 1
    assert "itself" in answer.err
    assert source.read_text() == "a;b\n1;2\n"


def test_json_without_a_contract_has_a_column_for_every_key_of_any_row(call, file, tmp_path):
    text = '{"id": 1, "a.b": "x"}\n{"id": 2.50, "a": {"b": [1, 2]}}\nno\n{"late": "é"}\n'
    answer = call("read", file("in.ndjson", text), "--to", tmp_path / "out.csv", "--report", "-")
    assert answer.code == 4
    assert pl.read_csv(tmp_path / "out.csv", infer_schema=False).rows() == [
        ("1", "x", None, None),
        ("2.50", None, '{"b":[1,2]}', None),
        (None, None, None, "é"),
    ]
    assert answer.json["columns"] == ["id", "a.b", "a", "late"]
    assert answer.json["rejected"][0]["line"] == 3


def test_without_a_contract_the_only_array_of_objects_in_an_object_has_the_rows(call, file, tmp_path):
    text = '{"type": "FeatureCollection", "features": [{"id": 1, "g": {"x": 2}}, {"id": 2}]}'
    answer = call("read", file("in.json", text), "--to", tmp_path / "out.csv", "--report", "-")
    assert answer.code == 0
    assert pl.read_csv(tmp_path / "out.csv", infer_schema=False).rows() == [("1", '{"x":2}'), ("2", None)]
    assert "'features'" in answer.json["warnings"][0]


@pytest.mark.parametrize(
    ("text", "rows"), [("[]", 0), ('{"a": 1, "x": [{}], "y": [{}]}', 1)], ids=["an empty array", "two arrays"]
)
def test_json_objects_that_are_no_table(call, file, tmp_path, text, rows):
    answer = call("read", file("in.json", text), "--to", tmp_path / "out.csv", "--report", "-")
    assert (answer.code, answer.json["rows_accepted"]) == (0, rows)


def test_objects_without_keys_are_refused(call, file, tmp_path):
    answer = call("read", file("in.json", "[{}, {}]"), "--to", tmp_path / "out.csv")
    assert answer.code == 1
    assert "empty" in answer.err
    assert not (tmp_path / "out.csv").exists()


def test_parquet_without_a_contract_is_text(call, tmp_path):
    table = pl.DataFrame({"n": [1, None], "x": [1.5, -2.0], "many": [[1], [2, 3]], "__time": ["a", ""]})
    table.write_parquet(tmp_path / "in.parquet")
    assert call("read", tmp_path / "in.parquet", "--to", tmp_path / "out.csv").code == 0
    assert (tmp_path / "out.csv").read_bytes() == b'n,x,many,__time\r\n1,1.5,[1],a\r\n,-2.0,"[2,3]",""\r\n'


CONTRACT = """
datasource: orders
partition_start: 2024-01-01
columns:
  day: {type: datetime, source: When}
  price: {type: decimal, scale: 2, checks: {ge: 0}}
  note: {type: string, nullable: true, required: false}
time: {column: day}
reject: {max_fraction: 0.5}
"""


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_by_a_contract_good_rows_are_written_and_the_others_told(call, file, tmp_path, suffix):
    contract = file("orders.yaml", CONTRACT)
    source = file("in.csv", "When;price;note\n2024-05-01;1.50;\n2024-05-02T10:00:00+02:00;2.5;x\nnever;-1;y\n")
    out = tmp_path / f"out.{suffix}"
    answer = call("read", source, "--contract", contract, "--to", out, "--report", "-")
    assert answer.code == 4
    if suffix == "csv":
        assert out.read_text() == "day,price,note\n2024-05-01T00:00:00Z,1.50,\n2024-05-02T08:00:00Z,2.50,x\n"
    else:
        assert [str(dtype) for dtype in pl.read_parquet(out).dtypes] == [
            "Datetime(time_unit='us', time_zone='UTC')",
            "Decimal(precision=38, scale=2)",
            "String",
        ]
    told = answer.json
    assert (told["outcome"], told["rows_read"], told["rows_rejected"], told["datasource"]) == (
        "partly read",
        3,
        1,
        "orders",
    )
    (row,) = told["rejected"]
    assert (row["line"], row["text"]) == (4, "never;-1;y")
    assert [(error["column"], error["rule"], error["value"]) for error in row["errors"]] == [
        ("day", "type", "never"),
        ("price", "ge", "-1"),
    ]
    assert row["reason"].startswith("day: is not a date and time; price: ")


def test_a_file_that_its_contract_refuses_as_a_whole_has_no_output_and_its_rows_are_told(call, file, tmp_path):
    source = file("in.csv", "When,price\n2024-05-01,1\nx,1\ny,1\n")
    answer = call(
        "read", source, "--contract", file("orders.yaml", CONTRACT), "--to", tmp_path / "out.csv", "--report", "-"
    )
    assert answer.code == 1
    assert not (tmp_path / "out.csv").exists()
    assert answer.json["error"]["code"] == "too_many_rejects"
    assert [row["line"] for row in answer.json["rejected"]] == [3, 4]


def test_a_table_without_rows_has_its_contracts_columns(call, file, tmp_path):
    source = file("in.csv", "When,price\n")
    assert call("read", source, "--contract", file("orders.yaml", CONTRACT), "--to", tmp_path / "out.csv").code == 0
    assert (tmp_path / "out.csv").read_text() == "day,price,note\n"


TABLES = (
    "Sales\nday;amount\n2024-05-01;3\n2024-05-02;4\n\n"
    "Staff\nname;since\nAnn;2001\nBob;2x;y\nCy;2003\n\n"
    "code;place\n1;Rome\n"
)


@pytest.mark.parametrize(
    ("number", "text", "lines"),
    [
        (1, "day,amount\n2024-05-01,3\n2024-05-02,4\n", []),
        (2, "name,since\nAnn,2001\nCy,2003\n", [9]),
        (3, "code,place\n1,Rome\n", []),
    ],
)
def test_any_of_several_tables_can_be_chosen_and_lines_stay_the_files(call, file, tmp_path, number, text, lines):
    source, report = file("in.txt", TABLES), tmp_path / "report.json"
    call("read", source, "--table", number, "--to", tmp_path / "out.csv", "--report", report)
    assert (tmp_path / "out.csv").read_text() == text
    assert [row["line"] for row in json.loads(report.read_text())["rejected"]] == lines


def test_a_contract_chooses_a_table(call, file, tmp_path):
    contract = file(
        "staff.yaml",
        "datasource: staff\npartition_start: 2024-01-01\nformat: {table: 2}\n"
        'columns: {name: {type: string}, since: {type: datetime, format: "%Y-%m"}}\ntime: {column: since}\n',
    )
    source = file("in.txt", TABLES.replace("2001", "2001-01").replace("2003", "2003-01"))
    answer = call("read", source, "--contract", contract, "--to", tmp_path / "out.csv", "--report", "-")
    assert answer.code == 4
    assert (tmp_path / "out.csv").read_text().split()[:2] == ["name,since", "Ann,2001-01-01T00:00:00Z"]
    assert [row["line"] for row in answer.json["rejected"]] == [9, 12, 13]


def test_a_table_that_is_not_there_is_refused_with_what_is(call, file, tmp_path):
    answer = call("read", file("in.txt", TABLES), "--table", "4", "--to", tmp_path / "out.csv")
    assert answer.code == 1
    assert "no table 4: 3 found" in answer.err
