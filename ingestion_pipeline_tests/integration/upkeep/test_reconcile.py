"""Reconciliation: what nobody saw is entered, what Druid has lost is loaded again once; Druid is a script."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from ingestion_pipeline.domain.interval import Interval
from ingestion_pipeline.domain.reconciliation import unmended
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.upkeep.reconcile import Counted, Listing, RowCounter, reconcile_listing
from ingestion_pipeline_tests.integration.upkeep.conftest import BASE, Site


@dataclass
class Druid:
    """As much of Druid as counting asks: rows by job, everything served."""

    rows: dict[str, int] = field(default_factory=dict)

    def served_by_job(self, datasource: str, job_ids: Sequence[str], interval: Interval) -> dict[str, int]:
        return {job_id: self.rows.get(job_id, 0) for job_id in job_ids}

    def load_status(self, datasource: str, interval: Interval, *, force: bool) -> float | None:
        return None

    def load_rules(self, datasource: str) -> list[dict[str, Any]]:
        return [{"type": "loadForever"}]


def count(site: Site, druid: Druid, *, days: float = 8, **changes: Any) -> Counted:
    dry_run = changes.pop("dry_run", False)
    return RowCounter(
        ledger=site.ledger,
        bucket=site.bucket,
        druid=druid,  # type: ignore[arg-type]
        book=site.book(),
        settings=Settings(**changes),
        now=BASE + timedelta(days=days),
        tell=lambda _: None,
        dry_run=dry_run,
        sleep=lambda _: None,
    ).run()


def replays(site: Site) -> list[dict[str, Any]]:
    return site.world.rows("SELECT * FROM ingestion_jobs WHERE cause = 'replay' ORDER BY created_at")


def test_rows_that_are_gone_are_loaded_again_once_and_both_jobs_say_so(site: Site) -> None:
    right, lost = site.ended("loaded", "exports/right.csv"), site.ended("loaded", "exports/lost.csv")
    druid = Druid({right.job_id: 5})
    assert count(site, druid, days=6).jobs == 0, "they were counted when they were loaded"

    considered = count(site, druid, dry_run=True)
    assert (considered.right, len(considered.drifts), replays(site)) == (1, 1, [])

    (drift,) = count(site, druid).drifts

    (replay,) = replays(site)
    assert (drift.job_id, drift.repaired_by) == (lost.job_id, str(replay["job_id"]))
    assert (replay["uploaded_by"], replay["lane"], str(replay["parent_job_id"])) == (
        "reconciliation",
        "backfill",
        lost.job_id,
    )
    for job_id in (lost.job_id, drift.repaired_by):
        (warning,) = site.world.row(str(job_id))["warnings"]
        assert warning.startswith("Reconciliation ")
        assert "Druid has 0 of the 5 rows" in warning
    assert count(site, druid).jobs == 0

    # Nobody has run the replay a week later: it is told again, and not ordered again.
    (again,) = count(site, druid, days=16).drifts
    assert again.repaired_by is None
    assert "is about to change that" in again.text
    assert len(replays(site)) == 1
    assert len(site.world.row(lost.job_id)["warnings"]) == 1


def test_a_warning_goes_when_the_rows_are_right_again(site: Site) -> None:
    job = site.ended("loaded", "exports/back.csv")
    count(site, Druid(), reconcile_max_repairs=0)
    assert unmended(job.job_id, site.world.row(job.job_id)["warnings"])
    assert count(site, Druid({job.job_id: 5}), days=16).right == 1
    assert site.world.row(job.job_id)["warnings"] == []


def test_only_so_many_files_are_loaded_again_without_a_person(site: Site) -> None:
    for number in range(3):
        site.ended("loaded", f"exports/{number}.csv")
    told = count(site, Druid(), reconcile_max_repairs=2).drifts
    assert [drift.repaired_by is not None for drift in told] == [True, True, False]
    assert "a person should look first" in told[2].text
    assert len(replays(site)) == 2


@pytest.mark.parametrize("what", ["deleted", "another version"])
def test_a_file_that_cannot_be_read_again_is_told(site: Site, what: str) -> None:
    site.ended("loaded", "exports/lost.csv")
    if what == "deleted":
        site.bucket.delete(["exports/lost.csv"])
    else:
        site.bucket.put("exports/lost.csv", b"something else")
    (drift,) = count(site, Druid()).drifts
    assert drift.repaired_by is None
    assert "send it again with `upload FILE --replaces" in drift.text
    assert replays(site) == []


def test_each_run_counts_so_many_jobs_and_the_next_one_goes_on(site: Site) -> None:
    jobs = [site.ended("loaded", f"exports/{number}.csv") for number in range(5)]
    druid = Druid({job.job_id: 5 for job in jobs})
    assert [count(site, druid, reconcile_max_jobs=2).right for _ in range(4)] == [2, 2, 1, 0]


def test_rows_of_an_undone_job_are_told(site: Site) -> None:
    undone = site.ended("undone", "exports/undone.csv")
    (drift,) = count(site, Druid({undone.job_id: 5})).drifts
    assert (drift.expected, drift.counted, drift.repaired_by) == (0, 5, None)


def test_an_upload_whose_discovery_was_lost_is_found_and_entered_once(site: Site) -> None:
    book = site.book()
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
