"""Expected files through Dagster: what the sensor reports, what a run says, and the events that are left."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from ingestion_pipeline.defs import arrivals as arrivals_module
from ingestion_pipeline.defs import report_op
from ingestion_pipeline.defs.arrivals import ARRIVAL_CHECKS, arrivals_sensor
from ingestion_pipeline.defs.assets import datasource_asset
from ingestion_pipeline.defs.doing import ASSET
from ingestion_pipeline.defs.doing import sensor as doing_sensor
from ingestion_pipeline_tests.defs.conftest import CONTRACT, Site

DAILY = CONTRACT + 'expect: {{every: day, by: "00:00 next day"}}\n'
MOMENT = datetime.now(UTC)  # once: midnight may pass while the tests run
TODAY = MOMENT.date()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (arrivals_module, report_op):
        monkeypatch.setattr(module, "now", lambda: MOMENT)


@pytest.fixture
def daily(site: Site) -> Site:
    """A datasource that was known two days ago and expects a file for each day: yesterday's is late."""
    site.contract(text=DAILY)
    since = MOMENT.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=12)
    site.world.rows("UPDATE datasources SET first_seen_at = %s WHERE datasource = %s RETURNING 1", since, site.name)
    return site


def day(back: int) -> date:
    return TODAY - timedelta(days=back)


def look(site: Site, cursor: str | None = None) -> tuple[dict[str, Any], Any]:
    """One tick of the sensor: the reported checks by name, stored as the daemon stores them; and its result."""
    context = dg.build_sensor_context(instance=site.instance, cursor=cursor, resources=site.resources)
    result = arrivals_sensor([site.name]).evaluate_tick(context)
    for event in result.asset_events:
        site.instance.report_runless_asset_event(event)
    return {event.check_name: event for event in result.asset_events}, result


def events(site: Site) -> list[tuple[str, str, bool]]:
    rows = site.world.rows(
        "SELECT period, kind, ended_at IS NULL AS open FROM arrival_events WHERE datasource = %s ORDER BY created_at",
        site.name,
    )
    return [(row["period"], row["kind"], row["open"]) for row in rows]


def passed(site: Site, check: str) -> bool:
    """The check as its page shows it."""
    key = dg.AssetCheckKey(dg.AssetKey(site.name), check)
    (record,) = site.instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).values()
    evaluation = record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
    return evaluation.passed


def test_where_nothing_is_expected_the_sensor_says_so(site: Site) -> None:
    reported, result = look(site)
    assert not reported
    assert "No contract expects files" in result.skip_message


