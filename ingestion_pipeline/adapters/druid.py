"""Druid over HTTP: one small method per question, errors of the tree, a timeout on every call.

What belongs here: which path of the overlord, the coordinator or the broker answers which question, and how.
What does not: connections (`adapters.druid_http`), building specs (`stages.submit`), waiting and judging
(`stages.monitor`), which error an answer means (`domain.druid_failures`). No method waits or tries again: its
caller knows for how long it may.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self
from urllib.parse import quote

import requests
import structlog

from ingestion_pipeline.adapters.druid_http import CONNECT_SECONDS, DruidHttp, Timeout, read, shown
from ingestion_pipeline.domain.druid import JOB_ID_COLUMN, TIME_COLUMN, Capabilities, TaskReport, TaskStatus
from ingestion_pipeline.domain.druid_failures import (
    already_exists,
    classify_response,
    unanswerable_query,
    unknown_table,
)
from ingestion_pipeline.domain.interval import Interval
from ingestion_pipeline.errors import DruidRejected, DruidUnavailable, IngestionError

log = structlog.get_logger()

READY_TIMEOUT = (1.0, 2.0)
CANCEL_TIMEOUT = (1.0, 4.0)
SCAN_TIMEOUT = (CONNECT_SECONDS, 60.0)
# A proof must not be answered from a cache.
NO_CACHE = {
    "useCache": False,
    "populateCache": False,
    "useResultLevelCache": False,
    "populateResultLevelCache": False,
}
_JOBS_PER_QUERY = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SQL_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "BOOLEAN"),  # before int: a bool is an int
    (int, "BIGINT"),
    (float, "DOUBLE"),
    (str, "VARCHAR"),
)


class Druid:
    """A cluster's three faces; each URL may be the router's. Not for use by several threads at once.

    Args:
        coordinator_url: Base URL, as `http://host:8081`.
        overlord_url: Base URL; the coordinator's when it is overlord too.
        broker_url: Base URL.
        username: For clusters with basic authentication.
        password: The user's.
        timeout_seconds: How long one call may wait for an answer.
    """

    def __init__(
        self,
        *,
        coordinator_url: str,
        overlord_url: str,
        broker_url: str,
        username: str | None = None,
        password: str | None = None,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._coordinator = coordinator_url.rstrip("/")
        self._overlord = overlord_url.rstrip("/")
        self._broker = broker_url.rstrip("/")
        self._http = DruidHttp(username=username, password=password, timeout_seconds=timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    # The cluster

    def capabilities(self) -> Capabilities:
        """Version and extensions, from `/status` of overlord and broker.

        Raises:
            DruidUnavailable: One of them does not answer.
        """
        overlord = self._json("read the overlord's modules", f"{self._overlord}/status")
        broker = self._json("read the broker's modules", f"{self._broker}/status")
        modules = _artifacts(overlord) & _artifacts(broker)
        return Capabilities(
            version=str(overlord.get("version", "unknown")),
            s3="druid-s3-extensions" in modules,
            parquet="druid-parquet-extensions" in modules,
        )

    def unready(self) -> str | None:
        """None when the overlord has worker slots and the broker answers SQL, else one sentence why not.

        Cheap enough for every tick of a sensor: two requests, each over after three seconds.
        """
        try:
            url = f"{self._overlord}/druid/indexer/v1/totalWorkerCapacity"
            capacity = self._json("read the worker slots", url, timeout=READY_TIMEOUT)
            slots = (capacity.get("currentClusterCapacity"), capacity.get("maximumCapacityWithAutoScale"))
            if not any(isinstance(count, int) and count > 0 for count in slots):
                return f"Druid's overlord at {shown(self._overlord)} has no worker to run tasks."
            self._sql("SELECT 1", (), READY_TIMEOUT)
        except IngestionError as error:
            return error.message
        return None

    # Tasks

    def submit(self, spec: Mapping[str, Any]) -> Literal["accepted", "exists"]:
        """POST a task; its id in the spec makes the call safe to repeat.

        Returns:
            "accepted", or "exists" when the overlord knew the id already (also after the task's end).

        Raises:
            DruidRejected: Druid cannot read the spec, or will not have it.
            ConfigurationError: Wrong credentials, or not an overlord's URL.
            DruidUnavailable: No answer, or a passing refusal. The task may have been accepted: ask by id, or repeat.
        """
        task_id = str(spec.get("id", ""))
        doing = f"take task {task_id}"
        response = self._http.send(doing, "POST", f"{self._overlord}/druid/indexer/v1/task", json=spec)
        if response.ok:
            log.info("druid_task_submitted", task_id=task_id)
            return "accepted"
        if already_exists(response.status_code, response.text):
            log.info("druid_task_exists", task_id=task_id)
            return "exists"
        raise classify_response(doing, response.status_code, response.text)

    def status(self, task_id: str) -> TaskStatus | None:
        """The task's state; None when the overlord does not know the id (never accepted, or purged)."""
        body = self._task_json("tell the state of", task_id, "status")
        return TaskStatus.from_json(task_id, body) if body else None

    def report(self, task_id: str) -> TaskReport | None:
        """The task's row counts, live while it runs; None before its start and when the report is gone."""
        body = self._task_json("give the report of", task_id, "reports")
        return TaskReport.from_json(body) if body else None

    def cancel(self, task_id: str) -> None:
        """Ask the overlord to stop the task; a task that it does not know is stopped already."""
        doing = f"stop task {task_id}"
        # The overlord waits for the worker; a person who cancels does not wait for both.
        response = self._http.send(doing, "POST", f"{self._task_url(task_id)}/shutdown", timeout=CANCEL_TIMEOUT)
        if not response.ok and not _unknown_task(response):
            raise classify_response(doing, response.status_code, response.text)

    def occupy(self, task_id: str) -> Literal["accepted", "exists"]:
        """Take a task id with a task that does nothing, so that no late POST of the real one can be accepted.

        Returns:
            "accepted", or "exists": somebody's POST of the id was accepted before.
        """
        # A run time of 0 means Druid's own default, which is 2.5 s of a worker slot.
        return self.submit({"type": "noop", "id": task_id, "runTime": 1, "isReadyTime": 0})

    def running_compactions(self, datasource: str) -> set[str]:
        """Ids of the datasource's compaction tasks that have not ended."""
        doing = f"list the running compactions of {datasource}"
        found: set[str] = set()
        for state in ("running", "pending", "waiting"):
            response = self._http.send(
                doing,
                "GET",
                f"{self._overlord}/druid/indexer/v1/tasks",
                params={"state": state, "datasource": datasource, "type": "compact"},
            )
            found |= {str(task["id"]) for task in read(doing, response, list)}
        return found

    # Rows

    def load_status(self, datasource: str, interval: Interval, *, force: bool) -> float | None:
        """How much of the interval's used segments the historicals serve.

        Args:
            datasource: Druid datasource.
            interval: Whose segments.
            force: Have the coordinator read the metadata store first. Without it 100 may be said of the state
                before the last task; it is costly on a big cluster.

        Returns:
            Percent, 0 to 100; None when there is no used segment.
        """
        response = self._http.send(
            doing := f"tell how much of {datasource} is loaded",
            "GET",
            f"{self._coordinator}/druid/coordinator/v1/datasources/{quote(datasource, safe='')}/loadstatus",
            params={"forceMetadataRefresh": str(force).lower(), "interval": str(interval)},
        )
        if response.status_code == 204 or (response.ok and response.text.startswith("No used segment")):
            return None
        percent = read(doing, response).get(datasource)
        return float(percent) if isinstance(percent, int | float) else None

    def count_by_job(self, datasource: str, job_ids: Sequence[str], interval: Interval) -> dict[str, int]:
        """Rows per job, as a person asking by SQL would count them: no cache, `start <= __time < end`.

        A datasource that SQL does not know yet has no rows: the broker learns of a new one with its next
        refresh, and only then can anybody query it.

        Returns:
            One entry per id of `job_ids`, 0 where nothing is.
        """
        counts = dict.fromkeys(job_ids, 0)
        for asked in _chunks(list(counts)):
            marks = ", ".join("?" * len(asked))
            sql = (
                f'SELECT "{JOB_ID_COLUMN}" AS job_id, COUNT(*) AS counted FROM {_identifier(datasource)} '  # noqa: S608 - the identifier is quoted, values are parameters
                f'WHERE "{JOB_ID_COLUMN}" IN ({marks}) AND "{TIME_COLUMN}" >= ? AND "{TIME_COLUMN}" < ? GROUP BY 1'
            )
            try:
                rows = self._sql(sql, [*asked, interval.start, interval.end])
            except DruidRejected as error:
                if unknown_table(error):
                    return counts
                raise
            counts.update({row["job_id"]: int(row["counted"]) for row in rows})
        return counts

    def served_by_job(self, datasource: str, job_ids: Sequence[str], interval: Interval) -> dict[str, int]:
        """Rows per job by a native query: it needs no table schema, so its 0 is never a schema not yet refreshed.

        Proof of absence asks this way; like :meth:`count_by_job` in everything else.
        """
        counts = dict.fromkeys(job_ids, 0)
        for asked in _chunks(list(counts)):
            query = {
                "queryType": "groupBy",
                "dataSource": datasource,
                "intervals": [str(interval)],
                "granularity": "all",
                "dimensions": [JOB_ID_COLUMN],
                "filter": {"type": "in", "dimension": JOB_ID_COLUMN, "values": asked},
                "aggregations": [{"type": "count", "name": "counted"}],
                "context": self._context(None),
            }
            doing = f"count rows of {datasource}"
            rows = read(doing, self._http.send(doing, "POST", f"{self._broker}/druid/v2", json=query), list)
            counts.update({row["event"][JOB_ID_COLUMN]: int(row["event"]["counted"]) for row in rows})
        return counts

    def rows_by_job(self, datasource: str, intervals: Sequence[Interval]) -> dict[str, int]:
        """Rows of every job in the intervals, those of no job (null or an empty text) under "".

        Like :meth:`served_by_job`: no cache, and no table schema needed. It reads every row there, so it may take
        longer than other questions.
        """
        query = {
            "queryType": "groupBy",
            "dataSource": datasource,
            "intervals": [str(interval) for interval in intervals],
            "granularity": "all",
            "dimensions": [JOB_ID_COLUMN],
            "aggregations": [{"type": "count", "name": "counted"}],
            "context": self._context(SCAN_TIMEOUT),
        }
        doing, url = f"count rows of {datasource}", f"{self._broker}/druid/v2"
        rows = read(doing, self._http.send(doing, "POST", url, json=query, timeout=SCAN_TIMEOUT), list)
        counts: dict[str, int] = {}
        for row in rows:
            job = row["event"].get(JOB_ID_COLUMN) or ""
            counts[job] = counts.get(job, 0) + int(row["event"]["counted"])
        return counts

    def chunks_of_jobs(
        self, datasource: str, job_ids: Sequence[str], interval: Interval, granularity: str
    ) -> list[datetime]:
        """The starts of the time chunks (`hour`, `day`, `month`, `year`) in which the jobs have rows, sorted."""
        chunks: set[datetime] = set()
        for asked in _chunks(list(job_ids)):
            query = {
                "queryType": "timeseries",
                "dataSource": datasource,
                "intervals": [str(interval)],
                "granularity": granularity,
                "filter": {"type": "in", "dimension": JOB_ID_COLUMN, "values": asked},
                "aggregations": [{"type": "count", "name": "counted"}],
                "context": {**self._context(None), "skipEmptyBuckets": True},
            }
            doing = f"find the rows' time in {datasource}"
            rows = read(doing, self._http.send(doing, "POST", f"{self._broker}/druid/v2", json=query), list)
            chunks |= {datetime.fromisoformat(row["timestamp"]) for row in rows if row["result"]["counted"]}
        return sorted(chunks)

    def columns(self, datasource: str, intervals: Sequence[Interval]) -> dict[str, frozenset[str]]:
        """Every column that the served segments of the intervals have, with Druid's names of its types there.

        More than one where segments differ; none where no segment has a value in it: Druid 33 calls such a column of
        a segment STRING, also one that was written as JSON. `__time` is left out.
        """
        query = {
            "queryType": "segmentMetadata",
            "dataSource": datasource,
            "intervals": [str(interval) for interval in intervals],
            # Merged, a type that differs hides what it differs between.
            "merge": False,
            "analysisTypes": ["minmax"],
            "toInclude": {"type": "all"},
            "context": self._context(None),
        }
        doing = f"read the columns of {datasource}"
        segments = read(doing, self._http.send(doing, "POST", f"{self._broker}/druid/v2", json=query), list)
        found: dict[str, set[str]] = {}
        for segment in segments:
            for name, column in segment["columns"].items():
                types = found.setdefault(name, set())
                druid_type = str(column.get("typeSignature") or column.get("type"))
                if druid_type != "STRING" or column.get("maxValue") is not None:
                    types.add(druid_type)
        return {name: frozenset(types) for name, types in found.items() if name != TIME_COLUMN}

    def column_types(self, datasource: str) -> dict[str, str]:
        """The datasource's columns with their SQL types, as far as the broker knows them now; empty: none."""
        sql = """SELECT COLUMN_NAME AS name, DATA_TYPE AS type FROM INFORMATION_SCHEMA.COLUMNS
                 WHERE TABLE_SCHEMA = 'druid' AND TABLE_NAME = ?"""
        return {row["name"]: row["type"] for row in self.query(sql, [datasource])}

    def query(self, sql: str, parameters: Sequence[Any] = (), *, timeout_seconds: float = 60.0) -> list[dict[str, Any]]:
        """Run SQL and return its rows.

        Args:
            sql: With `?` for parameters.
            parameters: str, int, float, bool, None or aware datetime, in order.
            timeout_seconds: Druid stops the query then.

        Raises:
            DruidRejected: Druid's own message about the query.
            DruidUnavailable: The broker does not answer, or the answer broke off.
        """
        try:
            return self._sql(sql, parameters, (CONNECT_SECONDS, timeout_seconds))
        except DruidUnavailable as error:
            if not unanswerable_query(error):
                raise
            message = f"Druid could not answer the query: {error.details['answer']}"
            raise DruidRejected(message, hint="Change the query.", details=error.details) from error

    # Shared by the above

    def _sql(self, sql: str, parameters: Sequence[Any], timeout: Timeout | None = None) -> list[dict[str, Any]]:
        body = {
            "query": sql,
            "parameters": [_parameter(value) for value in parameters],
            "context": self._context(timeout) | {"sqlTimeZone": "Etc/UTC"},
        }
        doing = "answer a query"
        response = self._http.send(doing, "POST", f"{self._broker}/druid/v2/sql", json=body, timeout=timeout)
        rows: list[dict[str, Any]] = read(doing, response, list)
        return rows

    def _context(self, timeout: Timeout | None) -> dict[str, Any]:
        return {**NO_CACHE, "timeout": int((timeout or self._http.timeout)[1] * 1000)}

    def _task_url(self, task_id: str) -> str:
        return f"{self._overlord}/druid/indexer/v1/task/{quote(task_id, safe='')}"

    def _task_json(self, verb: str, task_id: str, what: str) -> dict[str, Any] | None:
        doing = f"{verb} task {task_id}"
        response = self._http.send(doing, "GET", f"{self._task_url(task_id)}/{what}")
        if _unknown_task(response):
            return None
        body: dict[str, Any] = read(doing, response)
        return body

    def _json(self, doing: str, url: str, timeout: Timeout | None = None) -> dict[str, Any]:
        body: dict[str, Any] = read(doing, self._http.send(doing, "GET", url, timeout=timeout))
        return body


def _artifacts(status: Mapping[str, Any]) -> set[str]:
    return {str(module.get("artifact")) for module in status.get("modules", [])}


def _unknown_task(response: requests.Response) -> bool:
    # A 404 with other words is a URL that is not an overlord's, which must never pass for an unknown task.
    return response.status_code == 404 and "task" in response.text.lower() and "<html" not in response.text.lower()


def _identifier(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _parameter(value: object) -> dict[str, Any]:
    if value is None:
        return {"type": "VARCHAR", "value": None}
    if isinstance(value, datetime):
        # As a number: Druid 33 answers 500 to some texts of a timestamp.
        return {"type": "TIMESTAMP", "value": (value - _EPOCH) // timedelta(milliseconds=1)}
    for kind, name in _SQL_TYPES:
        if isinstance(value, kind):
            return {"type": name, "value": value}
    raise TypeError(f"A SQL parameter is a str, int, float, bool, None or datetime, not {type(value).__name__}.")


def _chunks(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + _JOBS_PER_QUERY] for start in range(0, len(ids), _JOBS_PER_QUERY)]
