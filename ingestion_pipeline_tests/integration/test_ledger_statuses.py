"""Statuses in the real ledger: which may follow which, and the event that each change leaves."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.job import TRANSITIONS, Outcome, Status
from ingestion_pipeline.errors import LeaseLost, UnreadableFile
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.ledger import World, lease_of

# How the ledger gets a new job to each status, by hand.
WAY_TO = {
    Status.PENDING: [],
    Status.PROCESSING: [Status.PROCESSING],
    Status.RETRYING: [Status.PROCESSING, Status.RETRYING],
    Status.COMPLETED: [Status.COMPLETED],
    Status.FAILED: [Status.FAILED],
    Status.CANCELED: [Status.CANCELED],
}


@pytest.fixture
def world(postgres: LedgerDatabase) -> Iterator[World]:
    ledger = Ledger(postgres.pipeline_url)
    yield World(postgres, ledger)
    ledger.close()


def set_by_hand(world: World, job_id: str, **values: Any) -> None:
    """An UPDATE as an operator could make it: no code of ours between."""
    assignments = ", ".join(f"{name} = %({name})s" for name in values)
    with psycopg.connect(world.database.superuser_dsn, row_factory=dict_row) as connection:
        connection.execute(
            f"UPDATE ingestion_jobs SET {assignments} WHERE job_id = %(job_id)s",  # type: ignore[arg-type]
            {**values, "job_id": job_id},
        )


def go(world: World, job_id: str, status: Status) -> None:
    values: dict[str, Any] = {"status": status.value}
    if status.is_final:
        values |= {"outcome": Outcome.EMPTY.value, "finished_at": world.now}
    set_by_hand(world, job_id, **values)


@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)), ids=str)
def test_the_database_allows_exactly_the_transitions_that_the_code_names(
    world: World, before: Status, after: Status
) -> None:
    job_id = world.job()
    for status in WAY_TO[before]:
        go(world, job_id, status)
    events = world.events(job_id)

    if after is before:
        go(world, job_id, after)
        assert world.events(job_id) == events, "no change, no event"
    elif after in TRANSITIONS[before]:
        go(world, job_id, after)
        assert world.events(job_id) == [*events, (len(events) + 1, before, after)]
    else:
        with pytest.raises(psycopg.errors.CheckViolation):
            go(world, job_id, after)
        assert world.row(job_id)["status"] == before
        assert world.events(job_id) == events


@pytest.mark.parametrize(
    ("outcome", "following", "allowed"),
    [
        ("loaded", "replaced", True),
        ("loaded_with_rejects", "undone", True),
        ("loaded", "loaded_with_rejects", False),
        ("empty", "replaced", False),
        ("replaced", "loaded", False),
    ],
)
def test_only_loaded_rows_can_be_replaced_or_undone_and_that_is_an_event(
    world: World, outcome: str, following: str, allowed: bool
) -> None:
    job_id = world.job()
    set_by_hand(world, job_id, status="completed", outcome=outcome, finished_at=world.now)
    if not allowed:
        with pytest.raises(psycopg.errors.CheckViolation):
            set_by_hand(world, job_id, outcome=following)
        return
    set_by_hand(world, job_id, outcome=following)
    assert world.events(job_id)[-1] == (3, "completed", "completed")
    assert world.rows("SELECT outcome FROM job_events WHERE job_id = %s AND seq = 3", job_id) == [
        {"outcome": following}
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"status": "completed"},
        {"status": "completed", "outcome": "empty"},
        {"outcome": "empty"},
        {"status": "paused"},
        {"priority": 4},
        {"lane": "fast"},
        {"cause": "unknown"},
        {"progress_percent": 101},
    ],
    ids=str,
)
def test_a_row_that_says_nonsense_is_refused(world: World, values: dict[str, Any]) -> None:
    job_id = world.job()
    with pytest.raises(psycopg.errors.CheckViolation):
        set_by_hand(world, job_id, **values)


@pytest.mark.parametrize(
    ("counts", "fits"),
    [
        ({"rows_read": 5, "rows_accepted": 3, "rows_rejected": 2, "rows_queryable": 3}, True),
        ({"rows_read": 6, "rows_accepted": 3, "rows_rejected": 2, "rows_queryable": 3}, False),
        ({"rows_read": 5, "rows_accepted": 3, "rows_rejected": 2, "rows_queryable": 2}, False),
    ],
    ids=["adds up", "a row is missing", "not all counted"],
)
def test_a_job_is_loaded_only_with_every_row_accounted_for_and_proved(
    world: World, counts: dict[str, int], fits: bool
) -> None:
    job_id = world.job()
    ended = {"status": "completed", "outcome": "loaded_with_rejects", "finished_at": world.now, **counts}
    if fits:
        set_by_hand(world, job_id, **ended)
        return
    with pytest.raises(psycopg.errors.CheckViolation):
        set_by_hand(world, job_id, **ended)


def test_a_job_s_way_through_a_run_is_told_by_gapless_events(world: World) -> None:
    (job,) = world.taken()
    world.ledger.work.give_back(lease_of(job), UnreadableFile("Not now."), next_try_at=world.now)
    assert world.ledger.queue.claim([job.job_id], token="again", now=world.now) == [job.job_id]
    (job,) = world.take("again", "run-2")
    world.complete(job, Outcome.EMPTY)

    assert world.events(job.job_id) == [
        (1, None, "pending"),
        (2, "pending", "processing"),
        (3, "processing", "retrying"),
        (4, "retrying", "processing"),
        (5, "processing", "completed"),
    ]
    last = world.rows("SELECT * FROM job_events WHERE job_id = %s AND seq = 5", job.job_id)[0]
    assert (last["run_id"], last["outcome"], last["organization"]) == ("run-2", "empty", world.name)


def test_a_change_that_is_rolled_back_leaves_no_event(world: World) -> None:
    job_id = world.job()
    with psycopg.connect(world.database.superuser_dsn) as connection:
        connection.execute("UPDATE ingestion_jobs SET status = 'processing' WHERE job_id = %s", [job_id])
        connection.rollback()
    assert world.events(job_id) == [(1, None, "pending")]


def test_an_error_is_kept_with_type_code_message_and_hint(world: World) -> None:
    (job,) = world.taken()
    error = UnreadableFile("Line 3 \x00 is cut off.", hint="Upload it whole.", details={"line": 3, "text": "a\x00b"})

    world.ledger.work.fail(lease_of(job), error, now=world.now)

    row = world.row(job.job_id)
    assert (row["status"], row["outcome"], row["error_code"]) == ("failed", "unreadable", "unreadable")
    assert (row["error_type"], row["error_retryable"]) == ("UnreadableFile", False)
    assert row["error_message"] == "Line 3 \ufffd is cut off."
    assert row["result"]["hint"] == "Upload it whole."
    assert row["result"]["details"] == {"line": 3, "text": "a\ufffdb"}


def test_an_ended_job_takes_no_further_write(world: World) -> None:
    (job,) = world.taken()
    world.complete(job, Outcome.EMPTY)
    with pytest.raises(LeaseLost, match="no longer this run's"):
        world.complete(job, Outcome.EMPTY)
    assert world.ledger.work.heartbeat([lease_of(job)], percent=50, progress={}, now=world.now) == set()
