"""Backfills in the ledger: what waits of which days, what one has released, and what a stop holds back."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.backfill import BackfillFiles, DayFiles
from ingestion_pipeline.domain.job import Lane, Outcome
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.ledger import DAY, World, lease_of

NEXT = DAY + timedelta(days=1)


@pytest.fixture
def world(postgres: LedgerDatabase) -> Iterator[World]:
    ledger = Ledger(postgres.pipeline_url)
    yield World(postgres, ledger)
    ledger.close()


def days(world: World) -> list[DayFiles]:
    return world.ledger.backfills.days(world.name, first=DAY, last=NEXT, now=world.now)


def claim(world: World, *, files: int, backfill_id: str | None = "default") -> tuple[str, list[str]]:
    """A backfill's run of both days: its token, and what it claims."""
    token = f"claim {world.name} {world.later(1)}"
    claimed, _ = world.ledger.queue.claim_day(
        datasource=world.name,
        days=[DAY, NEXT],
        token=token,
        now=world.now,
        max_files=files,
        max_bytes=10**9,
        backfill_id=f"bf {world.name}" if backfill_id == "default" else backfill_id,
    )
    return token, claimed


def released(world: World) -> BackfillFiles:
    return world.ledger.backfills.files(f"bf {world.name}")


def test_days_tell_what_waits_and_what_became_of_the_others(world: World) -> None:
    world.job("waits.csv", lane=Lane.HISTORY)
    world.job("twice.csv", lane=Lane.HISTORY, partition_day=NEXT)
    world.job("twice.csv", lane=Lane.HISTORY, partition_day=NEXT, size_bytes=7)
    world.job("live.csv", partition_day=NEXT)
    loaded, failed = world.taken("loaded.csv", "failed.csv")
    world.complete(loaded)
    world.ledger.work.fail(lease_of(failed), UnreadableFile("Cut off."), now=world.now)
    world.job("elsewhere.csv", lane=Lane.HISTORY, datasource="other")

    assert days(world) == [
        DayFiles(day=DAY, files=3, history=1, history_bytes=100, loaded=1, failed=1, under_way=0),
        DayFiles(day=NEXT, files=3, history=1, history_bytes=7, loaded=0, failed=0, under_way=1),
    ]


def test_a_run_of_several_days_takes_them_in_their_order_up_to_the_cap(world: World) -> None:
    late = world.job("late.csv", lane=Lane.HISTORY, partition_day=NEXT)
    world.later(1)
    early = [world.job(f"{n}.csv", lane=Lane.HISTORY) for n in range(2)]
    assert set(claim(world, files=2)[1]) == set(early)
    assert world.candidates() == [late]


def test_a_backfill_s_files_are_counted_by_what_became_of_them(world: World) -> None:
    for number in range(5):
        world.job(f"{number}.csv", lane=Lane.HISTORY)
    token, _ = claim(world, files=3)
    jobs = world.take(token)
    world.complete(jobs[0])
    world.complete(jobs[1], Outcome.EMPTY)
    assert released(world) == BackfillFiles(loaded=1, other=1, open=3)
    world.ledger.work.fail(lease_of(jobs[2]), UnreadableFile("Cut off."), now=world.now)
    assert released(world) == BackfillFiles(loaded=1, failed=1, other=1, open=2)
    assert world.ledger.backfills.unfinished().count(f"bf {world.name}") == 1


def test_a_stop_holds_back_what_has_not_begun_and_nothing_else(world: World) -> None:
    ids = [world.job(f"{n}.csv", lane=Lane.HISTORY) for n in range(5)]
    token, claimed = claim(world, files=2)
    working, loading = world.take(token)
    world.freeze([loading])
    rest = [job_id for job_id in ids if job_id not in claimed]
    assert world.ledger.queue.claim(rest[:1], token=f"sensor {world.name}", now=world.now) == rest[:1]

    assert world.ledger.backfills.hold_back(f"bf {world.name}") == 3

    assert [world.row(job_id)["lane"] for job_id in rest] == ["history"] * 3
    assert {world.row(job.job_id)["status"] for job in (working, loading)} == {"processing"}
    assert world.take(f"sensor {world.name}", "late") == [], "a run that was promised one finds its claim stale"
    assert world.candidates() == []
    assert released(world).open == 2, "those that are brought to their end"
    assert set(claim(world, files=9, backfill_id="another")[1]) == set(rest), "a new start takes them"


def test_a_stop_lets_live_files_that_a_backfill_took_along_go_on(world: World) -> None:
    live = world.job("live.csv")
    token, _ = claim(world, files=9)
    world.take(token)
    assert world.ledger.queue.put_back(token, reason="Its backfill was stopped.", now=world.now) == 1
    world.ledger.backfills.hold_back(f"bf {world.name}")
    assert world.candidates() == [live]
    assert world.row(live)["tries"] == 0


def test_past_runs_tell_their_files_and_seconds(world: World) -> None:
    assert world.ledger.backfills.past_runs(world.name) == []
    for run in range(2):
        token, _ = world.claimed(f"a{run}", f"b{run}")
        jobs = world.take(token, f"run {run} of {world.name}")
        for job in jobs:
            world.later(10)
            world.complete(job)
    runs = world.ledger.backfills.past_runs(world.name)
    assert [(run.files, run.seconds) for run in runs] == [(2, 20.0), (2, 20.0)]
