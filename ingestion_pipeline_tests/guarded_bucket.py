"""Buckets that refuse: a policy on the real server, and answers that only other servers give.

What belongs here: making a bucket refuse. What does not: what is expected then.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ingestion_pipeline.adapters.s3 import ObjectStore


@contextmanager
def denied(store: ObjectStore, prefix: str) -> Iterator[None]:
    """Nobody may read objects under the prefix; listing them and reading others goes on."""
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{store.bucket}/{prefix}*"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    store._boto.put_bucket_policy(Bucket=store.bucket, Policy=policy)
    try:
        yield
    finally:
        store._boto.delete_bucket_policy(Bucket=store.bucket)


@contextmanager
def s3_stub(answers: Mapping[str, tuple[int, str]]) -> Iterator[str]:
    """A server on loopback that answers every GET by its path; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers[self.path.split("?")[0]]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
