"""`why` while servers and workers are dead: it names the one that is, and never takes silence for absence."""

import json
import signal
from typing import Any

import psutil
import pytest

from ingestion_pipeline_tests.guarantees.system import System, readings

pytestmark = pytest.mark.stack

ROWS = 30
DATASOURCE = "explained"


def key(name: str, day: int) -> str:
    return f"exports/{DATASOURCE}/2024-08-{day:02}/{name}.csv"


def why(system: System, what: str) -> dict[str, Any]:
    done = system.cli("why", what, "--json")
    assert done.returncode in (0, 5), done.stderr
    return dict(json.loads(done.stdout))


def until(system: System, what: str, cause: str) -> dict[str, Any]:
    """The answer, once it names the cause."""

    def look() -> dict[str, Any] | None:
        answer = why(system, what)
        return answer if answer["cause"] == cause else None

    return system.until(f"why {what}: {cause}", look)


@pytest.fixture(scope="module")
def loaded(system: System) -> str:
    name = system.put(key("loaded", 1), readings(ROWS, day="2024-08-01"))
    assert system.finished(name)["outcome"] == "loaded"
    return name


def test_segments_that_are_not_served_are_no_rows_that_are_gone(system: System, loaded: str) -> None:
    assert why(system, loaded)["cause"] == "loaded"
    system.stack.kill("druid-historical")
    try:
        answer = until(system, loaded, "segments_loading")
    finally:
        system.stack.up(only=["druid-historical"])
    assert "of the segments of its time is served" in answer["told"]
    assert answer["standing"] == "on_its_way"
    until(system, loaded, "loaded")


def test_druid_s_absence_is_told_of_what_waits_and_of_what_is_loaded(system: System, loaded: str) -> None:
    system.stack.kill("druid-coordinator")
    try:
        waits = system.put(key("waits", 2), readings(ROWS, day="2024-08-02"))
        system.until("a job", lambda: system.jobs_of(waits))
        answer = until(system, waits, "druid_down")
        assert "ingestion-pipeline up" in answer["commands"]
        assert why(system, loaded)["cause"] == "druid_down"
    finally:
        system.stack.up(only=["druid-coordinator"])
    until(system, waits, "loaded")


def test_a_run_whose_worker_is_silent_is_dead(system: System) -> None:
    system.faults.arm("reading", DATASOURCE, "SIGSTOP")
    name = system.put(key("silent", 3), readings(ROWS, day="2024-08-03"))
    pid = system.until("a worker that is stopped", lambda: system.faults.struck("reading", DATASOURCE))
    # Else the daemon's sweep takes the file from it and launches another run at once; a sweep that is at work may yet.
    system.stack.kill("dagster-daemon", signal.SIGSTOP)
    try:
        answer = until(system, name, "run_dead")
    finally:
        system.stack.kill("dagster-daemon", signal.SIGCONT)
    assert "is dead" in answer["told"]
    assert {part["about"]: part["mark"] for part in answer["evidence"]}["run"] == "bad"
    until(system, name, "loaded")
    if psutil.pid_exists(pid):
        psutil.Process(pid).send_signal(signal.SIGCONT)
