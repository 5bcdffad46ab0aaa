"""`upload` into the real ledger and the real bucket: what is checked, what is left behind, how waiting ends."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.domain.job import Lease, Outcome
from ingestion_pipeline.errors import S3Unavailable, UnreadableFile
from ingestion_pipeline.settings import load_settings
from ingestion_pipeline_tests.conftest import LedgerDatabase, S3Access
from ingestion_pipeline_tests.entrypoints.command_line import Call, caller

CSV = b"origin,dest\nEWR,ORD\n"


@pytest.fixture(scope="module")
def database(fresh_database) -> LedgerDatabase:
    """A ledger of this module's own: `upload` looks at all organizations."""
    made: LedgerDatabase = fresh_database()
    return made


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    database: LedgerDatabase,
    s3: S3Access,
) -> Call:
    for name, value in {
        "DATA_DIR": str(tmp_path),
        "LEDGER_URL": database.pipeline_url,
        "S3_ENDPOINT_URL": s3.endpoint_url,
        "S3_REGION": s3.region,
        "S3_BUCKET": s3.bucket,
        "S3_ACCESS_KEY_ID": s3.access_key_id,
        "S3_SECRET_ACCESS_KEY": s3.secret_access_key,
        "DAGSTER_URL": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(f"INGESTION_{name}", value)
    return caller(capsys)


@pytest.fixture
def ledger(database: LedgerDatabase) -> Iterator[Ledger]:
    made = Ledger(database.pipeline_url)
    made.discovery.add_organization("acme")
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my flights, März.csv"
    path.write_bytes(CSV)
    return path


def run_of(ledger: Ledger, job_id: str, *, error: UnreadableFile | None = None) -> None:
    """What a run would do with the job, without its work."""
    token, now = f"claim-{uuid4().hex}", datetime.now(UTC)
    ledger.queue.claim([job_id], token=token, now=now)
    (job,) = ledger.work.take(token=token, run_id="run-1", ancestors=[], now=now)
    lease = Lease(job_id=job_id, epoch=job.lease_epoch)
    if error is not None:
        ledger.work.fail(lease, error, now=datetime.now(UTC))
    else:
        ledger.work.complete(
            lease, Outcome.EMPTY, rows_queryable=0, summary="", details={}, now=datetime.now(UTC)
        )  # fmt: skip


def runs_once_arrived(ledger: Ledger, name: str, *, error: UnreadableFile | None = None) -> threading.Thread:
    """A thread that takes the file's job as soon as it has arrived."""

    def body() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            arrived = [job for job in ledger.jobs.latest(key_contains=name) if job["arrived_at"]]
            if arrived:
                run_of(ledger, arrived[0]["job_id"], error=error)
                return
            time.sleep(0.1)

    thread = threading.Thread(target=body)
    thread.start()
    return thread


def test_a_file_is_in_the_bucket_and_its_job_has_arrived(call: Call, ledger: Ledger, file: Path) -> None:
    answer = call("upload", file, "-d", "flights", "-o", "acme", "--priority", "high", "--json")
    assert answer.code == 0, answer.err
    (sent,) = answer.json
    today = datetime.now(UTC).date().isoformat()
    assert sent["key"] == f"uploads/acme/flights/{today}/{sent['job_id']}/{file.name}"
    assert ObjectStore.from_settings(load_settings()).get(sent["key"]) == CSV
    job = ledger.jobs.get(sent["job_id"])
    assert job is not None
    assert job["arrived_at"] is not None
    assert (job["cause"], job["lane"], job["priority"], job["size_bytes"]) == ("uploaded", "live", 1, len(CSV))
    assert job["partition_day"].isoformat() == today


def test_the_sensor_finds_nothing_new_in_an_uploaded_file(call: Call, ledger: Ledger, file: Path) -> None:
    from ingestion_pipeline.domain.job import Lane
    from ingestion_pipeline.domain.upload import Upload

    (sent,) = call("upload", file, "-d", "flights", "-o", "acme", "--json").json
    bucket = ObjectStore.from_settings(load_settings())
    (listed,) = bucket.list_page(sent["key"])
    seen = Upload(
        organization="acme",
        datasource="flights",
        bucket=bucket.bucket,
        stored=listed,
        partition_day=date.fromisoformat(sent["partition_day"]),
    )
    entered = ledger.discovery.enter([(seen, Lane.LIVE)], job_ids=[uuid4()], now=datetime.now(UTC))
    assert (entered.new, entered.arrived) == ((), ())


def test_several_files_of_one_name_never_meet(call: Call, ledger: Ledger, tmp_path: Path) -> None:
    files = [tmp_path / part / "sales.csv" for part in "ab"]
    for path in files:
        path.parent.mkdir()
        path.write_bytes(CSV)
    sent = call("upload", *files, "-d", "flights", "-o", "acme", "--date", "2013-07-04", "--json").json
    assert len({one["key"] for one in sent}) == 2
    assert {one["partition_day"] for one in sent} == {"2013-07-04"}


def test_a_date_without_a_partition_falls_back_to_today_and_says_so(call: Call, ledger: Ledger, file: Path) -> None:
    answer = call("upload", file, "-d", "flights", "-o", "acme", "--date", "1970-01-01")
    assert answer.code == 0
    assert "is before the first partition 2013-01-01" in answer.out


def test_the_only_organization_needs_no_naming(
    call: Call, fresh_database, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    database: LedgerDatabase = fresh_database()
    monkeypatch.setenv("INGESTION_LEDGER_URL", database.pipeline_url)
    upload = ("upload", file, "-d", "flights", "--json")
    assert "no organization yet" in call(*upload).err
    assert call("organizations", "add", "solo").code == 0
    assert call(*upload).json[0]["organization"] == "solo"
    assert call("organizations", "add", "duo").code == 0
    assert "Add --organization: duo, solo." in call(*upload).err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-d", "flihgts", "-o", "acme"), ["no datasource 'flihgts'", "Did you mean 'flights'?", "flights, weather"]),
        (("-d", "flights", "-o", "acne"), ["no organization 'acne'", "Did you mean 'acme'?", "organizations add"]),
    ],
    ids=["datasource", "organization"],
)
def test_an_unknown_name_lists_the_known_ones(
    call: Call, ledger: Ledger, file: Path, words: tuple[str, ...], told: list[str]
) -> None:
    before = len(ledger.jobs.latest(limit=10_000))
    answer = call("upload", file, *words)
    assert (answer.code, answer.out) == (1, "")
    for text in told:
        assert text in answer.err
    assert len(ledger.jobs.latest(limit=10_000)) == before


