"""Contracts inferred from texts, for tests."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ingestion_pipeline.domain.contract import Column, Contract
from ingestion_pipeline.domain.contract_document import read_document
from ingestion_pipeline.stages.infer import Draft, Sample, infer
from ingestion_pipeline.stages.validate import ValidationReport, validate
from ingestion_pipeline.stages.validate.casting import cast_cells
from ingestion_pipeline.stages.validate.pandera_schema import pandera_schema
from ingestion_pipeline_tests.unit.contracts import KeptRows


def sample(data: bytes | str, name: str = "sample.csv", *, rows: int = 1_000_000) -> Sample:
    raw = data.encode() if isinstance(data, str) else data
    return Sample(name=name, open=lambda: [raw], rows=rows)


def draft_of(*samples: Sample | bytes | str, datasource: str = "things") -> Draft:
    return infer(
        [given if isinstance(given, Sample) else sample(given) for given in samples],
        datasource=datasource,
        cast=cast_cells,
    )


def contract_in(draft: Draft) -> Contract:
    """The drafted contract, checked as `contract check` does."""
    contract = read_document(yaml.safe_load(draft.text), version="draft")
    assert isinstance(contract, Contract), f"{contract}\n{draft.text}"
    pandera_schema(contract)
    return contract


def column_of(cells: Iterable[str], name: str = "x") -> Column:
    """How a column of these cells, beside a time, is inferred."""
    return contract_in(draft_of(table_of({name: cells}))).column(name)


def table_of(columns: dict[str, Iterable[str]]) -> str:
    """A CSV file with a time column `at`, one second apart."""
    rows = list(zip(*columns.values(), strict=True))
    lines = [
        f"2024-01-01T{i // 3600 % 24:02}:{i // 60 % 60:02}:{i % 60:02}Z,{','.join(row)}\n" for i, row in enumerate(rows)
    ]
    return f"at,{','.join(columns)}\n" + "".join(lines)


def validated(contract: Contract, data: bytes) -> tuple[ValidationReport, KeptRows]:
    sink = KeptRows()
    return validate([data], contract=contract, name="sample.csv", sink=sink), sink


def keys_in(draft: Draft, column: str) -> dict[str, Any]:
    """The keys of a column as the draft writes them."""
    found: dict[str, Any] = yaml.safe_load(draft.text)["columns"][column]
    return found


TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial"
