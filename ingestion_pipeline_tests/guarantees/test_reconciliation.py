"""Rows dropped in Druid by hand are found and loaded again, once, and nobody else's rows change."""

import json
from typing import Any

import pytest
import requests

from ingestion_pipeline.adapters.contracts import load_contracts
from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.upkeep.reconcile import Counted, RowCounter
from ingestion_pipeline_tests.guarantees.system import System, now, put_again, readings

pytestmark = pytest.mark.stack

LOST_DAY, KEPT_DAY = "2024-05-01", "2024-05-02"


def counted(system: System, druid: Druid, *, dry_run: bool = False) -> Counted:
    return RowCounter(
        ledger=system.ledger,
        bucket=system.bucket,
        druid=druid,
        book=load_contracts(system.contracts),
        settings=system.settings.model_copy(update={"reconcile_after_days": 0.0}),
        now=now(),
        tell=lambda _: None,
        datasource="dropped",
        dry_run=dry_run,
    ).run()


def drop_by_hand(system: System, day: str, next_day: str) -> None:
    coordinator = system.settings.druid_coordinator_url
    requests.post(
        f"{coordinator}/druid/coordinator/v1/datasources/dropped/markUnused",
        json={"interval": f"{day}/{next_day}"},
        timeout=30,
    ).raise_for_status()


def test_rows_dropped_in_druid_by_hand_are_found_and_loaded_again_once(system: System, druid_client: Druid) -> None:
    lost = put_again(system, f"exports/dropped/{LOST_DAY}/lost.csv", readings(30, day=LOST_DAY))
    kept = put_again(system, f"exports/dropped/{KEPT_DAY}/kept.csv", readings(20, day=KEPT_DAY))
    assert counted(system, druid_client).right == 2

    drop_by_hand(system, LOST_DAY, KEPT_DAY)
    system.until("rows that are gone", lambda: system.counted("dropped") == 20)

    (considered,) = counted(system, druid_client, dry_run=True).drifts
    assert (considered.job_id, considered.counted, considered.expected) == (lost["job_id"], 0, 30)
    assert len(system.jobs_of(lost["object_key"])) == 1, "a dry run orders nothing"

    done = system.cli("reconcile", "--datasource", "dropped", "--all", "--json")
    assert done.returncode == 0, done.stderr
    drift: dict[str, Any] = json.loads(done.stdout)["rows"]["drifts"][0]
    assert [one.repaired_by for one in counted(system, druid_client).drifts] in ([], [None]), "one replay at a time"
    repaired = system.finished_job(drift["repaired_by"])

    assert (repaired["status"], repaired["outcome"], repaired["cause"]) == ("completed", "loaded", "replay")
    assert repaired["uploaded_by"] == "reconciliation"
    assert system.counted("dropped", repaired["job_id"]) == 30
    assert system.counted("dropped", kept["job_id"]) == 20
    assert system.job(lost["job_id"])["outcome"] == "replaced"
    after = counted(system, druid_client)
    assert (after.right, after.drifts) == (3, [])
