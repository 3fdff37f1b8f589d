"""How the SDK's requests are sent: once, bounded in time and in bytes.

The SDK's own transport reads whatever comes, however long it takes. Here a request has until its deadline in all, and
an answer has an end. What goes wrong leaves as the contract's errors, which the SDK passes on untouched.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import urllib3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from urllib3 import exceptions as failures

from moorage.hosting.carried import no_answer
from moorage.hosting.errors import AuthenticationError, HostingError, Throttled, TimedOut, Unavailable, stranger
from moorage.hosting.http import retry_after

MAX_ANSWER: Final = 32 * 1024 * 1024
"""Most bytes of an answer: 1,000 instances with all their interfaces, disks and tags are about 8 MB."""
CONNECT_TIMEOUT: Final = 10.0
WHOSE: Final = "an EC2 service"
"""Whose endpoint it has to be."""
_CHUNK: Final = 64 * 1024
_ROOT = re.compile(rb"^\s*(?:<\?xml[^>]*\?>)?\s*<(\w+)")
_REFUSALS: Final = frozenset({b"Response", b"ErrorResponse"})
"""The roots of what EC2 and STS answer where they refuse."""


class _Whole:
    """A body that has been read, as `AWSResponse` wants it."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def stream(self) -> Iterator[bytes]:
        yield self._raw


class Transport:
    """Sends the requests of one service. Satisfies what a `before-send` handler of botocore has to."""

    def __init__(self, tls: ssl.SSLContext, connections: int) -> None:
        self._pool = urllib3.PoolManager(num_pools=4, maxsize=connections, ssl_context=tls, retries=False)
        self._now = threading.local()

    @contextmanager
    def within(self, deadline: float) -> Iterator[None]:
        """What this thread sends inside has until `deadline` (monotonic)."""
        self._now.deadline = deadline
        try:
            yield
        finally:
            self._now.deadline = None

    def __call__(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse:
        """Send it once. Raises TimedOut or Unavailable, and Throttled or AuthenticationError on a bare status."""
        deadline: float = self._now.deadline
        try:
            answer, raw = self._send(request, deadline)
        except (failures.HTTPError, OSError) as error:
            raise no_answer(error) from None
        # The SDK would take any XML for an answer in which everything is left out: no servers, say.
        found = _ROOT.match(raw[:1024])
        root = found[1] if found else b""
        if answer.status >= 300 and root not in _REFUSALS:
            raise _bare(answer.status, answer.headers)
        if answer.status < 300 and root != f"{event_name.rpartition('.')[2]}Response".encode():
            raise Unavailable(stranger(WHOSE))
        return AWSResponse(request.url, answer.status, HTTPHeaders.from_dict(dict(answer.headers)), _Whole(raw))

    def _send(self, request: AWSPreparedRequest, deadline: float) -> tuple[urllib3.BaseHTTPResponse, bytes]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimedOut("its time was up before it was sent")
        headers = {name: _text(value) for name, value in request.headers.items()}
        answer = self._pool.urlopen(
            request.method,
            request.url,
            body=request.body,
            headers=headers,
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
        return answer, raw

    def close(self) -> None:
        """Give up the connections that wait for use. Repetition: harmless."""
        self._pool.clear()


def _bare(status: int, headers: Mapping[str, str]) -> HostingError:
    """What an answer means that is not in the service's own words: a proxy's, or another service's."""
    text = stranger(WHOSE, f"status {status} without a word of the service's own")
    if status == 429:
        return Throttled(text, retry_after=retry_after(headers))
    return AuthenticationError(text) if status in {401, 403, 407} else Unavailable(text)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


def _bounded(answer: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    raw = bytearray()
    while chunk := answer.read1(_CHUNK):
        raw += chunk
        if len(raw) > MAX_ANSWER:
            raise Unavailable(f"the answer is longer than {MAX_ANSWER} bytes")
        if time.monotonic() > deadline:
            raise TimedOut("the answer did not end in time")
    return bytes(raw)
