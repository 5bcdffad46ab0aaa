"""Requests to receivers of callbacks: resolved once, checked, connected to what was checked, and ended in time.

What belongs here: one POST and what came of it. What does not: which addresses are refused
(`domain.callback_address`), signatures, tries. Nothing of the environment (proxies, netrc) is used, no redirect is
followed: either would be a second way to an address that was not checked.
"""

import http.client
import io
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ingestion_pipeline import __version__
from ingestion_pipeline.domain.callback import Answer
from ingestion_pipeline.domain.callback_address import AllowList, Target, refusal, target_of
from ingestion_pipeline.domain.redaction import without_secrets
from ingestion_pipeline.errors import ConfigurationError
from ingestion_pipeline.settings import Settings

CONNECT_SECONDS = 5.0
# Read of an answer's body; more is of no use to anybody.
_MAX_BODY = 4096
_KEPT_BODY = 1000
_MAX_HEADER = 200

Resolve = Callable[[str, int], Sequence[str]]
"""A host and a port -> its addresses; OSError if there are none."""


class CallbackSender:
    """Posts callbacks; safe to use by several threads.

    Args:
        allowed: What may be called although it is not public.
        timeout_seconds: From resolving the name to the end of the answer, however slowly it drips.
        resolve: The system's resolver, unless a test has its own.
        tls: Who is trusted; the system's authorities by default.
    """

    def __init__(
        self,
        *,
        allowed: AllowList,
        timeout_seconds: float,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = allowed
        self._timeout_seconds = timeout_seconds
        self._resolve = resolve or addresses_of
        self._tls = tls or ssl.create_default_context()

    @classmethod
    def from_settings(cls, settings: Settings) -> "CallbackSender":
        """
        Raises:
            ConfigurationError: The list of what is allowed cannot be read.
        """
        return cls(
            allowed=AllowList.parse(settings.callback_allowed), timeout_seconds=settings.callback_timeout_seconds
        )

    def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a body of JSON; whatever happens is in the answer, in words without secrets."""
        began = time.monotonic()
        status, text, retry_after, error = None, "", None, None
        try:
            target = target_of(url)
            with self._connect(target, deadline=began + self._timeout_seconds) as wire:
                response = _ask(target, wire, headers, body)
                status, retry_after = response.status, response.getheader("retry-after")
                text = _shown(response.read(_MAX_BODY), _KEPT_BODY)
                if 300 <= status < 400:
                    error = f"it redirects to {_where(response.getheader('location'))}; redirects are not followed"
        except ConfigurationError as problem:
            error = problem.message.rstrip(".")
        except TimeoutError:
            what = "whole answer" if status is not None else "answer"
            error = f"no {what} within {self._timeout_seconds:g} s"
        except ssl.SSLCertVerificationError as problem:
            error = f"its certificate is not accepted: {problem.verify_message}"
        except (OSError, http.client.HTTPException) as problem:
            error = _reason(problem)
        return Answer(
            status=status,
            body=text,
            error=error,
            retry_after=_shown(retry_after.encode("latin-1", "replace"), _MAX_HEADER) if retry_after else None,
            duration_seconds=time.monotonic() - began,
        )

    def problem(self, url: str) -> str | None:
        """Why a URL would be refused now, without calling it; None if it would not, or its name is not known here.

        Raises:
            ConfigurationError: It is no URL that can be called.
        """
        target = target_of(url)
        try:
            return refusal(target.host, self._addresses(target, time.monotonic() + CONNECT_SECONDS), self._allowed)
        except OSError:
            return None

    def _connect(self, target: Target, *, deadline: float) -> "_Wire":
        """A connection to an address that was checked, with TLS to the name if the URL says so."""
        addresses = self._addresses(target, deadline)
        refused = refusal(target.host, addresses, self._allowed)
        if refused:
            raise ConfigurationError(f"{refused}: refused.")
        failed: OSError = OSError("it has no address")
        for address in addresses:
            try:
                plain = socket.create_connection((address, target.port), timeout=min(CONNECT_SECONDS, _left(deadline)))
            except OSError as error:
                failed = error
                continue
            try:
                plain.settimeout(_left(deadline))
                secure = self._tls.wrap_socket(plain, server_hostname=target.host) if target.https else plain
            except BaseException:
                plain.close()
                raise
            return _Wire(secure, deadline)
        raise failed

    def _addresses(self, target: Target, deadline: float) -> list[str]:
        """All of the host's addresses. The system's resolver has no deadline: it is waited for from outside."""
        answer: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answer.put(list(self._resolve(target.host, target.port)))
            except (OSError, ValueError) as error:
                answer.put(error)

        threading.Thread(target=ask, name="resolve", daemon=True).start()
        try:
            found = answer.get(timeout=_left(deadline))
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(found, Exception):
            raise OSError("its host is not known") from found
        return found


class _Wire:
    """A connected socket, as http.client wants one, on which everything ends at a deadline.

    A socket's own timeout begins anew with every byte: a receiver that drips would keep us for ever.
    """

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket, self._deadline = connected, deadline

    def __enter__(self) -> "_Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(_left(self._deadline))
        self._socket.sendall(data)

    def recv_into(self, buffer: Any) -> int:
        self._socket.settimeout(_left(self._deadline))
        return self._socket.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """http.client lets go of it before it has read the answer; who connected closes."""


class _Reader(io.RawIOBase):
    """The reading side of a wire."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.recv_into(buffer)


def addresses_of(host: str, port: int) -> list[str]:
    """The system resolver's addresses of a host, each once, in its order."""
    found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _ask(target: Target, wire: _Wire, headers: Mapping[str, str], body: bytes) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = wire  # connected already: http.client only writes and reads
    own = {
        "Host": target.authority,
        "Content-Type": "application/json",
        "User-Agent": f"ingestion-pipeline/{__version__}",
        "Connection": "close",
    }
    connection.request("POST", target.path, body, own | dict(headers))
    return connection.getresponse()


def _left(deadline: float) -> float:
    """Seconds until then.

    Raises:
        TimeoutError: There are none.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _reason(problem: Exception) -> str:
    """Why there is no answer, in a few words; a system's error may name paths and addresses, its kind does not."""
    if isinstance(problem, http.client.RemoteDisconnected):
        return "it closed the connection without an answer"
    if isinstance(problem, http.client.HTTPException):
        return "its answer is not HTTP, or ends too early"
    if isinstance(problem, ssl.SSLError):
        return f"no TLS with it: {(problem.reason or 'it ended the connection').replace('_', ' ').lower()}"
    if isinstance(problem, OSError):
        return _shown((problem.strerror or str(problem) or type(problem).__name__).encode(), _MAX_HEADER)
    return type(problem).__name__


def _where(location: str | None) -> str:
    return _shown(without_secrets(location).encode("latin-1", "replace"), _MAX_HEADER) if location else "nowhere"


def _shown(text: bytes, limit: int) -> str:
    """A stranger's bytes as text that can be stored and shown: of bounded length, without control characters."""
    told = text.decode("utf-8", "replace")
    clean = "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in told)
    return clean if len(clean) <= limit else clean[:limit] + "…"
