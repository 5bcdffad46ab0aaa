"""The published JSON schema: every key explained, kept in step with the code, true to what a contract may say."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ingestion_pipeline.domain.contract_schema import (
    contract_schema,
    descriptions_without_key,
    keys_without_description,
)
from ingestion_pipeline_tests.unit.contracts import problems_of
from ingestion_pipeline_tests.unit.drafts import TUTORIAL, draft_of, table_of

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs" / "reference" / "contract.schema.json"
WRITTEN = sorted([*(ROOT / "ingestion_pipeline" / "contracts").glob("*.yaml"), TUTORIAL / "orders.yaml"])


def errors(document: Any) -> list[str]:
    """What an editor marks; dates are texts to it."""
    validator = jsonschema.Draft202012Validator(contract_schema())
    plain = json.loads(json.dumps(document, default=str))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(plain)]


def document(**keys: Any) -> dict[str, Any]:
    return {
        "datasource": "things",
        "partition_start": "2020-01-01",
        "time": {"column": "at"},
        "columns": {"at": {"type": "datetime"}, "n": {"type": "integer"}, "word": {"type": "string"}},
        **keys,
    }


def column(name: str, **keys: Any) -> dict[str, Any]:
    return document(columns=document()["columns"] | {name: keys})


def test_every_key_has_a_description():
    missing = keys_without_description()
    assert not missing, (
        f"no description for the contract's keys {missing}: add each to DESCRIPTIONS in domain/contract_schema.py, "
        "or a Field(description=...) where the key is declared"
    )


def test_no_description_is_left_over():
    assert not descriptions_without_key(), "keys in DESCRIPTIONS of domain/contract_schema.py that no contract has"


def test_the_published_schema_is_the_code_s():
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == json.loads(json.dumps(contract_schema())), (
        "write it anew: ingestion-pipeline contract schema > docs/reference/contract.schema.json"
    )


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(contract_schema())


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_contracts_that_people_wrote_keep_it(path):
    assert errors(yaml.safe_load(path.read_text(encoding="utf-8"))) == []


def test_drafted_contracts_keep_it():
    draft = draft_of(table_of({"n": ["1", "NA"], "price": ["3.20", "4.00"], "sold": ["31/12/2024", "01/02/2024"]}))
    assert errors(yaml.safe_load(draft.text)) == []


@pytest.mark.parametrize(
    "checks",
    [
        {"ge": 0},
        {"greater_than": {"min_value": 1}},
        {"in_range": [1, 9]},
        {"in_range": {"min_value": 1, "max_value": 9, "include_max": False}},
        {"isin": [1, 2]},
    ],
    ids=str,
)
def test_checks_may_be_written_in_every_way_that_a_contract_takes(checks):
    assert errors(column("n", type="integer", checks=checks)) == []
    assert problems_of(columns=column("n", type="integer", checks=checks)["columns"]) == {}


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        (document(colums={}), "$"),
        (document(time={"colum": "at"}), "$.time"),
        (column("n", type="int"), "$.columns.n.type"),
        (column("n", type="integer", checks={"gte": 0}), "$.columns.n.checks"),
        (column("n", type="integer", checks={"in_range": [1]}), "$.columns.n.checks.in_range"),
        (column("n", type="integer", checks={"isin": []}), "$.columns.n.checks.isin"),
        (column("word", type="string", checks={"str_length": {}}), "$.columns.word.checks.str_length"),
    ],
    ids=["unknown key", "unknown key below", "type", "check", "too few arguments", "no values", "no argument"],
)
def test_an_editor_marks_what_contract_check_refuses(wrong, where):
    assert [error.partition(": ")[0] for error in errors(wrong)][:1] == [where]
    assert problems_of(**wrong)
