"""Whether Dagster looks for files: what is said for each of its answers."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion_pipeline.cli.dagster_health import sensor_problem
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