def test_a_late_file_is_a_warning_and_an_event_and_green_again_when_it_came(daily: Site) -> None:
    reported, first = look(daily)
    late = reported["late"]
    assert (late.passed, late.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert f"{day(1)}" in late.description
    assert late.metadata["expected"].value == "1 file every day by 00:00 of the next day (UTC)"
    assert f"/assets/{daily.name}" in late.metadata["days"].value
    assert not passed(daily, "late")
    assert passed(daily, "missing")
    assert events(daily) == [(f"{day(1)}", "late", True)]

    daily.put(day=day(1))
    daily.tick()
    reported, _ = look(daily, first.cursor)
    assert reported["late"].passed
    assert passed(daily, "late")
    assert events(daily) == [(f"{day(1)}", "late", False)]


def test_a_look_that_sees_the_same_reports_nothing_again(daily: Site) -> None:
    _, first = look(daily)
    reported, second = look(daily, first.cursor)
    assert not reported
    assert second.cursor == first.cursor
    assert len(events(daily)) == 1


def test_a_tick_whose_cursor_was_lost_reports_again_and_leaves_one_event(daily: Site) -> None:
    look(daily)
    reported, _ = look(daily)
    assert set(reported) == set(ARRIVAL_CHECKS)
    assert len(events(daily)) == 1


def test_a_file_that_is_missing_is_an_error(daily: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    look(daily)
    monkeypatch.setattr(arrivals_module, "now", lambda: MOMENT + timedelta(days=1))
    reported, _ = look(daily)
    missing = reported["missing"]
    assert (missing.passed, missing.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "contract show" in missing.metadata["what_now"].value
    assert (f"{day(1)}", "missing", True) in events(daily)
    assert (f"{day(1)}", "late", False) in events(daily), "what is missing is no longer late"


def test_a_contract_that_expects_nothing_any_more_ends_its_events(daily: Site) -> None:
    look(daily)
    daily.contract()
    look(daily)
    assert events(daily) == [(f"{day(1)}", "late", False)]


def test_each_organization_that_is_named_is_told_by_name(daily: Site) -> None:
    daily.contract(text=DAILY.replace('next day"', f'next day", organizations: [{daily.name}, globex]'))
    daily.put(day=day(1))
    daily.tick()
    reported, _ = look(daily)
    assert reported["late"].description == f"Late: {day(1)} of globex."


def test_the_versions_of_a_file_are_one_file(daily: Site) -> None:
    daily.contract(text=DAILY.replace("every: day", "every: day, files: 2"))
    key = daily.put(day=day(1))
    daily.tick()
    daily.bucket.put(key, b"at,n\n2026-03-01T00:00:00Z,7\n")
    daily.tick()
    reported, _ = look(daily)
    assert not reported["late"].passed
    daily.put("b.csv", day=day(1))
    daily.tick()
    assert look(daily)[0]["late"].passed


def test_files_without_a_day_in_their_key_count_for_when_they_came(daily: Site) -> None:
    daily.contract(text=DAILY + 'files: [{{pattern: "undated-{name}/*.csv", organization: "{name}"}}]\n')
    assert not look(daily)[0]["late"].passed
    daily.bucket.put(f"undated-{daily.name}/a.csv", b"at,n\n2026-03-01T00:00:00Z,1\n")
    for _ in range(3):
        daily.tick()
    assert look(daily)[0]["late"].passed


def test_a_run_says_its_asset_s_checks_with_its_others(daily: Site) -> None:
    daily.put(day=day(1))
    daily.tick()
    contract = daily.contracts.book().contracts[daily.name]
    whole = datasource_asset(contract)
    assert {key.name for key in whole.check_keys} > set(ARRIVAL_CHECKS)

    @dg.op
    def nothing() -> dict[str, Any]:
        return {"jobs": [], "task_ids": [], "notes": [], "go": []}

    checks = [*report_op.CHECKS, *ARRIVAL_CHECKS]

    @dg.graph_asset(
        name=daily.name,
        partitions_def=whole.partitions_def,
        check_specs=[dg.AssetCheckSpec(name, asset=daily.name) for name in checks],
    )
    def short() -> dict[str, Any]:
        outputs = report_op.report(nothing())
        return {"result": outputs.result, **{f"{daily.name}_{name}": getattr(outputs, name) for name in checks}}

    done = dg.materialize(
        [short], partition_key=f"{day(1)}", resources=daily.resources, instance=daily.instance, raise_on_error=True
    )
    found = {evaluation.check_name: evaluation.passed for evaluation in done.get_asset_check_evaluations()}
    assert set(found) == set(checks)
    assert found["late"]


def test_the_asset_of_doing_has_numbers_to_plot_and_a_summary(daily: Site) -> None:
    daily.contract("broken", text="datasource: broken\n")
    daily.put(day=day(1))
    daily.tick()
    look(daily)
    context = dg.build_sensor_context(instance=daily.instance, resources=daily.resources)
    (reported,) = doing_sensor.evaluate_tick(context).asset_events
    assert reported.asset_key == dg.AssetKey(ASSET)
    numbers = {
        name: value.value
        for name, value in reported.metadata.items()
        if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue)
    }
    assert {"waiting_files", "waiting_live_urgent", "rows_last_hour", "failed_fraction_last_day"} < set(numbers)
    assert numbers["disabled_datasources"] == 1
    assert "Datasource broken is disabled" in str(reported.metadata["summary"].value)
    daily.instance.report_runless_asset_event(reported)
    assert daily.instance.get_latest_materialization_event(dg.AssetKey(ASSET)) is not None
