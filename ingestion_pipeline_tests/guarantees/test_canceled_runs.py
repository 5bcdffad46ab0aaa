"""A person cancels runs from Dagster's page: they end at once, their files' fate is known, a replay loads them once."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import requests

from ingestion_pipeline.domain.job import Cause
from ingestion_pipeline.embedded.druid import WORKER_CAPACITY
from ingestion_pipeline_tests.guarantees.system import System, now, readings

pytestmark = pytest.mark.stack

DATASOURCE = "stopped_by_hand"
SECONDS = 10.0
ROWS = 30


def key(day: int, name: str) -> str:
    return f"exports/{DATASOURCE}/2024-06-{day:02}/{name}.csv"


def put(system: System, day: int, name: str) -> str:
    return system.put(key(day, name), readings(ROWS, day=f"2024-06-{day:02}"))


def run_of(system: System, name: str) -> str:
    def look() -> str | None:
        found = system.rows("SELECT claim_token FROM ingestion_jobs WHERE object_key = %s", name)
        runs = system.runs_with("ingestion/claim", found[0]["claim_token"]) if found and found[0]["claim_token"] else []
        return runs[0] if runs else None

    return system.until(f"a run for {name}", look)


def replayed(system: System, name: str) -> dict[str, Any]:
    (job,) = system.jobs_of(name)
    (again,) = system.ledger.corrections.begin(Cause.REPLAY, [job["job_id"]], new_ids=[str(uuid4())], now=now())
    return system.finished_job(again)


@pytest.fixture
def held(system: System) -> Iterator[list[str]]:
    """Six files of six days: the runs of five read and wait, the sixth one waits for a slot."""
    system.faults.begin("hold_reading")
    keys = [put(system, day, f"held-{day}") for day in range(1, 7)]
    yield keys
    system.faults.end("hold_reading")
    for name in keys:
        system.finished(name)


def test_a_waiting_run_and_one_that_reads_its_file_end_at_once_and_their_files_can_be_replayed(
    system: System, held: list[str]
) -> None:
    runs = {name: run_of(system, name) for name in held}

    def sorted_by_state() -> tuple[list[str], list[str]] | None:
        states = {name: system.run(run_id).status for name, run_id in runs.items()}
        working = [name for name in held if states[name] == "STARTED" and system.jobs_of(name)[0]["step"]]
        queued = [name for name in held if states[name] == "QUEUED"]
        return (working, queued) if len(working) == 5 and len(queued) == 1 else None

    working, (queued,) = system.until("five working runs and a queued one", sorted_by_state)

    assert system.cancel(runs[working[0]]) < SECONDS
    assert system.cancel(runs[queued]) < SECONDS

    for name in (working[0], queued):
        assert system.run(runs[name]).status == "CANCELED"
        job = system.finished(name)
        assert (job["status"], job["outcome"]) == ("canceled", "stopped")
        assert system.attempts_of(job["job_id"]) == []
    system.faults.end("hold_reading")
    for name in (working[0], queued):
        again = replayed(system, name)
        assert (again["status"], again["outcome"]) == ("completed", "loaded")
        assert system.counted(DATASOURCE, again["job_id"]) == ROWS


def test_a_run_whose_druid_task_waits_ends_at_once_and_the_task_with_it(system: System) -> None:
    overlord = system.settings.druid_overlord_url
    for number in range(WORKER_CAPACITY):
        # A worker goes on with a task of this type when it is shut down: its slot is taken for so long.
        noop = {"type": "noop", "id": f"noop-{number}-{uuid4().hex[:8]}", "runTime": 40_000}
        assert requests.post(f"{overlord}/druid/indexer/v1/task", json=noop, timeout=10).ok
    name = put(system, 20, "waiting")
    system.until(
        "a submitted attempt",
        lambda: [
            attempt
            for job in system.jobs_of(name)
            for attempt in system.attempts_of(job["job_id"])
            if attempt["state"] == "submitted"
        ],
    )
    assert system.cancel(system.jobs_of(name)[0]["run_id"]) < SECONDS

    job = system.finished(name)
    assert (job["status"], job["outcome"]) == ("canceled", "stopped")
    (attempt,) = system.attempts_of(job["job_id"])
    assert attempt["state"] == "absent"
    status = requests.get(f"{overlord}/druid/indexer/v1/task/{attempt['attempt_id']}/status", timeout=10).json()
    assert status["status"]["statusCode"] == "FAILED"

    again = replayed(system, name)
    assert (again["status"], again["outcome"]) == ("completed", "loaded")
    assert system.counted(DATASOURCE, job["job_id"]) == 0
    assert system.counted(DATASOURCE, again["job_id"]) == ROWS
