"""Bad surroundings: one clear sentence where people look, nothing lost, everything goes on afterwards."""

import json
from pathlib import Path

import pytest

from ingestion_pipeline_tests.guarantees.faults import Condition
from ingestion_pipeline_tests.guarantees.surroundings import ORGANIZATION, readings_contract
from ingestion_pipeline_tests.guarantees.system import System, readings

pytestmark = pytest.mark.stack


def test_a_typo_in_a_contract_disables_its_datasource_alone_until_it_is_mended(system: System) -> None:
    contract = system.contracts / "fragile.yaml"
    broken = readings_contract("fragile").replace("type: float", "type: flaot")
    line = next(number for number, text in enumerate(broken.splitlines(), 1) if "flaot" in text)
    contract.write_text(broken)
    try:
        checked = system.cli("contract", "check")
        assert checked.returncode == 1
        assert f"fragile.yaml:{line}: columns.value.type: 'flaot' is not allowed" in checked.stdout
        assert "float" in checked.stdout.split("flaot", 1)[1]

        said = system.tick_saying("Datasource fragile is disabled", status="SKIPPED")
        assert f"fragile.yaml:{line}: columns.value.type" in said
        waiting = system.put("exports/fragile/2024-05-01/waiting.csv", readings(10))
        good = system.put("exports/readings/2024-05-01/beside_a_typo.csv", readings(10))
        assert system.finished(good)["outcome"] == "loaded"
        assert system.jobs_of(waiting) == []
    finally:
        contract.write_text(readings_contract("fragile"))
    assert system.finished(waiting)["outcome"] == "loaded"


@pytest.mark.parametrize(
    ("condition", "sentence", "variable"),
    [
        pytest.param(
            "wrong_secret",
            "The S3 server refuses these credentials for bucket ingestion.",
            {"INGESTION_S3_SECRET_ACCESS_KEY": "not-the-secret"},
            id="wrong secret",
        ),
        pytest.param(
            "absent_bucket",
            "Bucket no-such-bucket does not exist.",
            {"INGESTION_S3_BUCKET": "no-such-bucket"},
            id="absent bucket",
        ),
    ],
)
def test_a_bucket_that_cannot_be_read_is_one_sentence_in_tick_and_terminal(
    system: System, condition: Condition, sentence: str, variable: dict[str, str], tmp_path: Path
) -> None:
    system.faults.begin(condition)
    try:
        key = system.put(f"exports/readings/2024-05-01/{condition}.csv", readings(10))
        said = system.tick_saying(sentence, status="FAILURE")
    finally:
        system.faults.end(condition)
    assert "INGESTION_S3_" in said
    assert "not-the-secret" not in said
    file = tmp_path / "mine.csv"
    file.write_text(readings(3))
    told = system.cli("upload", str(file), "--datasource", "readings", "--organization", ORGANIZATION, **variable)
    assert told.returncode == 1
    assert told.stderr.count("\n") <= 3
    assert sentence in told.stderr
    assert "not-the-secret" not in told.stdout + told.stderr
    assert system.finished(key)["outcome"] == "loaded"


def test_files_wait_while_druid_is_unreachable_and_say_since_when(system: System) -> None:
    system.stack.kill("druid-broker")
    try:
        key = system.put("exports/patient/2024-05-01/waits.csv", readings(10))

        def waits() -> dict[str, object] | None:
            return next((job for job in system.jobs_of(key) if job["waiting_reason"]), None)

        job = system.until("a job that says why it waits", waits)
        assert job["status"] == "pending"
        assert str(job["waiting_reason"]).startswith("Druid unreachable since 20")
        assert "Druid unreachable since 20" in " ".join(system.cli("status", str(job["job_id"])).stdout.split())
        assert "Dispatch waits." in system.tick_saying("Druid unreachable since", status="SKIPPED")
    finally:
        system.stack.up()
    loaded = system.finished(key)
    assert (loaded["outcome"], loaded["waiting_reason"], loaded["tries"]) == ("loaded", None, 1)
    assert system.counted("patient", loaded["job_id"]) == 10


def test_a_file_that_is_not_text_says_so_in_ledger_run_and_terminal(system: System) -> None:
    key = system.put("exports/binary/2024-05-01/photo.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8)
    job = system.finished(key)
    assert (job["status"], job["outcome"]) == ("failed", "unreadable")
    assert "photo.csv" in job["error_message"]
    run = system.ended_run(job["run_id"])
    assert run.status == "FAILURE"
    assert any(job["error_message"] in message for message in run.errors), run.errors
    told = system.cli("status", job["job_id"])
    assert job["error_message"] in " ".join(told.stdout.split())
    assert json.loads(system.cli("status", job["job_id"], "--json").stdout)["error_code"] == "unreadable"
