"""What a service of the embedded stack is, and the questions that tell whether it is ready.

What belongs here: the `Service` value and small probes over TCP and HTTP. What does not: how one
particular service is configured (`postgres`, `s3`, `druid`, `dagster_services`) and starting or stopping
processes (`processes`, `stack`).
"""

import http.client
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM, Signals

LOOPBACK = "127.0.0.1"
PROBE_TIMEOUT_SECONDS = 2.0


def _nothing() -> None:
    return None


def _last_twelve(lines: Sequence[str]) -> Sequence[str]:
    return lines[-12:]


@dataclass(frozen=True, kw_only=True)
class Service:
    """One background process of the stack.

    Attributes:
        name: As people type it in commands (``druid-broker``).
        command: Program and arguments.
        environment: The whole environment of the process.
        directory: Its working directory.
        ports: Every port that must be free before it starts; the first is the one shown to people.
        url: Where a person or a client reaches it; empty where there is nothing to open.
        requires: Services that must be ready before this one starts.
        beside: Services that must run too, but may start at the same time.
        after: Services that, if they are being started too, go first: whatever waits for them has the longer way.
        prepare: Runs before the start: writes configuration, repairs what a crash left behind.
        waiting_for: Asks the service itself; None when ready, else what is still missing.
        finish: Runs once the service is ready and before others may rely on it: roles, buckets.
        telling: The lines of its log that tell why it ended, out of the last hundred.
        stop_signal: What asks it to end in good order.
        timeout_seconds: How long a start may take.
        stop_seconds: How long a stop may take before SIGKILL.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    ports: tuple[int, ...]
    waiting_for: Callable[[], str | None]
    url: str = ""
    requires: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    prepare: Callable[[], None] = field(default=_nothing)
    finish: Callable[[], None] = field(default=_nothing)
    telling: Callable[[Sequence[str]], Sequence[str]] = field(default=_last_twelve)
    stop_signal: Signals = SIGTERM
    timeout_seconds: float = 120.0
    stop_seconds: float = 6.0


def tcp_missing(port: int) -> str | None:
    """None when something listens on the loopback port, else what is missing."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=PROBE_TIMEOUT_SECONDS):
            return None
    except OSError:
        return f"nothing listens on port {port} yet"


def http_status(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a GET on the loopback port; status 0 when there is no answer.

    Plain `http.client` and no session: a probe must not retry, follow redirects or read proxy settings.
    """
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PROBE_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def http_missing(port: int, path: str, *, status: int = 200) -> str | None:
    """None when GET on the path answers with the status, else what came instead."""
    seen, _ = http_status(port, path)
    if seen == status:
        return None
    return f"GET {path} on port {port} gives {seen or 'no answer'}"
