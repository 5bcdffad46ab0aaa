"""`contract check` and `contract show`: clear to people, exact to machines, exit codes that mean something."""

import json

import pytest
from typer.testing import CliRunner

from ingestion_pipeline.cli.contract import app

BROKEN = "datasource: broken\npartition_start: 2020-01-01\ntime: {column: at}\ncolums: {at: {type: datetime}}\n"


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_check_accepts_the_shipped_contracts():
    result = run("check")
    assert result.exit_code == 0, result.output
    assert "flights" in result.output


def test_check_tells_file_line_key_and_suggestion(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text(BROKEN)
    result = run("check", str(path))
    assert result.exit_code == 1
    assert f"{path}:4: colums: 'colums' is not a key here. Did you mean 'columns'?" in result.output


def test_check_of_a_directory_lists_the_good_and_the_broken_for_machines(tmp_path):
    (tmp_path / "broken.yaml").write_text(BROKEN)
    (tmp_path / "good.yaml").write_text(BROKEN.replace("broken", "good").replace("colums", "columns"))
    result = run("check", str(tmp_path), "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [contract["datasource"] for contract in found["contracts"]] == ["good"]
    assert ("broken", 4, "colums") in [(p["datasource"], p["line"], p["key"]) for p in found["problems"]]


@pytest.mark.parametrize("wrong", ["partition_start: 2024-02-30", f"partition_start: {'[' * 2000}"])
def test_check_tells_a_contract_that_cannot_be_read_beside_the_good_ones(tmp_path, wrong):
    good = BROKEN.replace("broken", "good").replace("colums", "columns")
    (tmp_path / "good.yaml").write_text(good)
    (tmp_path / "broken.yaml").write_text(good.replace("partition_start: 2020-01-01", wrong))
    result = run("check", str(tmp_path), "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [contract["datasource"] for contract in found["contracts"]] == ["good"]
    assert [(p["datasource"], p["line"]) for p in found["problems"]] == [("broken", 2)]


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_show_tells_columns_and_rules(option):
    result = run("show", "flights", *option)
    assert result.exit_code == 0
    assert "leaves_its_origin" in result.output
    assert "air_time" in result.output
