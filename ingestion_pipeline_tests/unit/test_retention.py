"""Which objects of runs may go: by key, age and job, and page by page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from ingestion_pipeline.domain.retention import Ages, JobFacts, Kept, why_kept
from ingestion_pipeline.domain.upload import StoredObject
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages import retention

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AGES = Ages(cleaned=timedelta(days=7), quarantine=timedelta(days=90))
JOB = "12345678-1234-4123-8123-123456789abc"
CLEANED = f"cleaned/acme/flights/{JOB}/e1/rows.csv.zst"
REJECTED = f"quarantine/acme/flights/{JOB}/e2/rejected.csv"
ENDED = JobFacts(finished_at=NOW - timedelta(days=200), quarantine_key=REJECTED)


def stored(key: str, *, days: float = 200) -> StoredObject:
    return StoredObject(key=key, etag="e", size_bytes=10, last_modified=NOW - timedelta(days=days))


def facts(**changes: Any) -> JobFacts:
    values = {"finished_at": ENDED.finished_at, "quarantine_key": REJECTED}
    return JobFacts(**(values | changes))


@pytest.mark.parametrize(
    ("key", "days", "of_job", "kept"),
    [
        (CLEANED, 200, ENDED, None),
        (CLEANED, 6, ENDED, Kept.YOUNG),
        (CLEANED, 200, facts(finished_at=NOW - timedelta(days=6)), Kept.YOUNG),
        (CLEANED, 200, facts(finished_at=None), Kept.LIVE),
        (CLEANED, 200, facts(open_attempt=True), Kept.ATTEMPT),
        (CLEANED, 200, facts(open_rejects=True), None),
        (CLEANED, 8, None, None),
        (CLEANED, 6, None, Kept.YOUNG),
        (CLEANED.replace("acme", "nobody"), 200, None, Kept.FOREIGN),
        ("cleaned/druid-tests/rows.csv", 200, None, Kept.FOREIGN),
        (REJECTED, 200, ENDED, None),
        (REJECTED, 89, ENDED, Kept.YOUNG),
        (REJECTED, 200, facts(open_rejects=True), Kept.REJECTS),
        (REJECTED.replace("rejected.csv", "rejected-00000.parquet"), 200, facts(open_rejects=True), Kept.REJECTS),
        (REJECTED.replace("/e2/", "/e1/"), 200, facts(open_rejects=True), None),
        (REJECTED.replace("/e2/", "/e21/"), 200, facts(open_rejects=True), None),
    ],
)
def test_what_is_kept_and_why(key: str, days: float, of_job: JobFacts | None, kept: Kept | None) -> None:
    found = why_kept(stored(key, days=days), of_job, organizations={"acme"}, ages=AGES, now=NOW)
    assert found == kept


@dataclass
class Bucket:
    objects: list[StoredObject]
    pages: list[str] = field(default_factory=list)

    def list_page(self, prefix: str = "", *, after: str = "") -> list[StoredObject]:
        self.pages.append(after)
        return [one for one in self.objects if one.key.startswith(prefix) and one.key > after][: retention.PAGE]

    def delete(self, keys: Sequence[str]) -> None:
        self.objects = [one for one in self.objects if one.key not in set(keys)]


def test_a_walk_stops_after_so_many_pages_and_goes_on_where_it_stopped() -> None:
    bucket = Bucket([stored(f"dagster/{n:05d}", days=8 if n % 2 else 1) for n in range(2500)])

    def walk(after: str, *, dry_run: bool = False) -> retention.Removed:
        return retention.remove_by_age(
            bucket, "dagster/", after=after, max_pages=2, age=timedelta(days=7), now=NOW, dry_run=dry_run
        )

    assert walk("", dry_run=True).objects == 1000
    assert len(bucket.objects) == 2500

    first = walk("")
    assert (first.objects, first.kept, first.position) == (1000, {Kept.YOUNG: 1000}, "dagster/01999")
    second = walk(first.position)
    assert (second.objects, second.position) == (250, "")
    assert len(bucket.objects) == 1250


def test_the_ledger_is_asked_about_the_jobs_of_old_objects_only() -> None:
    other = JOB.replace("1234", "5678")
    bucket = Bucket([stored(CLEANED), stored(CLEANED.replace(JOB, other), days=1), stored("cleaned/x")])
    asked: list[list[str]] = []

    def ledger(job_ids: Sequence[str]) -> dict[str, JobFacts]:
        asked.append(list(job_ids))
        return {JOB: ENDED}

    removed = retention.remove_run_objects(
        bucket,
        "cleaned/",
        after="",
        max_pages=9,
        facts=ledger,
        organizations={"acme"},
        ages=AGES,
        now=NOW,
        dry_run=False,
    )
    assert asked == [[JOB]]
    assert (removed.objects, removed.kept) == (1, {Kept.YOUNG: 1, Kept.FOREIGN: 1})


def test_jobs_are_kept_400_days_at_least() -> None:
    assert Settings().retention_jobs_days == 400
    with pytest.raises(ValidationError):
        Settings(retention_jobs_days=399)
