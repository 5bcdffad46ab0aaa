"""`arrivals` and `doing` over the real ledger."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingestion_pipeline.adapters.contracts import load_contracts
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.upload import StoredObject
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.defs.conftest import CONTRACT
from ingestion_pipeline_tests.entrypoints.command_line import Call, caller
from ingestion_pipeline_tests.ledger import World

NOW = datetime.now(UTC)
YESTERDAY = NOW.date() - timedelta(days=1)
DAILY = CONTRACT + 'expect: {{every: day, by: "00:00 next day"}}\n'


@pytest.fixture
def world(postgres: LedgerDatabase) -> Iterator[World]:
    ledger = Ledger(postgres.pipeline_url)
    yield World(postgres, ledger)
    ledger.close()


@pytest.fixture
def contracts(tmp_path: Path) -> Path:
    directory = tmp_path / "contracts"
    directory.mkdir()
    return directory


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    postgres: LedgerDatabase,
    contracts: Path,
) -> Call:
    monkeypatch.setenv("INGESTION_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("INGESTION_LEDGER_URL", postgres.pipeline_url)
    monkeypatch.setenv("INGESTION_CONTRACTS_DIR", str(contracts))
    return caller(capsys)


def daily(world: World, contracts: Path) -> None:
    """A datasource that was known three days ago, and of which the file of the day before yesterday came."""
    (contracts / f"{world.name}.yaml").write_text(DAILY.format(name=world.name))
    world.ledger.discovery.note_contracts(load_contracts(contracts), now=NOW - timedelta(days=2, hours=1))
    upload = world.upload(f"uploads/{world.name}/a.csv", partition_day=YESTERDAY - timedelta(days=1), last_modified=NOW)
    assert isinstance(upload.stored, StoredObject)
    world.enter(upload)


def test_each_period_is_shown_with_what_came(call: Call, world: World, contracts: Path) -> None:
    daily(world, contracts)
    answer = call("arrivals", "--datasource", world.name)
    assert answer.code == 0, answer.err
    lines = {words[0]: line for line in answer.out.splitlines() if (words := line.split())}
    assert "1 file every day by 00:00 of the next day (UTC)" in lines[world.name]
    assert "came late" in lines[f"{YESTERDAY - timedelta(days=1)}"]
    assert "late" in lines[f"{YESTERDAY}"]
    assert "expected" in lines[f"{NOW.date()}"]


def test_scripts_get_each_period_with_its_state(call: Call, world: World, contracts: Path) -> None:
    daily(world, contracts)
    ((told,),) = (call("arrivals", "--json").json,)
    states = {period["period"]: period["state"] for period in told["periods"]}
    assert states[f"{YESTERDAY - timedelta(days=1)}"] == "came_late"
    assert states[f"{YESTERDAY}"] == "late"
    one_day = call("arrivals", "--json", "--days", "1").json[0]["periods"]
    assert [period["period"] for period in one_day] == [f"{YESTERDAY}", f"{NOW.date()}"]


def test_where_nothing_is_expected_the_page_that_says_how_is_named(call: Call, world: World, contracts: Path) -> None:
    (contracts / f"{world.name}.yaml").write_text(CONTRACT.format(name=world.name))
    assert "expect-files.md" in call("arrivals").out


def test_a_datasource_that_is_none_is_a_mistake_that_lists_those_there_are(
    call: Call, world: World, contracts: Path
) -> None:
    daily(world, contracts)
    answer = call("arrivals", "--datasource", "nothing")
    assert answer.code == 1
    assert world.name in answer.err


def test_doing_tells_what_waits_and_what_is_wrong(call: Call, world: World, contracts: Path) -> None:
    world.job()
    (contracts / "broken.yaml").write_text("datasource: broken\n")
    answer = call("doing")
    assert answer.code == 0, answer.err
    assert "Datasource broken is disabled" in answer.out
    assert "live" in answer.out
    told = call("doing", "--json").json
    assert told["waiting_live_medium"] >= 1
    assert told["oldest_waiting_seconds"] > 0
    assert told["disabled_datasources"] == 1
    assert any("broken" in problem for problem in told["problems"])
