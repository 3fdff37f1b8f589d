"""As much of Neutron as Nova asks for servers without networks: `neutron.py PORT`. There is nothing in it."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Empty(BaseHTTPRequestHandler):
    """Every collection is empty; nothing can be made."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """`/v2.0/<collection>` has nothing in it; `/v2.0/<collection>/<id>` is not found."""
        parts = self.path.partition("?")[0].strip("/").split("/")
        if len(parts) == 2:
            self._answer(200, {parts[1].removesuffix(".json").replace("-", "_"): []})
        else:
            # Nova tells what is missing by the word.
            self._refuse(404, f"{parts[1].removesuffix('s').title()}NotFound" if len(parts) > 1 else "NotFound")

    def do_POST(self) -> None:
        """Refused."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._refuse(404, "NotFound")

    def do_PUT(self) -> None:
        """Refused."""
        self.do_POST()

    def do_DELETE(self) -> None:
        """Refused."""
        self.do_POST()

    def _refuse(self, status: int, kind: str) -> None:
        self._answer(status, {"NeutronError": {"type": kind, "message": "there are no networks here", "detail": ""}})

    def _answer(self, status: int, body: object) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: Nova's log has the same."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Empty).serve_forever()
