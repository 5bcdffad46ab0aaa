"""The data directory: private files, stable credentials, variables that a shell and a dotenv reader agree on."""

import io
import json
import stat
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.embedded import ports, site
from ingestion_pipeline.embedded.stack import Stack
from ingestion_pipeline.errors import StackError


def test_credentials_are_private_stable_and_different_for_every_role(tmp_path: Path) -> None:
    first = site.load_credentials(tmp_path)
    assert site.load_credentials(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    secrets = [*first.postgres.values(), first.s3_secret_access_key, first.s3_internal_key]
    assert len(set(secrets)) == len(secrets)
    assert all(len(secret) >= 24 for secret in secrets)
    assert not any(secret in repr(first) for secret in secrets)


def test_credentials_of_an_older_version_are_kept_and_completed(tmp_path: Path) -> None:
    first = site.load_credentials(tmp_path)
    path = tmp_path / "credentials.json"
    stored = json.loads(path.read_text())
    del stored["s3_internal_key"]
    path.write_text(json.dumps(stored))
    second = site.load_credentials(tmp_path)
    assert second.postgres == first.postgres
    assert second.s3_internal_key


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text("{")
    with pytest.raises(StackError, match=r"credentials\.json cannot be read"):
        site.load_credentials(tmp_path)


VALUES = st.text(st.characters(blacklist_categories=["Cc", "Cs"], blacklist_characters="'\\$\x85\u2028\u2029"))


@given(value=VALUES)
@settings(max_examples=60)
def test_variables_survive_a_dotenv_reader(value: str) -> None:
    text = site.env_file_text({"INGESTION_X": value})
    assert dotenv_values(stream=io.StringIO(text)) == {"INGESTION_X": value}


def test_variables_survive_a_shell(tmp_path: Path) -> None:
    value = "a b $HOME \"quoted\" 'too' é;&"
    (tmp_path / "x.env").write_text(site.env_file_text({"X": value}))
    shell = ["sh", "-c", '. "$0"; printf %s "$X"', str(tmp_path / "x.env")]
    assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout == value


def test_one_command_at_a_time(tmp_path: Path) -> None:
    with (
        site.exclusive(tmp_path),
        pytest.raises(StackError, match="Another command starts or stops the stack"),
        site.exclusive(tmp_path),
    ):
        pass


def test_free_ports_are_all_different_and_bindable() -> None:
    chosen = ports.free_ports(ports.DEFAULT_PORTS)
    assert set(chosen) == set(ports.DEFAULT_PORTS)
    assert len(set(chosen.values())) == len(chosen)
    assert not any(ports.is_taken(port) for port in chosen.values())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param({"nosuch": 1}, "No service has a port named 'nosuch'", id="unknown-name"),
        pytest.param({"s3": 0}, "Port 0 of s3 is not between", id="no-port"),
        pytest.param({"s3": ports.DEFAULT_PORTS["postgres"]}, "given to both postgres and s3", id="twice"),
    ],
)
def test_wrong_ports_are_refused(overrides: dict[str, int], message: str) -> None:
    with pytest.raises(StackError, match=message):
        ports.with_overrides(ports.DEFAULT_PORTS, overrides)


def test_a_contracts_directory_is_remembered_by_the_next_stack_of_the_data_directory(tmp_path: Path) -> None:
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    first = Stack(tmp_path / "data", use_free_ports=True, contracts_dir=contracts)
    first._write_environment()

    again = Stack(tmp_path / "data")

    assert again.environment()["INGESTION_CONTRACTS_DIR"] == str(contracts)
    assert "INGESTION_CONTRACTS_DIR" not in Stack(tmp_path / "other", use_free_ports=True).environment()
