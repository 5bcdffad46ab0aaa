"""The code location as Dagster loads it: whole, with what people look for, and without secrets."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value

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


@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`")  # Dagster's own, in its snapshot
@pytest.mark.parametrize(
    "expect",
    [
        '{every: day, by: "07:00", zone: Europe/Berlin}',
        '{every: weekday, by: "23:30 next day", zone: America/New_York}',
        '{every: hour, by: ":59", zone: Australia/Lord_Howe}',
        '{every: "*/7 * * * *"}',
        '{every: "0 6 L * *"}',
        '{every: "0 6,7 1 1 *"}',
        '{every: "0 6 29 FEB *"}',
        '{every: "30 2 * * MON-FRI", zone: Europe/Berlin}',
    ],
)
def test_what_a_contract_expects_becomes_checks_and_freshness(contracts_dir: Path, expect: str) -> None:
    (contracts_dir / "orders.yaml").write_text(CONTRACT.format(name="orders") + f"expect: {expect}\n")
    defs = load()
    dg.Definitions.validate_loadable(defs)
    asset = defs.resolve_assets_def("orders")
    assert {"late", "missing", "smaller_than_usual"} < {key.name for key in asset.check_keys}
    # As the code server sends them to the web server.
    assert serialize_value(RepositorySnap.from_def(defs.get_repository_def()))
    (spec,) = asset.specs
    assert isinstance(spec.freshness_policy, dg.FreshnessPolicy)


def test_owners_tags_and_the_whole_contract_are_on_the_asset_s_page(contracts_dir: Path) -> None:
    (contracts_dir / "orders.yaml").write_text(
        CONTRACT.format(name="orders")
        + "description: Orders of the web shops.\n"
        + 'owners: [jane.doe@example.com, "team:sales and more"]\n'
        + "tags: {domain: sales, cost-center/region: eu.1}\n"
        + "reject: {max_fraction: 0.2}\nunique: [n]\nfilter: n > 0\n"
        + "checks: [{name: odd, expr: n % 2 = 1}]\n"
    )
    (spec,) = load().resolve_assets_def("orders").specs
    assert list(spec.owners) == ["jane.doe@example.com", "team:sales and more"]
    assert spec.tags.items() >= {"domain": "sales", "cost-center/region": "eu.1"}.items()
    text = spec.description or ""
    for said in ("Orders of the web shops.", "uploads/", "datetime", "n % 2 = 1", "unique", "n > 0", "more than 20 %"):
        assert said in text


def test_a_contract_of_hundreds_of_columns_has_a_page_that_can_be_read(contracts_dir: Path) -> None:
    columns = "".join(f"  c{number}: {{type: string}}\n" for number in range(210))
    (contracts_dir / "wide.yaml").write_text(CONTRACT.format(name="wide") + columns)
    (spec,) = load().resolve_assets_def("wide").specs
    assert "… and 12 more" in (spec.description or "")


def test_sensor_and_schedule_run_without_being_switched_on(contracts_dir: Path) -> None:
    (contracts_dir / "orders.yaml").write_text(CONTRACT.format(name="orders"))
    defs = load()
    for sensor in ("uploads", "arrivals", "callbacks", "doing"):
        assert defs.resolve_sensor_def(sensor).default_status is dg.DefaultSensorStatus.RUNNING
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
