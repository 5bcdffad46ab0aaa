"""Whether Dagster looks for files: what is said for each of its answers."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion_pipeline.cli.dagster_health import ask_dagster, sensor_problem
from ingestion_pipeline.domain.diagnosis import DagsterNow, Tick
from ingestion_pipeline_tests.entrypoints.answering_server import answering

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
BEAT = datetime(2026, 1, 1, 11, 58, 3, tzinfo=UTC).timestamp()


def answer(*, healthy: bool = True, beat: float | None = BEAT, status: str | None = "RUNNING") -> dict[str, Any]:
    sensors = [{"name": "uploads", "sensorState": {"status": status}}] if status else []
    location = {"__typename": "RepositoryLocation", "repositories": [{"sensors": sensors}]}
    entries = [{"name": "ingestion_pipeline", "locationOrLoadError": location}]
    daemon = {"daemonType": "SENSOR", "healthy": healthy, "lastHeartbeatTime": beat}
    return {
        "data": {
            "instance": {"daemonHealth": {"allDaemonStatuses": [daemon]}},
            "workspaceOrError": {"locationEntries": entries},
        }
    }


def test_a_running_sensor_is_no_problem() -> None:
    with answering(200, answer()) as (url, _):
        assert sensor_problem(url, now=NOW) is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (answer(healthy=False), "does not run since 2026-01-01 11:58:03 UTC"),
        (answer(healthy=False, beat=None), "never did"),
        (answer(status="STOPPED"), "The sensor 'uploads' is stopped"),
        (answer(status=None), "no sensor 'uploads'"),
        ({"data": {"instance": {"daemonHealth": {"allDaemonStatuses": []}}, "workspaceOrError": {}}}, "never did"),
        ({"errors": ["no"]}, "does not answer"),
        ([], "does not answer"),
    ],
    ids=["daemon dead", "daemon never ran", "stopped", "not loaded", "no daemon", "error", "not GraphQL"],
)
def test_what_is_wrong_is_one_sentence(given: Any, told: str) -> None:
    with answering(200, given) as (url, _):
        problem = sensor_problem(url, now=NOW)
    assert problem is not None
    assert told in problem


def test_a_webserver_that_is_away_is_named() -> None:
    assert "http://127.0.0.1:1 does not answer" in str(sensor_problem("http://127.0.0.1:1", now=NOW))


def test_the_queue_the_last_tick_and_the_runs_of_a_claim_are_read() -> None:
    given = answer()
    state = given["data"]["workspaceOrError"]["locationEntries"][0]["locationOrLoadError"]["repositories"][0]
    state["jobs"] = [{"name": "ingest_flights"}]
    causes = [{"message": "a.b.SensorError: It failed\n"}, {"message": "x.errors.ConfigurationError: No bucket b.\n"}]
    state["sensors"][0]["sensorState"]["ticks"] = [
        {"timestamp": BEAT, "status": "FAILURE", "skipReason": None, "error": {"message": "e", "causes": causes}}
    ]
    given["data"]["instance"] |= {
        "runQueueConfig": {"maxConcurrentRuns": 4},
        "concurrencyLimit": {"slotCount": 2, "pendingSteps": [{"runId": "r2", "assignedTimestamp": None}]},
    }
    times = {"creationTime": BEAT - 9, "startTime": BEAT - 5, "updateTime": BEAT}
    failed, retry = (
        {"runId": "r1", "status": "FAILURE", "parentRunId": None, "tags": [], **times},
        {"runId": "r2", "status": "STARTED", "parentRunId": "r1", "tags": [], **times},
    )
    given["data"] |= {"working": {"count": 3}, "fromSensor": {"count": 5}, "runs": {"results": [retry, failed]}}
    with answering(200, given) as (url, asked):
        now = ask_dagster(url, token="claim-1", about_runs=True)
    assert isinstance(now, DagsterNow)
    assert asked[0]["variables"]["runs"] == {"tags": [{"key": "ingestion/claim", "value": "claim-1"}]}
    assert now.last_tick == Tick(at=datetime.fromtimestamp(BEAT, UTC), failed=True, told="No bucket b.")
    assert (now.job_names, now.run_slots, now.working, now.from_sensor, now.pool_slots) == (
        frozenset({"ingest_flights"}), 4, 3, 5, 2
    )  # fmt: skip
    # A failed run that was launched again will not be once more.
    assert [(run.run_id, run.waits_for_turn, run.will_retry) for run in now.runs] == [
        ("r2", True, False), ("r1", False, False)
    ]  # fmt: skip
    assert now.runs[0].since == datetime.fromtimestamp(BEAT - 5, UTC)
