"""The demo as a person runs it: a process of its own that stays up, a second one over the same data, Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingestion_pipeline.embedded.stack import Stack

SECONDS = 900
COMMAND = [sys.executable, "-m", "ingestion_pipeline.cli.main", "demo", "--free-ports"]
# A suite that was started in the background ignores Ctrl-C, and so does everything that it starts.
INTERRUPTIBLE = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from ingestion_pipeline.cli.main import main; main(['demo', '--free-ports'])",
]


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    Stack(tmp_path / "data").down()  # what a demo that failed left behind


@contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kills what a failing test would otherwise wait for without end."""
    try:
        yield
    except BaseException:
        process.kill()
        raise


def environment(data_dir: Path) -> dict[str, str]:
    return {**os.environ, "INGESTION_DATA_DIR": str(data_dir), "PYTHONUNBUFFERED": "1"}


@pytest.mark.stack
@pytest.mark.timeout(2 * SECONDS)
def test_the_demo_proves_every_row_and_again_over_the_same_data_and_stops_what_it_started(
    data_dir: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.txt"
    with (
        page.open("w") as output,
        subprocess.Popen(INTERRUPTIBLE, env=environment(data_dir), stdout=output, stderr=subprocess.STDOUT) as staying,
        ending(staying),
    ):
        wait_for("It stays up until Ctrl-C.", page, staying)
        again = subprocess.run(
            [*COMMAND, "--once"],
            env=environment(data_dir),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        ran_meanwhile = running(data_dir)
        staying.send_signal(signal.SIGINT)
        assert staying.wait(timeout=120) == 0, page.read_text()
    first = page.read_text()

    assert "Flights read from the twelve months: 336,776 of 336,776." in first
    assert "Planted errors found by line, column and rule: 25 of 25; beside them: 0." in first
    assert proved(first) == {"loaded": 14}
    assert again.returncode == 0, again.stdout + again.stderr
    assert proved(again.stdout) == {"loaded earlier": 14}
    assert len(ran_meanwhile) == 10, "a demo stops only what it started itself"
    assert running(data_dir) == []


def proved(output: str) -> dict[str, int]:
    """Proved files by outcome."""
    outcomes = re.findall(r"^\S+\.csv .*\d  (loaded(?: earlier)?) +yes\s*$", output, re.MULTILINE)
    return {outcome: outcomes.count(outcome) for outcome in set(outcomes)}


def running(data_dir: Path) -> list[str]:
    return [service.service for service in Stack(data_dir).status() if service.pid]


def wait_for(text: str, page: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while text not in page.read_text():
        assert process.poll() is None, page.read_text()
        assert time.monotonic() < deadline, page.read_text()
        time.sleep(0.5)