def test_a_broken_contract_is_explained_with_file_line_and_key(
    call: Call, ledger: Ledger, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weather = (load_settings().contracts_dir / "weather.yaml").read_text(encoding="utf-8")
    typo = weather.replace("\nunique:", "\nuniqe:")
    directory = tmp_path / "contracts"
    directory.mkdir()
    (directory / "weather.yaml").write_text(typo, encoding="utf-8")
    monkeypatch.setenv("INGESTION_CONTRACTS_DIR", str(directory))
    answer = call("upload", file, "-d", "weather", "-o", "acme")
    assert answer.code == 1
    line = next(number for number, text in enumerate(typo.splitlines(), 1) if text.startswith("uniqe:"))
    assert f"weather.yaml:{line}: uniqe" in answer.err
    assert "`ingestion-pipeline contract check`" in answer.err


def test_help_promises_no_format_that_is_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    told = caller(capsys)("upload", "--help").out
    assert "Delimited text" in told
    assert "JSON lines" not in told


def test_no_file_is_uploaded_when_one_of_them_is_missing(call: Call, ledger: Ledger, file: Path) -> None:
    before = len(ledger.jobs.latest(limit=10_000))
    answer = call("upload", file, file.with_name("missing.csv"), "-d", "flights", "-o", "acme")
    assert answer.code == 1
    assert "missing.csv does not exist" in answer.err
    assert len(ledger.jobs.latest(limit=10_000)) == before


def test_a_wrong_secret_is_one_clear_error(
    call: Call, ledger: Ledger, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGESTION_S3_SECRET_ACCESS_KEY", "not-the-secret")
    answer = call("upload", file, "-d", "flights", "-o", "acme")
    assert answer.code == 1
    assert "refuses these credentials" in answer.err
    assert "not-the-secret" not in answer.err


def test_an_absent_bucket_is_one_clear_error(
    call: Call, ledger: Ledger, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGESTION_S3_BUCKET", "not-there")
    answer = call("upload", file, "-d", "flights", "-o", "acme")
    assert answer.code == 1
    assert "Bucket not-there does not exist" in answer.err


def test_waiting_ends_well_when_every_file_is_done(call: Call, ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / f"{uuid4().hex}.csv"
    path.write_bytes(CSV)
    run = runs_once_arrived(ledger, path.name)
    answer = call("upload", path, "-d", "flights", "-o", "acme", "--wait", "--json")
    run.join()
    assert answer.code == 0
    assert answer.json[0]["job"]["outcome"] == "empty"


def test_waiting_ends_with_1_and_the_reason_when_a_file_fails(call: Call, ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / f"{uuid4().hex}.csv"
    path.write_bytes(CSV)
    run = runs_once_arrived(ledger, path.name, error=UnreadableFile("It is not text.", hint="Look at it."))
    answer = call("upload", path, "-d", "flights", "-o", "acme", "--wait")
    run.join()
    assert answer.code == 1
    assert "failed/unreadable" in answer.out
    assert "It is not text." in answer.out
    assert "Look at it." in answer.out


def test_waiting_ends_with_3_and_says_what_holds_it_up(call: Call, ledger: Ledger, file: Path) -> None:
    since = datetime.now(UTC) - timedelta(minutes=3)
    ledger.queue.note_dependency("druid", "no answer.", now=since)
    try:
        answer = call("upload", file, "-d", "flights", "-o", "acme", "--wait", "--timeout", "1")
    finally:
        ledger.queue.note_dependency("druid", None, now=since)
    assert answer.code == 3
    assert f"Not done in time: {file.name}" in answer.out
    assert f"Druid is not ready since {since:%Y-%m-%d %H:%M:%S} UTC: no answer." in answer.out
    assert "Dagster's webserver at http://127.0.0.1:1 does not answer" in answer.out


def test_a_priority_that_does_not_exist_is_refused(call: Call, file: Path) -> None:
    assert call("upload", file, "-d", "flights", "--priority", "soon").code == 2


def test_what_was_sent_is_told_when_a_later_file_cannot_be_sent(
    call: Call, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_bytes(CSV)
    second.write_bytes(CSV)
    put_file = ObjectStore.put_file

    def put(self: ObjectStore, key: str, path: Path, **more: Any) -> None:
        if path == second:
            raise S3Unavailable("The S3 server does not answer.", hint="Later.")
        put_file(self, key, path, **more)

    monkeypatch.setattr(ObjectStore, "put_file", put)
    answer = call("upload", first, second, "-d", "flights", "-o", "acme")
    assert answer.code == 1
    assert answer.out.startswith("first.csv  job ")
    assert answer.err.startswith("Error: The S3 server does not answer.")
