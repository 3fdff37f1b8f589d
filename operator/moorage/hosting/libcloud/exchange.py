"""What carries Libcloud's requests: each is sent once, within a deadline, and what came back is kept to be judged.

Libcloud tells errors by text, differently in each driver; what the provider really answered is seen here alone. And its
own carrier follows redirects, reads answers of any length, and begins its time-out anew with every byte.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin

import requests
import urllib3
from libcloud.common.base import Connection
from libcloud.http import LibcloudConnection
from urllib3 import exceptions as failures

from moorage.hosting.carried import no_answer
from moorage.hosting.errors import TimedOut, Unavailable
from moorage.hosting.plain import refuse_plain

MAX_ANSWER: Final = 32 * 1024 * 1024
CONNECT_TIMEOUT: Final = 10.0
_CHUNK: Final = 64 * 1024
_now = threading.local()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, and what it answers: `sent` is the body of the request."""

    method: str
    url: str
    sent: bytes = field(repr=False)
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass
class Exchange:
    """The requests of one call: until when they may be sent, whether by plain http too, and what came back."""

    pool: urllib3.PoolManager
    deadline: float
    replies: list[Reply] = field(default_factory=list)
    plain: bool = False

    @property
    def last(self) -> Reply | None:
        """The last answer."""
        return self.replies[-1] if self.replies else None


@contextmanager
def exchanging(exchange: Exchange) -> Iterator[None]:
    """What this thread sends inside belongs to the exchange."""
    _now.exchange = exchange
    try:
        yield
    finally:
        _now.exchange = None


def pool_of(tls: ssl.SSLContext, connections: int) -> urllib3.PoolManager:
    """The connections of one service."""
    return urllib3.PoolManager(num_pools=8, maxsize=connections, ssl_context=tls, retries=False)


class Carrier(LibcloudConnection):
    """Takes the place of Libcloud's own connection."""

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        raw: bool = False,
        stream: bool = False,
        hooks: Any = None,
    ) -> None:
        """Send it once. Raises TimedOut or Unavailable."""
        try:
            self.response = self._sent(method, urljoin(self.host or "", url), body, headers or {})
        except (failures.HTTPError, OSError) as error:
            raise no_answer(error) from None

    def prepared_request(
        self, method: str, url: str, body: Any = None, headers: Any = None, raw: bool = False, stream: bool = False
    ) -> None:
        """The same."""
        self.request(method, url, body, headers)

    def _sent(self, method: str, url: str, body: Any, headers: Mapping[str, Any]) -> requests.Response:
        exchange: Exchange | None = getattr(_now, "exchange", None)
        if exchange is None:
            raise Unavailable("the driver sent something by itself")
        left = exchange.deadline - time.monotonic()
        if left <= 0:
            raise TimedOut("its time was up before it was sent")
        refuse_plain(url, exchange.plain)
        sent = body.encode() if isinstance(body, str) else bytes(body or b"")
        answer = exchange.pool.urlopen(
            method.upper(),
            url,
            body=sent or None,
            headers={name: str(value) for name, value in headers.items()},
            timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT, left), total=left),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            found = _bounded(answer, exchange.deadline)
        except BaseException:
            answer.close()
            raise
        answer.release_conn()
        exchange.replies.append(Reply(method.upper(), url, sent, answer.status, dict(answer.headers), found))
        return _response(answer, url, found)


def _response(answer: urllib3.BaseHTTPResponse, url: str, body: bytes) -> requests.Response:
    response = requests.Response()
    response.status_code = answer.status
    response.headers.update(answer.headers)
    response.headers.pop("Content-Encoding", None)  # the body is decoded
    response.url = url
    response.reason = answer.reason or ""
    response.encoding = "utf-8"
    response._content = body
    return response


def _bounded(answer: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    raw = bytearray()
    while chunk := answer.read1(_CHUNK, decode_content=True):
        raw += chunk
        if len(raw) > MAX_ANSWER:
            raise Unavailable(f"the answer is longer than {MAX_ANSWER} bytes")
        if time.monotonic() > deadline:
            raise TimedOut("the answer did not end in time")
    return bytes(raw)


# Drivers make their connections themselves, some several, and look here for what carries them. Nothing else in this
# process uses Libcloud.
Connection.conn_class = Carrier
