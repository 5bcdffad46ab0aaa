"""Uploads after the load: tagged, moved or deleted, never the wrong version, and never lost to a replay."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from ingestion_pipeline.adapters.postgres_orders import target_around
from ingestion_pipeline.adapters.postgres_upkeep import Upkeep
from ingestion_pipeline.adapters.s3_upkeep import BucketUpkeep
from ingestion_pipeline.defs.validate_op import source_of
from ingestion_pipeline.domain.contract import AfterLoad
from ingestion_pipeline.domain.job import Cause
from ingestion_pipeline.domain.orders import require_replayable
from ingestion_pipeline.errors import CorrectionRefused, ObjectMissing
from ingestion_pipeline.upkeep.after_load import put_uploads_away
from ingestion_pipeline_tests.integration.upkeep.conftest import BASE, Site


def put_away(site: Site, now: datetime = BASE + timedelta(days=2), **policy: Any) -> dict[str, int]:
    book = site.book(after_load=AfterLoad(**policy))
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
    # Undone meanwhile, and loaded again: the new job finds the file moved already.
    site.sql("UPDATE ingestion_jobs SET outcome = 'undone' WHERE job_id = %s", job.job_id)
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
