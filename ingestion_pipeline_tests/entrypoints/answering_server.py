"""A web server on loopback that gives prepared answers, for commands that speak HTTP.

What belongs here: the server. What does not: what it answers (each test says that).
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def answering(status: int, body: Any, *later: tuple[int, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Answers every POST with `body` as JSON; those after the first with `later`, the last of them for ever.

    Yields:
        The base URL, and the bodies of the requests that came.
    """
    asked: list[dict[str, Any]] = []
    answers = [(status, body), *later]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            now, text = answers[min(len(asked), len(answers)) - 1]
            content = json.dumps(text).encode()
            self.send_response(now)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
