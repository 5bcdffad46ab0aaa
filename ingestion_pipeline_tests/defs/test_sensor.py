"""The uploads sensor as a state machine: what becomes of an upload, whatever becomes of ticks and runs."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Run

from ingestion_pipeline.defs.batch import ORIGIN_TAG, now
from ingestion_pipeline.defs.dispatcher import SHARE_TAG
from ingestion_pipeline.defs.submit_op import DRUID_POOL
from ingestion_pipeline.domain.batch import Share
from ingestion_pipeline.domain.job import Outcome
from ingestion_pipeline.errors import DruidUnavailable
from ingestion_pipeline_tests.defs.conftest import Site, token_of
from ingestion_pipeline_tests.ledger import lease_of


def test_an_upload_becomes_a_run_request_of_its_claim_day_and_datasource(site: Site) -> None:
    key = site.put()

    (request,) = site.tick().run_requests

    row = site.row_of(key)
    assert (request.job_name, request.partition_key) == (f"ingest_{site.name}", row["partition_day"].isoformat())
    assert (row["status"], row["claim_token"]) == ("pending", token_of(request))
    assert site.tick().run_requests == [], "one claim, one run"


def test_a_backlog_becomes_batches_up_to_the_cap(site: Site) -> None:
    for number in range(5):
        site.put(f"{number}.csv")
    requests = site.tick(batch_max_files=2).run_requests
    assert sorted(request.tags["ingestion/files"] for request in requests) == ["1", "2", "2"]


def test_a_tick_that_died_before_its_request_loses_nothing(site: Site) -> None:
    key = site.put()
    (lost,) = site.tick().run_requests

    assert site.tick().run_requests == [], "a launch takes seconds"
    (request,) = site.tick(claim_timeout_seconds=0).run_requests

    assert token_of(request) != token_of(lost), "a run key is remembered for ever"
    assert site.row_of(key)["claim_token"] == token_of(request)


def test_a_run_that_waits_in_the_queue_keeps_its_claim(site: Site) -> None:
    site.put()
    (request,) = site.tick().run_requests
    site.run_of(request, Run.STARTING)
    assert site.tick(claim_timeout_seconds=0, heartbeat_limit_seconds=0).run_requests == []


def test_a_run_that_dagster_will_retry_keeps_its_claim_and_one_that_it_will_not_loses_it(site: Site) -> None:
    key = site.put()
    (request,) = site.tick().run_requests
    run = site.run_of(request, Run.STARTED)
    site.world.take(token_of(request), run.run_id)
    site.instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    site.instance.report_run_failed(run)
    site.instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    assert site.tick(claim_timeout_seconds=0).run_requests == []
    assert site.row_of(key)["status"] == "processing"

    site.instance.add_run_tags(run.run_id, {"dagster/will_retry": "false"})
    site.tick()

    row = site.row_of(key)
    assert (row["status"], row["claim_token"]) == ("retrying", None)
    assert row["next_try_at"] > now()


def test_a_canceled_run_ends_its_jobs_canceled(site: Site) -> None:
    key = site.put()
    (request,) = site.tick().run_requests
    site.run_of(request, Run.CANCELED)
    site.tick()
    assert (site.row_of(key)["status"], site.row_of(key)["outcome"]) == ("canceled", "stopped")


def test_a_silent_worker_is_fenced_and_its_run_fails(site: Site) -> None:
    key = site.put()
    (request,) = site.tick().run_requests
    run = site.run_of(request, Run.STARTED)
    (job,) = site.world.take(token_of(request), run.run_id)

    site.tick(heartbeat_limit_seconds=-1)

    failed = site.instance.get_run_by_id(run.run_id)
    assert failed is not None
    assert failed.status is Run.FAILURE
    row = site.row_of(key)
    assert row["lease_epoch"] == job.lease_epoch + 1, "what the worker still writes changes nothing"
    assert row["claim_token"] == token_of(request), "Dagster's retry comes under the same claim"
    assert len(site.world.take(token_of(request), "retry", run.run_id)) == 1


def test_a_run_whose_worker_died_after_its_last_file_ends_and_frees_its_slot(site: Site) -> None:
    key = site.put()
    (request,) = site.tick().run_requests
    run = site.run_of(request, Run.STARTED)
    (job,) = site.world.take(token_of(request), run.run_id)

    site.tick(heartbeat_limit_seconds=60)
    assert site.run_status(run) is Run.STARTED

    site.world.now = now()
    site.world.complete(job, Outcome.EMPTY)
    site.tick()
    assert site.run_status(run) is Run.STARTED, "it may be writing its report"
    site.tick(heartbeat_limit_seconds=-1)
    assert site.run_status(run) is Run.FAILURE
    assert site.row_of(key)["outcome"] == "empty"


@pytest.fixture
def line(site: Site) -> Iterator[Callable[[dg.DagsterRun], None]]:
    """Puts a run into the line for Druid's pool; it is its turn once the run `other`, which holds the pool, ends."""
    storage = site.instance.event_log_storage
    storage.set_concurrency_slots(DRUID_POOL, 1)
    there = ["other"]

    def join(run: dg.DagsterRun) -> None:
        there.append(run.run_id)
        assert not storage.claim_concurrency_slot(DRUID_POOL, run.run_id, "submit").is_claimed

    assert storage.claim_concurrency_slot(DRUID_POOL, "other", "submit").is_claimed
    yield join
    for run_id in there:
        storage.free_concurrency_slots_for_run(run_id)


