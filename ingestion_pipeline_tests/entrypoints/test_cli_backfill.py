"""`backfill` as far as the ledger alone decides; with Dagster it is in `guarantees/test_fairness.py`."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.job import Lane
from ingestion_pipeline.domain.upload import StoredObject, Upload
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.entrypoints.answering_server import answering
from ingestion_pipeline_tests.entrypoints.command_line import Call, caller
from ingestion_pipeline_tests.entrypoints.runs import Runs

DAY = date(2024, 5, 4)
RANGE = ("--from", DAY, "--to", DAY + timedelta(days=9))
CONTRACT = """
datasource: {name}
partition_start: 2024-01-01
backfill: {{days_per_run: 2}}
time: {{column: at}}
columns: {{at: {{type: datetime}}}}
"""


@pytest.fixture
def runs(postgres: LedgerDatabase, tmp_path: Path) -> Iterator[Runs]:
    """Runs over a datasource that no other test uses."""
    ledger = Ledger(postgres.pipeline_url)
    name = f"bf{uuid4().hex[:10]}"
    ledger.discovery.add_organization(name)
    (tmp_path / f"{name}.yaml").write_text(CONTRACT.format(name=name))
    yield Runs(ledger, name, datasource=name, day=DAY)
    ledger.close()


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres: LedgerDatabase
) -> Call:
    monkeypatch.setenv("INGESTION_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("INGESTION_CONTRACTS_DIR", str(tmp_path))
    monkeypatch.setenv("INGESTION_LEDGER_URL", postgres.pipeline_url)
    monkeypatch.setenv("INGESTION_DAGSTER_URL", "http://127.0.0.1:1")
    return caller(capsys)


def history(runs: Runs, *days: int) -> None:
    """A file of 100 bytes on each of these days after the first, older than the contract."""
    moment = datetime.now(UTC)
    uploads = [
        Upload(
            organization=runs.organization,
            datasource=runs.datasource,
            bucket=runs.bucket,
            stored=StoredObject(
                key=f"exports/{runs.datasource}/{n}.csv", etag="e", size_bytes=100, last_modified=moment
            ),
            partition_day=DAY + timedelta(days=day),
        )
        for n, day in enumerate(days)
    ]
    runs.ledger.discovery.enter([(u, Lane.HISTORY) for u in uploads], job_ids=[uuid4() for _ in uploads], now=moment)


def test_a_dry_run_tells_what_waits_and_that_no_time_is_known_without_a_past_run(call: Call, runs: Runs) -> None:
    history(runs, 0, 0, 1, 5)
    answer = call("backfill", "--datasource", runs.datasource, *RANGE, "--dry-run")
    assert answer.code == 0
    assert "4 files, 400 B" in answer.out
    assert "3 days with files that wait, of 3 with any" in answer.out
    assert "about 2" in answer.out, "days 0 and 1 together, day 5 alone"
    assert f"not known: no run of {runs.datasource} has loaded a file yet" in answer.out


def test_a_dry_run_judges_the_time_by_the_ledger_s_past_runs(call: Call, runs: Runs) -> None:
    runs.loaded("before.csv")
    history(runs, 0, 1)
    told = call("backfill", "-d", runs.datasource, *RANGE, "--dry-run", "--json").json
    assert (told["files"], told["bytes"], told["days"], told["runs"], told["loaded"]) == (2, 200, 2, 1, 1)
    assert told["seconds"]["runs"] == 1
    assert 0 <= told["seconds"]["shortest"] <= told["seconds"]["longest"]
    assert [(day["day"], day["history"]) for day in told["by_day"]] == [("2024-05-04", 1), ("2024-05-05", 1)]


def test_where_nothing_waits_it_says_so_in_one_sentence_whether_dagster_runs_or_not(call: Call, runs: Runs) -> None:
    runs.loaded("before.csv")
    history(runs, 20)
    answer = call("backfill", "--datasource", runs.datasource, *RANGE)
    assert answer.code == 0
    (sentence,) = answer.out.splitlines()
    assert sentence.startswith(f"Nothing to load: no file of {runs.datasource}, 2024-05-04 to 2024-05-13 waits")
    assert "1 loaded" in sentence
    assert call("backfill", "-d", runs.datasource, *RANGE, "--json").json["backfill_id"] is None


def test_without_dagster_nothing_is_started_and_the_address_is_named(call: Call, runs: Runs) -> None:
    history(runs, 0)
    answer = call("backfill", "--datasource", runs.datasource, *RANGE)
    assert answer.code == 1
    assert "Dagster's webserver at http://127.0.0.1:1 does not answer" in answer.err
    assert "ingestion-pipeline up" in answer.err


def test_a_webserver_that_is_away_for_a_moment_does_not_end_the_following(
    call: Call, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion_pipeline.cli.backfill_follow.POLL_SECONDS", 0.01)
    at_work, canceled = told_of(runs, "CANCELING"), told_of(runs, "CANCELED")
    cancel = {"data": {"cancelPartitionBackfill": {"__typename": "CancelBackfillSuccess"}}}
    later = [(200, cancel), (200, at_work), (503, {}), (503, {}), (200, canceled)]
    with answering(200, told_of(runs, "REQUESTED"), *later) as (url, asked):
        monkeypatch.setenv("INGESTION_DAGSTER_URL", url)
        answer = call("backfill", "stop", "bf-1")
    assert (answer.code, answer.err) == (0, "")
    assert "Stopped: 0 files loaded" in answer.out
    assert len(asked) == 7, "the last question is the state after the stop"


def told_of(runs: Runs, status: str) -> dict[str, Any]:
    """What Dagster says of one backfill of ten days."""
    backfill = {
        "__typename": "PartitionBackfill",
        "id": "bf-1",
        "status": status,
        "timestamp": 1714780800.0,
        "endTimestamp": None,
        "isAssetBackfill": True,
        "numPartitions": 10,
        "assetSelection": [{"path": [runs.datasource]}],
        "error": None,
        "assetBackfillData": None,
    }
    return {"data": {"partitionBackfillOrError": backfill}}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--from", "2024-05-04", "--to", "2024-05-05"), "--datasource"),
        (("--datasource", "things", "--to", "2024-05-05"), "--from"),
        (("--datasource", "things", "--from", "2024-05-05", "--to", "2024-05-04"), "after --to"),
        (("--datasource", "things", "--from", "May", "--to", "2024-05-04"), "May"),
    ],
    ids=["no datasource", "no beginning", "backwards", "no date"],
)
def test_a_wrong_use_is_told(call: Call, words: tuple[str, ...], told: str) -> None:
    answer = call("backfill", *words)
    assert answer.code == 2
    assert told in answer.err


def test_an_unknown_datasource_is_told_with_those_that_there_are(call: Call, runs: Runs) -> None:
    answer = call("backfill", "--datasource", "nothing", *RANGE)
    assert answer.code == 1
    assert runs.datasource in answer.err
