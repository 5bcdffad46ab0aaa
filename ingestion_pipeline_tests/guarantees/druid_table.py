"""A datasource that several jobs and foreign rows share, on the real Druid: append, replace, compact, compare.

What belongs here: steps that the tests of replacing share, and objects that Druid can open but not read to the end.
What does not: fixtures and tests, and loads of one job alone (`druid_load`).
"""

import contextlib
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import requests

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.domain.druid import JOB_ID_COLUMN, RunnerState, TaskReport, TaskState, TaskStatus
from ingestion_pipeline.domain.interval import Interval
from ingestion_pipeline.stages.monitor import Verdict, follow_task, prove_replaced, require_served
from ingestion_pipeline.stages.submit import (
    Granularity,
    InputFiles,
    build_append_spec,
    build_replace_spec,
    chunk_intervals,
    rewritten_dimensions,
    task_id,
)
from ingestion_pipeline_tests.integration.druid_load import COLUMNS, DIMENSIONS, csv, ndjson

YEARS = Interval(datetime(2012, 1, 1, tzinfo=UTC), datetime(2016, 1, 1, tzinfo=UTC))
FIRST_DAY = datetime(2013, 1, 1, tzinfo=UTC)
REFRESH_SECONDS = 1.2  # the embedded stack's periods are one second
FLOORS: Mapping[str, Mapping[str, int]] = {
    "hour": {"minute": 0, "second": 0},
    "day": {"hour": 0, "minute": 0, "second": 0},
    "month": {"day": 1, "hour": 0, "minute": 0, "second": 0},
    "year": {"month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0},
}

Rows = list[dict[str, Any]]


def rows_of(job: str | None, count: int, *, day: int = 1, hour: int = 9) -> Rows:
    """Rows of a job, or foreign ones without a job column, in one hour of a day of January 2013 (32: 1 February)."""
    began = FIRST_DAY + timedelta(days=day - 1, hours=hour)
    lineage = {JOB_ID_COLUMN: job, "__organization": "demo"} if job is not None else {}
    return [
        {
            "__time": int((began + timedelta(milliseconds=7 * n)).timestamp() * 1000),
            "text": None if n % 5 == 0 else f"{job} {n} é\n",
            "number": n * 9_007_199_254_740_993 % 2**62,
            **lineage,
        }
        for n in range(count)
    ]


def chunks_of(rows: Rows, granularity: Granularity) -> list[datetime]:
    moments = {datetime.fromtimestamp(row["__time"] / 1000, UTC).replace(microsecond=0) for row in rows}
    return sorted({moment.replace(**FLOORS[granularity]) for moment in moments})


@dataclass
class Table:
    """One datasource; jobs are named by the test, so that what a test says and what Druid holds read the same."""

    client: Druid
    urls: Mapping[str, str]
    put: Callable[[str, bytes], str]
    granularity: Granularity = "day"
    dimensions: Sequence[Mapping[str, Any]] = field(default_factory=lambda: list(DIMENSIONS))
    datasource: str = field(default_factory=lambda: f"t_{uuid4().hex[:10]}")

    # Specs

    def append_spec(
        self,
        rows: Rows,
        *,
        url: str | None = None,
        granularity: Granularity | None = None,
        dimensions: Sequence[Mapping[str, Any]] | None = None,
    ) -> dict[str, Any]:
        return build_append_spec(
            task_id=self.new_task_id(),
            datasource=self.datasource,
            inputs=InputFiles(
                kind="http", uris=[url or self.put("ndjson.zst", ndjson(rows))], format="ndjson", columns=COLUMNS
            ),
            dimensions=dimensions or self.dimensions,
            segment_granularity=granularity or self.granularity,
            intervals=chunk_intervals(
                chunks_of(rows, granularity or self.granularity), granularity or self.granularity
            ),
        )

    def replace_spec(
        self,
        out: Sequence[str],
        rows: Sequence[dict[str, Any]] = (),
        *,
        url: str | None = None,
        file_format: Any = "ndjson",
        beside: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """What the pipeline plans: the jobs of `rows` in, `out` out, in every chunk of either."""
        gone = [*out, *sorted({row[JOB_ID_COLUMN] for row in rows})]
        chunks = {
            *chunks_of(list(rows), self.granularity),
            *self.client.chunks_of_jobs(self.datasource, gone, YEARS, self.granularity),
        }
        intervals = chunk_intervals(sorted(chunks), self.granularity)
        write = csv if file_format == "csv" else ndjson
        return build_replace_spec(
            task_id=self.new_task_id(),
            datasource=self.datasource,
            inputs=InputFiles(
                kind="http",
                uris=[url or self.put(f"{file_format}.zst", write(list(rows)))],
                format=file_format,
                columns=COLUMNS,
            )
            if rows
            else None,
            without_jobs=gone,
            dimensions=rewritten_dimensions(self.dimensions, self.client.columns(self.datasource, intervals), beside),
            segment_granularity=self.granularity,
            intervals=intervals,
        )

    def compact_spec(self, *, concurrent: bool = True, subtasks: int = 1) -> dict[str, Any]:
        return {
            "type": "compact",
            "id": f"compact-{self.new_task_id()}",
            "dataSource": self.datasource,
            "ioConfig": {"type": "compact", "inputSpec": {"type": "interval", "interval": str(YEARS)}},
            "tuningConfig": {
                "type": "index_parallel",
                "partitionsSpec": {"type": "dynamic"},
                "maxNumConcurrentSubTasks": subtasks,
            },
            "context": {"useConcurrentLocks": True} if concurrent else {},
        }

    def new_task_id(self) -> str:
        return task_id(datasource=self.datasource, attempt_id=uuid4().hex)

    # Tasks

    def append(self, *loads: Rows, **options: Any) -> None:
        """Append, a task for each load, and wait until these rows, and no more, have come to what was there."""
        expected = Counter(self.counts())
        expected.update(row.get(JOB_ID_COLUMN) or "" for rows in loads for row in rows)
        specs = [self.append_spec(rows, **options) for rows in loads]
        for spec in specs:
            assert self.client.submit(spec) == "accepted"
        for spec in specs:
            self.succeed(spec)
        self.wait_for(expected)

    def replace(self, out: Sequence[str], rows: Sequence[dict[str, Any]] = (), **options: Any) -> TaskReport:
        report = self.run(self.replace_spec(out, rows, **options))
        assert report is not None
        return report

    def run(self, spec: Mapping[str, Any]) -> TaskReport | None:
        assert self.client.submit(spec) == "accepted"
        return self.succeed(spec)

    def succeed(self, spec: Mapping[str, Any]) -> TaskReport | None:
        status, report = self.follow(spec)
        assert status.state is TaskState.SUCCESS, status.error
        return report

    def follow(self, spec: Mapping[str, Any]) -> tuple[TaskStatus, TaskReport | None]:
        return follow_task(self.client, spec["id"], sleep=time.sleep, clock=time.monotonic, progress=lambda _: None)

    def runner(self, spec: Mapping[str, Any]) -> RunnerState:
        status = self.client.status(spec["id"])
        assert status is not None
        return status.runner

    # Rows

    def counts(self) -> dict[str, int]:
        return self.client.rows_by_job(self.datasource, [YEARS])

    def wait_for(self, expected: Mapping[str, int]) -> None:
        wait_until(lambda: self.counts() == expected, lambda: f"{self.counts()} is not {dict(expected)}")

    def served(self) -> None:
        require_served(
            self.client,
            self.datasource,
            [YEARS],
            sleep=time.sleep,
            clock=time.monotonic,
            progress=lambda _: None,
            broker_refresh_seconds=REFRESH_SECONDS,
        )

    def prove(self, expected: Mapping[str, int]) -> None:
        """These jobs' rows and no others, twice, a refresh apart, everything served."""

        def judge(counted: Mapping[str, int]) -> Verdict:
            wrong = {job: {"expected": expected.get(job, 0), "counted": rows} for job, rows in counted.items()}
            wrong |= {job: {"expected": rows, "counted": counted.get(job, 0)} for job, rows in expected.items()}
            wrong = {job: entry for job, entry in wrong.items() if entry["expected"] != entry["counted"]}
            return Verdict(name="short" if wrong else "proved", details={"jobs": wrong})

        prove_replaced(
            self.client,
            self.datasource,
            judge,
            [YEARS],
            deadline_seconds=60,
            sleep=time.sleep,
            clock=time.monotonic,
            progress=lambda _: None,
            broker_refresh_seconds=REFRESH_SECONDS,
        )

    def rows(self) -> Rows:
        """Every row as a native scan gives it; a null says the same as a column that the segment does not have."""
        query = {
            "queryType": "scan",
            "dataSource": self.datasource,
            "intervals": [str(YEARS)],
            "resultFormat": "list",
            "context": {"useCache": False, "populateCache": False},
        }
        answer = requests.post(f"{self.urls['broker']}/druid/v2", json=query, timeout=60)
        answer.raise_for_status()
        return [
            {name: value for name, value in event.items() if value is not None}
            for batch in answer.json()
            for event in batch["events"]
        ]

    def checksums(self) -> dict[str, str]:
        """sha256 over the sorted rows of each job, all columns, those of no job under ""."""
        texts: dict[str, list[str]] = {}
        for row in self.rows():
            texts.setdefault(row.get(JOB_ID_COLUMN, ""), []).append(json.dumps(row, sort_keys=True))
        return {job: hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest() for job, lines in texts.items()}

    def types(self) -> dict[str, str]:
        """Each column's types in its segments: "LONG", "LONG|STRING", or nothing for one without a value."""
        columns = self.client.columns(self.datasource, [YEARS])
        return {name: "|".join(sorted(types)) for name, types in columns.items()}

    def sql_types(self) -> dict[str, str]:
        """Each column's type as SQL has it."""
        sql = "SELECT COLUMN_NAME AS n, DATA_TYPE AS t FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = ?"
        return {row["n"]: row["t"] for row in self.client.query(sql, [self.datasource])}

    def compactions(self) -> list[dict[str, Any]]:
        """Every compaction task of the datasource, ended or not, as the overlord lists it."""
        url = f"{self.urls['overlord']}/druid/indexer/v1/tasks"
        answer = requests.get(url, params={"datasource": self.datasource, "type": "compact"}, timeout=10)
        answer.raise_for_status()
        return list(answer.json())


def used_slots(urls: Mapping[str, str]) -> int:
    workers = requests.get(f"{urls['overlord']}/druid/indexer/v1/workers", timeout=10).json()
    return sum(worker["currCapacityUsed"] for worker in workers)


def wait_until(
    condition: Callable[[], bool], failure: Callable[[], str] = lambda: "it never was", seconds: float = 60.0
) -> None:
    ended = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ended, failure()
        time.sleep(0.05)


class Held:
    """An object of which Druid gets the first half of the rows at once and the rest when it is released."""

    def __init__(self, url: str, rows: Rows, *, sent: int) -> None:
        self.url = url
        self.parts = [b"".join(json.dumps(row).encode() + b"\n" for row in part) for part in (rows[:sent], rows[sent:])]
        self.opened = threading.Event()
        self.released = threading.Event()


class Holder(ThreadingHTTPServer):
    """Serves held objects."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.held: dict[str, Held] = {}

    def hold(self, rows: Rows, *, sent: int = 0) -> Held:
        path = f"/{uuid4()}.ndjson"
        self.held[path] = Held(f"http://127.0.0.1:{self.server_port}{path}", rows, sent=sent)
        return self.held[path]


class _Handler(BaseHTTPRequestHandler):
    server: Holder

    def do_GET(self) -> None:
        held = self.server.held[self.path]
        with contextlib.suppress(ConnectionError):  # a task that is stopped hangs up
            self.send_response(200)
            self.send_header("Content-Length", str(sum(map(len, held.parts))))
            self.end_headers()
            self.wfile.write(held.parts[0])
            self.wfile.flush()
            held.opened.set()
            held.released.wait()
            self.wfile.write(held.parts[1])

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def holder() -> Iterator[Holder]:
    with Holder() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            for held in server.held.values():
                held.released.set()
            server.shutdown()
            thread.join()
