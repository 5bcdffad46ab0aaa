"""Workers that are killed or stopped in the middle: every row is loaded exactly once, by whoever comes next."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from ingestion_pipeline_tests.guarantees.faults import Point, Signal
from ingestion_pipeline_tests.guarantees.system import Run, System, readings

pytestmark = pytest.mark.stack

ROWS = 200


@dataclass(frozen=True)
class Lost:
    """One file whose first worker is lost at a point."""

    point: Point
    number: Signal

    @property
    def datasource(self) -> str:
        return f"{'killed' if self.number == 'SIGKILL' else 'stopped'}_{self.point}"

    @property
    def key(self) -> str:
        return f"exports/{self.datasource}/2024-05-01/file.csv"


CASES = [
    Lost("reading", "SIGKILL"),
    Lost("before_post", "SIGKILL"),
    Lost("after_post", "SIGKILL"),
    Lost("reading", "SIGSTOP"),
    Lost("before_post", "SIGSTOP"),
]


@pytest.fixture(scope="module")
def losses(system: System) -> Iterator[None]:
    """All the files are put at once: the waiting for silence and for Dagster's retries is then done once."""
    for case in CASES:
        system.faults.arm(case.point, case.datasource, case.number)
        system.put(case.key, readings(ROWS, bad=2))
    yield
    for case in CASES:
        pid = system.faults.struck(case.point, case.datasource)
        if case.number == "SIGSTOP" and pid is not None and psutil.pid_exists(pid):
            psutil.Process(pid).send_signal(signal.SIGCONT)


def _lost_and_found(system: System, case: Lost) -> tuple[dict[str, Any], Run, Run]:
    """The job once it is loaded, the run whose worker was lost, and the run that loaded it."""
    system.until(f"a worker lost at {case}", lambda: system.faults.struck(case.point, case.datasource))
    job = system.finished(case.key)
    assert (job["status"], job["outcome"]) == ("completed", "loaded_with_rejects")
    found = system.ended_run(job["run_id"])
    assert found.status == "SUCCESS"
    assert found.checks["rows_proved"]
    assert found.parent_run_id is not None
    lost = system.run(found.parent_run_id)
    assert lost.status == "FAILURE"
    return job, lost, found


def _loaded_exactly_once(system: System, case: Lost, job: dict[str, Any]) -> None:
    assert (job["rows_read"], job["rows_accepted"], job["rows_rejected"]) == (ROWS, ROWS - 2, 2)
    assert system.counted(case.datasource) == system.counted(case.datasource, job["job_id"]) == ROWS - 2
    assert len(system.jobs_of(case.key)) == 1
    (attempt,) = system.attempts_of(job["job_id"])
    assert (attempt["state"], attempt["rows_expected"], attempt["rows_processed"]) == ("proved", ROWS - 2, ROWS - 2)
    assert attempt["attempt_id"] == job["attempt_id"]
    statuses = [event["to_status"] for event in system.events_of(job["job_id"])]
    assert (statuses[0], statuses[-1], statuses.count("completed")) == ("pending", "completed", 1)
    assert (
        system.rows("SELECT 1 FROM ingestion_jobs WHERE claim_token = %s AND status = 'processing'", job["claim_token"])
        == []
    )


@pytest.mark.parametrize("case", [case for case in CASES if case.number == "SIGKILL"], ids=lambda case: case.point)
@pytest.mark.usefixtures("losses")
def test_a_killed_worker_is_replaced_and_nothing_is_lost_or_doubled(system: System, case: Lost) -> None:
    job, _, _ = _lost_and_found(system, case)
    _loaded_exactly_once(system, case, job)


@pytest.mark.parametrize("case", [case for case in CASES if case.number == "SIGSTOP"], ids=lambda case: case.point)
@pytest.mark.usefixtures("losses")
def test_a_stopped_worker_is_replaced_and_writes_nothing_when_it_goes_on(system: System, case: Lost) -> None:
    job, lost, found = _lost_and_found(system, case)
    assert any("has not been heard of" in message for message in lost.messages), lost.messages
    _loaded_exactly_once(system, case, job)

    before = _written(system, case, job)
    pid = system.faults.struck(case.point, case.datasource)
    assert pid is not None
    stopped = psutil.Process(pid)
    assert stopped.status() == psutil.STATUS_STOPPED
    stopped.send_signal(signal.SIGCONT)
    system.until("the end of the stopped worker", lambda: _is_gone(stopped))

    after = _written(system, case, job)
    assert after.ledger == before.ledger
    mine = f"/{job['job_id']}/e{_epoch_of(job)}/"
    assert {
        key: value for key, value in after.objects.items() if key in before.objects or mine in key
    } == before.objects
    assert system.counted(case.datasource) == ROWS - 2
    assert system.run(lost.run_id).status == "FAILURE"
    assert system.run(found.run_id).status == "SUCCESS"


@dataclass(frozen=True)
class Written:
    """Everything that a worker could have changed."""

    ledger: list[list[dict[str, Any]]]
    objects: dict[str, Any]


def _written(system: System, case: Lost, job: dict[str, Any]) -> Written:
    job_id = job["job_id"]
    # xmin is the transaction that wrote the row last: it also tells of a write that changed nothing.
    tables = ("ingestion_jobs", "job_events", "attempt_jobs")
    ledger = [
        system.rows(f"SELECT xmin::text AS written_by, * FROM {table} WHERE job_id = %s", job_id) for table in tables
    ]
    ledger.append(
        system.rows("SELECT xmin::text AS written_by, * FROM druid_attempts WHERE datasource = %s", case.datasource)
    )
    objects = {
        **system.objects(f"cleaned/acme/{case.datasource}/"),
        **system.objects(f"quarantine/acme/{case.datasource}/"),
    }
    return Written(ledger=ledger, objects=objects)


def _epoch_of(job: dict[str, Any]) -> str:
    """The epoch of the object that Druid has read."""
    return str(job["staged"]["cleaned_key"].split("/e")[-1].split("/")[0])


def _is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
