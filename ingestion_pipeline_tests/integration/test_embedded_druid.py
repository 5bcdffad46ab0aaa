"""Druid of the embedded stack: takes tasks, answers queries, keeps rows over a restart."""

import time
from typing import Any

import pytest
import requests

from ingestion_pipeline.embedded.stack import Stack

ROWS = "\n".join(f'{{"t":"2024-01-01T00:00:{second:02d}Z","n":{second}}}' for second in range(50))


def _spec(datasource: str) -> dict[str, Any]:
    return {
        "type": "index_parallel",
        "spec": {
            "dataSchema": {
                "dataSource": datasource,
                "timestampSpec": {"column": "t", "format": "iso"},
                "dimensionsSpec": {"dimensions": [{"type": "long", "name": "n"}]},
                "granularitySpec": {"segmentGranularity": "day", "intervals": ["2024-01-01/2024-01-02"]},
            },
            "ioConfig": {
                "type": "index_parallel",
                "inputSource": {"type": "inline", "data": ROWS},
                "inputFormat": {"type": "json"},
                "appendToExisting": True,
            },
        },
    }


def _count(stack: Stack, datasource: str) -> int:
    answer = requests.post(
        stack.environment()["INGESTION_DRUID_BROKER_URL"] + "/druid/v2/sql",
        json={"query": f'SELECT COUNT(*) AS n FROM "{datasource}"', "context": {"useCache": False}},
        timeout=10,
    )
    return int(answer.json()[0]["n"]) if answer.ok else 0


def _wait_for_count(stack: Stack, datasource: str, expected: int, *, seconds: float = 60) -> int:
    deadline = time.monotonic() + seconds
    while (count := _count(stack, datasource)) != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    return count


@pytest.mark.stack
def test_rows_are_queryable_soon_and_survive_a_restart_of_metadata_and_historical(druid: Stack) -> None:
    datasource = "embedded_druid_test"
    overlord = druid.environment()["INGESTION_DRUID_OVERLORD_URL"]
    began = time.monotonic()
    requests.post(f"{overlord}/druid/indexer/v1/task", json=_spec(datasource), timeout=10).raise_for_status()
    assert _wait_for_count(druid, datasource, 50) == 50
    assert time.monotonic() - began < 30

    before = {status.service: status.pid for status in druid.status()}
    druid.kill("druid-coordinator")
    druid.kill("druid-historical")
    druid.up(only=["druid-coordinator", "druid-historical"])
    after = {status.service: status.pid for status in druid.status()}
    assert after["druid-coordinator"] not in (None, before["druid-coordinator"])
    assert after["druid-broker"] == before["druid-broker"]
    assert _wait_for_count(druid, datasource, 50) == 50


@pytest.mark.stack
def test_druid_answers_on_loopback_only_and_names_its_modules(druid: Stack) -> None:
    import psutil

    pids = {druid.pid(name) for name in ("druid-coordinator", "druid-broker", "druid-historical", "druid-indexer")}
    assert None not in pids
    listening = [c for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN and c.pid in pids]
    assert {connection.laddr.ip for connection in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert len(listening) >= 4
    status = requests.get(druid.environment()["INGESTION_DRUID_COORDINATOR_URL"] + "/status", timeout=5).json()
    assert status["version"] == "33.0.0"
