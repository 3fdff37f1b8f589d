"""What carries the SDK's requests: each is sent once, within a deadline, and no more is read than fits.

The SDK's own carrier repeats what timed out or was refused, without a public way to stop it, and its time-outs begin
anew with every byte. This one takes its place: everything that goes wrong leaves as the contract's errors.
"""

from __future__ import annotations

import json as codec
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlencode

import urllib3
from urllib3 import exceptions as failures

from moorage.hosting.carried import no_answer
from moorage.hosting.errors import TimedOut, Unavailable
from moorage.hosting.hetzner.answers import Reply, refusal

MAX_ANSWER: Final = 16 * 1024 * 1024
"""Most bytes of an answer: 50 servers with all that belongs to them are about 300 KB."""
CONNECT_TIMEOUT: Final = 10.0
_CHUNK: Final = 64 * 1024


class Transport:
    """Sends the requests of one service."""

    def __init__(self, base: str, token: str, tls: ssl.SSLContext, connections: int) -> None:
        self._base = base.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "User-Agent": "moorage hcloud-python",
        }
        self._pool = urllib3.PoolManager(num_pools=2, maxsize=connections, ssl_context=tls, retries=False)
        self._now = threading.local()

    @contextmanager
    def within(self, deadline: float) -> Iterator[None]:
        """What this thread sends inside has until `deadline` (monotonic)."""
        self._now.deadline = deadline
        try:
            yield
        finally:
            self._now.deadline = 0.0

    def request(
        self, method: str, url: str, params: Mapping[str, Any] | None = None, json: Any = None, **_: Any
    ) -> dict[str, Any]:
        """As the SDK's own, sent once. Raises HostingError."""
        try:
            return self._send(method, url, params, json)
        except (failures.HTTPError, OSError) as error:
            raise no_answer(error) from None

    def _send(self, method: str, url: str, params: Mapping[str, Any] | None, body: Any) -> dict[str, Any]:
        deadline: float = getattr(self._now, "deadline", 0.0)
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimedOut("its time was up before it was sent")
        query = f"?{urlencode(_plain(params), doseq=True)}" if params else ""
        sent = None if body is None else codec.dumps(body).encode()
        answer = self._pool.urlopen(
            method,
            f"{self._base}{url}{query}",
            body=sent,
            headers=self._headers if sent is None else {**self._headers, "Content-Type": "application/json"},
            timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT, left), total=left),
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            raw = _bounded(answer, deadline)
        except BaseException:
            answer.close()
            raise
        answer.release_conn()
        reply = Reply(answer.status, dict(answer.headers), raw)
        if not 200 <= answer.status < 300:
            raise refusal(reply)
        return reply.object() if raw else {}

    def close(self) -> None:
        """Give up the connections that wait for use. Repetition: harmless."""
        self._pool.clear()


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in params.items()}


def _bounded(answer: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    raw = bytearray()
    while chunk := answer.read1(_CHUNK):
        raw += chunk
        if len(raw) > MAX_ANSWER:
            raise Unavailable(f"the answer is longer than {MAX_ANSWER} bytes")
        if time.monotonic() > deadline:
            raise TimedOut("the answer did not end in time")
    return bytes(raw)
