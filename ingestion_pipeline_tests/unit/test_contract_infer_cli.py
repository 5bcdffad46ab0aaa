"""`contract infer` and `contract schema`: a draft where people want it, never over their work, and what it rests on."""

import json
import re
import textwrap

import pytest
import yaml

from ingestion_pipeline.cli.sample_files import sample_of
from ingestion_pipeline.errors import FileError
from ingestion_pipeline_tests.unit.drafts import TUTORIAL, contract_in, draft_of

ORDERS = sorted((TUTORIAL / "orders").glob("*.csv"))


def test_the_draft_is_written_where_contract_check_takes_it(call, tmp_path):
    answer = call("contract", "infer", *ORDERS, "--output", tmp_path)
    assert (answer.code, answer.out) == (0, "")
    assert "orders-2024-05-01.csv: 4 rows, the whole file" in answer.err
    assert "look at  price: exact" in answer.err
    assert f"contract check {tmp_path / 'orders.yaml'}" in answer.err
    assert call("contract", "check", tmp_path / "orders.yaml").code == 0


def test_the_draft_is_the_one_that_the_documentation_shows(call, tmp_path):
    (tmp_path / "contract.schema.json").touch()
    call("contract", "infer", *ORDERS, "--output", tmp_path)
    page = (TUTORIAL.parent / "how-to" / "add-a-datasource.md").read_text()
    shown = [textwrap.dedent(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert (tmp_path / "orders.yaml").read_text() == shown[0].rstrip(" ")


def test_without_an_output_the_draft_is_all_of_standard_output(call):
    answer = call("contract", "infer", ORDERS[0])
    assert yaml.safe_load(answer.out)["datasource"] == "orders"


def test_machines_get_the_draft_and_what_is_to_be_looked_at(call):
    found = call("contract", "infer", *ORDERS, "--json").json
    assert (found["datasource"], found["time_column"], found["output"]) == ("orders", "ordered_at", None)
    assert [remark.partition(":")[0] for remark in found["look_at"]] == ["price"]
    assert [(entry["rows"], entry["rows_rejected"], entry["part"]) for entry in found["samples"]] == [(4, 0, 1.0)] * 4
    assert yaml.safe_load(found["contract"])["unique"] == ["order_id"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--datasource", "Sales 2024"), "no name of a datasource"),
        (("--datasource", "sales", "--output", "orders.yaml"), "is not named orders.yaml"),
        (("--output", "there.yaml"), "exists already"),
        (("--output", "nowhere/orders.yaml"), "cannot be written"),
    ],
    ids=["a name", "two names", "a contract that is there", "a directory that is not"],
)
def test_an_output_that_cannot_be_is_refused_and_nothing_is_overwritten(call, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.yaml").write_text("mine")
    answer = call("contract", "infer", ORDERS[0], *words)
    assert answer.code == 1
    assert says in answer.err
    assert (tmp_path / "there.yaml").read_text() == "mine"


def test_without_a_time_there_is_a_draft_and_it_says_what_is_missing(call, file, tmp_path):
    answer = call("contract", "infer", file("a.csv", "n,word\n1,x\n2,y\n"), "--output", tmp_path)
    assert answer.code == 4
    assert "No column is the time of a row" in answer.err
    assert "CHANGE_ME" in call("contract", "check", tmp_path / "a.yaml").out


def test_rows_that_no_contract_would_take_are_told(call, file):
    answer = call(
        "contract", "infer", file("a.csv", "at,n\n" + "2024-01-01T00:00:00Z,1\n" * 5 + "2024-01-01T00:00:01Z,2,3\n")
    )
    assert answer.code == 4
    assert "1 would be rejected, first: line 7: 3 cells instead of 2" in answer.err


def test_a_sample_that_is_not_there_is_an_error(call, tmp_path):
    answer = call("contract", "infer", tmp_path / "absent.csv")
    assert answer.code == 1
    assert "absent.csv cannot be read" in answer.err


def test_a_schema_beside_the_draft_is_named_for_editors(call, tmp_path):
    schema = call("contract", "schema")
    assert schema.code == 0
    (tmp_path / "contract.schema.json").write_text(schema.out)
    call("contract", "infer", ORDERS[0], "--output", tmp_path)
    first = (tmp_path / "orders.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=contract.schema.json"
    assert json.loads(schema.out)["required"][0] == "datasource"


LINES = [f"2024-01-{1 + i * 28 // 40_000:02}T00:00:00Z,{i},{i}\n" for i in range(40_000)]
HUGE = "at,n,x\n" + "".join(LINES)


def test_of_a_huge_text_whole_lines_from_all_over_it_are_looked_at(file):
    sample = sample_of(file("a.csv", HUGE), rows=4000, small_bytes=100_000)
    read = b"".join(sample.open()).decode()
    lines = read.splitlines(keepends=True)
    assert lines[0] == "at,n,x\n"
    assert set(lines[1:]) <= set(LINES)
    assert len(set(lines)) == len(lines)
    assert {line[:10] for line in lines[1:]} >= {"2024-01-01", "2024-01-10", "2024-01-20", "2024-01-27"}
    assert len(read) < len(HUGE) / 5
    assert sample.part == pytest.approx(len(read) / len(HUGE), rel=0.1)
    draft = draft_of(sample)
    assert contract_in(draft).druid.segment_granularity == "month"
    assert draft.seen[0].whole


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(HUGE.replace("9\n", '"a\nb"\n'), id="cells of several lines"),
        pytest.param("[" + HUGE, id="one document"),
        pytest.param(HUGE.encode("utf-16"), id="two bytes a letter"),
        pytest.param(b"PAR1\x00" + HUGE.encode(), id="parquet"),
    ],
)
def test_what_cannot_be_cut_at_lines_is_read_from_its_beginning(file, text):
    path = file("a.csv", text)
    sample = sample_of(path, rows=4000, small_bytes=100_000)
    assert b"".join(sample.open()) == path.read_bytes()
    assert (sample.part, sample.rows) == (1.0, 4000)


def test_a_file_of_few_rows_is_read_whole(file):
    path = file("a.csv", HUGE)
    assert b"".join(sample_of(path, rows=50_000, small_bytes=10).open()) == path.read_bytes()


def test_a_directory_is_no_sample(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        sample_of(tmp_path, rows=10)
