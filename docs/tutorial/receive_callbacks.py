"""A receiver of callbacks: verifies who sent them, prints what happened, and forgets none of the rules.

    WEBHOOK_SECRET=whsec_... python receive_callbacks.py [PORT]

Needs the package `standardwebhooks`; there are libraries for other languages at https://www.standardwebhooks.com.
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
seen: set[str] = set()  # in your database: it has to outlive this program


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            # The body as it came: parsed and written again it would be other bytes.
            message = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError as error:
            self.answer(401)
            print(f"refused: {error}", flush=True)
            return
        # Keep it (in a queue, a table), answer, and work on it afterwards: an answer that takes ten seconds is none.
        if self.headers["webhook-id"] not in seen:
            seen.add(self.headers["webhook-id"])
            data = message["data"]
            print(message["type"], data.get("file_name", ""), data.get("outcome", ""), flush=True)
        self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The lines above are enough."""


with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8900), Receiver) as server:
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
