"""`take()` for every entry: a claim's token, keys named by hand, a day's backfill; and retries of each."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from pydantic import Field

from ingestion_pipeline.adapters.contract_directory import ContractDirectory
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.assets import day_partitions
from ingestion_pipeline.defs.batch import CLAIM_TAG, take
from ingestion_pipeline.domain.job import Lane, Outcome
from ingestion_pipeline.errors import Unproved, UnreadableFile
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.defs.conftest import Site, token_of
from ingestion_pipeline_tests.guarded_bucket import denied
from ingestion_pipeline_tests.ledger import lease_of

TODAY = datetime.now(UTC).date()


class Keys(dg.Config):
    keys: list[str] = Field(default=[])
    fail_times: int = 0


@dg.op
def taking(
    context: dg.OpExecutionContext,
    config: Keys,
    ledger: dg.ResourceParam[Ledger],
    bucket: dg.ResourceParam[ObjectStore],
    contracts: dg.ResourceParam[ContractDirectory],
    settings: dg.ResourceParam[Settings],
) -> dict[str, Any]:
    taken = take(context, keys=config.keys, ledger=ledger, bucket=bucket, book=contracts.book(), values=settings)
    if context.retry_number < config.fail_times:
        raise dg.RetryRequested(max_retries=config.fail_times, seconds_to_wait=0)
    return {"jobs": [job.job_id for job in taken.jobs], "notes": taken.notes}


def run(
    site: Site, *keys: str, tags: dict[str, str] | None = None, fail_times: int = 0
) -> tuple[list[str], str, dg.ExecuteInProcessResult]:
    """A run that takes its jobs and does nothing with them: their keys, what it was told, and the run."""

    @dg.graph_asset(name=site.name, partitions_def=day_partitions(site.contracts.book().contracts[site.name]))
    def asset() -> Any:
        return taking()

    definitions = dg.Definitions(
        assets=[asset],
        jobs=[dg.define_asset_job("take_only", [asset])],
        resources=site.resources,
        executor=dg.in_process_executor,
    )
    config = {"keys": list(keys), "fail_times": fail_times}
    result = definitions.resolve_job_def("take_only").execute_in_process(
        run_config={"ops": {site.name: {"ops": {"taking": {"config": config}}}}},
        partition_key=TODAY.isoformat(),
        tags=tags,
        instance=site.instance,
    )
    output = result.output_for_node(f"{site.name}.taking")
    rows = [site.world.row(job_id)["object_key"] for job_id in output["jobs"]]
    return sorted(rows), " ".join(output["notes"]), result


def ended(site: Site, how: Any, *keys: str) -> None:
    """End the newest job of each key."""
    for key in keys:
        _, _, result = run(site, key)
        (job_id,) = result.output_for_node(f"{site.name}.taking")["jobs"]
        (job,) = site.ledger.jobs.rows_of([job_id])
        if isinstance(how, Outcome):
            site.world.complete(job, how)
        else:
            site.ledger.work.fail(lease_of(job), how, now=site.world.now)


def test_a_key_named_by_hand_is_taken_without_waiting_for_the_sensor(site: Site) -> None:
    key = site.put()
    keys, notes, result = run(site, f"s3://{site.bucket.bucket}/{key}")
    assert (keys, notes) == ([key], "")
    launched = site.instance.get_run_by_id(result.run_id)
    assert launched is not None
    assert launched.tags[CLAIM_TAG] == site.row_of(key)["claim_token"], "the sweep finds the run by its claim"


def test_keys_that_cannot_be_loaded_here_are_told_one_by_one(site: Site) -> None:
    site.contract(f"{site.name}b")
    other = f"uploads/{site.name}/{site.name}b/{TODAY}/id/a.csv"
    site.bucket.put(other, b"x")
    early = site.put(day=TODAY.replace(year=2021))
    site.bucket.put("nobody/claims.this", b"x")

    keys, notes, _ = run(site, "no/such/object.csv", other, early, "nobody/claims.this")

    assert keys == []
    assert "no/such/object.csv: there is no such object" in notes
    assert f"belongs to {site.name}b; launch that asset" in notes
    assert f"belongs to partition {TODAY.replace(year=2021)}" in notes
    assert "No contract claims 'nobody/claims.this'" in notes


def test_a_key_that_may_not_be_read_is_told_and_stops_no_other(site: Site) -> None:
    refused, good = site.put("refused.csv"), site.put("good.csv")
    with denied(site.bucket, refused):
        keys, notes, _ = run(site, refused, good)
    assert keys == [good]
    assert f"{refused} may not be read" in notes


def test_a_loaded_key_does_nothing_and_names_replay(site: Site) -> None:
    key = site.put()
    ended(site, Outcome.LOADED, key)
    keys, notes, _ = run(site, key)
    assert keys == []
    assert "loaded already" in notes
    assert "replay" in notes


def test_a_failed_key_is_tried_again_as_a_new_job_and_the_failed_one_stays(site: Site) -> None:
    key = site.put()
    ended(site, UnreadableFile("Cut off."), key)
    assert run(site, key)[0] == [key]
    rows = site.world.rows("SELECT * FROM ingestion_jobs WHERE object_key = %s ORDER BY created_at", key)
    assert [(row["status"], row["cause"]) for row in rows] == [("failed", "discovered"), ("processing", "retry")]
    assert rows[1]["parent_job_id"] == rows[0]["job_id"]


def test_a_key_whose_rows_may_be_in_druid_is_not_tried_again(site: Site) -> None:
    key = site.put()
    ended(site, Unproved("Fewer rows than expected."), key)
    keys, notes, _ = run(site, key)
    assert keys == []
    assert "Use `replay` to load it again" in notes


def test_a_key_that_another_run_works_on_is_left_to_it(site: Site) -> None:
    key = site.put()
    assert run(site, key)[0] == [key]
    keys, notes, _ = run(site, key)
    assert keys == []
    assert "worked on by another run" in notes


def test_a_backfill_takes_what_waits_history_included_and_nothing_twice(site: Site) -> None:
    history = site.world.job("old.csv", lane=Lane.HISTORY, partition_day=TODAY)
    fresh = site.world.job("new.csv", partition_day=TODAY)
    assert run(site)[0] == ["new.csv", "old.csv"]
    for job_id in (history, fresh):
        assert site.world.row(job_id)["status"] == "processing"
    keys, notes, _ = run(site)
    assert keys == []
    assert "nothing loaded twice" in notes


def test_a_backfill_beyond_the_caps_says_that_more_follows(site: Site) -> None:
    for number in range(3):
        site.world.job(f"{number}.csv", lane=Lane.HISTORY, partition_day=TODAY)
    site.settings = site.settings.model_copy(update={"batch_max_files": 2})
    keys, notes, _ = run(site)
    assert len(keys) == 2
    assert "1 more files" in notes


@pytest.mark.parametrize("named", [True, False], ids=["keys", "backfill"])
def test_an_op_that_is_tried_again_in_its_run_takes_its_jobs_again(site: Site, named: bool) -> None:
    key = site.put()
    if not named:
        site.world.job(key, partition_day=TODAY)
    keys, notes, _ = run(site, *([key] if named else []), fail_times=2)
    assert (keys, notes) == ([key], "")


def test_a_claimed_run_takes_its_claim_and_its_retry_takes_it_over(site: Site) -> None:
    key = site.put()
    (request,) = site.tick().run_requests
    keys, _, result = run(site, tags=request.tags)
    assert keys == [key]

    stranger, notes, _ = run(site, tags=request.tags)
    assert stranger == [], "another run with the token, while the first holds its leases"
    assert "stale" in notes

    epoch = site.row_of(key)["lease_epoch"]
    (job,) = site.world.take(token_of(request), "retry", result.run_id)
    assert job.lease_epoch == epoch + 1
