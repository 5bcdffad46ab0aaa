"""The code location as Dagster loads it: whole, with what people look for, and without secrets."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ingestion_pipeline.defs import resources
from ingestion_pipeline_tests.defs.conftest import CONTRACT

# Dagster's own look into Pydantic, when a resource without fields is made.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")


@pytest.fixture
def contracts_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of contracts that the code location reads; settings and contracts are read once a process."""
    monkeypatch.setenv("INGESTION_CONTRACTS_DIR", str(tmp_path))
    monkeypatch.setenv("INGESTION_OP_OUTPUTS", "local")
    monkeypatch.setenv("INGESTION_S3_SECRET_ACCESS_KEY", "hush-hush")
    for cached in (resources.settings, resources.contract_directory):
        cached.cache_clear()
    yield tmp_path
    for cached in (resources.settings, resources.contract_directory):
        cached.cache_clear()


def load() -> dg.Definitions:
    from ingestion_pipeline.definitions import build_defs

    return build_defs()


def test_every_contract_becomes_an_asset_with_checks_a_job_and_daily_partitions(contracts_dir: Path) -> None:
    for name in ("orders", "visits"):
        (contracts_dir / f"{name}.yaml").write_text(CONTRACT.format(name=name))
    defs = load()
    dg.Definitions.validate_loadable(defs)

    for name in ("orders", "visits"):
        asset = defs.resolve_assets_def(name)
        assert isinstance(asset.partitions_def, dg.DailyPartitionsDefinition)
        assert {key.name for key in asset.check_keys} == {"rejected_fraction", "files_loaded", "rows_proved"}
        job = defs.resolve_job_def(f"ingest_{name}")
        ops = {node.name for node in job.all_node_defs}
        assert {"validate", "transform", "submit", "report"} <= ops
        assert job.executor_def is dg.in_process_executor


def test_sensor_and_schedule_run_without_being_switched_on(contracts_dir: Path) -> None:
    (contracts_dir / "orders.yaml").write_text(CONTRACT.format(name="orders"))
    defs = load()
    assert defs.resolve_sensor_def("uploads").default_status is dg.DefaultSensorStatus.RUNNING
    schedule = defs.resolve_schedule_def("sweep_schedule")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


def test_upkeep_runs_every_night_without_being_switched_on_and_can_be_launched_by_hand(contracts_dir: Path) -> None:
    defs = load()
    for name, ops in (
        ("reconcile", {"reconcile_uploads", "sweep_claims", "reconcile_rows", "configure_compaction"}),
        ("retention", {"put_away", "remove_what_is_old", "forget_runs"}),
    ):
        schedule = defs.resolve_schedule_def(f"{name}_schedule")
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
        assert {node.name for node in defs.resolve_job_def(name).nodes} == ops


def test_a_broken_contract_disables_its_datasource_alone_and_says_why(contracts_dir: Path) -> None:
    (contracts_dir / "orders.yaml").write_text(CONTRACT.format(name="orders"))
    (contracts_dir / "visits.yaml").write_text(CONTRACT.format(name="visits").replace("integer", "intger"))
    defs = load()
    dg.Definitions.validate_loadable(defs)

    spec = next(spec for spec in defs.resolve_all_asset_specs() if spec.key == dg.AssetKey("visits"))
    assert "Disabled" in (spec.description or "")
    assert "intger" in (spec.description or "")
    assert defs.resolve_job_def("ingest_orders")
    with pytest.raises(Exception, match="ingest_visits"):
        defs.resolve_job_def("ingest_visits")


def test_an_empty_directory_is_a_code_location_without_datasources(contracts_dir: Path) -> None:
    dg.Definitions.validate_loadable(load())


def test_backfills_run_in_process_too(contracts_dir: Path) -> None:
    (contracts_dir / "orders.yaml").write_text(CONTRACT.format(name="orders"))
    defs = load()
    assert defs.executor is dg.in_process_executor


def test_no_secret_is_part_of_the_definitions(contracts_dir: Path) -> None:
    (contracts_dir / "orders.yaml").write_text(CONTRACT.format(name="orders"))
    defs = load()
    shown = repr(defs.resources) + repr(
        [getattr(value, "__dict__", value) for value in (defs.resources or {}).values()]
    )
    assert "hush" not in shown
