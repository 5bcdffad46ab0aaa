"""`validate`: the verdict of a contract, with a mark under each cell that is wrong."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ingestion_pipeline.cli.marked_rows import marked
from ingestion_pipeline.formats.records import Dialect, Record, cell_spans, parse_record

CONTRACT = """
datasource: orders
partition_start: 2024-01-01
columns:
  day: {type: date}
  product: {type: string, checks: {isin: [tea, cocoa]}}
  price: {type: decimal, scale: 2, checks: {ge: 0}}
time: {column: day}
"""
ROWS = 'day,product,price\n2024-05-01,tea,1\n2024-05-02,"co\ncoa",-1\n2024-05-03,tea\n2024-05-04,cocoa,2\n'


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    path = tmp_path / "orders.yaml"
    path.write_text(CONTRACT)
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_each_wrong_cell_is_marked_in_its_row(call, contract, tmp_path):
    answer = call("validate", written(tmp_path / "in.csv", ROWS), "--contract", contract)
    assert answer.code == 4
    lines = answer.out.splitlines()
    at = lines.index("line 3  product  isin: 'co\\ncoa' must be one of tea, cocoa")
    assert lines[at + 1 : at + 3] == ['  2024-05-02,"co\u23cecoa",-1', "             ^^^^^^^^"]
    at = lines.index("line 3  price  ge: '-1' must be 0 or more")
    assert lines[at + 2] == "                      ^^"
    at = lines.index("line 5  row_shape: 2 cells instead of 3")
    assert lines[at + 1] == "  2024-05-03,tea"
    assert "4 rows read, 2 accepted, 2 rejected" in lines[-1]


def test_of_json_the_key_of_the_wrong_value_is_marked(call, contract, tmp_path):
    text = '{"day": "2024-05-01", "product": "tea", "price": 1}\n{"day": "2024-05-01", "product": "tea", "price": -1}\n'
    answer = call("validate", written(tmp_path / "in.ndjson", text), "--contract", contract)
    lines = answer.out.splitlines()
    row = next(n for n, line in enumerate(lines) if line.startswith("  {"))
    assert lines[row][lines[row + 1].index("^") :].startswith('"price":')


def test_a_good_file_is_told_as_such_and_for_machines_too(call, contract, tmp_path):
    source = written(tmp_path / "in.csv", "day,product,price\n2024-05-01,tea,1\n")
    answer = call("validate", source, "--contract", contract)
    assert answer.code == 0
    assert "Every row is good: 1 row read, 1 accepted, 0 rejected" in answer.out
    told = call("validate", source, "--contract", contract, "--json").json
    assert (told["outcome"], told["rows_accepted"], told["rejected"]) == ("read", 1, [])


def test_a_file_that_cannot_be_read_stops_no_other(call, contract, tmp_path):
    good = written(tmp_path / "good.csv", "day,product,price\n2024-05-01,tea,1\n")
    answer = call("validate", tmp_path / "absent.csv", good, "--contract", contract)
    assert answer.code == 1
    assert "No such file" in answer.out
    assert "Every row is good" in answer.out


def test_fewer_rows_are_shown_than_are_wrong_and_it_is_said(call, contract, tmp_path):
    text = "day,product,price\n2024-05-01,tea,1\n" + "2024-05-01,tea,-1\n" * 1200
    source = written(tmp_path / "in.csv", text)
    answer = call("validate", source, "--contract", contract, "--errors", "2")
    assert "… and 1,198 more rejected rows; --errors 1000 shows more" in answer.out
    assert "ge    price   1,200" in answer.out
    answer = call("validate", source, "--contract", contract, "--errors", "1000")
    assert "… and 200 more rejected rows\n" in answer.out


@pytest.mark.parametrize(
    ("named", "says"),
    [("absent.yaml", "cannot be read"), ("flight", "one of: flights, weather")],
    ids=["no file", "no datasource"],
)
def test_a_contract_that_is_not_there_is_said(call, named, says):
    answer = call("validate", "any.csv", "--contract", named)
    assert answer.code == 1
    assert says in answer.err


_DIALECTS = [Dialect(",", '"'), Dialect(";", "'"), Dialect(", ", '"'), Dialect("\t", None), Dialect(",", '"', "\\")]


@given(
    st.lists(st.text(st.sampled_from("ab ,;'\"\\\n\té\u4e2d"), max_size=8), min_size=1, max_size=6),
    st.sampled_from(_DIALECTS),
)
def test_the_spans_of_a_records_cells_are_its_cells(cells, dialect):
    text = dialect.delimiter.join(cells)
    record = parse_record(text, 0, dialect)
    spans = cell_spans(text, dialect)
    if isinstance(record, Record):
        assert len(spans) == len(record.cells)
        for (start, end), cell, quoted in zip(spans, record.cells, record.quoted, strict=True):
            if not quoted and dialect.escape is None:
                assert text[start:end] == cell
            if quoted:
                assert text[start] == text[end - 1] == dialect.quote
    assert all(a[1] <= b[0] for a, b in pairwise(spans))


@given(st.text(max_size=300), st.data(), st.integers(40, 120))
def test_a_row_and_its_mark_fit_the_terminal_and_stand_below_each_other(text, data, width):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    line, mark = marked(text, (start, end), width)
    assert cell_len(line) <= width
    assert cell_len(mark) <= width
    assert "\n" not in line
    if end > start and cell_len(text) <= width - 40:
        shown, _ = marked(text[:start], None, width)
        assert mark.index("^") == cell_len(shown)
