"""`why` with a real ledger and a real bucket where Dagster and Druid are away, or say what a test has them say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.job import Outcome
from ingestion_pipeline_tests.conftest import LedgerDatabase, S3Access
from ingestion_pipeline_tests.entrypoints.answering_server import answering
from ingestion_pipeline_tests.entrypoints.command_line import Call, caller
from ingestion_pipeline_tests.entrypoints.runs import Runs

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    postgres: LedgerDatabase,
    s3: S3Access,
) -> Call:
    settings = {
        "DATA_DIR": str(tmp_path),
        "LEDGER_URL": postgres.pipeline_url,
        "S3_BUCKET": s3.bucket,
        "S3_ENDPOINT_URL": s3.endpoint_url,
        "S3_ACCESS_KEY_ID": s3.access_key_id,
        "S3_SECRET_ACCESS_KEY": s3.secret_access_key,
        "DAGSTER_URL": NOWHERE,
        **{f"DRUID_{service}_URL": NOWHERE for service in ("COORDINATOR", "OVERLORD", "BROKER")},
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"INGESTION_{name}", value)
    return caller(capsys)


@pytest.fixture
def runs(postgres: LedgerDatabase) -> Iterator[Runs]:
    """Over files of an organization of the test's own."""
    ledger = Ledger(postgres.pipeline_url)
    organization = f"why-{uuid4().hex[:12]}"
    ledger.discovery.add_organization(organization)
    yield Runs(ledger, organization)
    ledger.close()


def test_systems_that_do_not_answer_are_told_as_such(call: Call, runs: Runs) -> None:
    answer = call("why", runs.enter("waits.csv"), "--json")
    assert (answer.code, answer.json["cause"]) == (5, "druid_down")
    unknown = [part["about"] for part in answer.json["evidence"] if part["mark"] == "unknown"]
    assert unknown == ["sensor"]
    assert "does not answer" in answer.json["facts"]["sensor"]["could_not_be_asked"]
    assert answer.json["facts"]["druid"]["problem"].startswith(f"Druid at {NOWHERE} could not be asked")


def test_a_bucket_that_does_not_answer_is_told_as_such(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTION_S3_ENDPOINT_URL", NOWHERE)
    answer = call("why", "exports/never/seen.csv", "--json")
    assert (answer.code, answer.json["cause"]) == (5, "bucket_unknown")
    assert "does not answer" in answer.json["told"]


def test_without_the_ledger_nothing_is_claimed_about_jobs(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTION_LEDGER_URL", "postgresql+psycopg://pipeline:hunter2@127.0.0.1:1/ingestion")
    answer = call("why", "some.csv", "--json")
    assert (answer.code, answer.json["cause"], answer.json["status"]) == (5, "ledger_unavailable", None)
    assert "hunter2" not in answer.out + answer.err


def running_sensor() -> dict[str, Any]:
    sensor = {"name": "uploads", "sensorState": {"status": "RUNNING", "ticks": []}}
    location = {"__typename": "RepositoryLocation", "repositories": [{"sensors": [sensor]}]}
    return {
        "data": {
            "instance": {"daemonHealth": {"allDaemonStatuses": [{"daemonType": "SENSOR", "healthy": True}]}},
            "workspaceOrError": {"locationEntries": [{"locationOrLoadError": location}]},
        }
    }


def test_a_newer_version_in_the_bucket_is_what_is_asked_about(
    call: Call, runs: Runs, s3: S3Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = runs.ended("again.csv", Outcome.EMPTY)
    key = runs.job(job_id).object_key
    s3.store().put(key, b"newer")
    assert call("why", key, "--json").json["cause"] == "dagster_unknown"
    with answering(200, running_sensor()) as (url, _):
        monkeypatch.setenv("INGESTION_DAGSTER_URL", url)
        answer = call("why", key, "--json").json
    assert answer["cause"] == "not_noticed_yet"
    assert answer["told"].startswith("This version of it was put into the bucket")
    # By its id, the job itself is meant.
    assert call("why", job_id, "--json").json["cause"] == "empty"


def test_a_name_that_several_files_have_is_one_clear_error(call: Call, runs: Runs) -> None:
    for folder in ("x", "y"):
        runs.enter("same.csv", folder=folder)
    answer = call("why", "same.csv")
    assert (answer.code, answer.out) == (1, "")
    assert "could be" in answer.err


def test_an_object_of_another_bucket_is_one_clear_error(call: Call) -> None:
    answer = call("why", "s3://elsewhere/a.csv")
    assert (answer.code, answer.out) == (1, "")
    assert "is not in bucket ingestion" in answer.err


def test_a_part_of_a_longer_key_is_not_taken_for_it(call: Call, runs: Runs) -> None:
    key = runs.job(runs.enter("part.csv")).object_key
    answer = call("why", key.removeprefix("uploads/"), "--json")
    assert (answer.json["cause"], answer.json["job_id"]) == ("no_such_object", None)


def test_no_name_acts_on_the_terminal(call: Call, runs: Runs) -> None:
    job_id = runs.enter("[red]x[bold]\x1b[2J\u202etxt.csv")
    page = call("why", job_id).out
    assert "[red]x[bold]\\x1b[2J\\x202etxt.csv" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