def test_a_run_that_has_only_to_report_may_wait_for_its_turn_in_druids_pool(
    site: Site, line: Callable[[dg.DagsterRun], None]
) -> None:
    site.put()
    (request,) = site.tick().run_requests
    run = site.run_of(request, Run.STARTED)
    (job,) = site.world.take(token_of(request), run.run_id)
    site.world.now = now()
    site.world.complete(job, Outcome.DUPLICATE)
    line(run)

    site.tick(heartbeat_limit_seconds=-1)
    assert site.run_status(run) is Run.STARTED

    site.instance.event_log_storage.free_concurrency_slots_for_run("other")
    site.tick()
    assert site.run_status(run) is Run.FAILURE, "it was its turn, and it did not take it: its worker is dead"


def test_a_retry_that_begins_with_an_op_of_druids_pool_may_wait_for_its_turn(
    site: Site, line: Callable[[dg.DagsterRun], None]
) -> None:
    key = site.put()
    (request,) = site.tick().run_requests
    first = site.run_of(request, Run.STARTED)
    (job,) = site.world.take(token_of(request), first.run_id)
    site.instance.report_run_failed(first)
    retry = site.run_of(request, Run.STARTED)
    line(retry)

    site.tick(heartbeat_limit_seconds=-1)
    assert site.run_status(retry) is Run.STARTED
    assert site.row_of(key)["lease_epoch"] == job.lease_epoch

    site.instance.event_log_storage.free_concurrency_slots_for_run("other")
    site.tick()
    assert site.run_status(retry) is Run.FAILURE, "it was its turn, and it did not take it: its worker is dead"
    assert site.row_of(key)["lease_epoch"] == job.lease_epoch + 1


def test_while_druid_is_away_nothing_is_launched_and_everybody_is_told(site: Site) -> None:
    site.druid.problem = "the broker at http://127.0.0.1:1 does not answer"
    key = site.put()

    result = site.tick()

    assert result.run_requests == []
    assert "Druid unreachable since" in result.skip_message
    assert "1 new" in result.skip_message, "detection goes on"
    since = site.row_of(key)["waiting_reason"]
    assert since.startswith("Druid unreachable since")
    site.tick()
    assert site.row_of(key)["waiting_reason"] == since, "since when, not since the last look"

    site.druid.problem = None
    assert len(site.tick().run_requests) == 1
    assert site.row_of(key)["waiting_reason"] is None


