"""Background processes: ours are found and ended with all they started, others are left alone."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from signal import SIGTERM

import psutil
import pytest

from ingestion_pipeline.embedded import processes
from ingestion_pipeline.embedded.service import Service
from ingestion_pipeline.errors import StackError


def _service(program: str, directory: Path) -> Service:
    return Service(
        name="sample",
        command=[sys.executable, "-c", program],
        environment={"PATH": "/usr/bin:/bin"},
        directory=directory,
        ports=(),
        waiting_for=lambda: None,
    )


def _started(program: str, directory: Path) -> processes.ProcessRecord:
    record = processes.start(_service(program, directory), directory / "logs" / "sample.log", now=time.time())
    log, deadline = directory / "logs" / "sample.log", time.monotonic() + 20
    while b"ready" not in log.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.02)
    return record


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that the stack did not start."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_a_reused_pid_is_neither_found_nor_killed(stranger: subprocess.Popen[bytes]) -> None:
    record = processes.ProcessRecord(pid=stranger.pid, created=time.time() - 3600, started_at=0.0, log_offset=0)
    assert processes.find(record) is None
    processes.stop({"sample": (record, SIGTERM, 0.2)})
    processes.kill(record)
    assert stranger.poll() is None


def test_what_ignores_sigterm_is_killed_after_its_time(tmp_path: Path) -> None:
    record = _started(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);print('ready', flush=True); time.sleep(60)",
        tmp_path,
    )
    began = time.monotonic()
    processes.stop({"sample": (record, SIGTERM, 0.5)})
    assert 0.4 < time.monotonic() - began < 5
    assert not psutil.pid_exists(record.pid)


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("ready", child.pid, flush=True)
time.sleep(60)
"""


def test_children_that_outlive_a_killed_leader_are_found_and_ended(tmp_path: Path) -> None:
    record = _started(PARENT, tmp_path)
    child = psutil.Process(int((tmp_path / "logs" / "sample.log").read_text().split()[1]))
    processes.kill(record)
    assert processes.find(record) is None
    assert [process.pid for process in processes.family(record)] == [child.pid]
    processes.stop({"sample": (record, SIGTERM, 0.2)})
    deadline = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_the_exit_code_of_what_ended_by_itself_is_known(tmp_path: Path) -> None:
    record = _started("print('ready', flush=True); raise SystemExit(7)", tmp_path)
    deadline = time.monotonic() + 10
    while processes.find(record) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes.exit_code(record) == 7


def test_the_peak_of_memory_outlives_its_release(tmp_path: Path) -> None:
    program = "x = b'x' * 150_000_000; del x; print('ready', flush=True); import time; time.sleep(60)"
    record = _started(program, tmp_path)
    now, peak = processes.memory_bytes(processes.family(record))
    processes.stop({"sample": (record, SIGTERM, 5.0)})
    assert now < 100_000_000
    assert peak > 150_000_000


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    missing = replace(_service("", tmp_path), command=["/nonexistent/program"])
    with pytest.raises(StackError, match="sample cannot start: /nonexistent/program cannot be executed"):
        processes.start(missing, tmp_path / "logs" / "sample.log", now=0.0)


def test_last_lines_start_at_the_offset_and_hide_query_strings_and_colours(tmp_path: Path) -> None:
    log = tmp_path / "sample.log"
    log.write_text("old\n")
    offset = log.stat().st_size
    with log.open("a") as file:
        file.write("\x1b[32mone\x1b[0m\n\nGET http://127.0.0.1:1/b/k?X-Amz-Signature=secret failed\n")
    assert processes.last_lines(log, offset=offset) == ["one", "GET http://127.0.0.1:1/b/k?... failed"]
    assert processes.last_lines(log, offset=offset, count=1) == ["GET http://127.0.0.1:1/b/k?... failed"]
    assert processes.last_lines(log, count=0) == []
    assert processes.last_lines(tmp_path / "absent.log") == []
