"""What an operator can set wrongly: every command answers with a sentence and a hint, and with no secret in them."""

from pathlib import Path

import pytest

from ingestion_pipeline.embedded import postgres as embedded_postgres
from ingestion_pipeline.embedded.stack import Stack
from ingestion_pipeline_tests.entrypoints.command_line import Call, caller


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    monkeypatch.setenv("INGESTION_DATA_DIR", str(tmp_path))
    return caller(capsys)


@pytest.mark.parametrize("words", [("contract", "check"), ("contract", "show", "flights"), ("jobs",)], ids=" ".join)
def test_a_setting_that_cannot_be_read_is_named_without_its_value(
    call: Call, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("INGESTION_MAX_TRIES", "hush")
    answer = call(*words)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Error: Settings cannot be read: INGESTION_MAX_TRIES.")
    assert "hush" not in answer.err


@pytest.mark.parametrize(
    "url",
    [
        "hush",
        "postgresql+psycopg://pipeline:hush@127.0.0.1:port/ingestion",
        "nothing+known://pipeline:hush@127.0.0.1/ingestion",
        "mysql://pipeline:hush@127.0.0.1/ingestion",
        "postgresql+nothing://pipeline:hush@127.0.0.1/ingestion",
        "sqlite:///hush",
    ],
)
def test_a_ledger_url_that_is_none_is_told_without_repeating_it(
    call: Call, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("INGESTION_LEDGER_URL", url)
    answer = call("jobs")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Error: INGESTION_LEDGER_URL ")
    assert "postgresql+psycopg://" in answer.err
    assert "hush" not in answer.err


@pytest.mark.parametrize("password", ["x@hush", "x@hush/y", "x@hush:y", "x@hush?y", "x@hush#y", "@hush"])
def test_a_password_with_a_bare_at_sign_is_not_taken_for_a_host_and_shown(
    call: Call, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("INGESTION_LEDGER_URL", f"postgresql+psycopg://pipeline:{password}@127.0.0.1:9/ingestion")
    answer = call("jobs")
    assert answer.code == 1
    assert "%40" in answer.err
    assert "hush" not in answer.err


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://pipeline:x%40y@[::1]:9/l", "postgresql+psycopg://me@x:y@127.0.0.1:9/l"]
)
def test_a_good_url_reaches_for_the_server(call: Call, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("INGESTION_LEDGER_URL", url)
    assert "The ledger's database does not answer" in call("jobs").err


def test_a_database_that_was_never_migrated_is_told_with_what_to_run(
    call: Call, monkeypatch: pytest.MonkeyPatch, embedded: Stack
) -> None:
    embedded.up(only=["postgres"])
    embedded_postgres.make_database(embedded.site, "never_migrated")
    url = embedded_postgres.url(embedded.site, "pipeline", "never_migrated")
    monkeypatch.setenv("INGESTION_LEDGER_URL", url)
    answer = call("organizations", "list")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Error: The ledger's database lacks what this version needs")
    assert "prepare" in answer.err


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_contract_that_is_not_there_is_told_with_a_hint(call: Call, tmp_path: Path, option: list[str]) -> None:
    answer = call("contract", "check", tmp_path / "nope", *option)
    assert answer.code == 1
    assert "No such file or directory" in answer.out
    assert "contract or a directory" in answer.out
