"""What is asked of Dagster's webserver, against a server that behaves as uvicorn does at its worst moment."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ingestion_pipeline.adapters.dagster_backfills import DagsterBackfills

NO_BACKFILLS = {"data": {"partitionBackfillsOrError": {"__typename": "PartitionBackfills", "results": []}}}


class _ClosesIdleConnections(BaseHTTPRequestHandler):
    """Offers to keep a connection, and closes it when the next question is on its way."""

    protocol_version = "HTTP/1.1"
    answered = False

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.answered:
            self.close_connection = True
            return
        self.answered = True
        content = json.dumps(NO_BACKFILLS).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_a_webserver_that_closes_idle_connections_answers_every_question() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _ClosesIdleConnections) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        dagster = DagsterBackfills(f"http://127.0.0.1:{server.server_port}")
        try:
            assert [dagster.latest(3), dagster.latest(3)] == [[], []]
        finally:
            dagster.close()
            server.shutdown()
            thread.join()
