"""A receiver of callbacks as a program: PORT (0: any) and a file to which it writes each request as a line of JSON.

It prints its port and answers by path. What belongs here: the odd ways in which receivers answer. What does not: tests.
"""

import json
import os
import sys
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SEEN: Counter[str] = Counter()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        SEEN[self.path] += 1
        line = {"path": self.path, "headers": dict(self.headers), "body": body.decode(), "at": time.time()}
        with open(sys.argv[2], "a") as written:  # noqa: PTH123 - a program of its own
            written.write(json.dumps(line) + "\n")
        match self.path.split("/")[1:]:
            case ["fails", times, *_]:  # 500 as often, then 200
                self.answer(500 if SEEN[self.path] <= int(times) else 200, b"\x1b[31mred\x1b[0m [b]not markup[/b]")
            case ["status", code, *_]:
                self.answer(int(code), b"as you wish")
            case ["busy", seconds, *_]:
                self.answer(503, b"later", {"Retry-After": seconds})
            case ["redirect", *_]:
                self.answer(302, b"", {"Location": "http://169.254.169.254/latest/meta-data?token=hush"})
            case ["hangs", *_]:
                time.sleep(3600)
            case ["drips", "head", *_]:
                self.drip(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000)
            case ["drips", "body", *_]:
                self.drip(b"y" * 10_000, first=b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
            case ["floods", *_]:
                self.send_response(200)
                self.end_headers()
                while True:
                    self.wfile.write(b"z" * 65_536)
            case ["closes", *_]:
                self.close_connection = True
            case ["nonsense", *_]:
                self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
                self.close_connection = True
            case ["twice", *_]:
                self.answer(200, b"first")
                self.answer(500, b"second")
            case ["dies", *_]:
                os._exit(1)
            case _:
                self.answer(200, b"ok")

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drip(self, text: bytes, *, first: bytes = b"") -> None:
        self.wfile.write(first)
        for letter in text:
            self.wfile.write(bytes([letter]))
            time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_: object) -> None:
        """A caller that went away is what most of these paths are about."""


def main() -> None:
    with Server(("127.0.0.1", int(sys.argv[1])), Handler) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
