"""The op `validate` in a run of its own: one file's trouble among others, and where its rejected rows are told."""

from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import dagster as dg
import polars as pl

from ingestion_pipeline.adapters.postgres_queue import fresh_token
from ingestion_pipeline.defs.assets import day_partitions
from ingestion_pipeline.defs.batch import CLAIM_TAG, now
from ingestion_pipeline.defs.report_op import CHECKS, report
from ingestion_pipeline.defs.validate_op import validate
from ingestion_pipeline.domain.quarantine import Quarantine
from ingestion_pipeline_tests.defs.conftest import GOOD_FILE, Site
from ingestion_pipeline_tests.guarded_bucket import denied


def run(site: Site, request: Any) -> dg.ExecuteInProcessResult:
    """The run of a request, as far as its op `validate`."""

    @dg.graph_asset(name=site.name, partitions_def=day_partitions(site.contracts.book().contracts[site.name]))
    def asset() -> Any:
        return validate()

    return executed(site, request, asset)


def executed(site: Site, request: Any, asset: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
    definitions = dg.Definitions(
        assets=[asset],
        jobs=[dg.define_asset_job("validate_only", [asset])],
        resources=site.resources,
        executor=dg.in_process_executor,
    )
    return definitions.resolve_job_def("validate_only").execute_in_process(
        partition_key=request.partition_key, tags=request.tags, instance=site.instance
    )


def reporting_asset(site: Site) -> dg.AssetsDefinition:
    """Validate, then report, as if nothing was to be sent to Druid."""

    @dg.op
    def nothing_sent(batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "task_ids": []}

    @dg.graph_asset(
        name=site.name,
        partitions_def=day_partitions(site.contracts.book().contracts[site.name]),
        check_specs=[dg.AssetCheckSpec(check, asset=site.name) for check in CHECKS],
    )
    def asset() -> Any:
        outputs = report(nothing_sent(validate()))
        return {"result": outputs.result, **{f"{site.name}_{check}": getattr(outputs, check) for check in CHECKS}}

    return asset


def test_a_file_that_may_not_be_read_fails_alone(site: Site) -> None:
    refused, good = site.put("refused.csv"), site.put("good.csv")
    with denied(site.bucket, refused):
        (request,) = site.tick().run_requests
        result = run(site, request)

    assert result.success
    row = site.row_of(refused)
    assert (row["status"], row["outcome"], row["error_type"]) == ("failed", "object_denied", "ObjectDenied")
    assert row["error_message"].startswith(f"s3://{site.bucket.bucket}/{refused} may not be read")
    assert result.output_for_node(f"{site.name}.validate")["go"] == [str(site.row_of(good)["job_id"])]


def test_rejected_rows_are_in_the_bucket_twice_and_counted_by_rule_and_column_on_the_run(site: Site) -> None:
    key = site.put("bad.csv", GOOD_FILE + b"2024-05-01T10:00:01Z,=1+1\n2024-05-01T10:00:02Z,x\n,9\n")

    (request,) = site.tick().run_requests
    result = executed(site, request, reporting_asset(site))

    row = site.row_of(key)
    kept = Quarantine.from_dict(row["result"]["quarantine"])
    assert row["quarantine_url"] == kept.csv_url
    csv_key = kept.csv_url.removeprefix(site.bucket.url(""))
    assert b"'=1+1" in site.bucket.get(csv_key)
    exact = pl.concat([pl.read_parquet(site.bucket.get(parquet)) for parquet in kept.parquet_keys])
    assert exact["value"].to_list() == ["=1+1", "x", None]
    assert (kept.entries, kept.neutralised) == (3, 1)

    (materialized,) = result.asset_materializations_for_node(f"{site.name}.report")
    (check,) = [c for c in result.get_asset_check_evaluations() if c.check_name == "rejected_fraction"]
    for metadata in (materialized.metadata, check.metadata):
        assert str(metadata["rejected_by_rule"].value).splitlines()[2:] == [
            "| n | type | 2 |",
            "| at | not&#95;null | 1 |",
        ]
    assert check.description is not None
    assert check.description.endswith("rows were rejected, most by the rule type of n.")


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Day to (files of the run, rows it read, files of the day in the ledger)."""
    return {
        event.step_materialization_data.materialization.partition: tuple(
            event.step_materialization_data.materialization.metadata[name].value
            for name in ("files", "rows_read", "day_files")
        )
        for event in result.all_events
        if event.is_step_materialization
    }


def test_a_run_of_several_days_takes_the_files_of_all_and_tells_each_day_its_own(site: Site) -> None:
    days = [date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)]
    keys = [site.put("a.csv", day=days[0]), site.put("b.csv", day=days[0]), site.put("c.csv", day=days[2])]
    site.tick()
    request = dg.RunRequest(
        tags={"dagster/asset_partition_range_start": "2026-03-01", "dagster/asset_partition_range_end": "2026-03-03"}
    )
    for claim in site.ledger.queue.open_claims():
        site.ledger.queue.release(claim.token, reason="", now=now(), wait=timedelta(0), max_tries=9)

    result = executed(site, request, reporting_asset(site))

    assert {site.row_of(key)["run_id"] for key in keys} == {result.run_id}
    assert materialized(result) == {"2026-03-01": (2, 4, 2), "2026-03-02": (0, 0, 0), "2026-03-03": (1, 2, 1)}


def test_files_of_other_days_in_a_batch_that_is_resumed_are_told_on_their_days(site: Site) -> None:
    first, second = (site.put("a.csv", day=date(2026, 3, day)) for day in (1, 2))
    request, *_ = site.tick().run_requests
    job_ids = [site.row_of(key)["job_id"] for key in (first, second)]
    token = fresh_token(uuid4())
    for claim in site.ledger.queue.open_claims():
        site.ledger.queue.release(claim.token, reason="", now=now(), wait=timedelta(0), max_tries=9)
    assert len(site.ledger.queue.claim(list(map(str, job_ids)), token=token, now=now())) == 2

    resumed = dg.RunRequest(partition_key="2026-03-01", tags={**request.tags, CLAIM_TAG: token})
    result = executed(site, resumed, reporting_asset(site))

    assert materialized(result) == {"2026-03-01": (1, 2, 1), "2026-03-02": (1, 2, 1)}
