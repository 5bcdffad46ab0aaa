"""Backfills beside the sensor: slots that they leave, files that they give back when stopped, aging in the queue.

What belongs here: what dispatch makes of Dagster's own backfills. What does not: what a backfill's run takes
(`test_take`).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
import yaml
from dagster import DagsterRunStatus as Run
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from ingestion_pipeline.adapters.postgres_queue import fresh_token
from ingestion_pipeline.defs.batch import CLAIM_TAG, Heart, now
from ingestion_pipeline.defs.dispatcher import SHARE_TAG
from ingestion_pipeline.defs.failures import put_back
from ingestion_pipeline.domain.batch import Share
from ingestion_pipeline.domain.job import Lane
from ingestion_pipeline.embedded.druid import WORKER_CAPACITY
from ingestion_pipeline.stages.dispatch import AGING
from ingestion_pipeline_tests.defs.conftest import Site, token_of
from ingestion_pipeline_tests.ledger import DAY, lease_of


def test_a_backfill_of_a_year_does_not_keep_new_files_from_being_launched(site: Site, busy: dg.DagsterInstance) -> None:
    job = site.defs.resolve_job_def(f"ingest_{site.name}")
    for number in range(60):
        busy.create_run_for_job(job, status=Run.STARTED if number < 4 else Run.STARTING, tags={"dagster/backfill": "b"})
    site.put()
    assert len(site.tick().run_requests) == 1


def test_floods_and_backfills_leave_run_slots_and_backfills_leave_places_of_druids_pool_to_other_files() -> None:
    concurrency = yaml.safe_load((Path(__file__).parents[2] / "dagster.yaml").read_text())["concurrency"]
    limits = {
        (limit["key"], limit.get("value")): limit["limit"] for limit in concurrency["runs"]["tag_concurrency_limits"]
    }
    backfills = limits["dagster/backfill", None] + limits[SHARE_TAG, Share.BACKFILL.value]
    assert backfills + limits[SHARE_TAG, Share.FLOOD.value] < concurrency["runs"]["max_concurrent_runs"]
    assert backfills < concurrency["pools"]["default_limit"] < WORKER_CAPACITY


def test_what_waits_long_in_dagsters_queue_rises_backfills_too(site: Site, busy: dg.DagsterInstance) -> None:
    job = site.defs.resolve_job_def(f"ingest_{site.name}")
    server = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1)
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), job.name)
    days, low = (
        busy.create_run_for_job(job, status=Run.QUEUED, tags=tags, remote_job_origin=origin)
        for tags in ({"dagster/backfill": "b"}, {"dagster/priority": "2"})
    )

    def priorities() -> list[str | None]:
        runs = [busy.get_run_by_id(run.run_id) for run in (days, low)]
        return [run.tags.get("dagster/priority") for run in runs if run is not None]

    dispatcher = site.dispatcher()
    dispatcher.tick(now())
    assert priorities() == [None, "2"]
    for _ in range(2):
        dispatcher.tick(now() + AGING)
        assert priorities() == ["2", "4"]
    dispatcher.tick(now() + 10 * AGING)
    assert priorities() == ["8", "8"]


class TestStoppedBackfill:
    """What has not begun waits for the next backfill, what Druid may know is followed to its end, nothing is lost."""

    @pytest.fixture
    def stopped(self, site: Site, busy: dg.DagsterInstance) -> Callable[[], str]:
        """Dagster's backfill, and how to stop it; its id is `bf`."""
        backfill = PartitionBackfill(
            backfill_id="bf",
            status=BulkActionStatus.REQUESTED,
            from_failure=False,
            tags={},
            backfill_timestamp=0.0,
        )
        busy.add_backfill(backfill)

        def stop() -> str:
            busy.update_backfill(backfill.with_status(BulkActionStatus.CANCELING))
            return "bf"

        return stop

    def history(self, site: Site, count: int) -> list[str]:
        ids = []
        for number in range(count):
            site.world.later(1)
            ids.append(site.world.job(f"{number}.csv", lane=Lane.HISTORY))
        return ids

    def claimed(self, site: Site, files: int) -> tuple[str, list[str]]:
        """What a run of the backfill claims; it has the token as its tag."""
        token = fresh_token(uuid4())
        claimed, _ = site.ledger.queue.claim_day(
            datasource=site.name, days=[DAY], token=token, now=now(), max_files=files, max_bytes=10**9, backfill_id="bf"
        )
        return token, claimed

    def lanes(self, site: Site, job_ids: Sequence[str]) -> list[tuple[str, str]]:
        return [(row["lane"], row["status"]) for row in map(site.world.row, job_ids)]

    def test_what_the_sensor_would_have_launched_waits_for_the_next_one(
        self, site: Site, stopped: Callable[[], str]
    ) -> None:
        ids = self.history(site, 5)
        self.claimed(site, 2)
        requests = site.tick(batch_max_files=1).run_requests
        assert len(requests) == 3
        (working,) = site.ledger.work.take(token=token_of(requests[0]), run_id="at work", ancestors=(), now=now())
        stopped()

        assert site.tick().run_requests == []

        held_back = set(ids) - {working.job_id}
        assert {job_id for job_id in ids if site.world.row(job_id)["lane"] == "history"} == held_back
        for stale in requests[1:]:
            assert site.ledger.work.take(token=token_of(stale), run_id="late", ancestors=(), now=now()) == []
        assert set(self.claimed(site, 9)[1]) == held_back, "a new start takes them"

    def test_a_run_that_was_canceled_with_it_gives_its_files_back_and_they_are_due_at_once(
        self, site: Site, stopped: Callable[[], str]
    ) -> None:
        ids = self.history(site, 3)
        token, _ = self.claimed(site, 3)
        run = site.instance.create_run_for_job(
            site.defs.resolve_job_def(f"ingest_{site.name}"), tags={CLAIM_TAG: token, "dagster/backfill": stopped()}
        )
        site.world.now = now()
        jobs = site.world.take(token, run.run_id)
        loading = site.world.freeze(jobs[:1])
        site.instance.report_run_canceled(run)

        site.tick()

        assert self.lanes(site, ids) == [("backfill", "retrying"), ("history", "retrying"), ("history", "retrying")]
        assert site.world.row(ids[0])["attempt_id"] == loading.attempt_id
        assert {site.world.row(job_id)["tries"] for job_id in ids[1:]} == {0}
        assert set(self.claimed(site, 9)[1]) >= set(ids[1:]), "a new start takes them at once"

    def test_a_run_that_is_interrupted_gives_its_files_back_itself_and_leaves_druid_its_task(self, site: Site) -> None:
        site.world.now = now()
        reading, loading = site.world.taken("reading.csv", "loading.csv")
        attempt = site.world.freeze([loading])
        heart = Heart(site.ledger, {job.job_id: lease_of(job) for job in (reading, loading)}, 1)

        assert put_back(site.ledger, heart) == 2

        rows = [site.world.row(job.job_id) for job in (reading, loading)]
        assert [(row["status"], row["tries"], row["claim_token"]) for row in rows] == [("retrying", 0, None)] * 2
        assert rows[1]["attempt_id"] == attempt.attempt_id
        assert rows[1]["cancel_requested_at"] is None, "a run follows the task to its end, whatever that is"

    def test_a_run_that_was_canceled_alone_ends_its_files_as_before(
        self, site: Site, stopped: Callable[[], str]
    ) -> None:
        (job_id,) = self.history(site, 1)
        token, _ = self.claimed(site, 1)
        run = site.instance.create_run_for_job(
            site.defs.resolve_job_def(f"ingest_{site.name}"), tags={CLAIM_TAG: token, "dagster/backfill": "bf"}
        )
        site.world.take(token, run.run_id)
        site.instance.report_run_canceled(run)
        site.tick()
        assert site.world.row(job_id)["status"] == "canceled"
