"""Retention on real PostgreSQL and S3: random jobs and objects, then everything that something needs is still there."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest

from ingestion_pipeline.adapters.contracts import load_contract
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.postgres_orders import target_around
from ingestion_pipeline.adapters.postgres_upkeep import Upkeep
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.adapters.s3_upkeep import BucketUpkeep
from ingestion_pipeline.defs.upkeep import delete_old_runs
from ingestion_pipeline.defs.validate_op import source_of
from ingestion_pipeline.domain.contract import AfterLoad, Contract, ContractBook
from ingestion_pipeline.domain.contract_patterns import FilePattern
from ingestion_pipeline.domain.job import AttemptState, Cause, Job, Lane, Outcome
from ingestion_pipeline.domain.orders import require_replayable
from ingestion_pipeline.errors import CorrectionRefused, ObjectMissing, UnreadableFile
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.upkeep.after_load import put_uploads_away
from ingestion_pipeline.upkeep.reconcile import Listing, reconcile_listing
from ingestion_pipeline.upkeep.retention import Retained, Retention
from ingestion_pipeline_tests.conftest import LedgerDatabase, S3Access
from ingestion_pipeline_tests.ledger import World, lease_of

YEARS = timedelta(days=800)
BASE = datetime.now(UTC).replace(microsecond=0)
"""Objects are of this moment: S3 sets no time by order. Retention is told another one."""


@dataclass
class Site:
    world: World
    bucket: ObjectStore
    jobs: dict[str, str] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        return self.world.ledger

    def retain(self, now: datetime, *, dry_run: bool = False) -> Retained:
        told: list[str] = []
        return Retention(
            ledger=self.ledger,
            bucket=self.bucket,
            settings=Settings(),
            now=now,
            tell=told.append,
            dry_run=dry_run,
        ).run()

    def objects(self, prefix: str = "") -> set[str]:
        return {stored.key for stored in self.bucket.list_page(prefix)}

    def put(self, kind: str, job_id: str, epoch: int, name: str) -> str:
        key = f"{kind}/{self.world.name}/{self.world.name}/{job_id}/e{epoch}/{name}"
        self.bucket.put(key, b"x")
        return key

    def ended(self, what: str, key: str) -> Job:
        """A job in a state, its upload in the bucket."""
        self.bucket.put(key, what.encode())
        stored = self.bucket.head(key)
        assert stored is not None
        job_id = self.world.job(
            key, bucket=self.bucket.bucket, etag=stored.etag, last_modified=stored.last_modified, size_bytes=1
        )
        return self.end(what, job_id)

    def end(self, what: str, job_id: str) -> Job:
        world = self.world
        token = f"claim-{uuid4().hex}"
        if what == "waiting":
            return self.ledger.jobs.rows_of([job_id])[0]
        assert self.ledger.queue.claim([job_id], token=token, now=world.now) == [job_id]
        (job,) = world.take(token, f"run-{job_id}")
        if what in ("working", "attempted"):
            if what == "attempted":
                world.freeze([job])
            return job
        if what == "failed":
            self.ledger.work.fail(lease_of(job), UnreadableFile("No."), now=world.now)
        elif what == "duplicate":
            world.complete(job, Outcome.DUPLICATE)
        else:
            attempt = world.freeze([job])
            rejected = 2 if what == "rejects" else 0
            world.rows(
                "UPDATE ingestion_jobs SET rows_read = %s, rows_accepted = 5, rows_rejected = %s, quarantine_url = %s "
                "WHERE job_id = %s RETURNING 1",
                5 + rejected,
                rejected,
                self.bucket.url(f"quarantine/{world.name}/{world.name}/{job_id}/e1/rejected.csv"),
                job_id,
            )
            self.ledger.attempts.mark(attempt.attempt_id, AttemptState.PROVED, leases=[lease_of(job)], now=world.now)
            world.complete(job, Outcome.LOADED_WITH_REJECTS if rejected else Outcome.LOADED, rows=5)
            if what == "undone":
                self.sql("UPDATE ingestion_jobs SET outcome = 'undone' WHERE job_id = %s", job_id)
        return self.ledger.jobs.rows_of([job_id])[0]

    def sql(self, statement: str, *values: Any) -> None:
        self.world.rows(f"{statement} RETURNING 1", *values)

    def make_old(self) -> None:
        """Everything in the ledger happened 800 days ago."""
        past = BASE - YEARS
        self.sql(
            "UPDATE ingestion_jobs SET created_at = %s, finished_at = %s WHERE finished_at IS NOT NULL", past, past
        )
        self.sql("UPDATE job_events SET created_at = %s WHERE true", past)
        self.sql("UPDATE druid_attempts SET finished_at = %s WHERE finished_at IS NOT NULL", past)

    def known(self) -> set[str]:
        return {str(row["job_id"]) for row in self.world.rows("SELECT job_id FROM ingestion_jobs")}


@pytest.fixture(scope="module")
def database(fresh_database: Callable[[], LedgerDatabase]) -> LedgerDatabase:
    return fresh_database()


@pytest.fixture
def site(database: LedgerDatabase, s3: S3Access) -> Iterator[Site]:
    ledger = Ledger(database.pipeline_url)
    bucket = s3.store(bucket=f"{s3.bucket}-retention")
    if not bucket.ensure_bucket():
        while page := bucket.list_page():
            bucket.delete([stored.key for stored in page])
    made = Site(World(database, ledger, now=BASE), bucket)
    made.sql("DELETE FROM attempt_jobs WHERE true")
    made.sql("DELETE FROM job_events WHERE true")
    made.sql("DELETE FROM ingestion_jobs WHERE true")
    made.sql("DELETE FROM druid_attempts WHERE true")
    made.sql("DELETE FROM upkeep WHERE true")
    yield made
    ledger.close()


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
    orphan = site.put("cleaned", str(uuid4()), 1, "part-00000.arrow")
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


def flights() -> Contract:
    return load_contract(Path(str(resources.files("ingestion_pipeline") / "contracts" / "flights.yaml")))


def put_away(site: Site, now: datetime = BASE + timedelta(days=2), **policy: Any) -> dict[str, int]:
    contract = replace(flights(), datasource=site.world.name, after_load=AfterLoad(**policy))
    book = ContractBook(contracts={contract.datasource: contract})
    return dict(put_uploads_away(site.ledger, site.bucket, book, now=now, tell=lambda _: None))


def test_a_loaded_upload_is_moved_after_a_while_and_a_replay_reads_it_where_it_is(site: Site) -> None:
    job = site.ended("loaded", "exports/a.csv")
    assert put_away(site, BASE + timedelta(hours=23), action="move") == {}
    assert put_away(site) == {}, "the default leaves everything where it is"

    assert put_away(site, action="move", to="loaded/old/") == {"moved": 1}

    assert site.objects() == {to := f"loaded/old/{job.job_id}/exports/a.csv"}
    assert put_away(site, action="move") == {}
    (replay,) = site.ledger.jobs.rows_of(
        site.ledger.corrections.begin(Cause.REPLAY, [job.job_id], new_ids=[str(uuid4())], now=BASE)
    )
    source = source_of(replay, site.ledger)
    assert source.key == to
    assert b"".join(site.bucket.read(source.key, if_match=source.etag)) == b"loaded"
    # The replayed file's own job finds it moved already.
    site.end("loaded", replay.job_id)
    assert put_away(site, action="move") == {"moved": 1}
    assert site.ledger.upkeep.source_of(replay).key == to


def test_a_loaded_upload_is_deleted_and_a_replay_says_so(site: Site) -> None:
    job = site.ended("rejects", "exports/a.csv")
    assert put_away(site, action="delete") == {"deleted": 1}
    assert site.objects("exports/") == set()
    with pytest.raises(CorrectionRefused, match="was deleted from the bucket after it was loaded"):
        require_replayable(target_around(site.ledger, job))
    (replay,) = site.ledger.jobs.rows_of(
        site.ledger.corrections.begin(Cause.REPLAY, [job.job_id], new_ids=[str(uuid4())], now=BASE)
    )
    with pytest.raises(ObjectMissing, match="as its contract says"):
        source_of(replay, site.ledger)


def test_tags_are_added_to_those_that_are_there_and_make_no_new_version(site: Site) -> None:
    job = site.ended("loaded", "exports/a.csv")
    client, bucket = site.bucket.client, site.bucket.bucket
    client.put_object_tagging(Bucket=bucket, Key="exports/a.csv", Tagging={"TagSet": [{"Key": "mine", "Value": "1"}]})
    assert put_away(site, action="tag") == {"tagged": 1}
    tags = client.get_object_tagging(Bucket=bucket, Key="exports/a.csv")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "mine": "1",
        "ingestion-status": "loaded",
        "ingestion-job": job.job_id,
    }
    stored = site.bucket.head("exports/a.csv")
    assert stored is not None
    assert (stored.etag, stored.last_modified) == (job.etag, job.last_modified)


@pytest.mark.parametrize("action", ["tag", "move", "delete"])
def test_only_the_version_that_was_loaded_is_touched_and_nothing_that_a_job_is_about_to_read(
    site: Site, action: str
) -> None:
    for what in ("waiting", "working", "failed", "duplicate", "undone"):
        site.ended(what, f"exports/{what}.csv")
    site.ended("loaded", "exports/changed.csv")
    site.bucket.put("exports/changed.csv", b"a newer version")
    busy = site.ended("loaded", "exports/busy.csv")
    site.ledger.corrections.begin(Cause.REPLAY, [busy.job_id], new_ids=[str(uuid4())], now=BASE)
    before = site.objects("exports/")

    done = put_away(site, action=action)

    assert done == ({"left": 1, "tagged": 1} if action == "tag" else {"left": 1, "waiting": 1})
    assert site.objects("exports/") == before


@pytest.mark.parametrize("dies_at", ["put_away", "delete"])
@pytest.mark.parametrize("action", ["move", "delete"])
def test_a_run_that_dies_between_two_steps_is_taken_up_by_the_next(
    site: Site, monkeypatch: pytest.MonkeyPatch, action: str, dies_at: str
) -> None:
    job = site.ended("loaded", "exports/a.csv")

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Upkeep if dies_at == "put_away" else BucketUpkeep, dies_at, die)
        with pytest.raises(KeyboardInterrupt):
            put_away(site, action=action)
    assert put_away(site, action=action) == {f"{action}d": 1}
    assert site.objects() == ({f"loaded/{job.job_id}/exports/a.csv"} if action == "move" else set())


def test_an_upload_whose_discovery_was_lost_is_found_and_entered_once(site: Site) -> None:
    contract = replace(
        flights(),
        datasource=site.world.name,
        files=(FilePattern(pattern="exports/*.csv", organization=site.world.name),),
    )
    book = ContractBook(contracts={contract.datasource: contract})
    site.ended("loaded", "exports/known.csv")
    for key in ("exports/lost.csv", "exports/other.txt", f"loaded/{uuid4()}/exports/put-away.csv"):
        site.bucket.put(key, b"x")
    later = datetime.now(UTC) + timedelta(minutes=11)

    def look(**options: Any) -> Listing:
        return reconcile_listing(site.ledger, site.bucket, book, now=later, tell=lambda _: None, **options)

    for _ in range(2):
        would = look(dry_run=True)
        assert (would.new, would.missed, would.keys) == (1, 1, ["exports/lost.csv"])
    assert look().keys == ["exports/lost.csv"]
    assert look().new == 0
    rows = site.world.rows("SELECT object_key, status FROM ingestion_jobs WHERE status = 'pending'")
    assert rows == [{"object_key": "exports/lost.csv", "status": "pending"}]
