"""The demo's files: real rows, none of which is rejected, and planted errors, all of which are found."""

import pytest

from ingestion_pipeline import demo_data
from ingestion_pipeline.adapters.contracts import load_contracts
from ingestion_pipeline.demo_data import planted_errors, write_demo_files
from ingestion_pipeline.errors import ConfigurationError
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages.validate import validate
from ingestion_pipeline_tests.unit.contracts import KeptRows


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Each file with its report and the errors found in it."""
    book = load_contracts(Settings.model_fields["contracts_dir"].default)
    result = []
    for file in write_demo_files(tmp_path_factory.mktemp("demo")):
        sink = KeptRows()
        data = file.path.read_bytes()
        report = validate([data], contract=book.contracts[file.datasource], name=file.path.name, sink=sink)
        result.append((file, report, sink))
    return result


def test_a_year_of_flights_and_weather_passes_every_rule(checked):
    real = [(file, report) for file, report, _ in checked if file.kind != "planted"]
    assert sum(report.rows_accepted for file, report in real if file.datasource == "flights") == 336_776
    assert [report.rows_accepted for file, report in real if file.datasource == "weather"] == [26_115]
    assert sum(report.rows_rejected for _, report in real) == 0
    assert [file.day.month for file, _ in real if file.kind == "month"] == list(range(1, 13))


def test_validation_finds_exactly_the_planted_errors(checked):
    ((file, report, sink),) = [entry for entry in checked if entry[0].kind == "planted"]
    expected = [(error.line, error.column, error.rule) for error in planted_errors()]
    assert len(set(expected)) == 25
    assert sorted(sink.broken) == sorted(expected)
    assert (report.rows_read, report.rows_rejected) == (file.rows, 25)


def test_every_kind_of_rule_is_planted():
    kinds = {error.rule for error in planted_errors()}
    assert kinds >= {"type", "not_null", "eq", "in_range", "isin", "str_matches", "time_range", "unique", "row_shape"}
    assert kinds >= {"leaves_its_origin", "schedule_agrees"}


def test_the_files_are_the_same_bytes_each_time(tmp_path, checked):
    again = {file.path.name: file.path.read_bytes() for file in write_demo_files(tmp_path)}
    assert again == {file.path.name: file.path.read_bytes() for file, _, _ in checked}


def test_without_the_data_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_data.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="embedded"):
        write_demo_files(tmp_path)
