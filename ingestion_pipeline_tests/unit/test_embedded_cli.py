"""The stack's commands: exit codes, one clear line on stderr, clean standard output."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def _run(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ingestion_pipeline.cli.main", *arguments],
        env={**os.environ, "INGESTION_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_status_before_the_first_up_fails_and_says_what_to_do(tmp_path: Path) -> None:
    outcome = _run(tmp_path / "none", "status")
    assert outcome.returncode == 1
    assert "ingestion-pipeline up" in outcome.stdout
    assert not (tmp_path / "none").exists()


def test_status_for_machines_is_json_alone(tmp_path: Path) -> None:
    outcome = _run(tmp_path / "none", "status", "--json")
    assert outcome.returncode == 1
    assert json.loads(outcome.stdout) == []


def test_down_of_nothing_succeeds(tmp_path: Path) -> None:
    outcome = _run(tmp_path / "none", "down", "--json")
    assert outcome.returncode == 0
    assert json.loads(outcome.stdout) == {"stopped": []}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["logs", "nosuch"], 1, "Error: There is no service 'nosuch'.", id="unknown-service"),
        pytest.param(["logs", "s3"], 1, "Error: s3 has written no log", id="no-log-yet"),
        pytest.param(["nosuch"], 2, "No such command 'nosuch'", id="unknown-command"),
        pytest.param(["up", "--port", "s3"], 2, "'s3' is not NAME=NUMBER", id="not-a-port"),
        pytest.param(
            ["up", "--port", "nosuch=5"], 1, "Error: No service has a port named 'nosuch'.", id="unknown-port"
        ),
    ],
)
def test_errors_are_one_message_and_an_exit_code(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    outcome = _run(tmp_path, *arguments)
    assert outcome.returncode == code
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout.strip() == ""