def test_while_druid_is_away_a_file_that_was_given_back_is_told_a_time_that_is_to_come(site: Site) -> None:
    key = site.put()
    (request,) = site.tick().run_requests
    (job,) = site.world.take(token_of(request))
    site.ledger.work.give_back(lease_of(job), DruidUnavailable("Druid is away."), next_try_at=now())
    site.druid.problem = "no connection"

    site.tick()

    assert site.row_of(key)["next_try_at"] > now()
    assert site.row_of(key)["waiting_reason"] == "Druid is away."


def test_no_more_runs_than_twice_the_slots_are_queued(site: Site, busy: dg.DagsterInstance) -> None:
    for share, runs in ((Share.LIVE, 20), (Share.FLOOD, 10), (Share.BACKFILL, 10)):
        for _ in range(runs):
            busy.create_run_for_job(
                site.defs.resolve_job_def(f"ingest_{site.name}"),
                status=Run.STARTING,
                tags={ORIGIN_TAG: "sensor", SHARE_TAG: share.value},
            )
    key = site.put()
    result = site.tick()
    assert result.run_requests == []
    assert "Enough of its own runs are queued or started" in result.skip_message
    assert site.row_of(key)["claim_token"] is None, "unclaimed, so that what comes meanwhile joins its batch"


def test_a_second_tick_beside_a_working_one_does_nothing(site: Site) -> None:
    site.put()
    with site.ledger.queue.only_dispatcher() as first:
        assert first
        result = site.tick()
    assert result.run_requests == []
    assert "still at work" in result.skip_message
    assert len(site.tick().run_requests) == 1


def test_a_stale_token_leads_to_a_run_that_does_nothing(site: Site) -> None:
    key = site.put()
    (stale,) = site.tick().run_requests
    (request,) = site.tick(claim_timeout_seconds=0).run_requests
    before = site.row_of(key)

    result = site.defs.resolve_job_def(stale.job_name).execute_in_process(
        partition_key=stale.partition_key, tags=stale.tags, instance=site.instance, raise_on_error=False
    )

    assert result.success
    row = site.row_of(key)
    assert (row["status"], row["claim_token"], row["lease_epoch"]) == (
        "pending",
        token_of(request),
        before["lease_epoch"],
    )


def test_jobs_of_a_day_that_the_loaded_asset_has_no_partition_for_stop_no_other_file(site: Site) -> None:
    early = site.world.job(bucket=site.bucket.bucket, partition_day=now().date().replace(year=2019))
    key = site.put()
    (request,) = site.tick().run_requests
    assert site.row_of(key)["claim_token"] == token_of(request)
    assert "2020-01-01" in site.world.row(early)["waiting_reason"]


def test_the_sweep_gives_back_the_jobs_of_a_file_that_kills_workers_until_its_tries_are_over(site: Site) -> None:
    key = site.put()
    dispatcher = site.dispatcher()
    site.tick(batch_max_files=1)
    moment = now()
    for _ in range(site.settings.max_tries):
        token = site.row_of(key)["claim_token"]
        run = site.instance.create_run_for_job(
            site.defs.resolve_job_def(f"ingest_{site.name}"), tags={"ingestion/claim": token}
        )
        site.ledger.work.take(token=token, run_id=run.run_id, ancestors=(), now=moment)
        site.instance.report_run_failed(run)
        for _ in ("given back", "claimed again"):
            moment += timedelta(minutes=10)
            dispatcher.tick(moment)
    row = site.row_of(key)
    assert (row["status"], row["outcome"], row["tries"]) == ("failed", "worker_lost", site.settings.max_tries)


@pytest.mark.parametrize("cursor", ["garbage", '{"hot_index": -3}', None])
def test_a_lost_cursor_loses_nothing(site: Site, cursor: str | None) -> None:
    site.put()
    site.cursor = cursor
    assert len(site.tick().run_requests) == 1
