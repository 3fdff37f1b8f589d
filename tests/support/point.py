"""A meeting point for guests and their test: an HTTP server on this machine that every guest can reach.

A guest asks for a gate (`GET /gate/NAME`: 200 once the test opened it, 404 before) and tells things (`GET
/say/NAME?TEXT`). Both work with a busybox `wget`.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote


class Point:
    """The meeting point. `guests` is the address at which guests reach this machine."""

    def __init__(self, guests: str) -> None:
        self._open: dict[str, str] = {}
        self._said: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("0.0.0.0", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://{guests}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def open(self, gate: str, text: str = "open") -> None:
        """From now on the gate answers with this text."""
        with self._lock:
            self._open[gate] = text

    def said(self, name: str) -> list[str]:
        """What guests told under the name, in order."""
        with self._lock:
            return [text for found, text in self._said if found == name]

    def _answer(self, path: str) -> tuple[int, str]:
        kind, _, rest = path.lstrip("/").partition("/")
        with self._lock:
            if kind == "gate":
                return (200, self._open[rest]) if rest in self._open else (404, "closed")
            name, _, text = rest.partition("?")
            self._said.append((name, unquote(text)))
            return 200, "heard"

    def _handler(point) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, text = point._answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
