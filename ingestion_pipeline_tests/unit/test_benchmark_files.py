"""The validation benchmark's files: its truth is true, so what it says about found and missed errors is too."""

import io
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.validation_files import Error, write_contract, write_years
from ingestion_pipeline.demo_data import write_demo_files
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages.validate import validate
from ingestion_pipeline_tests.unit.contracts import KeptRows, in_pieces

ROWS, COPIES = 1300, 3


@pytest.fixture
def year(tmp_path: Path) -> Path:
    month = next(file for file in write_demo_files(tmp_path / "demo") if file.kind == "month")
    path = tmp_path / "year.csv"
    with month.path.open(encoding="utf-8") as lines:
        path.write_text("".join(islice(lines, ROWS + 1)), encoding="utf-8")
    return path


def test_every_planted_error_is_found_at_its_line_column_and_rule_and_none_is_invented(year, tmp_path):
    clean, planted = io.BytesIO(), io.BytesIO()
    errors = write_years(year, COPIES, clean, planted=planted)
    contract = write_contract(Settings().contracts_dir / "flights.yaml", tmp_path / "flights.yaml", COPIES)
    report = validate(in_pieces(clean.getvalue(), 10_000), contract=contract, name="clean", sink=KeptRows())
    assert (report.rows_read, report.rows_rejected) == (ROWS * COPIES, 0)
    sink = KeptRows()
    report = validate(in_pieces(planted.getvalue(), 10_000), contract=contract, name="planted", sink=sink)
    found = [Error(entry["line"], entry["column"], entry["rule"]) for entry in report.first_errors]
    assert sorted(found) == sorted(errors)
    assert len({(error.column, error.rule) for error in errors}) == 11  # of twelve kinds two break a row's shape
    assert report.rows_rejected == len(errors) == ROWS // 100 * COPIES
