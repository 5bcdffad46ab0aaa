"""The whole running system as its users see it: a bucket to put files in, a ledger, Druid, Dagster's API, the CLI.

What belongs here: doing and asking, and waiting with a deadline. What does not: judging. Druid and the ledger are
asked past the pipeline's own code where a test proves something.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import requests
from psycopg.rows import dict_row

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.embedded import postgres, processes
from ingestion_pipeline.embedded.stack import Stack
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.guarantees.faults import DIRECTORY_VARIABLE, Faults
from ingestion_pipeline_tests.guarantees.surroundings import ORGANIZATION, READINGS

Found = TypeVar("Found")
# For a machine that does much else: a file takes about ten seconds on an idle one.
PATIENCE_SECONDS = 480.0
FINAL = ("completed", "failed", "canceled")

_RUN = """query($id: ID!) { runOrError(runId: $id) { ... on Run {
  runId status parentRunId tags { key value }
  eventConnection(limit: 1000) { events { __typename
    ... on MessageEvent { message }
    ... on RunFailureEvent { error { message } }
    ... on ExecutionStepFailureEvent { error { message } stepKey }
    ... on AssetCheckEvaluationEvent { evaluation { checkName success description } }
    ... on MaterializationEvent { metadataEntries { label
      ... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue }
      ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr }
      ... on JsonMetadataEntry { jsonString } } }
  } } } } }"""
_TICKS = """query($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { sensorState {
  ticks(limit: 10) { timestamp status skipReason error { message causes { message } } } } }
  ... on PythonError { message } ... on SensorNotFoundError { message } } }"""
_LAUNCH = """mutation($e: ExecutionParams!) { launchRun(executionParams: $e) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
_TERMINATE = """mutation($id: String!) { terminateRun(runId: $id) { __typename
  ... on PythonError { message } ... on TerminateRunFailure { message } } }"""
_BACKFILL = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_LOCATION = {"repositoryName": "__repository__", "repositoryLocationName": "ingestion_pipeline"}


@dataclass(frozen=True)
class Run:
    """A Dagster run as its page shows it."""

    run_id: str
    status: str
    parent_run_id: str | None
    tags: dict[str, str]
    checks: dict[str, bool]
    metadata: dict[str, Any]
    errors: list[str]
    messages: list[str]

    @property
    def is_over(self) -> bool:
        return self.status in ("SUCCESS", "FAILURE", "CANCELED")


class System:
    """One running stack.

    Args:
        stack: Everything of it runs.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.environment = stack.environment()
        given = {name.removeprefix("INGESTION_").lower(): value for name, value in self.environment.items()}
        self.settings = Settings(**{name: value for name, value in given.items() if name in Settings.model_fields})  # type: ignore[arg-type]
        self.faults = Faults(Path(self.environment[DIRECTORY_VARIABLE]))
        self.contracts = Path(self.environment["INGESTION_CONTRACTS_DIR"])
        self._connection: psycopg.Connection[dict[str, Any]] | None = None

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.settings.ledger_url.get_secret_value())

    @cached_property
    def bucket(self) -> ObjectStore:
        return ObjectStore.from_settings(self.settings)

    @property
    def _database(self) -> psycopg.Connection[dict[str, Any]]:
        if self._connection is None or self._connection.closed:
            url = postgres.url(self.stack.site, "postgres", driver="postgresql")
            self._connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        return self._connection

    def close(self) -> None:
        self.ledger.close()
        if self._connection is not None:
            self._connection.close()

    def until(
        self, what: str, look: Callable[[], Found | None], *, seconds: float = PATIENCE_SECONDS, pause: float = 0.3
    ) -> Found:
        """What `look` finds; fails the test, naming `what`, when it finds nothing in time."""
        deadline = time.monotonic() + seconds
        while True:
            found = look()
            if found:
                return found
            assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}\n{self.health()}"
            time.sleep(pause)

    def health(self) -> str:
        """How the stack is, for a test that waited in vain: services that are not ready, the sensor's last ticks."""
        lines = []
        for service in self.stack.status():
            if service.state != "ready":
                log = processes.last_lines(self.stack.log_file(service.service), count=15)
                lines += [f"{service.service} is {service.state}; its log ends:", *(f"  | {line}" for line in log)]
        lines.append("All services are ready." if not lines else "The others are ready.")
        try:
            ticks = [f"  {tick['timestamp']:.0f} {tick['status']} {tick['skipReason'] or ''}" for tick in self.ticks()]
        except (requests.RequestException, AssertionError) as error:
            ticks = [f"  {error}"[:500]]
        return "\n".join([*lines, f"It is {time.time():.0f}; the sensor's last ticks:", *ticks])

    def get_ready(self) -> None:
        """Make the organization, and wait until every contract has been seen: from then on files are live."""
        self.ledger.discovery.add_organization(ORGANIZATION)
        wanted = set(READINGS) | {"texts", "flights", "weather"}
        self.until("a tick that sees every contract", lambda: wanted <= set(self.ledger.discovery.first_seen()))

    # The bucket

    def put(self, key: str, data: str | bytes) -> str:
        """Put a file as a customer would; returns the key."""
        self.bucket.put(key, data.encode() if isinstance(data, str) else data)
        return key

    def objects(self, prefix: str) -> dict[str, tuple[str, int, Any]]:
        """Key -> etag, size and time of what lies there."""
        return {o.key: (o.etag, o.size_bytes, o.last_modified) for o in self.bucket.list_page(prefix)}

    # The ledger

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Rows past row-level security."""
        try:
            return self._database.execute(sql, values).fetchall()
        except psycopg.OperationalError:
            # Some tests kill the server: asked again, over a new connection.
            self._database.close()
            return self._database.execute(sql, values).fetchall()

    def jobs_of(self, key: str) -> list[dict[str, Any]]:
        """The key's jobs, oldest first."""
        return self.rows(
            "SELECT *, job_id::text AS job_id FROM ingestion_jobs WHERE object_key = %s ORDER BY created_at", key
        )

    def finished(self, key: str, *, jobs: int = 1, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The key's newest job, once it has that many and all are final."""

        def look() -> dict[str, Any] | None:
            found = self.jobs_of(key)
            return found[-1] if len(found) >= jobs and all(job["status"] in FINAL for job in found) else None

        return self.until(f"{jobs} finished jobs of {key}", look, seconds=seconds)

    def job(self, job_id: str) -> dict[str, Any]:
        (row,) = self.rows("SELECT *, job_id::text AS job_id FROM ingestion_jobs WHERE job_id = %s", job_id)
        return row

    def finished_job(self, job_id: str, *, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """One job, once it is final."""

        def look() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["status"] in FINAL else None

        return self.until(f"the end of job {job_id}", look, seconds=seconds)

    def attempts_of(self, job_id: str) -> list[dict[str, Any]]:
        return self.rows(
            "SELECT a.* FROM druid_attempts a JOIN attempt_jobs m USING (attempt_id) "
            "WHERE m.job_id = %s ORDER BY a.created_at",
            job_id,
        )

    def events_of(self, job_id: str) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM job_events WHERE job_id = %s ORDER BY seq", job_id)

    # Druid

    def sql(self, query: str, *parameters: str) -> list[dict[str, Any]]:
        """Rows of a Druid query, from no cache."""
        answer = requests.post(
            f"{self.settings.druid_broker_url}/druid/v2/sql",
            json={
                "query": query,
                "parameters": [{"type": "VARCHAR", "value": value} for value in parameters],
                "context": {"useCache": False, "populateCache": False},
            },
            timeout=30,
        )
        assert answer.ok, answer.text
        rows: list[dict[str, Any]] = answer.json()
        return rows

    def counted(self, datasource: str, job_id: str | None = None) -> int:
        """Rows of the datasource in Druid, of one job or of all."""
        where = "WHERE __job_id = ?" if job_id else ""
        rows = self.sql(f'SELECT COUNT(*) AS n FROM "{datasource}" {where}', *([job_id] if job_id else []))
        return int(rows[0]["n"])

    # Dagster

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        for _ in range(10):
            answer = requests.post(
                f"{self.settings.dagster_url}/graphql", json={"query": query, "variables": variables}, timeout=60
            ).json()
            # Some tests kill PostgreSQL: the page's server finds each of its pooled connections dead once, and says so
            # beside the data or in it.
            if "OperationalError" not in str(answer.get("errors") or answer.get("data")):
                break
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def run(self, run_id: str) -> Run:
        found = self.graphql(_RUN, id=run_id)["runOrError"]
        events = found["eventConnection"]["events"]
        entries = [entry for event in events for entry in event.get("metadataEntries") or []]
        return Run(
            run_id=found["runId"],
            status=found["status"],
            parent_run_id=found["parentRunId"],
            tags={tag["key"]: tag["value"] for tag in found["tags"]},
            checks={e["evaluation"]["checkName"]: e["evaluation"]["success"] for e in events if e.get("evaluation")},
            metadata={e["label"]: next((v for k, v in e.items() if k != "label"), None) for e in entries},
            errors=[event["error"]["message"] for event in events if event.get("error")],
            messages=[event.get("message") or "" for event in events],
        )

    def ended_run(self, run_id: str, *, seconds: float = PATIENCE_SECONDS) -> Run:
        """The run once it is over: its jobs are final a moment before."""

        def look() -> Run | None:
            run = self.run(run_id)
            return run if run.is_over else None

        return self.until(f"the end of run {run_id}", look, seconds=seconds)

    def runs_with(self, key: str, value: str) -> list[str]:
        """Ids of the runs with a tag, newest first."""
        query = "query($f: RunsFilter!) { runsOrError(filter: $f) { ... on Runs { results { runId } } } }"
        found = self.graphql(query, f={"tags": [{"key": key, "value": value}]})
        return [run["runId"] for run in found["runsOrError"]["results"]]

    def launch(self, datasource: str, day: str, keys: Sequence[str]) -> str:
        """Launch the asset's job as the Launchpad does; returns the run's id."""
        config = {"ops": {datasource: {"ops": {"validate": {"config": {"keys": list(keys)}}}}}}
        answer = self.graphql(
            _LAUNCH,
            e={
                "selector": {**_LOCATION, "jobName": f"ingest_{datasource}"},
                "runConfigData": config,
                "executionMetadata": {"tags": [{"key": "dagster/partition", "value": day}]},
            },
        )["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def cancel(self, run_id: str) -> float:
        """Terminate a run as its page does; returns the seconds until it is over."""
        began = time.monotonic()
        answer = self.graphql(_TERMINATE, id=run_id)["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess", answer
        self.ended_run(run_id)
        return time.monotonic() - began

    def backfill(self, datasource: str, day: str, *, seconds: float = PATIENCE_SECONDS) -> Run:
        """Launch a backfill of one day from the asset's page; returns its run, over."""
        answer = self.graphql(_BACKFILL, p={"assetSelection": [{"path": [datasource]}], "partitionNames": [day]})
        backfill_id = answer["launchPartitionBackfill"]["backfillId"]
        runs = self.until(
            "the backfill's run", lambda: self.runs_with("dagster/backfill", backfill_id), seconds=PATIENCE_SECONDS
        )
        return self.ended_run(runs[0], seconds=seconds)

    def ticks(self) -> list[dict[str, Any]]:
        """The uploads sensor's last ticks, newest first: status, skipReason, error."""
        found = self.graphql(_TICKS, s={**_LOCATION, "sensorName": "uploads"})["sensorOrError"]
        assert "sensorState" in found, found
        ticks: list[dict[str, Any]] = found["sensorState"]["ticks"]
        return ticks

    def tick_saying(self, text: str, *, status: str) -> str:
        """What a tick with this status says, once one says `text`."""

        def look() -> str | None:
            for tick in self.ticks():
                if tick["status"] != status:
                    continue
                error = tick["error"] or {"message": "", "causes": []}
                said = "\n".join([tick["skipReason"] or "", error["message"], *(c["message"] for c in error["causes"])])
                if text in said:
                    return said
            return None

        return self.until(f"a tick {status} that says {text!r}", look, seconds=PATIENCE_SECONDS)

    # The command line

    def cli(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `ingestion-pipeline` beside the stack."""
        return subprocess.run(
            [sys.executable, "-m", "ingestion_pipeline.cli.main", *arguments],
            env={**os.environ, **self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def readings(rows: int, *, day: str = "2024-05-01", place: str = "roof", bad: int = 0) -> str:
    """A CSV of good rows, all different, the last `bad` of them out of range."""
    lines = ["at,place,value"]
    for row in range(rows):
        value = 1000 + row if row >= rows - bad else row % 100
        lines.append(f"{day}T{row // 3600 % 24:02}:{row // 60 % 60:02}:{row % 60:02}Z,{place},{value}")
    return "\n".join(lines) + "\n"


def put_again(system: System, key: str, text: str | bytes) -> dict[str, Any]:
    """Put the next version of a key; its job, once all of the key's are over."""
    known = len(system.jobs_of(key))
    before = system.bucket.head(key)
    # Versions of a key are told apart by their time, which S3 gives in whole seconds.
    while before is not None and now() - before.last_modified < timedelta(seconds=1):
        time.sleep(0.1)
    system.put(key, text)
    return system.finished(key, jobs=known + 1)


def now() -> datetime:
    return datetime.now(UTC)


def loads(text: str | None) -> Any:
    """A JSON metadata entry's value."""
    return json.loads(text or "null")
