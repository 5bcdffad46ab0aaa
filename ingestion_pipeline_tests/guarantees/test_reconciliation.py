"""Rows dropped in Druid by hand are found and loaded again, once, and nobody else's rows change."""

import json
from typing import Any

import pytest
import requests

from ingestion_pipeline_tests.guarantees.system import System, put_again, readings

pytestmark = pytest.mark.stack

LOST_DAY, KEPT_DAY = "2024-05-01", "2024-05-02"


def reconcile(system: System, *options: str) -> dict[str, Any]:
    done = system.cli("reconcile", "--datasource", "dropped", "--all", "--json", *options)
    assert done.returncode == 0, done.stderr
    rows: dict[str, Any] = json.loads(done.stdout)["rows"]
    return rows


def drop_by_hand(system: System, day: str, next_day: str) -> None:
    coordinator = system.settings.druid_coordinator_url
    requests.post(
        f"{coordinator}/druid/coordinator/v1/datasources/dropped/markUnused",
        json={"interval": f"{day}/{next_day}"},
        timeout=30,
    ).raise_for_status()


def test_rows_dropped_in_druid_by_hand_are_found_and_loaded_again_once(system: System) -> None:
    lost = put_again(system, f"exports/dropped/{LOST_DAY}/lost.csv", readings(30, day=LOST_DAY))
    kept = put_again(system, f"exports/dropped/{KEPT_DAY}/kept.csv", readings(20, day=KEPT_DAY))
    assert reconcile(system)["right"] == 2

    drop_by_hand(system, LOST_DAY, KEPT_DAY)
    system.until("rows that are gone", lambda: system.counted("dropped") == 20)

    considered = reconcile(system, "--dry-run")["drifts"]
    assert [(drift["job_id"], drift["counted"], drift["expected"]) for drift in considered] == [(lost["job_id"], 0, 30)]
    assert len(system.jobs_of(lost["object_key"])) == 1, "a dry run orders nothing"

    (drift,) = reconcile(system)["drifts"]
    (again,) = reconcile(system)["drifts"] or [None]
    assert again is None or again["repaired_by"] is None, "one replay at a time"
    repaired = system.finished_job(drift["repaired_by"])

    assert (repaired["status"], repaired["outcome"], repaired["cause"]) == ("completed", "loaded", "replay")
    assert repaired["uploaded_by"] == "reconciliation"
    assert system.counted("dropped", repaired["job_id"]) == 30
    assert system.counted("dropped", kept["job_id"]) == 20
    old = system.job(lost["job_id"])
    assert old["outcome"] == "replaced"
    assert repaired["job_id"][:8] in old["warnings"][0]
    assert (found := reconcile(system))["drifts"] == []
    assert found["right"] == 3
