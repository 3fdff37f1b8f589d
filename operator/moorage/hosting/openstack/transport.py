"""How the requests of keystoneauth are sent: once, bounded in time and in bytes.

Its own transport reads whatever comes, however long it takes. Here a request has until its deadline in all, and an
answer has an end. What goes wrong leaves as the contract's errors, which keystoneauth passes on untouched.
"""

from __future__ import annotations

import io
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3 import exceptions as failures

from moorage.hosting.carried import no_answer
from moorage.hosting.errors import TimedOut, Unavailable
from moorage.hosting.plain import refuse_plain

MAX_ANSWER: Final = 32 * 1024 * 1024
"""Most bytes of an answer: 1,000 servers with their metadata are about 4 MB."""
CONNECT_TIMEOUT: Final = 10.0
_CHUNK: Final = 64 * 1024


class Transport(HTTPAdapter):
    """Sends the requests of one cloud."""

    def __init__(self, tls: ssl.SSLContext, connections: int, *, plain: bool = False) -> None:
        super().__init__(max_retries=0)
        self._plain = plain
        self._pool = urllib3.PoolManager(num_pools=8, maxsize=connections, ssl_context=tls, retries=False)
        self._now = threading.local()

    @contextmanager
    def until(self, deadline: float) -> Iterator[None]:
        """What this thread sends inside has until `deadline` (monotonic)."""
        self._now.deadline = deadline
        try:
            yield
        finally:
            self._now.deadline = None

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send it once. Raises TimedOut or Unavailable where there is no whole answer, Invalid where the catalogue
        leads to an address to which nothing is to be sent."""
        refuse_plain(request.url or "", self._plain, field="settings.allowPlainHttp")
        try:
            return self._send(request, self._now.deadline)
        except (failures.HTTPError, OSError) as error:
            raise no_answer(error) from None

    def _send(self, request: requests.PreparedRequest, deadline: float) -> requests.Response:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimedOut("its time was up before it was sent")
        answer = self._pool.urlopen(
            request.method or "GET",
            request.url or "",
            body=request.body,
            headers={**request.headers, "Accept-Encoding": "identity"},
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
        whole = urllib3.HTTPResponse(
            body=io.BytesIO(raw), headers=answer.headers, status=answer.status, preload_content=False
        )
        response = self.build_response(request, whole)
        response._content = raw
        response._content_consumed = True
        return response

    def close(self) -> None:
        """Give up the connections that wait for use. Repetition: harmless."""
        self._pool.clear()
        super().close()


def _bounded(answer: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    raw = bytearray()
    while chunk := answer.read1(_CHUNK):
        raw += chunk
        if len(raw) > MAX_ANSWER:
            raise Unavailable(f"the answer is longer than {MAX_ANSWER} bytes")
        if time.monotonic() > deadline:
            raise TimedOut("the answer did not end in time")
    return bytes(raw)
