"""Loads for tests on the real Druid: one job, one datasource of its own.

What belongs here: values and steps that several test modules share. What does not: fixtures and tests.
"""

import io
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import polars as pl
import zstandard

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.domain.druid import TaskReport, TaskStatus
from ingestion_pipeline.stages.monitor import follow_task, prove_absent, prove_counts
from ingestion_pipeline.stages.submit import InputFiles, build_append_spec, chunk_intervals, task_id

JANUARY = chunk_intervals([datetime(2013, 1, 1, tzinfo=UTC)], "month")
START_MS = 1_357_000_000_000
COLUMNS = ["__time", "text", "number", "__job_id", "__organization"]
DIMENSIONS = [
    {"type": "string", "name": "text"},
    {"type": "long", "name": "number"},
    {"type": "string", "name": "__job_id"},
    {"type": "string", "name": "__organization"},
]


@dataclass
class Load:
    """One attempt of one job into a datasource of its own."""

    client: Druid
    datasource: str = field(default_factory=lambda: f"t_{uuid4().hex[:10]}")
    job: str = field(default_factory=lambda: str(uuid4()))

    def rows(self, texts: list[str | None]) -> list[dict[str, Any]]:
        return [
            {"__time": START_MS + n, "text": text, "number": n, "__job_id": self.job, "__organization": "demo"}
            for n, text in enumerate(texts)
        ]

    def spec(self, url: str, file_format: Any = "ndjson") -> dict[str, Any]:
        return build_append_spec(
            task_id=task_id(datasource=self.datasource, attempt_id=str(uuid4())),
            datasource=self.datasource,
            inputs=InputFiles(kind="http", uris=[url], format=file_format, columns=COLUMNS),
            dimensions=DIMENSIONS,
            segment_granularity="month",
            intervals=JANUARY,
        )

    def follow(self, spec: dict[str, Any]) -> tuple[TaskStatus, TaskReport | None]:
        return follow_task(self.client, spec["id"], sleep=time.sleep, clock=time.monotonic, progress=lambda _: None)

    def prove(self, rows: int, deadline: float = 60.0) -> dict[str, int]:
        return prove_counts(
            self.client,
            self.datasource,
            {self.job: rows},
            JANUARY,
            deadline_seconds=deadline,
            sleep=time.sleep,
            clock=time.monotonic,
            progress=lambda _: None,
        )

    def absent(self, *jobs: str) -> bool:
        return prove_absent(
            self.client,
            self.datasource,
            jobs or [self.job],
            JANUARY,
            sleep=time.sleep,
            clock=time.monotonic,
            broker_refresh_seconds=1.5,
        )

    def texts(self) -> list[str | None]:
        sql = f'SELECT "text" FROM "{self.datasource}" WHERE "__job_id" = ? ORDER BY __time'
        return [row["text"] for row in self.client.query(sql, [self.job])]


def ndjson(rows: list[dict[str, Any]]) -> bytes:
    return zstandard.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def csv(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pl.DataFrame(rows).select(COLUMNS).write_csv(out, include_header=False)
    return zstandard.compress(out.getvalue())
