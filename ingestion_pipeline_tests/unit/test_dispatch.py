"""Which waiting jobs run next, in which batches."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domain.batch import Batch, Candidate, Share
from ingestion_pipeline.domain.job import Lane, Priority
from ingestion_pipeline.stages.dispatch import (
    AGING,
    FLOOD,
    LONELY_AFTER_TRIES,
    aged_priority,
    launch_priority,
    plan,
)

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


def batches_of(candidates: list[Candidate], *, free_slots: int = 8, **changes: Any) -> list[Batch]:
    """Args:
    free_slots: Of each share."""
    limits: dict[str, Any] = {"slots": dict.fromkeys(Share, free_slots), "max_files": 100, "max_bytes": 10**9}
    return plan(candidates, **({"now": NOW} | limits | changes))


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
    assert all(times <= slots for times in Counter(batch.share for batch in batches).values())
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


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(1, FLOOD), min_size=1), st.integers(1, 12))
@settings(deadline=None)
def test_organizations_take_turns_within_a_batch(backlog: dict[str, int], cap: int) -> None:
    # What came first is of one organization, all of it before anybody else's first file.
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


def flood(count: int = 500, **changes: Any) -> list[Candidate]:
    """Files of one organization, an hour old but for its aging: none has risen yet."""
    values = {"organization": "flooding", "created_at": NOW - timedelta(minutes=9)} | changes
    return [waiting(f"f{n:04d}", object_key=f"flood {n}", **values) for n in range(count)]


class TestShares:
    """A flood and a backfill have slots of their own: no other file waits for them, and they wait for no other."""

    def test_history_takes_no_slot_of_live_files_and_live_files_none_of_its(self) -> None:
        history = [waiting(f"h{n}", lane=Lane.BACKFILL, partition_day=DAY - timedelta(days=n)) for n in range(9)]
        live = [waiting(f"l{n}", partition_day=DAY - timedelta(days=n)) for n in range(9)]
        assert Counter(batch.share for batch in batches_of([*history, *live], free_slots=2)) == {
            Share.LIVE: 2,
            Share.BACKFILL: 2,
        }

    def test_a_flood_over_several_datasources_delays_nobody_else_s_file_and_is_in_no_batch_with_it(self) -> None:
        candidates = [
            *(f for number in range(5) for f in flood(datasource=f"d{number}")),
            waiting("mine", datasource="d3", organization="other"),
        ]
        slots = {Share.LIVE: 1, Share.FLOOD: 2, Share.BACKFILL: 1}
        batches = batches_of(candidates, slots=slots)
        assert [batch.job_ids for batch in batches if batch.share is Share.LIVE] == [("mine",)]
        assert [len(batch.job_ids) for batch in batches if batch.share is Share.FLOOD] == [100, 100]

    def test_two_floods_take_turns(self) -> None:
        candidates = [*flood(), *flood(organization="second", created_at=NOW - timedelta(minutes=1))]
        candidates = [waiting(f"{n}", organization=c.organization, created_at=c.created_at, object_key=f"{n}")
                      for n, c in enumerate(candidates)]  # fmt: skip
        first, second = batches_of(candidates, free_slots=2)
        assert {int(first.job_ids[0]) < 500, int(second.job_ids[0]) < 500} == {True, False}

    def test_an_organization_s_urgent_file_is_no_part_of_its_flood_of_low_ones(self) -> None:
        urgent = waiting("urgent", organization="flooding", priority=Priority.URGENT)
        first, *others = batches_of([*flood(priority=Priority.LOW), urgent])
        assert (first.job_ids, first.share) == (("urgent",), Share.LIVE)
        assert {batch.share for batch in others} == {Share.FLOOD}


def test_urgent_overtakes_five_hundred_waiting_low_ones() -> None:
    low = flood(priority=Priority.LOW, organization="acme")
    urgent = [waiting(f"u{n}", priority=Priority.URGENT, created_at=NOW) for n in range(3)]
    first, *others = batches_of([*low, *urgent])
    assert first.job_ids == ("u0", "u1", "u2")
    assert sum(len(batch.job_ids) for batch in others) == 500


@pytest.mark.parametrize("lane", [Lane.LIVE, Lane.BACKFILL])
@given(arrivals=st.lists(st.integers(1, 6), min_size=1, max_size=4), slots=st.integers(1, 3))
@settings(deadline=None, max_examples=25)
def test_under_urgent_files_that_never_cease_a_low_one_is_taken_in_bounded_time(
    lane: Lane, arrivals: list[int], slots: int
) -> None:
    """Every tick, as many urgent files come as fill all slots, or more: the worst for one that is low."""
    low = waiting("low", lane=lane, priority=Priority.LOW, created_at=NOW)
    tick = timedelta(seconds=30)
    queue, moment, number = [low], NOW, 0
    bound = 3 * AGING + 2 * tick
    while moment - NOW <= bound:
        for _ in range(max(slots, arrivals[number % len(arrivals)])):
            number += 1
            # Of one organization each: together they would be a flood, which has slots of its own.
            queue.append(waiting(f"u{number}", organization=f"o{number}", priority=Priority.URGENT, created_at=moment))
        taken = {job for b in batches_of(queue, now=moment, free_slots=slots, max_files=1) for job in b.job_ids}
        if "low" in taken:
            return
        queue = [candidate for candidate in queue if candidate.job_id not in taken]
        moment += tick
    pytest.fail(f"after {bound} it waits still")


class TestDagstersQueue:
    """What was launched and waits for a run slot: Dagster starts the highest number first, equal ones as they came."""

    def test_live_goes_before_flood_before_backfill_and_urgent_before_low(self) -> None:
        order = [
            *((share, priority) for priority in Priority for share in (Share.LIVE, Share.FLOOD)),
            (Share.BACKFILL, Priority.URGENT),
        ]
        numbers = [launch_priority(share=share, priority=priority) for share, priority in order]
        assert numbers == sorted(set(numbers), reverse=True)
        assert numbers[-1] == 0, "Dagster's own backfills, which are told none, are 0"

    def test_what_a_live_file_waited_in_the_ledger_counts_there_and_the_age_of_history_does_not(self) -> None:
        long_ago = NOW - 4 * AGING
        low, urgent, old, history = batches_of(
            [
                waiting("low", priority=Priority.LOW, datasource="low"),
                waiting("urgent", priority=Priority.URGENT, datasource="urgent"),
                waiting("old", priority=Priority.LOW, datasource="old", created_at=long_ago),
                waiting("history", lane=Lane.BACKFILL, datasource="history", created_at=long_ago),
            ]
        )
        by_name = {batch.datasource: batch.launch_priority for batch in (low, urgent, old, history)}
        assert by_name["history"] < by_name["low"] < by_name["urgent"] == by_name["old"]

    def test_whatever_waits_rises_to_urgent_in_four_steps_and_no_further(self) -> None:
        urgent = launch_priority(share=Share.LIVE, priority=Priority.URGENT)
        assert aged_priority(0, waited=AGING - timedelta(seconds=1)) == 0
        assert [aged_priority(0, waited=AGING * n) for n in range(6)] == [0, 2, 4, 6, urgent, urgent]
        assert aged_priority(100, waited=AGING) == 100, "what an operator set higher stays"
