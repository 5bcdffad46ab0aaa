"""Which port each service of the embedded stack listens on.

What belongs here: names, friendly defaults, free ports, and the check that a port is not taken. What does
not: remembering them (`site`). Everything listens on loopback only.
"""

import random
import socket
import time
from collections.abc import Iterable, Mapping

import psutil

from ingestion_pipeline.embedded.service import LOOPBACK
from ingestion_pipeline.errors import StackError

_LINGER_SECONDS = 5.0

DEFAULT_PORTS: Mapping[str, int] = {
    "dagster": 3000,
    "code-server": 4000,
    "postgres": 5433,
    "s3": 8333,
    "s3-grpc": 18333,
    "s3-master": 9333,
    "s3-master-grpc": 19333,
    "s3-volume": 9340,
    "s3-volume-grpc": 19340,
    "s3-filer": 8888,
    "s3-filer-grpc": 18888,
    "zookeeper": 2181,
    "druid-coordinator": 8081,
    "druid-broker": 8082,
    "druid-historical": 8083,
    "druid-indexer": 8091,
    "druid-metadata": 1527,
}


def free_ports(names: Iterable[str]) -> dict[str, int]:
    """A free loopback port for each name, at random.

    Below 32768, where Linux never takes the near end of an outgoing connection from: a port that is free now
    stays so while its service restarts.
    """
    candidates = (port for port in random.sample(range(12000, 32000), 2000) if not is_taken(port))
    return dict(zip(names, candidates, strict=False))


def with_overrides(base: Mapping[str, int], overrides: Mapping[str, int]) -> dict[str, int]:
    """The ports with some replaced.

    Raises:
        StackError: A name that no service has, a number that is no port, or one number twice.
    """
    unknown = sorted(set(overrides) - set(DEFAULT_PORTS))
    if unknown:
        raise StackError(f"No service has a port named {unknown[0]!r}.", hint=f"Names: {', '.join(DEFAULT_PORTS)}.")
    merged = {**base, **overrides}
    for name, port in merged.items():
        if not 1 <= port <= 65535:
            raise StackError(f"Port {port} of {name} is not between 1 and 65535.")
    seen: dict[int, str] = {}
    for name, port in merged.items():
        if port in seen:
            raise StackError(f"Port {port} is given to both {seen[port]} and {name}.", hint="Choose another for one.")
        seen[port] = name
    return merged


def is_taken(port: int) -> bool:
    """Whether binding the loopback port fails."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        # As the servers do it: connections of an earlier server in TIME_WAIT do not count as taken.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


def holder(port: int) -> str:
    """Who listens on the port, for the error message; empty when the system does not tell."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid and connection.status == "LISTEN":
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""


def require_free(service: str, ports: Iterable[int]) -> None:
    """Check that a service can have its ports.

    A port that nobody listens on, and that is taken all the same, is given a moment: the threads of a killed
    server hold its sockets a little longer than its process is to be seen.

    Raises:
        StackError: One is taken; names the port and, where known, the program that holds it.
    """
    deadline = time.monotonic() + _LINGER_SECONDS
    for port in ports:
        while is_taken(port):
            by = holder(port)
            if not by and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            raise StackError(
                f"{service} cannot start: port {port} is taken{' by ' + by if by else ''}.",
                hint="Stop that program, or choose other ports: `ingestion-pipeline up --free-ports` "
                "or `--port NAME=NUMBER`.",
                details={"service": service, "port": port},
            )
