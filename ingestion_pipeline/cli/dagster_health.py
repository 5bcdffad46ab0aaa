"""What Dagster says of itself, asked over GraphQL: its daemon, the uploads sensor, its queue, the runs of a claim.

What belongs here: the question, and its answer as a value. What does not: Dagster itself (it is a server here), and
what its answer means for a file (`stages.diagnose`).
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ingestion_pipeline.domain.diagnosis import DagsterNow, NoAnswer, RunNow, Tick
from ingestion_pipeline.stages.diagnose import sensor_problem as judge_sensor

SENSOR_NAME = "uploads"
DRUID_POOL = "druid"
TIMEOUT_SECONDS = 3.0
_QUERY = """query($about: Boolean!, $runs: RunsFilter, $pool: String) {
  instance {
    daemonHealth { allDaemonStatuses { daemonType healthy lastHeartbeatTime } }
    runQueueConfig @include(if: $about) { maxConcurrentRuns }
    concurrencyLimit(concurrencyKey: $pool) @include(if: $about) {
      slotCount pendingSteps { runId assignedTimestamp } }
  }
  workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError {
    __typename ... on RepositoryLocation { repositories {
      jobs @include(if: $about) { name }
      sensors { name sensorState { status
        ticks(limit: 1, statuses: [SKIPPED, SUCCESS, FAILURE]) {
          timestamp status skipReason error { message causes { message } } } } } } } } } } }
  working: runsOrError(filter: {statuses: [STARTING, STARTED, CANCELING]}) @include(if: $about) {
    ... on Runs { count } }
  fromSensor: runsOrError(filter: {
    statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING], tags: [{key: "ingestion/origin", value: "sensor"}]
  }) @include(if: $about) { ... on Runs { count } }
  runs: runsOrError(filter: $runs, limit: 20) @include(if: $about) { ... on Runs { results {
    runId status creationTime startTime updateTime parentRunId tags { key value } } } }
}"""
# Of a chain of errors, the last one is the reason; its class and module say nothing to people.
_CLASS = re.compile(r"^(?:[\w.]+\.)?\w+: ")


def sensor_problem(dagster_url: str, *, now: datetime) -> str | None:
    """One or two sentences why nobody looks for new files at the moment; None when the sensor runs.

    Args:
        dagster_url: The webserver's base URL.
        now: Aware.
    """
    problem = judge_sensor(ask_dagster(dagster_url), now)
    return f"{problem.told} {problem.next_step}" if problem else None


def ask_dagster(
    dagster_url: str, *, token: str | None = None, run_id: str | None = None, about_runs: bool = False
) -> DagsterNow | NoAnswer:
    """What Dagster says now.

    Args:
        dagster_url: The webserver's base URL.
        token: A claim's, whose runs are wanted.
        run_id: The run that is wanted where there is no claim.
        about_runs: Ask for the queue and for runs too; else for the sensor alone.
    """
    import requests

    if token is not None:
        runs: dict[str, Any] = {"tags": [{"key": "ingestion/claim", "value": token}]}
    else:
        runs = {"runIds": [run_id or "none"]}
    variables = {"about": about_runs, "runs": runs, "pool": DRUID_POOL}
    try:
        body = {"query": _QUERY, "variables": variables}
        answer = requests.post(f"{dagster_url}/graphql", json=body, timeout=TIMEOUT_SECONDS)
        data = answer.json().get("data") if answer.ok else None
    except (requests.RequestException, ValueError, AttributeError):
        data = None
    if not isinstance(data, dict):
        return NoAnswer(problem=f"Dagster's webserver at {dagster_url} does not answer.")
    return read_dagster(data)


def read_dagster(data: Mapping[str, Any]) -> DagsterNow:
    """A GraphQL answer as a value; what it lacks is not known."""
    instance = data["instance"]
    daemons = {entry["daemonType"]: entry for entry in instance["daemonHealth"]["allDaemonStatuses"]}
    daemon = daemons.get("SENSOR") or {}
    repositories = [
        repository
        for entry in (data.get("workspaceOrError") or {}).get("locationEntries") or []
        for repository in (entry.get("locationOrLoadError") or {}).get("repositories") or []
    ]
    states = {sensor["name"]: sensor["sensorState"] for each in repositories for sensor in each["sensors"]}
    state = states.get(SENSOR_NAME) or {}
    pool = instance.get("concurrencyLimit") or {}
    turns = {step["runId"]: step["assignedTimestamp"] for step in pool.get("pendingSteps") or []}
    runs = (data.get("runs") or {}).get("results") or []
    retried = {run["parentRunId"] for run in runs}
    return DagsterNow(
        daemon_healthy=bool(daemon.get("healthy")),
        beat_at=_moment(daemon.get("lastHeartbeatTime")),
        sensor=state.get("status"),
        last_tick=_tick(next(iter(state.get("ticks") or []), None)),
        job_names=frozenset(job["name"] for each in repositories for job in each.get("jobs") or []),
        run_slots=(instance.get("runQueueConfig") or {}).get("maxConcurrentRuns"),
        working=(data.get("working") or {}).get("count") or 0,
        from_sensor=(data.get("fromSensor") or {}).get("count") or 0,
        pool_slots=pool.get("slotCount") or None,
        runs=tuple(_run(run, turns, retried) for run in runs),
    )


def _run(run: Mapping[str, Any], turns: Mapping[str, float | None], retried: set[str | None]) -> RunNow:
    run_id, status = run["runId"], run["status"]
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    working = run.get("startTime") if status in ("STARTED", "CANCELING") else None
    since = _moment(working or run.get("updateTime") or run.get("creationTime"))
    assert since is not None
    # The tag comes a moment after the status.
    will_retry = tags.get("dagster/will_retry", "true" if status == "FAILURE" else "false") == "true"
    return RunNow(
        run_id=run_id,
        status=status,
        since=since,
        will_retry=will_retry and run_id not in retried,
        waits_for_turn=run_id in turns and turns[run_id] is None,
        turn_came_at=_moment(turns.get(run_id)),
    )


def _tick(tick: Mapping[str, Any] | None) -> Tick | None:
    if tick is None:
        return None
    at = _moment(tick["timestamp"])
    assert at is not None
    error = tick.get("error")
    if error is None:
        return Tick(at=at, failed=tick["status"] == "FAILURE", told=tick.get("skipReason") or "runs requested.")
    causes = [cause["message"] for cause in error.get("causes") or []]
    reason = next(iter((causes or [error["message"]])[-1].strip().splitlines()), "")
    return Tick(at=at, failed=True, told=_CLASS.sub("", reason))


def _moment(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
