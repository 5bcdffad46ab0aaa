"""`query`: rows as a table, JSON and CSV, and Druid's own words where it refuses. Answers as Druid 33 gives them."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from ingestion_pipeline_tests.entrypoints.answering_server import answering
from ingestion_pipeline_tests.entrypoints.command_line import Answer, Call, caller

ROWS = [
    {"carrier": "UA", "flights": 58665, "late": 3.558011113, "tail": None},
    {"carrier": "a,b [x]", "flights": 5, "late": -0.00001, "tail": "line\nbreak"},
]
REFUSAL = {
    "error": "druidException",
    "errorCode": "invalidInput",
    "persona": "USER",
    "category": "INVALID_INPUT",
    "errorMessage": "Object 'nothing' not found (line [1], column [15])",
    "context": {},
}


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    monkeypatch.setenv("INGESTION_DATA_DIR", str(tmp_path))
    return caller(capsys)


def ask(call: Call, monkeypatch: pytest.MonkeyPatch, *words: str, status: int = 200, body: Any = ROWS) -> Answer:
    with answering(status, body) as (url, asked):
        monkeypatch.setenv("INGESTION_DRUID_BROKER_URL", url)
        answer = call("query", *words)
    assert asked[0]["query"] == words[0]
    return answer


def test_rows_are_a_table_for_people(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ask(call, monkeypatch, "SELECT 1")
    lines = answer.out.splitlines()
    assert lines[0].split() == ["carrier", "flights", "late", "tail"]
    assert lines[1].split() == ["UA", "58,665", "3.558", "null"]
    assert "a,b [x]" in lines[2]
    assert lines[-1] == "2 rows."


def test_json_gives_the_rows_as_they_are(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(call, monkeypatch, "SELECT 1", "--json").json == ROWS


def test_csv_gives_back_every_cell(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ask(call, monkeypatch, "SELECT 1", "--csv")
    read = list(csv.DictReader(io.StringIO(answer.out, newline="")))
    assert [row["carrier"] for row in read] == ["UA", "a,b [x]"]
    assert read[1]["tail"] == "line\nbreak"


def test_no_rows_are_said_to_be_none(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(call, monkeypatch, "SELECT 1", body=[]).out == "No rows.\n"
    assert ask(call, monkeypatch, "SELECT 1", "--json", body=[]).json == []


def test_druids_refusal_is_shown_in_its_own_words(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ask(call, monkeypatch, "SELECT * FROM nothing", status=400, body=REFUSAL)
    assert (answer.code, answer.out) == (1, "")
    assert "Object 'nothing' not found (line [1], column [15])" in answer.err


def test_a_broker_that_is_away_is_one_clear_error(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTION_DRUID_BROKER_URL", "http://127.0.0.1:1")
    answer = call("query", "SELECT 1")
    assert answer.code == 1
    assert answer.err.startswith("Error: Druid at http://127.0.0.1:1 could not be asked")


def test_sql_may_come_from_standard_input(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 2"))
    with answering(200, ROWS) as (url, asked):
        monkeypatch.setenv("INGESTION_DRUID_BROKER_URL", url)
        assert call("query", "-").code == 0
    assert asked[0]["query"] == "SELECT 2"


def test_two_formats_at_once_are_refused(call: Call) -> None:
    assert call("query", "SELECT 1", "--json", "--csv").code == 2
