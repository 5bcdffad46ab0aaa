"""`jobs`, `status JOB` and `organizations` over the real ledger."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.job import Cause, Job, Lane, Lease, Outcome, Status
from ingestion_pipeline.domain.quarantine import Quarantine
from ingestion_pipeline.domain.upload import StoredObject, Upload
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.entrypoints.command_line import Call, caller

NOW = datetime.now(UTC).replace(microsecond=0)
ERRORS = [{"line": 12, "column": "origin", "rule": "isin", "value": "SWF", "reason": "must be one of EWR, JFK, LGA"}]


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres: LedgerDatabase
) -> Call:
    monkeypatch.setenv("INGESTION_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("INGESTION_LEDGER_URL", postgres.pipeline_url)
    monkeypatch.setenv("INGESTION_DAGSTER_URL", "http://dagster.example")
    return caller(capsys)


@pytest.fixture
def ledger(postgres: LedgerDatabase) -> Iterator[Ledger]:
    made = Ledger(postgres.pipeline_url)
    yield made
    made.close()


@pytest.fixture
def tenant(ledger: Ledger) -> str:
    """An organization that no other test uses."""
    name = f"jobs-{uuid4().hex[:12]}"
    ledger.discovery.add_organization(name)
    return name


def enter(
    ledger: Ledger, tenant: str, name: str, *, job_id: UUID | None = None, lane: Lane = Lane.LIVE, age_seconds: int = 0
) -> str:
    stored = StoredObject(
        key=f"uploads/{tenant}/flights/2026-01-01/x/{name}",
        etag=uuid4().hex,
        size_bytes=1234,
        last_modified=NOW - timedelta(seconds=age_seconds),
    )
    upload = Upload(
        organization=tenant, datasource="flights", bucket="ingestion", stored=stored, partition_day=date(2026, 1, 1)
    )
    moment = NOW - timedelta(seconds=age_seconds)
    return ledger.discovery.enter([(upload, lane)], job_ids=[job_id or uuid4()], now=moment).new[0]


def take(ledger: Ledger, job_id: str, run_id: str = "run-1") -> Lease:
    token = f"claim-{uuid4().hex}"
    ledger.queue.claim([job_id], token=token, now=NOW)
    job: Job = ledger.work.take(token=token, run_id=run_id, ancestors=[], now=NOW)[0]
    return Lease(job_id=job.job_id, epoch=job.lease_epoch)


def load_with_rejects(ledger: Ledger, job_id: str) -> None:
    lease = take(ledger, job_id)
    report = {
        "rows_read": 400, "rows_accepted": 399, "rows_rejected": 1, "rows_filtered": 0, "first_errors": ERRORS
    }  # fmt: skip
    kept = Quarantine(csv_url="s3://ingestion/quarantine/r.csv", parquet_keys=(), entries=1, neutralised=0)
    ledger.work.record_validated(lease, report=report, staged=None, quarantine=kept)
    ledger.work.complete(
        lease,
        Outcome.LOADED_WITH_REJECTS,
        rows_queryable=399,
        summary="400 rows read, 1 rejected.",
        details={"druid_task_id": "ing-flights-1"},
        now=NOW,
    )


def test_jobs_lists_one_organizations_files_newest_first(call: Call, ledger: Ledger, tenant: str) -> None:
    enter(ledger, tenant, "old.csv", age_seconds=60)
    enter(ledger, tenant, "new.csv")
    answer = call("jobs", "--organization", tenant, "--json")
    assert answer.code == 0
    assert [job["file_name"] for job in answer.json] == ["new.csv", "old.csv"]


def test_jobs_can_be_narrowed_by_status_and_number(call: Call, ledger: Ledger, tenant: str) -> None:
    load_with_rejects(ledger, enter(ledger, tenant, "done.csv"))
    for name in ("a.csv", "b.csv"):
        enter(ledger, tenant, name)
    of = ("jobs", "--organization", tenant, "--json")
    assert [job["file_name"] for job in call(*of, "--status", "completed").json] == ["done.csv"]
    assert {job["file_name"] for job in call(*of, "-s", "pending").json} == {"a.csv", "b.csv"}
    assert len(call(*of, "--limit", 1).json) == 1
    assert call(*of, "--datasource", "weather").json == []


def test_the_table_shows_what_became_of_a_file(call: Call, ledger: Ledger, tenant: str) -> None:
    job_id = enter(ledger, tenant, "[odd].csv")
    load_with_rejects(ledger, job_id)
    answer = call("jobs", "--organization", tenant)
    header, line = answer.out.splitlines()[:2]
    assert header.split()[:3] == ["job", "file", "datasource"]
    assert line.split()[:9] == [
        job_id[:8], "[odd].csv", "flights", tenant, "completed", "400", "399", "1", "399"
    ]  # fmt: skip


@pytest.mark.parametrize("width", [100, 160])
def test_the_table_fits_a_terminal(
    call: Call, ledger: Ledger, tenant: str, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr("ingestion_pipeline.cli.output._PIPED_WIDTH", width)
    load_with_rejects(ledger, enter(ledger, tenant, "flights-planted-errors.csv"))
    error = UnreadableFile("The file ends in the middle of its gzip stream: it is cut off.")
    ledger.work.fail(take(ledger, enter(ledger, tenant, "flights-2013-01.csv.gz")), error, now=NOW)
    page = call("jobs", "--organization", tenant).out
    assert max(map(len, page.splitlines())) <= width
    assert "…" not in page.replace(tenant[:4], "")
    for text in ("flights-planted-errors.csv", "flights-2013-01.csv.gz", "failed/unreadable"):
        assert text in page
    assert set(error.message.split()) <= set(page.split())


def test_status_tells_everything_of_a_file_with_rejected_rows(call: Call, ledger: Ledger, tenant: str) -> None:
    job_id = enter(ledger, tenant, "rejects.csv")
    load_with_rejects(ledger, job_id)
    answer = call("status", job_id[:13])
    assert answer.code == 0
    for text in (
        f"s3://ingestion/uploads/{tenant}/flights/2026-01-01/x/rejects.csv",
        "400 read, 399 accepted, 1 rejected, 399 counted in Druid",
        "s3://ingestion/quarantine/r.csv",
        "ing-flights-1",
        "http://dagster.example/runs/run-1",
        "must be one of EWR, JFK, LGA",
        "Correct the rejected rows",
    ):
        assert text in answer.out
    assert [line.split()[3] for line in answer.out.splitlines() if line.startswith("20")] == [
        "entered", "processing", "completed/loaded_with_rejects"
    ]  # fmt: skip


def test_status_for_machines_has_events_errors_and_the_next_step(call: Call, ledger: Ledger, tenant: str) -> None:
    job_id = enter(ledger, tenant, "broken.csv.gz")
    error = UnreadableFile("broken.csv.gz is cut off.", hint="Upload it again, whole.")
    ledger.work.fail(take(ledger, job_id), error, now=NOW)
    told = call("status", job_id, "--json").json
    assert told["job_id"] == job_id
    assert (told["status"], told["outcome"], told["error_message"]) == (
        "failed", "unreadable", "broken.csv.gz is cut off."
    )  # fmt: skip
    assert told["result"]["hint"] == "Upload it again, whole."
    assert told["next_step"] == "Correct the file and upload it again."
    assert [event["to_status"] for event in told["events"]][-2:] == ["processing", "failed"]
    assert told["run_url"] == "http://dagster.example/runs/run-1"


def test_status_takes_a_key_and_means_its_newest_version(call: Call, ledger: Ledger, tenant: str) -> None:
    enter(ledger, tenant, "twice.csv", age_seconds=60)
    newest = enter(ledger, tenant, "twice.csv")
    key = f"uploads/{tenant}/flights/2026-01-01/x/twice.csv"
    assert call("status", key, "--json").json["job_id"] == newest
    assert call("status", f"s3://ingestion/{key}", "--json").json["job_id"] == newest


def test_an_ambiguous_id_names_the_jobs_that_it_could_be(call: Call, ledger: Ledger, tenant: str) -> None:
    prefix = uuid4().hex[:8]
    for end, name in (("1", "one.csv"), ("2", "two.csv")):
        enter(ledger, tenant, name, job_id=UUID(f"{prefix}-0000-4000-8000-00000000000{end}"))
    answer = call("status", prefix)
    assert answer.code == 1
    assert "one.csv" in answer.err
    assert "two.csv" in answer.err
    assert "more characters" in answer.err


@pytest.mark.parametrize("text", ["ffff0000ffff", "no-such-file.csv", "%", "____"])
def test_a_job_that_does_not_exist_is_one_clear_error(call: Call, text: str) -> None:
    answer = call("status", text)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith(f"Error: There is no job '{text}'.")


def test_history_says_which_day_to_backfill(call: Call, ledger: Ledger, tenant: str) -> None:
    job_id = enter(ledger, tenant, "history.csv", lane=Lane.HISTORY)
    assert (
        "backfill --datasource flights --from 2026-01-01 --to 2026-01-01"
        in call("status", job_id, "--json").json["next_step"]
    )


def test_an_announced_file_says_that_its_object_is_awaited(call: Call, ledger: Ledger, tenant: str) -> None:
    from ingestion_pipeline.domain.job import Priority

    job_id = str(uuid4())
    ledger.discovery.announce(
        job_id=job_id,
        organization=tenant,
        datasource="flights",
        bucket="ingestion",
        object_key=f"uploads/{tenant}/flights/2026-01-01/{job_id}/later.csv",
        size_bytes=1,
        uploaded_by="somebody",
        priority=Priority.HIGH,
        partition_day=date(2026, 1, 1),
        warnings=["odd"],
        upload_url="s3://ingestion/later.csv",
        now=NOW,
    )
    told = call("status", job_id, "--json").json
    assert (told["cause"], told["status"], told["warnings"]) == (Cause.UPLOADED, Status.PENDING, ["odd"])
    assert "has not arrived" in told["next_step"]


def test_jobs_says_since_when_druid_is_away(call: Call, ledger: Ledger, tenant: str) -> None:
    enter(ledger, tenant, "waits.csv")
    ledger.queue.note_dependency("druid", "no answer.", now=NOW)
    try:
        answer = call("jobs", "--organization", tenant)
    finally:
        ledger.queue.note_dependency("druid", None, now=NOW)
    assert f"Druid is not ready since {NOW:%Y-%m-%d %H:%M:%S} UTC: no answer." in answer.err


def test_organizations_are_added_once_and_listed(call: Call) -> None:
    name = f"org-{uuid4().hex[:8]}"
    assert call("organizations", "add", name, "--json").json == {"organization": name, "new": True}
    assert "exists already" in call("organizations", "add", name).out
    assert {"organization": name} in call("organizations", "list", "--json").json


@pytest.mark.parametrize("name", ["Acme", "a/b", "", "-a", "a" * 64, "ü"])
def test_a_name_that_cannot_stand_in_a_key_is_refused(call: Call, name: str) -> None:
    answer = call("organizations", "add", "--", name)
    assert answer.code == 1
    assert "cannot be an organization's name" in answer.err


def test_a_ledger_that_is_away_is_one_clear_error(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTION_LEDGER_URL", "postgresql+psycopg://pipeline:secret@127.0.0.1:1/ingestion")
    answer = call("jobs")
    assert answer.code == 1
    assert answer.err.startswith("Error: The ledger's database does not answer")
    assert "secret" not in answer.err


def test_a_setting_that_cannot_be_read_is_named_without_its_value(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTION_MAX_TRIES", "hunter2")
    answer = call("jobs")
    assert (answer.code, "INGESTION_MAX_TRIES" in answer.err, "hunter2" in answer.err) == (1, True, False)
