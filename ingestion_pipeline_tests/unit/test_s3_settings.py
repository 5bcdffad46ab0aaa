"""What the settings say about the bucket and is wrong: a sentence with a hint, and no secret in it or in its causes."""

import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.errors import ConfigurationError, IngestionError, S3Unavailable


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the environment nor this machine has any."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def store_of(**changes: Any) -> ObjectStore:
    values: dict[str, Any] = {
        "bucket": "bucket",
        "endpoint_url": "http://127.0.0.1:9",  # nobody listens
        "region": "us-east-1",
        "access_key_id": "the-access-key",
        "secret_access_key": "the-secret",
    }
    return ObjectStore(**(values | changes))


USES: dict[str, Callable[[ObjectStore], object]] = {
    "list": lambda store: store.list_page(),
    "read": lambda store: store.get("a.csv"),
    "sign": lambda store: store.presign_get("a.csv", seconds=60),
    "make": lambda store: store.ensure_bucket(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize(
    "endpoint",
    ["no address", "127.0.0.1:9", "http://", "ftp://host", "http://a host", "http://u:hush@a host", "http://host:port"],
)
def test_an_endpoint_that_is_no_address_is_named_by_its_setting(
    endpoint: str, use: Callable[[ObjectStore], object]
) -> None:
    with pytest.raises(ConfigurationError, match="INGESTION_S3_ENDPOINT_URL") as raised:
        use(store_of(endpoint_url=endpoint))
    assert "hush" not in told(raised.value)


def test_an_endpoint_for_druid_that_is_no_address_is_named_by_its_own_setting() -> None:
    with pytest.raises(ConfigurationError, match="INGESTION_S3_DRUID_ENDPOINT_URL"):
        store_of(druid_endpoint_url="druid:8333").presign_get("a.csv", seconds=60)


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_key_without_its_secret_is_told(use: Callable[[ObjectStore], object]) -> None:
    with pytest.raises(ConfigurationError, match="INGESTION_S3_SECRET_ACCESS_KEY"):
        use(store_of(secret_access_key=None))


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_no_keys_anywhere_is_a_mistake_of_the_settings(use: Callable[[ObjectStore], object]) -> None:
    with pytest.raises(ConfigurationError, match="INGESTION_S3_ACCESS_KEY_ID"):
        use(store_of(access_key_id=None, secret_access_key=None))


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_profile_that_does_not_exist_is_a_mistake_of_the_settings(
    use: Callable[[ObjectStore], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigurationError, match="ProfileNotFound"):
        use(store_of(access_key_id=None, secret_access_key=None))


def test_without_keys_listing_reading_and_signing_all_use_the_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: tuple[str, list[str]]
) -> None:
    url, requests = asked
    (tmp_path / "credentials").write_text(
        "[loader]\naws_access_key_id = KEY-OF-THE-PROFILE\naws_secret_access_key = secret\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "loader")
    store = store_of(endpoint_url=url, access_key_id=None, secret_access_key=None)

    assert "KEY-OF-THE-PROFILE" in store.presign_get("a.csv", seconds=60)
    for use in (USES["list"], USES["read"]):
        with pytest.raises(IngestionError):
            use(store)
        assert "KEY-OF-THE-PROFILE" in requests.pop()


def test_credentials_that_cannot_be_renewed_are_an_outage_and_no_mistake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "credentials").write_text("[loader]\ncredential_process = python -c 'raise SystemExit(1)'\n")
    monkeypatch.setenv("AWS_PROFILE", "loader")
    store = store_of(access_key_id=None, secret_access_key=None)
    for use in USES.values():
        with pytest.raises(S3Unavailable):
            use(store)


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A server that refuses everything: its URL, and path and signature of each request."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(f"{self.path} {self.headers.get('Authorization')}")
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            thread.join()


def told(error: BaseException) -> str:
    """All that Dagster would log of an error: its causes too."""
    return "".join(traceback.format_exception(error))
