"""Requests to receivers over real sockets: TLS to the name, checked addresses alone, nothing of the environment."""

import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ingestion_pipeline.adapters.callback import CallbackSender
from ingestion_pipeline.domain.callback_address import AllowList
from ingestion_pipeline.settings import Settings

LOOPBACK = AllowList.parse("127.0.0.1")


@contextmanager
def listening(tls: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """A server that answers 200 and remembers the headers that came."""
    came: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            came.append(dict(self.headers) | {"path": self.path})
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A caller that does not trust us hangs up."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port, came
        finally:
            server.shutdown()
            thread.join()


def sender(**changes: Any) -> CallbackSender:
    values: dict[str, Any] = {"allowed": LOOPBACK, "timeout_seconds": 5.0, "resolve": to("127.0.0.1")}
    return CallbackSender(**(values | changes))


def to(*addresses: str) -> Callable[[str, int], list[str]]:
    return lambda _host, _port: list(addresses)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of hooks.example, and its key, in one file; signed by itself."""
    made = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=hooks.example", "-addext", "subjectAltName=DNS:hooks.example", "-keyout", str(made),
         "-out", str(made.with_suffix(".crt"))],
        check=True, capture_output=True,
    )  # fmt: skip
    made.write_text(made.read_text() + made.with_suffix(".crt").read_text())
    return made


def test_tls_is_with_the_name_whatever_address_it_has(certificate: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    names: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: names.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with listening(server) as (port, came):
        url = f"https://hooks.example:{port}/in?a=b"
        assert sender(tls=trusting).post(url, headers={}, body=b"{}").status == 200
        assert (names, came[0]["Host"], came[0]["path"]) == (["hooks.example"], f"hooks.example:{port}", "/in?a=b")
        other = sender(tls=trusting).post(f"https://other.example:{port}/", headers={}, body=b"{}")
        assert "certificate is not accepted: Hostname mismatch" in (other.error or "")
        untrusted = sender().post(url, headers={}, body=b"{}")
        assert "certificate is not accepted: self-signed" in (untrusted.error or "")
        assert len(came) == 1, "nothing was sent to who was not trusted"


def test_a_server_without_tls_is_told_from_one_that_is_away() -> None:
    with listening() as (port, _):
        answer = sender().post(f"https://hooks.example:{port}/", headers={}, body=b"{}")
        assert (answer.status, (answer.error or "")[:15]) == (None, "no TLS with it:")
    away = sender().post(f"http://hooks.example:{port}/", headers={}, body=b"{}")
    assert (away.status, away.error) == (None, "Connection refused")


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    with listening() as (port, came):
        assert sender().post(f"http://hooks.example:{port}/", headers={}, body=b"{}").status == 200
        assert "Authorization" not in came[0]


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    with listening() as (port, came):
        both = sender(allowed=AllowList.parse("127.0.0.0/8"), resolve=to("127.0.0.2", "127.0.0.1"))
        assert both.post(f"http://hooks.example:{port}/", headers={}, body=b"{}").status == 200
        assert len(came) == 1


@pytest.mark.parametrize("addresses", [["169.254.169.254"], ["127.0.0.1", "10.0.0.1"], ["::ffff:10.0.0.1"], ["x"]])
def test_nothing_is_connected_to_when_one_address_is_refused(addresses: list[str]) -> None:
    with listening() as (port, came):
        answer = sender(resolve=to(*addresses)).post(f"http://hooks.example:{port}/", headers={}, body=b"{}")
        assert (answer.error or "").endswith(": refused")
        assert came == []


def test_a_name_is_resolved_once_for_a_request() -> None:
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with listening() as (port, _):
        sender(resolve=resolve).post(f"http://hooks.example:{port}/", headers={}, body=b"{}")
    assert asked == ["hooks.example"]


def test_a_resolver_that_does_not_answer_is_not_waited_for() -> None:
    release = threading.Event()

    def resolve(_host: str, _port: int) -> list[str]:
        release.wait(60)
        return []

    answer = sender(resolve=resolve, timeout_seconds=0.2).post("http://hooks.example/", headers={}, body=b"{}")
    release.set()
    assert answer.error == "no answer within 0.2 s"


def test_a_name_that_nobody_knows_and_one_without_addresses_are_told() -> None:
    def resolve(_host: str, _port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    assert sender(resolve=resolve).post("http://a.invalid/", headers={}, body=b"").error == "its host is not known"
    assert sender(resolve=to()).post("http://a.invalid/", headers={}, body=b"").error == "it has no address"


def test_a_url_that_cannot_be_called_is_an_answer_too() -> None:
    answer = sender().post("https://me:hush@hooks.example/", headers={}, body=b"")
    assert (answer.status, "hush" in (answer.error or "")) == (None, False)
    assert (answer.error or "").startswith("The URL cannot be called")


def test_a_url_can_be_judged_without_calling_it() -> None:
    private = sender(allowed=AllowList(), resolve=to("10.0.0.1"))
    assert private.problem("http://hooks.example/") == "hooks.example has the address 10.0.0.1, which is private"
    assert sender(resolve=to("8.8.8.8")).problem("http://hooks.example/") is None


def test_the_settings_say_what_is_allowed() -> None:
    made = CallbackSender.from_settings(Settings(callback_allowed="127.0.0.1", callback_timeout_seconds=3))
    with listening() as (port, _):
        assert made.post(f"http://127.0.0.1:{port}/", headers={}, body=b"{}").status == 200
        assert made.post(f"http://localhost:{port}/", headers={}, body=b"{}").status in (200, None)
