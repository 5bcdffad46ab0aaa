"""The op `validate` in a run of its own: what one file's trouble means for the others of its batch."""

from typing import Any

import dagster as dg

from ingestion_pipeline.defs.assets import day_partitions
from ingestion_pipeline.defs.validate_op import validate
from ingestion_pipeline_tests.defs.conftest import Site
from ingestion_pipeline_tests.guarded_bucket import denied


def run(site: Site, request: Any) -> dg.ExecuteInProcessResult:
    """The run of a request, as far as its op `validate`."""

    @dg.graph_asset(name=site.name, partitions_def=day_partitions(site.contracts.book().contracts[site.name]))
    def asset() -> Any:
        return validate()

    definitions = dg.Definitions(
        assets=[asset],
        jobs=[dg.define_asset_job("validate_only", [asset])],
        resources=site.resources,
        executor=dg.in_process_executor,
    )
    return definitions.resolve_job_def("validate_only").execute_in_process(
        partition_key=request.partition_key, tags=request.tags, instance=site.instance
    )


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
