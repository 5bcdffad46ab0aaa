"""The demo as a person runs it: a process of its own, over an empty data directory and then over the same again."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 900


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def demo(data_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ingestion_pipeline.cli.main", "demo", "--once", "--free-ports"],
        env={**os.environ, "INGESTION_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.stack
@pytest.mark.timeout(2 * SECONDS)
def test_the_demo_proves_every_row_and_proves_it_again_over_the_same_data(data_dir: Path) -> None:
    first = demo(data_dir)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Flights read from the twelve months: 336,776 of 336,776." in first.stdout
    assert "Planted errors found by line, column and rule: 25 of 25; beside them: 0." in first.stdout
    assert proved(first.stdout) == {"loaded": 14}

    again = demo(data_dir)
    assert again.returncode == 0, again.stdout + again.stderr
    assert proved(again.stdout) == {"loaded earlier": 14}
    assert still_running(data_dir) == []


def proved(output: str) -> dict[str, int]:
    """Proved files by outcome."""
    outcomes = re.findall(r"^\S+\.csv .*\d  (loaded(?: earlier)?) +yes\s*$", output, re.MULTILINE)
    return {outcome: outcomes.count(outcome) for outcome in set(outcomes)}


def still_running(data_dir: Path) -> list[str]:
    from ingestion_pipeline.embedded.stack import Stack

    return [service.service for service in Stack(data_dir).status() if service.pid]
