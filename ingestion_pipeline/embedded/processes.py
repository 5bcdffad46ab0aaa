"""Starting, recognising and ending the background processes of the embedded stack.

What belongs here: the record of a process (pid and creation time, so that a reused pid is never taken for
ours), start in a session of its own, ordered stop, memory figures, the tail of a log. What does not: which
services exist and in which order they start (`stack`).
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from ingestion_pipeline.embedded.service import Service
from ingestion_pipeline.errors import StackError

MARKER = "INGESTION_STACK_SERVICE"
LOG_LIMIT_BYTES = 20 * 1024 * 1024
_CREATED_TOLERANCE_SECONDS = 2.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_QUERY_STRING = re.compile(r"(https?://[^\s?\"']+)\?[^\s\"']*")

# Popen objects must outlive the functions that made them: a collected one warns that its process runs on.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, kw_only=True)
class ProcessRecord:
    """What is remembered of a started process; `created` is in seconds since the epoch."""

    pid: int
    created: float
    started_at: float
    log_offset: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def start(service: Service, log_file: Path, *, now: float) -> ProcessRecord:
    """Start a service in a session of its own, its output appended to the log file.

    Raises:
        StackError: The program cannot be executed.
    """
    for earlier in list(_children.values()):
        earlier.poll()  # collects what ended meanwhile
    log_file.parent.mkdir(parents=True, exist_ok=True)
    if log_file.exists() and log_file.stat().st_size > LOG_LIMIT_BYTES:
        log_file.replace(log_file.with_suffix(".log.1"))
    with log_file.open("ab") as log:
        offset = log.tell()
        try:
            child = subprocess.Popen(
                list(service.command),
                env={**service.environment, MARKER: f"{service.name}@{log_file.parent.parent}"},
                cwd=service.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise StackError(
                f"{service.name} cannot start: {service.command[0]} cannot be executed ({error.strerror}).",
                hint="Install the project again with its `embedded` packages.",
            ) from error
    _children[child.pid] = child
    with contextlib.suppress(psutil.NoSuchProcess):
        return ProcessRecord(
            pid=child.pid, created=psutil.Process(child.pid).create_time(), started_at=now, log_offset=offset
        )
    return ProcessRecord(pid=child.pid, created=now, started_at=now, log_offset=offset)


def find(record: ProcessRecord | None) -> psutil.Process | None:
    """The recorded process if it runs; None if it ended or its pid belongs to another program now."""
    if record is None:
        return None
    child = _children.get(record.pid)
    if child is not None:
        child.poll()  # reaps it, if it ended
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.created) < _CREATED_TOLERANCE_SECONDS
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def exit_code(record: ProcessRecord) -> int | None:
    """How our own child ended; None while it runs or when another program started it."""
    child = _children.get(record.pid)
    return child.poll() if child is not None else None


def family(record: ProcessRecord) -> list[psutil.Process]:
    """The recorded process and everything of its session, also what outlived it (a code server's runs)."""
    leader = find(record)
    members = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE or os.getsid(process.pid) != record.pid:
                continue
            # A session's number may be used again once the session is gone: without a living leader
            # only processes that carry the stack's mark are ours.
            if leader is not None or MARKER in process.environ():
                members.append(process)
        except (psutil.Error, OSError):
            continue
    return members


def stop(service_stop: dict[str, tuple[ProcessRecord, signal.Signals, float]]) -> None:
    """Ask all given services to end, at the same time, and kill what has not ended in its time.

    Args:
        service_stop: By name: the record, the signal that asks it to end, the seconds it may take.
    """
    families = {name: family(record) for name, (record, _, _) in service_stop.items()}
    for name, (record, ask, _) in service_stop.items():
        for process in families[name]:
            # Only a session's leader knows how to end in order; what it leaves behind is asked below.
            if process.pid == record.pid:
                _send(process, ask)
    deadline = {name: time.monotonic() + seconds for name, (_, _, seconds) in service_stop.items()}
    waiting = set(service_stop)
    while waiting:
        for name in sorted(waiting):
            record = service_stop[name][0]
            if find(record) is None or time.monotonic() > deadline[name]:
                waiting.discard(name)
        time.sleep(0.05)
    for name, (record, _, _) in service_stop.items():
        rest = {process.pid: process for process in [*families[name], *family(record)] if _lives(process)}
        for process in rest.values():
            _send(process, signal.SIGKILL)
        deadline_kill = time.monotonic() + 5
        while any(_lives(process) for process in rest.values()) and time.monotonic() < deadline_kill:
            time.sleep(0.02)
        child = _children.pop(record.pid, None)
        if child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=5)


def kill(record: ProcessRecord, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to the recorded process alone, and for SIGKILL wait until it is gone."""
    process = find(record)
    if process is None:
        return
    _send(process, number)
    if number == signal.SIGKILL:
        deadline = time.monotonic() + 10
        while find(record) is not None and time.monotonic() < deadline:
            time.sleep(0.02)


def _lives(process: psutil.Process) -> bool:
    # One that ended and that its parent has not collected yet (init takes its time) is gone for us.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def memory_bytes(processes: Iterable[psutil.Process]) -> tuple[int, int]:
    """Resident memory now and at its peak, in bytes, of the largest process and its family.

    The first figure adds the family up; the second is the highest peak (VmHWM) of a single process,
    because peaks at different times do not add up.
    """
    now, peak = 0, 0
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            now += process.memory_info().rss
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peak = max(peak, int(line.split()[1]) * 1024)
    return now, peak


def last_lines(log_file: Path, *, offset: int = 0, count: int = 12) -> list[str]:
    """The last lines of a log from an offset in bytes on, without query strings of URLs (they carry signatures)."""
    try:
        with log_file.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(offset, size - max(count, 100) * 512))
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    lines = [line.rstrip() for line in _COLOURS.sub("", text).splitlines() if line.strip()]
    return [without_secrets(line)[:400] for line in lines[-count:]] if count else []


def without_secrets(line: str) -> str:
    """A log line with the query strings of its URLs cut: they carry signatures."""
    return _QUERY_STRING.sub(r"\1?...", line)
