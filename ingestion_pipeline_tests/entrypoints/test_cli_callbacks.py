"""`callbacks …` over the real ledger, with the receiver that the documentation shows."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.callback import DEFAULT_EVENTS, SELECTABLE, Answer
from ingestion_pipeline_tests.callbacks import Outbox, receiver
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.entrypoints.command_line import Call, caller
from ingestion_pipeline_tests.ledger import World

SHOWN_RECEIVER = Path(__file__).parents[2] / "docs" / "tutorial" / "receive_callbacks.py"
NOWHERE = "https://hooks.invalid/x"


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres: LedgerDatabase
) -> Call:
    monkeypatch.setenv("INGESTION_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("INGESTION_LEDGER_URL", postgres.pipeline_url)
    monkeypatch.setenv("INGESTION_CALLBACK_ALLOWED", "127.0.0.1")
    monkeypatch.setenv("COLUMNS", "200")
    return caller(capsys)


@pytest.fixture
def outbox(postgres: LedgerDatabase) -> Iterator[Outbox]:
    ledger = Ledger(postgres.pipeline_url)
    yield Outbox(World(postgres, ledger))
    ledger.close()


def add(call: Call, outbox: Outbox, url: str = NOWHERE, *options: str) -> dict[str, Any]:
    answer = call("callbacks", "add", outbox.world.name, url, "--json", *options)
    assert answer.code == 0, answer.err
    made: dict[str, Any] = answer.json
    return made


def test_an_added_endpoint_is_listed_and_its_secret_is_shown_only_then(call: Call, outbox: Outbox) -> None:
    answer = call("callbacks", "add", outbox.world.name, NOWHERE)
    assert answer.out.count("whsec_") == 1
    assert "only now" in answer.out
    listed = call("callbacks", "list", "-o", outbox.world.name)
    assert NOWHERE in listed.out
    assert "whsec_" not in listed.out + call("callbacks", "list", "--json").out
    (row,) = call("callbacks", "list", "-o", outbox.world.name, "--json").json
    assert (row["events"], row["datasources"], row["state"]) == (list(DEFAULT_EVENTS), None, "enabled")


def test_events_and_datasources_are_chosen(call: Call, outbox: Outbox) -> None:
    assert add(call, outbox, NOWHERE, "--events", "failed,completed", "--datasource", "flights")["events"] == [
        "job.completed",
        "job.failed",
    ]
    assert add(call, outbox, NOWHERE, "--events", "all")["events"] == list(SELECTABLE)
    wrong = call("callbacks", "add", outbox.world.name, NOWHERE, "--events", "finished")
    assert (wrong.code, "job.completed" in wrong.err) == (1, True)


@pytest.mark.parametrize("url", ["https://me:hush@hooks.example/", "ftp://hooks.example/", "hooks.example"])
def test_a_url_that_cannot_be_called_is_refused_and_makes_nothing(call: Call, outbox: Outbox, url: str) -> None:
    answer = call("callbacks", "add", outbox.world.name, url)
    assert answer.code == 1
    assert answer.err.startswith("Error: The URL cannot be called")
    assert "hush" not in answer.err
    assert call("callbacks", "list", "-o", outbox.world.name, "--json").json == []


def test_a_private_address_is_told_when_it_is_added(call: Call, outbox: Outbox) -> None:
    answer = call("callbacks", "add", outbox.world.name, "http://10.0.0.1/")
    assert answer.code == 0
    assert "will be refused: 10.0.0.1 has the address 10.0.0.1, which is private" in answer.err
    assert "INGESTION_CALLBACK_ALLOWED" in answer.err


def test_an_unknown_organization_is_told_with_what_to_do(call: Call, outbox: Outbox) -> None:
    answer = call("callbacks", "add", "nobody-has-this", NOWHERE)
    assert answer.code == 1
    assert "organizations add" in answer.err


def test_the_receiver_of_the_documentation_verifies_what_test_sends(call: Call, outbox: Outbox, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(SHOWN_RECEIVER), "0"],
        env={**os.environ, "WEBHOOK_SECRET": "whsec_" + "A" * 44},
        stdout=subprocess.PIPE,
        text=True,
    ) as wrong:
        assert wrong.stdout is not None
        made = add(call, outbox, wrong.stdout.readline().split()[-1] + "/")
        answer = call("callbacks", "test", made["endpoint_id"])
        assert (answer.code, "401" in answer.err) == (1, True)
        assert wrong.stdout.readline() == "refused: No matching signature found\n"
        wrong.kill()
    with subprocess.Popen(
        [sys.executable, str(SHOWN_RECEIVER), "0"],
        env={**os.environ, "WEBHOOK_SECRET": made["secret"]},
        stdout=subprocess.PIPE,
        text=True,
    ) as right:
        assert right.stdout is not None
        port = right.stdout.readline().split(":")[-1].strip()
        with outbox.world.ledger.engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE callback_endpoints SET url = %s WHERE endpoint_id = %s",
                (f"http://127.0.0.1:{port}/", made["endpoint_id"]),
            )
        answer = call("callbacks", "test", made["endpoint_id"][:8])
        assert answer.code == 0, answer.err
        assert answer.out.startswith("Delivered: it answered 204")
        assert right.stdout.readline().split() == ["callback.test"]
        right.kill()


def test_a_test_that_is_not_taken_is_in_the_log_and_is_not_tried_again(
    call: Call, outbox: Outbox, tmp_path: Path
) -> None:
    with receiver(tmp_path) as to:
        made = add(call, outbox, f"{to.url}/fails/9")
        answer = call("callbacks", "test", made["endpoint_id"], "--json")
        assert (answer.code, answer.json["status"], answer.json["delivered"]) == (1, 500, False)
    shown = call("callbacks", "log", answer.json["delivery_id"][:8])
    assert "parked" in shown.out
    assert "[b]not markup[/b]" in shown.out, "what a stranger answered is text"
    assert "\x1b[31m" not in shown.out
    (row,) = call("callbacks", "log", "--endpoint", made["endpoint_id"], "--json").json
    assert (row["event"], row["state"], row["tries"]) == ("callback.test", "parked", 1)


def test_the_log_is_narrowed_by_organization_endpoint_job_and_state(call: Call, outbox: Outbox) -> None:
    first, second = outbox.endpoint(), outbox.endpoint()
    outbox.tried(first, Answer(status=200))
    job = outbox.world.job("other.csv")

    def found(*options: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = call("callbacks", "log", "-o", outbox.world.name, "--json", *options).json
        return rows

    assert len(found()) == 4
    assert {row["endpoint_id"] for row in found("--endpoint", second[:8])} == {second}
    assert {row["job_id"] for row in found("--job", job)} == {job}
    assert [row["state"] for row in found("--state", "delivered")] == ["delivered"]
    assert len(found("--limit", "1")) == 1
    assert "delivered" in call("callbacks", "log", "-o", outbox.world.name).out
    assert call("callbacks", "log", "-o", "nobody-has-this").out == "No such deliveries.\n"


def test_disable_parks_enable_says_what_is_parked_and_redeliver_sends_it(call: Call, outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    outbox.world.job()
    assert call("callbacks", "disable", endpoint, "--json").json["parked"] == 1
    refused = call("callbacks", "redeliver", "--endpoint", endpoint)
    assert (refused.code, "callbacks enable" in refused.err) == (1, True)
    assert "redeliver" in call("callbacks", "enable", endpoint).out
    assert call("callbacks", "redeliver", "--endpoint", endpoint).out == "1 delivery will be sent within seconds.\n"
    (row,) = call("callbacks", "log", "-o", outbox.world.name, "--json").json
    assert row["state"] == "pending"
    assert call("callbacks", "redeliver", row["delivery_id"], "--json").json["deliveries"] == 1


def test_a_removed_endpoint_is_gone_from_the_list_and_stays_in_the_log(call: Call, outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    outbox.world.job()
    assert call("callbacks", "remove", endpoint).out == f"Endpoint {endpoint[:8]} is removed.\n"
    assert call("callbacks", "list", "-o", outbox.world.name, "--json").json == []
    assert len(call("callbacks", "log", "--endpoint", endpoint, "--json").json) == 1
    assert call("callbacks", "enable", endpoint).code == 1
    assert "Add it again" in call("callbacks", "redeliver", "--endpoint", endpoint).err


def test_a_rotated_secret_is_another_and_the_old_one_ends(call: Call, outbox: Outbox) -> None:
    made = add(call, outbox)
    rotated = call("callbacks", "rotate-secret", made["endpoint_id"], "--keep-old", "48", "--json").json
    assert rotated["secret"] != made["secret"]
    (row,) = call("callbacks", "list", "-o", outbox.world.name, "--json").json
    assert row["secrets"] == 2
    assert "Secret: whsec_" in call("callbacks", "rotate-secret", made["endpoint_id"], "--keep-old", "0").out
    (row,) = call("callbacks", "list", "-o", outbox.world.name, "--json").json
    assert row["secrets"] == 1


@pytest.mark.parametrize("words", [("enable", "ffff-none"), ("log", "ffff"), ("test", "x"), ("redeliver", "zzzz")])
def test_what_is_not_there_is_told_with_a_hint(call: Call, outbox: Outbox, words: tuple[str, str]) -> None:
    answer = call("callbacks", *words)
    assert answer.code == 1
    assert "There is no" in answer.err
    assert "`ingestion-pipeline callbacks l" in answer.err


def test_redeliver_without_a_name_is_used_wrongly(call: Call) -> None:
    assert call("callbacks", "redeliver").code == 2
