"""Retention: random jobs and objects, then everything that something needs is still there."""

import random
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import dagster as dg
import pytest

from ingestion_pipeline.adapters.s3_upkeep import BucketUpkeep
from ingestion_pipeline.defs.upkeep import delete_old_runs
from ingestion_pipeline.domain.job import Cause, Lane
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.integration.upkeep.conftest import BASE, Site

STATES = ("waiting", "working", "attempted", "failed", "duplicate", "loaded", "rejects", "undone")


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_something_needs_goes_and_everything_else_does(site: Site, seed: int) -> None:
    chance = random.Random(seed)
    needed, spent, young = set(), set(), set()
    for number in range(24):
        what = STATES[number % len(STATES)]
        job = site.ended(what, f"exports/{number}.csv")
        for epoch in range(1, chance.randint(2, 3)):
            cleaned = site.put("cleaned", job.job_id, epoch, "rows.csv.zst")
            quarantine = site.put("quarantine", job.job_id, epoch, "rejected.csv")
            live = what in ("waiting", "working", "attempted")
            (needed if live else spent).add(cleaned)
            (needed if live or (what == "rejects" and epoch == 1) else young).add(quarantine)
    orphan = site.put("cleaned", str(uuid4()), 1, "rows.csv.zst")
    foreign = f"cleaned/someone/{site.world.name}/{uuid4()}/e1/rows"
    for key in (foreign, "dagster/storage/x"):
        site.bucket.put(key, b"x")
    uploads = site.objects("exports/")

    assert site.retain(BASE + timedelta(days=6)).objects["cleaned"].objects == 0
    would = site.retain(BASE + timedelta(days=8), dry_run=True)
    done = site.retain(BASE + timedelta(days=8))
    assert done.objects["cleaned"].objects == would.objects["cleaned"].objects == len(spent) + 1
    assert site.objects() == needed | young | uploads | {foreign}
    assert orphan not in site.objects()

    site.retain(BASE + timedelta(days=91))
    assert site.objects() == needed | uploads | {foreign}


def test_a_corrected_file_s_rejected_rows_go_and_an_uncorrected_one_s_stay(site: Site) -> None:
    open_one, fixed = site.ended("rejects", "open.csv"), site.ended("rejects", "fixed.csv")
    kept = site.put("quarantine", open_one.job_id, 1, "rejected-00000.parquet")
    site.put("quarantine", fixed.job_id, 1, "rejected.csv")
    fix = site.ended("loaded", "fix.csv")
    site.sql(
        "UPDATE ingestion_jobs SET cause = 'resubmit', parent_job_id = %s WHERE job_id = %s", fixed.job_id, fix.job_id
    )
    site.retain(BASE + timedelta(days=91))
    assert site.objects("quarantine/") == {kept}


def test_uploads_in_parts_that_nobody_finished_are_aborted_after_a_day(site: Site) -> None:
    client = site.bucket.client
    for key in ("cleaned/a", "uploads/b", "exports/theirs"):
        client.create_multipart_upload(Bucket=site.bucket.bucket, Key=key)
    assert site.retain(BASE + timedelta(hours=23)).unfinished_uploads == 0
    assert site.retain(BASE + timedelta(hours=25)).unfinished_uploads == 2
    later = BASE + timedelta(days=9)
    assert BucketUpkeep(site.bucket).abort_unfinished("", before=later, limit=10) == 1, "a customer's own is left alone"


def test_old_events_and_specs_go_and_loaded_jobs_stay_with_where_their_rows_lie(site: Site) -> None:
    job = site.ended("loaded", "a.csv")
    assert site.retain(BASE + timedelta(days=399)).events == 0
    site.make_old()
    live = site.ended("working", "b.csv")
    done = site.retain(BASE)
    assert (done.events, done.attempts, done.jobs.deleted) == (3, 1, 0)
    assert site.world.events(job.job_id) == []
    assert site.world.events(live.job_id) != []
    assert site.ledger.attempts.intervals_of([job.job_id])
    (attempt,) = site.ledger.attempts.of_job(job.job_id)
    assert (attempt.spec, attempt.expected) == ({}, {job.job_id: 5})


def test_old_jobs_without_rows_go_unless_their_object_would_be_found_again_or_something_refers_to_them(
    site: Site,
) -> None:
    there, gone = site.ended("failed", "there.csv"), site.ended("failed", "gone.csv")
    newer, undone = site.ended("duplicate", "newer.csv"), site.ended("undone", "undone.csv")
    loaded = site.ended("loaded", "loaded.csv")
    site.bucket.delete(["gone.csv", "undone.csv"])
    site.bucket.put("newer.csv", b"another version")
    (failed_replay,) = site.ledger.corrections.begin(
        Cause.REPLAY, [loaded.job_id], new_ids=[str(uuid4())], now=site.world.now
    )
    site.end("failed", failed_replay)
    (retry,) = site.ledger.corrections.begin(Cause.REPLAY, [gone.job_id], new_ids=[str(uuid4())], now=site.world.now)
    site.end("failed", retry)
    site.make_old()
    recent = site.ended("failed", "recent.csv")
    site.bucket.delete(["recent.csv"])

    first = site.retain(BASE)
    assert site.known() == {there.job_id, gone.job_id, loaded.job_id, failed_replay, recent.job_id}, "children first"
    assert (first.jobs.deleted, first.jobs.in_bucket, first.jobs.needed) == (3, 1, 2)
    site.retain(BASE)
    assert site.known() == {there.job_id, loaded.job_id, failed_replay, recent.job_id}
    assert newer.job_id not in site.known()
    assert undone.job_id not in site.known()

    # What is in the bucket is still known: nothing is entered again.
    stored = site.bucket.head("there.csv")
    assert stored is not None
    upload = site.world.upload(
        "there.csv", bucket=site.bucket.bucket, etag=stored.etag, last_modified=stored.last_modified
    )
    assert site.ledger.discovery.enter([(upload, Lane.LIVE)], job_ids=[uuid4()], now=BASE).new == ()


def test_old_runs_of_dagster_go_but_those_that_show_a_partition_or_have_a_live_job(site: Site) -> None:
    days = dg.DailyPartitionsDefinition("2024-05-01")

    @dg.asset(partitions_def=days)
    def made() -> None: ...

    @dg.op
    def nothing() -> None: ...

    @dg.job
    def plain() -> None:
        nothing()

    with dg.DagsterInstance.ephemeral() as instance:
        older, newer = (dg.materialize([made], instance=instance, partition_key="2024-05-01").run_id for _ in range(2))
        spent, at_work = (plain.execute_in_process(instance=instance).run_id for _ in range(2))
        job = site.ended("working", "a.csv")
        site.sql("UPDATE ingestion_jobs SET run_id = %s WHERE job_id = %s", at_work, job.job_id)

        def look(days: int, *, dry_run: bool = False) -> tuple[int, int]:
            now = datetime.now(UTC) + timedelta(days=days)
            return delete_old_runs(instance, site.ledger, Settings(), now=now, dry_run=dry_run)

        assert look(89) == (0, 0)
        assert look(91, dry_run=True) == (2, 2)
        assert look(91) == (2, 2)
        assert {run.run_id for run in instance.get_runs()} == {newer, at_work}
        assert not instance.has_run(older)
        assert not instance.has_run(spent)
        assert "2024-05-01" in instance.get_materialized_partitions(dg.AssetKey("made"))
