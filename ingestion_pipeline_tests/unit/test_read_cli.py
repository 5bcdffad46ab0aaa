"""`read`: clean text and an honest report for every file, whatever its neighbours are."""

import json
from pathlib import Path

import polars as pl
import pytest

from ingestion_pipeline_tests.entrypoints.command_line import Call, caller

RAGGED = 'Report\n\na;b;c\n1,5;2;3\n7;8\n4,5;"x;\ny";\n'


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(capsys)


@pytest.fixture
def file(tmp_path: Path):
    def make(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


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
