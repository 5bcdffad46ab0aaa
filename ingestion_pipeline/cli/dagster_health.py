"""Whether Dagster would notice a file: its daemon's heartbeat and the uploads sensor, asked over GraphQL.

What belongs here: one question and its answer in words. What does not: Dagster itself; it is a server here.
"""

from datetime import UTC, datetime
from typing import Any

SENSOR_NAME = "uploads"
TIMEOUT_SECONDS = 3.0
_QUERY = """{
  instance { daemonHealth { allDaemonStatuses { daemonType healthy lastHeartbeatTime } } }
  workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError {
    __typename ... on RepositoryLocation { repositories { sensors { name sensorState { status } } } } } } } }
}"""


def sensor_problem(dagster_url: str, *, now: datetime) -> str | None:
    """One sentence why nobody looks for new files at the moment; None when the sensor runs.

    Args:
        dagster_url: The webserver's base URL.
        now: Aware.
    """
    import requests

    try:
        answer = requests.post(f"{dagster_url}/graphql", json={"query": _QUERY}, timeout=TIMEOUT_SECONDS)
        data = answer.json().get("data") if answer.ok else None
    except (requests.RequestException, ValueError, AttributeError):
        data = None
    if not isinstance(data, dict):
        return f"Dagster's webserver at {dagster_url} does not answer; whether the sensor runs is not known."
    return _judge(data, now)


def _judge(data: dict[str, Any], now: datetime) -> str | None:
    daemons = {entry["daemonType"]: entry for entry in data["instance"]["daemonHealth"]["allDaemonStatuses"]}
    sensor_daemon = daemons.get("SENSOR") or {}
    if not sensor_daemon.get("healthy"):
        beat = sensor_daemon.get("lastHeartbeatTime")
        since = f"since {datetime.fromtimestamp(beat, UTC):%Y-%m-%d %H:%M:%S} UTC" if beat else "and never did"
        return f"Dagster's daemon does not run {since}: no file is noticed. Start it: `ingestion-pipeline up`."
    entries = (data.get("workspaceOrError") or {}).get("locationEntries") or []
    states = {
        sensor["name"]: sensor["sensorState"]["status"]
        for entry in entries
        for repository in (entry.get("locationOrLoadError") or {}).get("repositories") or []
        for sensor in repository["sensors"]
    }
    if SENSOR_NAME not in states:
        return f"Dagster has no sensor '{SENSOR_NAME}' at the moment: the page Deployment of its UI says why."
    if states[SENSOR_NAME] != "RUNNING":
        return f"The sensor '{SENSOR_NAME}' is stopped: start it on its page in Dagster's UI."
    return None
