"""The bucket adapter against the real S3 server."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import obstore
import pytest

from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.errors import (
    ConfigurationError,
    ObjectDenied,
    ObjectMissing,
    ObjectSuperseded,
    S3Unavailable,
    UnreadableFile,
)
from ingestion_pipeline_tests.conftest import S3Access
from ingestion_pipeline_tests.guarded_bucket import denied, s3_stub

MakeStore = Callable[..., ObjectStore]


@pytest.fixture
def make_store(s3: S3Access) -> MakeStore:
    return s3.store


@pytest.fixture
def store(make_store: MakeStore) -> ObjectStore:
    return make_store()


@pytest.fixture
def prefix() -> str:
    return f"tests/{uuid.uuid4().hex}/"


def test_a_listing_names_each_object_once_in_key_order_after_the_given_key(store: ObjectStore, prefix: str) -> None:
    for name in ("b", "a", "c"):
        store.put(f"{prefix}{name}", b"x" * 3)

    everything = store.list_page(prefix)
    later = store.list_page(prefix, after=f"{prefix}a")

    assert [item.key for item in everything] == [f"{prefix}a", f"{prefix}b", f"{prefix}c"]
    assert [item.key for item in later] == [f"{prefix}b", f"{prefix}c"]
    assert {item.size_bytes for item in everything} == {3}


def test_listing_and_head_agree_on_the_identity_of_a_version(store: ObjectStore, prefix: str) -> None:
    store.put(f"{prefix}same", b"content")

    assert store.list_page(prefix) == [store.head(f"{prefix}same")]


def test_a_replaced_object_is_superseded_and_a_deleted_one_missing(store: ObjectStore, prefix: str) -> None:
    key = f"{prefix}object"
    store.put(key, b"first")
    first = store.head(key)
    assert first is not None
    assert b"".join(store.read(key, if_match=first.etag)) == b"first"

    store.put(key, b"second")
    with pytest.raises(ObjectSuperseded):
        list(store.read(key, if_match=first.etag))
    store.delete([key])
    with pytest.raises(ObjectMissing):
        list(store.read(key, if_match=first.etag))
    assert store.head(key) is None


@pytest.mark.parametrize(
    ("size_bytes", "requests"),
    [
        pytest.param(0, 2, id="empty: has no range, so it is asked for twice"),
        pytest.param(1, 1, id="one byte"),
        pytest.param(999, 1, id="a range but one byte"),
        pytest.param(1000, 1, id="a range"),
        pytest.param(1001, 2, id="a range and one byte"),
        pytest.param(3000, 3, id="three ranges"),
    ],
)
def test_an_object_is_read_whole_in_as_few_ranges_as_it_has(
    store: ObjectStore, prefix: str, monkeypatch: pytest.MonkeyPatch, size_bytes: int, requests: int
) -> None:
    data = bytes(n % 251 for n in range(size_bytes))
    store.put(f"{prefix}object", data)
    asked: list[str] = []
    get = obstore.get

    def counted(*args: Any, **options: Any) -> Any:
        asked.append(args[1])
        return get(*args, **options)

    monkeypatch.setattr(obstore, "get", counted)

    assert b"".join(store.read(f"{prefix}object", range_bytes=1000)) == data
    assert len(asked) == requests


@pytest.mark.parametrize("named", [True, False], ids=["a version that was named", "the version that was begun with"])
def test_a_version_that_is_replaced_while_it_is_read_is_superseded(
    store: ObjectStore, prefix: str, named: bool
) -> None:
    key = f"{prefix}object"
    store.put(key, b"1" * 2000)
    first = store.head(key)
    assert first is not None
    chunks = store.read(key, if_match=first.etag if named else None, range_bytes=1000)
    assert next(chunks) == b"1" * 1000

    store.put(key, b"2" * 2000)

    with pytest.raises(ObjectSuperseded):
        next(chunks)


def test_a_reader_may_take_longer_over_an_object_than_a_request_may_last(make_store: MakeStore, prefix: str) -> None:
    make_store().put(f"{prefix}object", bytes(24 * 1024 * 1024))
    read = 0
    for chunk in make_store(request_seconds=0.5).read(f"{prefix}object"):
        time.sleep(0.6)
        read += len(chunk)
    assert read == 24 * 1024 * 1024


def test_a_writer_that_fails_leaves_no_object(store: ObjectStore, prefix: str) -> None:
    key = f"{prefix}broken"

    def write_half() -> None:
        with store.writer(key) as target:
            target.write(b"x" * 20_000_000)
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()

    assert store.head(key) is None

    with store.writer(key) as target:
        target.write(b"x" * 20_000_000)
    written = store.head(key)
    assert written is not None
    assert written.size_bytes == 20_000_000


def test_an_outage_while_an_object_is_written_is_one_of_the_server(make_store: MakeStore) -> None:
    store = make_store(endpoint_url="http://127.0.0.1:9", request_seconds=2)

    def write() -> None:
        with store.writer("tests/never") as target:
            for _ in range(10):
                target.write(bytes(8 * 1024 * 1024))
            pytest.fail("It was written nowhere, and nothing was said.")

    with pytest.raises(S3Unavailable, match="does not answer"):
        write()


@pytest.mark.parametrize(
    ("overrides", "error", "says"),
    [
        pytest.param({"secret_access_key": "wrong"}, ConfigurationError, "refuses these credentials", id="secret"),
        pytest.param({"access_key_id": "unknown"}, ConfigurationError, "refuses these credentials", id="key id"),
        pytest.param({"bucket": "absent-bucket"}, ConfigurationError, "does not exist", id="bucket"),
        pytest.param({"endpoint_url": "http://127.0.0.1:9"}, S3Unavailable, "does not answer", id="no server"),
    ],
)
def test_wrong_surroundings_are_one_clear_error(
    make_store: MakeStore, overrides: dict[str, str], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as raised:
        make_store(**overrides).check()

    assert "wrong" not in str(raised.value)
    assert "http" not in str(raised.value)


@pytest.fixture
def guarded(make_store: MakeStore) -> Iterator[ObjectStore]:
    """A bucket whose policy lets everything be listed, and nothing under `denied/` be read."""
    store = make_store(bucket="guarded-bucket")
    store.ensure_bucket()
    with denied(store, "denied/"):
        yield store


READERS: dict[str, Callable[[ObjectStore, str], Any]] = {
    "head": lambda store, key: store.head(key),
    "read": lambda store, key: list(store.read(key)),
    "get": lambda store, key: store.get(key),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_an_object_that_may_not_be_read_is_an_error_of_that_object_alone(
    guarded: ObjectStore, reader: Callable[[ObjectStore, str], Any]
) -> None:
    for key in ("denied/a.csv", "open/a.csv"):
        guarded.put(key, b"hello")

    with pytest.raises(ObjectDenied, match="may not be read"):
        reader(guarded, "denied/a.csv")
    assert reader(guarded, "open/a.csv")


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize(
    ("overrides", "error", "says"),
    [
        pytest.param({"secret_access_key": "wrong"}, ConfigurationError, "refuses these credentials", id="secret"),
        pytest.param({"bucket": "absent-bucket"}, ConfigurationError, "does not exist", id="bucket"),
        pytest.param({"endpoint_url": "http://127.0.0.1:9"}, S3Unavailable, "does not answer", id="no server"),
    ],
)
def test_an_object_of_a_bucket_that_does_not_answer_is_not_blamed(
    make_store: MakeStore,
    reader: Callable[[ObjectStore, str], Any],
    overrides: dict[str, str],
    error: type[Exception],
    says: str,
) -> None:
    with pytest.raises(error, match=says):
        reader(make_store(**overrides), "any.csv")


def test_an_archived_object_says_that_it_must_be_restored(make_store: MakeStore) -> None:
    archived = "<Error><Code>InvalidObjectState</Code><Message>The operation is not valid</Message></Error>"
    with s3_stub({"/bucket/a.csv": (403, archived), "/bucket": (200, "<ListBucketResult/>")}) as endpoint_url:
        store = make_store(endpoint_url=endpoint_url, bucket="bucket")
        with pytest.raises(ObjectDenied, match="archive"):
            list(store.read("a.csv"))


def test_a_signed_url_reads_that_object_alone(store: ObjectStore, prefix: str) -> None:
    import requests

    store.put(f"{prefix}one", b"1")
    store.put(f"{prefix}two", b"2")
    url = store.presign_get(f"{prefix}one", seconds=60)

    assert requests.get(url, timeout=10).content == b"1"
    assert requests.get(url.replace("one", "two"), timeout=10).status_code == 403
    assert requests.get(url.split("?")[0], timeout=10).status_code == 403


@pytest.mark.parametrize(
    "name",
    [
        "a b.csv",
        "ü%41.csv",
        "x?y#z&=.csv",
        "a+b.csv",
        "line\nbreak.csv",
        "~t*[x]{y}|<.csv",
        "folder/",
        "日本.csv",
        "\x01.csv",
    ],
)
def test_a_hostile_name_is_listed_as_it_is_and_hides_no_neighbour(store: ObjectStore, prefix: str, name: str) -> None:
    store.put(f"{prefix}~~last.csv", b"neighbour")
    store._boto.put_object(Bucket=store.bucket, Key=f"{prefix}{name}", Body=b"hello")

    keys = [item.key for item in store.list_page(prefix)]

    assert sorted(keys) == sorted([f"{prefix}{name}", f"{prefix}~~last.csv"])


def test_a_key_that_cannot_be_read_back_is_an_error_of_that_file_alone(store: ObjectStore, prefix: str) -> None:
    store._boto.put_object(Bucket=store.bucket, Key=f"{prefix}line\nbreak.csv", Body=b"hello")

    with pytest.raises(UnreadableFile, match="another name"):
        list(store.read(f"{prefix}line\nbreak.csv"))
