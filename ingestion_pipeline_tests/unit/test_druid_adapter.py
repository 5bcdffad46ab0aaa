"""The Druid adapter against a small HTTP server that answers with recorded bodies: errors and odd answers.

What a running Druid can show is tested on it (`integration/test_druid_*`); here is what it shows only when it
breaks.
"""

import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.domain.druid import TaskState
from ingestion_pipeline.domain.interval import Interval
from ingestion_pipeline.errors import ConfigurationError, DruidRejected, DruidUnavailable

JANUARY = Interval(datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 2, 1, tzinfo=UTC))
HTML_404 = "<html><head><title>Error 404 Not Found</title></head><body>/druid/indexer/v1/task/x/status</body></html>"


class Recorded(ThreadingHTTPServer):
    """Answers every request with what the test put into `answer`; remembers requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: tuple[int, str] = (200, "{}")
        self.headers_sent: dict[str, str] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.delay = threading.Event()
        self.delay.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Recorded

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, self.path, json.loads(body) if body else None))
        self.server.headers_sent = dict(self.headers)
        self.server.delay.wait(5)
        status, text = self.server.answer
        self.send_response(status)
        if status == 307:
            self.send_header("Location", self.path)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = _handle  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Recorded]:
    recorded = Recorded()
    thread = threading.Thread(target=recorded.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield recorded
    recorded.delay.set()
    recorded.shutdown()
    recorded.server_close()
    thread.join()


@pytest.fixture
def druid(server: Recorded) -> Iterator[Druid]:
    with connected(server.url) as client:
        yield client


def connected(url: str, **arguments: Any) -> Druid:
    return Druid(coordinator_url=url, overlord_url=url, broker_url=url, **arguments)


@pytest.mark.parametrize(
    "body",
    [
        '{"error":"druidException","errorCode":"entryAlreadyExists","persona":"USER","category":"INVALID_INPUT",'
        '"errorMessage":"Task [ing-1] already exists","context":{}}',
        '{"error":"Task[ing-1] already exists!"}',
    ],
    ids=["druidException", "plain error"],
)
def test_a_known_id_means_submitted_in_both_shapes_of_the_answer(druid: Druid, server: Recorded, body: str) -> None:
    server.answer = (400, body)
    assert druid.submit({"id": "ing-1"}) == "exists"


def test_a_task_that_the_overlord_does_not_know_has_no_status(druid: Druid, server: Recorded) -> None:
    server.answer = (404, "Cannot find any task with id: [ing-1]")
    assert druid.status("ing-1") is None
    assert druid.report("ing-1") is None
    druid.cancel("ing-1")


def test_a_url_that_is_not_an_overlords_never_passes_for_an_unknown_task(druid: Druid, server: Recorded) -> None:
    server.answer = (404, HTML_404)
    for ask in (druid.status, druid.report, druid.cancel):
        with pytest.raises(ConfigurationError, match="404"):
            ask("ing-1")


def test_an_answer_that_breaks_off_is_transient(druid: Druid, server: Recorded) -> None:
    server.answer = (200, '[{"a":1},{"a":')
    with pytest.raises(DruidUnavailable, match="could not be read"):
        druid.query("SELECT a FROM t")
    server.answer = (200, "<html>a proxy's page</html>")
    with pytest.raises(DruidUnavailable):
        druid.status("ing-1")


def test_endless_redirects_of_an_electing_overlord_are_transient(druid: Druid, server: Recorded) -> None:
    server.answer = (307, "")
    with pytest.raises(DruidUnavailable, match="no leader"):
        druid.status("ing-1")


def test_a_closed_port_is_transient_and_named_without_secrets() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with connected(f"http://user:hidden@127.0.0.1:{port}") as druid:
        with pytest.raises(DruidUnavailable) as caught:
            druid.submit({"id": "ing-1"})
        assert f"http://127.0.0.1:{port}" in caught.value.message
        assert "hidden" not in json.dumps(caught.value.as_dict())
        reason = druid.unready()
    assert reason is not None
    assert f"127.0.0.1:{port}" in reason


def test_a_url_that_is_none_is_a_mistake_in_the_settings() -> None:
    with connected("localhost") as druid, pytest.raises(ConfigurationError, match="localhost"):
        druid.status("ing-1")


def test_a_silent_server_is_given_up_in_time(server: Recorded) -> None:
    server.delay.clear()
    with connected(server.url, timeout_seconds=0.2) as druid, pytest.raises(DruidUnavailable, match=r"within 0\.2 s"):
        druid.submit({"id": "ing-1"})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"currentClusterCapacity":0,"maximumCapacityWithAutoScale":-1,"usedClusterCapacity":0}', "no worker"),
        ("{}", "no worker"),
    ],
)
def test_an_overlord_without_workers_is_not_ready(druid: Druid, server: Recorded, body: str, reason: str) -> None:
    server.answer = (200, body)
    assert reason in (druid.unready() or "")


def test_nothing_served_is_told_apart_from_nothing_loaded(druid: Druid, server: Recorded) -> None:
    server.answer = (200, "No used segment found for the given data")
    assert druid.load_status("flights", JANUARY, force=True) is None
    server.answer = (204, "")
    assert druid.load_status("flights", JANUARY, force=True) is None
    server.answer = (200, '{"flights":0.0}')
    assert druid.load_status("flights", JANUARY, force=True) == 0.0


@pytest.mark.parametrize(
    "message",
    [
        "Object 'flights' not found (line [1], column [22])",
        "Column '__job_id' not found in any table (line [1], column [8])",
    ],
)
def test_a_datasource_that_sql_does_not_know_yet_has_no_rows(druid: Druid, server: Recorded, message: str) -> None:
    server.answer = (400, json.dumps({"error": "druidException", "errorCode": "invalidInput", "errorMessage": message}))
    assert druid.count_by_job("flights", ["a", "b"], JANUARY) == {"a": 0, "b": 0}


def test_counting_sends_values_as_parameters_and_forbids_every_cache(druid: Druid, server: Recorded) -> None:
    server.answer = (200, '[{"job_id":"a","counted":7}]')
    assert druid.count_by_job('fl"ights', ["a", "b' OR 1=1"], JANUARY) == {"a": 7, "b' OR 1=1": 0}
    _, path, body = server.requests[0]
    assert path == "/druid/v2/sql"
    assert "OR 1=1" not in body["query"]
    assert '"fl""ights"' in body["query"]
    assert [parameter["value"] for parameter in body["parameters"]] == [
        "a",
        "b' OR 1=1",
        1356998400000,
        1359676800000,
    ]
    caches = ("useCache", "populateCache", "useResultLevelCache", "populateResultLevelCache")
    assert [body["context"][name] for name in caches] == [False] * 4


def test_many_jobs_are_counted_in_several_queries(druid: Druid, server: Recorded) -> None:
    server.answer = (200, "[]")
    assert len(druid.count_by_job("flights", [str(n) for n in range(1001)], JANUARY)) == 1001
    assert len(server.requests) == 3


def test_a_query_that_cannot_be_computed_tells_druids_own_words(druid: Druid, server: Recorded) -> None:
    server.answer = (
        500,
        '{"error":"druidException","errorCode":"general","persona":"ADMIN","category":"UNCATEGORIZED",'
        '"errorMessage":"/ by zero","context":{}}',
    )
    with pytest.raises(DruidRejected, match="/ by zero"):
        druid.query("SELECT 1/0")
    with pytest.raises(DruidUnavailable):  # for a proof the same status is a reason to ask again
        druid.count_by_job("flights", ["a"], JANUARY)


@pytest.mark.parametrize("message", ["Faulty channel in resource pool", "Connection reset"])
def test_a_query_that_met_a_dead_historical_may_be_asked_again(druid: Druid, server: Recorded, message: str) -> None:
    server.answer = (500, json.dumps({"error": "Unknown exception", "errorMessage": message}))
    with pytest.raises(DruidUnavailable, match=message):
        druid.query("SELECT COUNT(*) FROM flights")


def test_a_parameter_of_another_type_is_a_mistake_of_the_caller(druid: Druid) -> None:
    with pytest.raises(TypeError, match="bytes"):
        druid.query("SELECT ?", [b"x"])


def test_user_and_password_go_with_every_request(server: Recorded) -> None:
    server.answer = (200, '{"task":"x","status":{"id":"x","statusCode":"SUCCESS","runnerStatusCode":"NONE"}}')
    with connected(server.url, username="ingest", password="geheim") as druid:
        status = druid.status("x")
    assert status is not None
    assert status.state is TaskState.SUCCESS
    assert server.headers_sent["Authorization"].startswith("Basic ")


def test_a_module_counts_only_where_overlord_and_broker_have_it(server: Recorded, druid: Druid) -> None:
    modules = [{"name": "m", "artifact": "druid-s3-extensions", "version": "33.0.0"}]
    server.answer = (200, json.dumps({"version": "33.0.0", "modules": modules}))
    assert druid.capabilities().s3
    assert not druid.capabilities().parquet
    other = Recorded()
    other.answer = (200, json.dumps({"version": "33.0.0", "modules": []}))
    thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    with Druid(coordinator_url=server.url, overlord_url=server.url, broker_url=other.url) as mixed:
        assert not mixed.capabilities().s3
    other.shutdown()
    other.server_close()
    thread.join()
