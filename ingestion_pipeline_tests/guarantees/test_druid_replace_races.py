"""Replaces beside appends and compactions on the real Druid, in placed races: no row twice, none lost.

Nothing here hopes for a moment. An object that Druid has opened and cannot read to its end keeps an append open; as
many of them as there are worker slots keep a task that has its lock from starting. `make races` repeats each.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from ingestion_pipeline.domain.druid import RunnerState, TaskState
from ingestion_pipeline.embedded.druid import WORKER_CAPACITY
from ingestion_pipeline_tests.guarantees.druid_table import Held, Holder, Rows, Table, rows_of, used_slots, wait_until

pytestmark = [
    pytest.mark.stack,
    pytest.mark.parametrize("repetition", range(int(os.environ.get("RACE_REPETITIONS", "1")))),
]

NewTable = Callable[..., Table]
UNDO: Rows = []
CORRECTION = rows_of("a2", 12)


def open_append(table: Table, holder: Holder, rows: Rows, sent: int = 0) -> tuple[dict[str, Any], Held]:
    """An append whose task runs and cannot end before its object is released; `sent` rows of it have a segment."""
    held = holder.hold(rows, sent=sent)
    spec = table.append_spec(rows, url=held.url)
    assert table.client.submit(spec) == "accepted"
    assert held.opened.wait(30)
    if sent:

        def is_reading() -> bool:
            report = table.client.report(spec["id"])
            return report is not None and report.processed > 0

        wait_until(is_reading)
    return spec, held


@contextlib.contextmanager
def occupied(new_table: NewTable, holder: Holder, count: int) -> Iterator[None]:
    """Worker slots taken by appends to other datasources."""
    tables = [new_table() for _ in range(count)]
    opened = [open_append(table, holder, rows_of("x", 1)) for table in tables]
    try:
        yield
    finally:
        for table, (spec, held) in zip(tables, opened, strict=True):
            held.released.set()
            table.follow(spec)


def two_jobs(new_table: NewTable) -> tuple[Table, dict[str, str]]:
    """A day with job a, that goes, and b, that stays."""
    table = new_table()
    table.append(rows_of("a", 30), rows_of("b", 20))
    return table, table.checksums()


def expected(new: Rows, **others: int) -> dict[str, int]:
    return {"b": 20, **others} | ({"a2": len(new)} if new else {})


@pytest.mark.parametrize(
    ("kind", "sent"),
    [("one source", 0), ("one source", 20), ("combined sources", 20), ("combined sources with concurrent locks", 20)],
)
def test_an_append_that_commits_between_a_replaces_lock_and_its_reading(
    new_table: NewTable, holder: Holder, kind: str, sent: int, repetition: int
) -> None:
    """Its rows are there once: one source knows its lock, combined ones wait; with concurrent locks these double."""
    table, before = two_jobs(new_table)
    append, held = open_append(table, holder, rows_of("c", 40), sent)
    new = UNDO if kind == "one source" else CORRECTION
    replace = table.replace_spec(["a"], new)
    if kind == "combined sources with concurrent locks":
        replace["context"]["useConcurrentLocks"] = True
    with occupied(new_table, holder, WORKER_CAPACITY - 1):
        table.client.submit(replace)
        has_lock = kind != "combined sources"
        wait_until(lambda: table.runner(replace) is (RunnerState.PENDING if has_lock else RunnerState.WAITING))
        held.released.set()
        table.succeed(append)  # no slot was free for the replace until now
    table.succeed(replace)
    doubled = kind == "combined sources with concurrent locks"
    table.prove(expected(new, c=80 if doubled else 40))
    assert table.checksums()["b"] == before["b"]


def test_an_undo_of_days_apart_waits_for_an_open_append(new_table: NewTable, holder: Holder, repetition: int) -> None:
    table = new_table()
    table.append(rows_of("a", 30) + rows_of("a", 3, day=5), rows_of("b", 20))
    append, held = open_append(table, holder, rows_of("c", 40), 20)
    undo = table.replace_spec(["a"])
    table.client.submit(undo)
    wait_until(lambda: table.runner(undo) is RunnerState.WAITING)
    held.released.set()
    table.succeed(append)
    table.succeed(undo)
    table.prove(expected(UNDO, c=40))


def test_an_append_waits_for_a_correction_that_runs(new_table: NewTable, holder: Holder, repetition: int) -> None:
    table, before = two_jobs(new_table)
    new = holder.hold(CORRECTION)
    replace = table.replace_spec(["a"], CORRECTION, url=new.url)
    table.client.submit(replace)
    assert new.opened.wait(30)
    append, elsewhere = table.append_spec(rows_of("c", 40)), table.append_spec(rows_of("d", 5, day=2))
    table.client.submit(append)
    table.client.submit(elsewhere)
    table.succeed(elsewhere)  # another day has a lock of its own
    assert table.runner(append) is RunnerState.WAITING
    new.released.set()
    table.succeed(replace)
    table.succeed(append)
    table.prove(expected(CORRECTION, c=40, d=5))
    assert table.checksums()["b"] == before["b"]


def test_an_append_that_is_open_across_a_whole_replace_is_there_once(
    new_table: NewTable, holder: Holder, repetition: int
) -> None:
    table, before = two_jobs(new_table)
    append, held = open_append(table, holder, rows_of("c", 40), 20)
    table.run(table.replace_spec(["a"]))
    table.prove(expected(UNDO))
    held.released.set()
    table.succeed(append)
    table.prove(expected(UNDO, c=40))
    assert table.checksums()["b"] == before["b"]


def test_an_append_into_a_coarser_segment_and_a_replace_of_the_day_wait_for_each_other(
    new_table: NewTable, holder: Holder, repetition: int
) -> None:
    table = new_table()
    table.append(rows_of(None, 5), dimensions=table.dimensions[:2], granularity="month")
    table.append(rows_of("a", 30))
    append, held = open_append(table, holder, rows_of("c", 40), 20)
    replace = table.replace_spec(["a"])
    table.client.submit(replace)
    wait_until(lambda: table.runner(replace) is RunnerState.WAITING)
    held.released.set()
    table.succeed(append)
    table.succeed(replace)
    table.prove({"": 5, "c": 40})


def test_rows_of_a_job_whose_own_append_is_open_outlive_its_undo(
    new_table: NewTable, holder: Holder, repetition: int
) -> None:
    # Why an undo waits until every append of the job has ended: Druid tells nobody.
    table, _ = two_jobs(new_table)
    append, held = open_append(table, holder, rows_of("c", 40), 20)
    undo = table.replace_spec(["a", "c"])
    table.run(undo)
    table.prove(expected(UNDO))
    held.released.set()
    table.succeed(append)
    table.prove(expected(UNDO, c=40))


@contextlib.contextmanager
def automatic_compaction(table: Table, *, concurrent: bool) -> Iterator[None]:
    """The coordinator compacts the datasource up to its newest rows, looking for work several times a second."""
    compaction = f"{table.urls['coordinator']}/druid/coordinator/v1"
    stop = threading.Event()

    def post(path: str, **body: Any) -> None:
        requests.post(f"{compaction}/{path}", json=body, timeout=30).raise_for_status()

    def look() -> None:
        while not stop.wait(0.2):
            post("compaction/compact")

    post("config/compaction/taskslots?ratio=1&max=2")
    post(
        "config/compaction",
        dataSource=table.datasource,
        skipOffsetFromLatest="PT0S",
        taskContext={"useConcurrentLocks": True} if concurrent else {},
    )
    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        requests.delete(f"{compaction}/config/compaction/{table.datasource}", timeout=30).raise_for_status()


def has_lock(table: Table, spec: dict[str, Any]) -> bool:
    """A compaction that loses its lock may fail at once, and its slot is free then."""
    status = table.client.status(spec["id"])
    assert status is not None
    return status.state.is_terminal or status.runner in (RunnerState.PENDING, RunnerState.RUNNING)


def stop(table: Table, compactions: set[str]) -> None:
    """Stop those that have not ended, as the pipeline does after a replace: an evicted one may hang in its slot."""
    for task in compactions & table.client.running_compactions(table.datasource):
        table.client.cancel(task)
        table.follow({"id": task})


@pytest.mark.parametrize("concurrent", [True, False], ids=["concurrent locks", "default locks"])
def test_automatic_compaction_beside_appends_and_replaces_loses_and_doubles_nothing(
    new_table: NewTable, concurrent: bool, repetition: int
) -> None:
    table, _ = two_jobs(new_table)
    kept, last = {"b": 20}, "a"
    with automatic_compaction(table, concurrent=concurrent):
        for number in range(2):
            wait_until(lambda: bool(table.client.running_compactions(table.datasource)))
            appends = [table.append_spec(rows_of(f"{name}{number}", 40)) for name in ("c", "d")]
            replace = table.replace_spec([last], rows_of(f"e{number}", 12) if number else UNDO)
            for spec in (appends[0], replace, appends[1]):
                table.client.submit(spec)
            for spec in (*appends, replace):
                table.succeed(spec)
            stop(table, table.client.running_compactions(table.datasource))
            last = f"e{number}"
            kept |= {f"c{number}": 40, f"d{number}": 40}
        table.prove({**kept, last: 12})
        stop(table, table.client.running_compactions(table.datasource))
        # Nothing is in its way any more, so one that has read all of this ends.
        wait_until(lambda: any(task["statusCode"] == "SUCCESS" for task in table.compactions()))
    table.prove({**kept, last: 12})
    # Another one may have begun meanwhile: the next test counts on its slot.
    stop(table, table.client.running_compactions(table.datasource))
    wait_until(lambda: used_slots(table.urls) == 0)


@pytest.mark.parametrize("concurrent", [True, False], ids=["concurrent locks", "default locks"])
def test_a_compaction_that_a_replace_evicts_changes_nothing_and_gives_its_slot_back_when_stopped(
    new_table: NewTable, holder: Holder, concurrent: bool, repetition: int
) -> None:
    table, before = two_jobs(new_table)
    compaction = table.compact_spec(concurrent=concurrent, subtasks=2)
    with occupied(new_table, holder, WORKER_CAPACITY - 1):
        table.client.submit(compaction)
        wait_until(lambda: table.runner(compaction) is RunnerState.RUNNING)  # and its subtasks have no slot
        replace = table.replace_spec(["a"])
        assert table.client.running_compactions(table.datasource) == {compaction["id"]}
        table.client.submit(replace)
        wait_until(lambda: has_lock(table, replace))
    table.succeed(replace)
    table.prove(expected(UNDO))
    stop(table, {compaction["id"]})
    wait_until(lambda: used_slots(table.urls) == 0)
    status, _ = table.follow(compaction)
    assert status.state is TaskState.FAILED
    table.prove(expected(UNDO))
    assert table.checksums()["b"] == before["b"]


def test_a_compaction_with_default_locks_waits_for_an_open_append(
    new_table: NewTable, holder: Holder, repetition: int
) -> None:
    table, before = two_jobs(new_table)
    append, held = open_append(table, holder, rows_of("c", 40), 20)
    compaction = table.compact_spec(concurrent=False)
    table.client.submit(compaction)
    wait_until(lambda: table.runner(compaction) is RunnerState.WAITING)
    held.released.set()
    table.succeed(append)
    table.succeed(compaction)
    table.prove({"a": 30, "b": 20, "c": 40})
    assert table.checksums() == {**table.checksums(), **before}


def test_an_append_beside_a_running_compaction_with_default_locks_takes_its_lock(
    new_table: NewTable, holder: Holder, repetition: int
) -> None:
    table, before = two_jobs(new_table)
    compaction = table.compact_spec(concurrent=False, subtasks=2)
    with occupied(new_table, holder, WORKER_CAPACITY - 1):
        table.client.submit(compaction)
        wait_until(lambda: table.runner(compaction) is RunnerState.RUNNING)
        append = table.append_spec(rows_of("c", 40))
        table.client.submit(append)
        wait_until(lambda: has_lock(table, append))
    table.succeed(append)
    table.prove({"a": 30, "b": 20, "c": 40})
    stop(table, {compaction["id"]})
    wait_until(lambda: used_slots(table.urls) == 0)
    table.prove({"a": 30, "b": 20, "c": 40})
    assert table.checksums() == {**table.checksums(), **before}
