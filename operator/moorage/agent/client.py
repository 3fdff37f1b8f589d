"""The agent's side of the configuration channel, over one kept connection for each Channel."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import socket
import ssl
import threading
from typing import Any, Dict, List, NamedTuple, Optional
from urllib.parse import urlsplit

from . import trust
from .log import log
from .settings import Settings
from .store import write_atomically

MAX_ANSWER = 8 * 1024 * 1024
TIMEOUT = 20.0


class UnreachableError(Exception):
    """No answer; the message says why, without anything secret."""


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Dict[str, str]
    body: bytes

    def json(self) -> Dict[str, Any]:
        """The body as an object; empty where it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def retry_after(self) -> float:
        """The seconds that configd asks to wait, 0 where it does not."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isdigit() else 0.0


class Backoff:
    """Growing waits with full jitter, so that a thousand agents do not come back at once."""

    def __init__(self, first: float = 0.25, cap: float = 30.0) -> None:
        self._first, self._cap, self._next = first, cap, first

    def reset(self) -> None:
        """Start small again."""
        self._next = self._first

    def wait(self, stop: threading.Event, at_least: float = 0.0) -> None:
        """Wait for the next while, or until `stop`."""
        seconds = max(at_least, self._next * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        self._next = min(self._cap, self._next * 2)
        stop.wait(seconds)


class Roots:
    """The root CAs that the agent trusts: the pinned one, then those announced over the channel."""

    def __init__(self, settings: Settings) -> None:
        self._pin = settings.pin
        self._path = os.path.join(settings.state, "ca.pem")
        self._lock = threading.Lock()
        self.bundle = ""
        try:
            with open(self._path) as source:
                kept = source.read()
            if trust.certificates(kept):
                self.bundle = kept
        except (OSError, ValueError):
            self.bundle = ""

    def learn(self, bundle: str) -> None:
        """Accept a bundle from an unverified source: only its certificate with the pin. Raises ValueError."""
        self._keep(trust.pinned(bundle, self._pin))

    def announced(self, bundle: str) -> None:
        """Accept a bundle that came over the verified channel. Raises ValueError, ssl.SSLError where it is damaged."""
        if not trust.certificates(bundle):
            raise ValueError("an empty bundle")
        trust.context(bundle)
        self._keep(bundle)

    def differs(self, digest: str) -> bool:
        """Whether the announced digest is of another bundle than the one that is kept."""
        return bool(digest) and hashlib.sha256(self.bundle.encode()).hexdigest() != digest

    def _keep(self, bundle: str) -> None:
        with self._lock:
            write_atomically(self._path, bundle.encode(), mode=0o644)
            self.bundle = bundle


class Channel:
    """Requests to whichever configd answers. Not for use by two threads at once, but for `close`."""

    def __init__(self, settings: Settings, roots: Roots, key: str) -> None:
        self._settings = settings
        self._roots = roots
        self._authorization = "Bearer %s:%s" % (settings.server, key)
        self._urls = list(settings.urls)
        random.shuffle(self._urls)
        self._connection: Optional[http.client.HTTPSConnection] = None
        self._closed = False

    def request(
        self, method: str, path: str, body: Optional[bytes] = None, etag: str = "", timeout: float = TIMEOUT
    ) -> Answer:
        """One request, sent again over a new connection where a kept one turns out to be dead: every request of this
        protocol may be repeated. Raises UnreachableError."""
        headers = {"Authorization": self._authorization} if path != "/v1/join" else {}
        if etag:
            headers["If-None-Match"] = '"%s"' % etag
        if body is not None:
            headers["Content-Type"] = "application/json"
        kept = self._connection is not None
        try:
            return self._send(method, path, body, headers, timeout)
        except (http.client.HTTPException, OSError, ValueError) as error:
            self._drop()
            if not kept or isinstance(error, socket.timeout):
                raise self._unreachable(error) from None
        try:
            return self._send(method, path, body, headers, timeout)
        except (http.client.HTTPException, OSError, ValueError) as error:
            self._drop()
            raise self._unreachable(error) from None

    def close(self) -> None:
        """End the connection, also under a request that another thread waits for."""
        self._closed = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def _unreachable(self, error: BaseException) -> UnreachableError:
        url = self._urls[0]
        self._urls.append(self._urls.pop(0))
        return UnreachableError("%s: %s" % (url, describe(error)))

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, method: str, path: str, body: Optional[bytes], headers: Dict[str, str], timeout: float) -> Answer:
        if self._closed:
            raise OSError("the agent stops")
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read(MAX_ANSWER + 1)
        if len(data) > MAX_ANSWER:
            raise ValueError("an answer of more than %d bytes" % MAX_ANSWER)
        if response.length:
            raise OSError("the answer was cut off")
        answer = Answer(response.status, {name.lower(): text for name, text in response.getheaders()}, data)
        if response.will_close:
            self._drop()
        self._follow(answer)
        return answer

    def _connect(self) -> http.client.HTTPSConnection:
        url = self._urls[0]
        if not self._roots.bundle:
            self._roots.learn(_fetch_unverified(url))
        try:
            return _open(url, trust.context(self._roots.bundle))
        except ssl.SSLError as error:
            if not trust.clock_is_behind(error):
                raise
        log("the clock is unset: certificates are checked by the pin alone")
        return _open(url, trust.context(self._roots.bundle, check_time=False))

    def _follow(self, answer: Answer) -> None:
        """Fetch the roots that configd announces, so that they are known before the old one goes."""
        if answer.status not in (200, 304) or not self._roots.differs(answer.headers.get("moorage-ca", "")):
            return
        connection = self._connection
        if connection is None:
            return
        connection.request("GET", "/v1/ca.pem")
        response = connection.getresponse()
        data = response.read(MAX_ANSWER)
        if response.status == 200:
            self._roots.announced(data.decode("ascii"))
            log("root certificates changed")


def _open(url: str, tls: ssl.SSLContext) -> http.client.HTTPSConnection:
    parts = urlsplit(url)
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port or 443, timeout=TIMEOUT, context=tls)
    try:
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _fetch_unverified(url: str) -> str:
    connection = _open(url, trust.unverified())
    try:
        connection.request("GET", "/v1/ca.pem")
        response = connection.getresponse()
        data = response.read(1 << 20)
        if response.status != 200:
            raise ValueError("no CA certificate: HTTP %d" % response.status)
        return data.decode("ascii")
    finally:
        connection.close()


def describe(error: BaseException) -> str:
    """An error of this module for the log: its kind and its system message, never what was sent or received."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the certificate is refused: %s" % error.verify_message
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    if isinstance(error, UnicodeError) or not isinstance(error, ValueError):
        return type(error).__name__
    return str(error)


def join_body(settings: Settings, key: str) -> bytes:
    """The body of `POST /v1/join`."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return json.dumps({"server": settings.server, "token": settings.token, "keyHash": digest}).encode()


__all__: List[str] = ["Answer", "Backoff", "Channel", "Roots", "UnreachableError", "describe", "join_body"]
