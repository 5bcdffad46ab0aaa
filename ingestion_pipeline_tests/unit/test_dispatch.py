"""Which waiting jobs run next, in which batches."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domain.batch import Batch, Candidate
from ingestion_pipeline.domain.job import Lane, Priority
from ingestion_pipeline.stages.dispatch import AGING, LONELY_AFTER_TRIES, plan

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = date(2026, 3, 1)


def waiting(job_id: str, **changes: Any) -> Candidate:
    values: dict[str, Any] = {
        "job_id": job_id,
        "organization": "acme",
        "datasource": "flights",
        "partition_day": DAY,
        "priority": Priority.MEDIUM,
        "lane": Lane.LIVE,
        "size_bytes": 10,
        "created_at": NOW - timedelta(seconds=10),
        "tries": 0,
        "attempt_id": None,
        "object_key": f"key of {job_id}",
    }
    return Candidate(**(values | changes))


def batches_of(candidates: list[Candidate], **changes: Any) -> list[Batch]:
    limits: dict[str, Any] = {"free_slots": 8, "reserved_for_live": 1, "max_files": 100, "max_bytes": 10**9}
    return plan(candidates, now=NOW, **(limits | changes))


def members(batches: list[Batch]) -> list[tuple[str, ...]]:
    return [batch.job_ids for batch in batches]


@st.composite
def queues(draw: st.DrawFn) -> list[Candidate]:
    found = []
    for number in range(draw(st.integers(0, 25))):
        datasource = draw(st.sampled_from(["flights", "weather"]))
        attempt = draw(st.sampled_from([None, None, None, "a1", "a2"]))
        found.append(
            waiting(
                f"job {number:02d}",
                organization=draw(st.sampled_from(["acme", "beta", "gamma"])),
                # A frozen batch is of one datasource, day and priority, as the one that froze it was.
                datasource="flights" if attempt else datasource,
                partition_day=DAY if attempt else draw(st.sampled_from([DAY, DAY - timedelta(days=1)])),
                priority=Priority.MEDIUM if attempt else draw(st.sampled_from(list(Priority))),
                lane=Lane.LIVE if attempt else draw(st.sampled_from([Lane.LIVE, Lane.BACKFILL])),
                size_bytes=draw(st.integers(0, 60)),
                created_at=NOW - timedelta(seconds=draw(st.integers(0, 7200))),
                tries=draw(st.integers(0, 3)),
                attempt_id=attempt,
                object_key=f"key {number}" if attempt else f"key {draw(st.integers(0, 30))} of {number % 7}",
                superseded=False if attempt else draw(st.booleans()) and draw(st.booleans()),
            )
        )
    return found


@given(queues(), st.integers(0, 6), st.integers(1, 5), st.integers(1, 100))
@settings(deadline=None)
def test_every_batch_keeps_the_rules(candidates: list[Candidate], slots: int, files: int, size: int) -> None:
    batches = batches_of(candidates, free_slots=slots, max_files=files, max_bytes=size)

    by_id = {candidate.job_id: candidate for candidate in candidates}
    planned = [job_id for batch in batches for job_id in batch.job_ids]
    assert len(planned) == len(set(planned)), "a job in two batches"
    assert len(batches) <= slots
    assert sum(batch.lane is Lane.BACKFILL for batch in batches) <= max(0, slots - 1)
    keys = Counter((by_id[job_id].datasource, by_id[job_id].object_key) for job_id in planned)
    assert not [key for key, times in keys.items() if times > 1], "two versions of a key at once"
    for batch in batches:
        jobs = [by_id[job_id] for job_id in batch.job_ids]
        assert not any(job.superseded for job in jobs)
        assert {(j.datasource, j.partition_day, j.priority, j.lane) for j in jobs} == {
            (batch.datasource, batch.partition_day, batch.priority, batch.lane)
        }
        attempts = {job.attempt_id for job in jobs}
        assert len(attempts) == 1, "frozen and free jobs in one batch"
        if attempts == {None}:
            assert len(jobs) <= files
            assert len(jobs) == 1 or sum(job.size_bytes for job in jobs) <= size
            assert len(jobs) == 1 or all(job.tries < LONELY_AFTER_TRIES for job in jobs)
        else:
            frozen = {c.job_id for c in candidates if c.attempt_id in attempts}
            assert set(batch.job_ids) == frozen, "half a frozen batch"


@given(queues())
@settings(deadline=None)
def test_with_room_for_all_nothing_is_left_waiting_but_older_versions(candidates: list[Candidate]) -> None:
    batches = batches_of(candidates, free_slots=1000, max_files=1000)

    planned = {job_id for batch in batches for job_id in batch.job_ids}
    left = [c for c in candidates if c.job_id not in planned and not c.superseded]
    running = {(c.datasource, c.object_key) for c in candidates if c.job_id in planned}
    assert all((c.datasource, c.object_key) in running for c in left)


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(1, 40), min_size=1), st.integers(1, 12))
@settings(deadline=None)
def test_organizations_take_turns_within_a_batch(backlog: dict[str, int], cap: int) -> None:
    # The flood came first, all of it before anybody else's first file.
    candidates = [
        waiting(f"{name}{n:03d}", organization=name, created_at=NOW - timedelta(seconds=500 - 100 * place))
        for place, (name, count) in enumerate(backlog.items())
        for n in range(count)
    ]
    (batch,) = batches_of(candidates, free_slots=1, max_files=cap)

    got = Counter(job_id[0] for job_id in batch.job_ids)
    assert sum(got.values()) == min(cap, sum(backlog.values()))
    most = max(got.values())
    for name, count in backlog.items():
        assert got[name] >= min(count, most - 1), "an organization got less than its turn"


def test_a_lone_file_runs_at_once_and_a_backlog_fills_up_to_the_caps() -> None:
    assert members(batches_of([waiting("one")])) == [("one",)]
    many = [waiting(f"{n}") for n in range(5)]
    assert [len(m) for m in members(batches_of(many, max_files=2))] == [2, 2, 1]
    assert [len(m) for m in members(batches_of(many, max_bytes=35))] == [3, 2]


def test_a_file_above_the_size_cap_still_runs() -> None:
    assert members(batches_of([waiting("huge", size_bytes=10**12)])) == [("huge",)]


def test_a_file_whose_runs_died_runs_alone() -> None:
    jobs = [waiting("a"), waiting("killer", tries=LONELY_AFTER_TRIES), waiting("b")]
    assert sorted(members(batches_of(jobs))) == [("a", "b"), ("killer",)]


def test_a_frozen_batch_runs_together_above_the_caps_whatever_its_tries() -> None:
    jobs = [waiting(f"{n}", attempt_id="t1", tries=5) for n in range(4)]
    assert members(batches_of(jobs, max_files=2, max_bytes=1)) == [("0", "1", "2", "3")]


def test_urgent_goes_before_low_and_live_before_backfill() -> None:
    jobs = [
        waiting("history", lane=Lane.BACKFILL, priority=Priority.URGENT),
        waiting("low", priority=Priority.LOW),
        waiting("urgent", priority=Priority.URGENT),
    ]
    assert members(batches_of(jobs)) == [("urgent",), ("low",), ("history",)]


@pytest.mark.parametrize(("age", "first"), [(AGING * 3 - timedelta(seconds=1), "high"), (AGING * 3, "old")])
def test_a_job_that_waits_long_overtakes_more_urgent_ones(age: timedelta, first: str) -> None:
    jobs = [
        waiting("old", priority=Priority.LOW, created_at=NOW - age),
        waiting("high", priority=Priority.URGENT),
    ]
    order = ["old", "high"] if first == "old" else ["high", "old"]
    assert members(batches_of(jobs)) == [(name,) for name in order]


def test_backfills_leave_a_slot_for_live_files() -> None:
    history = [waiting(f"h{n}", lane=Lane.BACKFILL, partition_day=DAY - timedelta(days=n)) for n in range(9)]
    assert len(batches_of(history, free_slots=3)) == 2
    assert len(batches_of(history, free_slots=1)) == 0
    assert members(batches_of([*history, waiting("live")], free_slots=1)) == [("live",)]
