"""HTTP for backends that talk to a service without an SDK: bounded in time and bytes, typed errors, no repetition."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

import aiohttp
from yarl import URL

from moorage.hosting.errors import AuthenticationError, HostingError, Invalid, TimedOut, Unavailable
from moorage.hosting.plain import refuse_plain
from moorage.hosting.tls import TRUST, tls_failure
from moorage.net import TLS_LINGERS, read_bounded

MAX_ANSWER = 16 * 1024 * 1024
"""Most bytes of an answer that are read."""
MAX_RETRY_AFTER = 3600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: any status, the whole body."""

    status: int
    retry_after: float | None
    etag: str
    raw: bytes


def endpoint_url(
    text: str | None, what: str, schemes: frozenset[str] = frozenset({"http", "https"}), *, plain: bool = False
) -> URL:
    """The endpoint of a HostingService. `what` says what it is the address of, `plain` whether plain http may
    leave this machine. Raises Invalid(field="endpoint")."""
    if not text:
        raise Invalid(f"needs the address of {what}", field="endpoint")
    try:
        url = URL(text)
        usable = url.scheme in schemes and url.host and not url.query_string and not url.fragment
    except ValueError:
        usable, url = None, URL()
    if not usable or url.user or url.password:
        kinds = "/".join(sorted(schemes))
        raise Invalid(f"must be {kinds}://HOST[:PORT][/PATH], without user, query or fragment", field="endpoint")
    refuse_plain(url, plain)
    return url


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that an answer's Retry-After asks to wait, at most an hour; None for none or nonsense. A date counts
    from the answer's own Date, whatever our clock says, and from now where there is none."""
    named = {name.lower(): value for name, value in headers.items()}
    text = named.get("retry-after", "")
    try:
        value = float(text)
    except ValueError:
        until = _moment(text)
        if until is None:
            return None
        value = (until - (_moment(named.get("date", "")) or datetime.now(UTC))).total_seconds()
        if value <= 0:
            return None  # a moment that is over says nothing of how long to wait
    return min(value, MAX_RETRY_AFTER) if value >= 0 else None


def _moment(date: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def tls_context(ca: str, certificate: bytes | None = None, key: bytes | None = None) -> ssl.SSLContext:
    """TLS that trusts the PEM roots in `ca` ("": the system's) and shows a client certificate where one is given.

    Without a client certificate, the context is one that all with the same roots share: leave it as it is. Raises
    Invalid(field="settings.caBundle") for roots that are none, and AuthenticationError for a certificate or key that is
    none, or where they do not belong together.
    """
    if certificate is None or key is None:
        return _shared_context(ca)
    context = _new_context(ca)
    # The ssl module reads certificates from files only; this one is readable to us alone and gone at once.
    with tempfile.NamedTemporaryFile() as file:
        file.write(key.strip() + b"\n" + certificate)
        file.flush()
        try:
            # A password that is never right: without one, an encrypted key would ask on the terminal.
            context.load_cert_chain(file.name, password="")
        except (ssl.SSLError, OSError, ValueError):
            raise AuthenticationError("the client certificate and its key are no PEM, or not a pair") from None
    return context


def _new_context(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError):
        raise Invalid("is not a bundle of PEM certificates", field="settings.caBundle") from None


_shared_context = lru_cache(maxsize=32)(_new_context)
"""To read the system's roots takes a tenth of a second of CPU, and a connection is opened anew with each change of its
service or its credentials."""


class Http:
    """Calls of one service. `what` in every call names it in messages; addresses and headers never get out. `trust`
    says where the roots are written that `tls` checks the service's certificate against. Every call raises
    AuthenticationError where the service refuses the client's certificate."""

    def __init__(self, base: URL, *, headers: Mapping[str, str], tls: ssl.SSLContext, trust: str = TRUST) -> None:
        self._base = str(base).rstrip("/")
        self._headers = dict(headers)
        self._tls = tls
        self._trust = trust
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        seconds_allowed: float,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content: str = "application/json",
        headers: Mapping[str, str] | None = None,
        limit: int = MAX_ANSWER,
    ) -> Answer:
        """One exchange, sent once. `path` is encoded. Raises TimedOut or Unavailable where there is no whole answer."""
        async with self._exchange(method, path, what, seconds_allowed, query, body, content, headers) as answer:
            raw = await read_bounded(answer, limit)
            if raw is None:
                raise Unavailable(f"the answer is longer than {limit} bytes")
            return Answer(answer.status, retry_after(answer.headers), answer.headers.get("ETag", ""), raw)

    async def lines(
        self,
        path: str,
        what: str,
        *,
        silence: float,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[bytes]:
        """The lines of an answer without an end, the first one empty once the service has answered 200. Ends when the
        service ends it. Raises Unavailable, also for another status or a line of more than a megabyte, and TimedOut
        after `silence` seconds without a byte."""
        async with self._exchange("GET", path, what, None, query, None, "", headers, silence) as answer:
            if answer.status != 200:
                raise Unavailable(f"{what}: status {answer.status}")
            yield b""
            rest = b""
            async for chunk in answer.content.iter_any():
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line
                if len(rest) > 1024 * 1024:
                    raise Unavailable(f"{what}: a line is too long")

    async def messages(
        self, path: str, what: str, *, silence: float, query: Mapping[str, str] | None = None
    ) -> AsyncIterator[str]:
        """The texts that come over a websocket, the first one empty once it is open. Ends when the service ends it.
        Raises Unavailable, also for a text of more than a megabyte or where it cannot be opened, and where nothing
        came for `silence` seconds, not even an answer to a ping."""
        try:
            async with self._open().ws_connect(
                URL(f"{self._base}/{path}", encoded=True).update_query(query),
                headers=self._headers,
                heartbeat=silence * 2 / 3,
                max_msg_size=1024 * 1024,
                timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
            ) as socket:
                yield ""
                async for message in socket:
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        break
                    yield message.data
                if socket.exception() is not None:
                    raise Unavailable(f"{what}: the connection broke")
        except HostingError:
            raise
        except TimeoutError:
            raise Unavailable(f"{what}: nothing came for {silence:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            raise self._failure(what, error) from None

    async def close(self) -> None:
        """Release the connections. Repetition: harmless."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        path: str,
        what: str,
        allowed: float | None,
        query: Mapping[str, str] | None,
        body: bytes | None,
        content: str,
        headers: Mapping[str, str] | None,
        silence: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        sent = {**self._headers, **(headers or {}), **({"Content-Type": content} if body is not None else {})}
        timeout = aiohttp.ClientTimeout(total=allowed, sock_connect=10.0, sock_read=silence)
        try:
            async with self._open().request(
                method,
                URL(f"{self._base}/{path}", encoded=True),
                params=query,
                data=body,
                headers=sent,
                allow_redirects=False,
                timeout=timeout,
            ) as answer:
                yield answer
        except HostingError:
            raise
        except TimeoutError:
            limit = allowed if allowed is not None else silence
            raise TimedOut(f"{what}: no answer within {limit or 0:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            raise self._failure(what, error) from None

    def _failure(self, what: str, error: Exception) -> HostingError:
        found = tls_failure(error, self._trust)
        if found is not None:
            return type(found)(f"{what}: {found.message}")
        if isinstance(error, aiohttp.ClientConnectorError):
            why = error.os_error.strerror or type(error.os_error).__name__
            return Unavailable(f"{what}: cannot connect: {why}")
        # Only the class is told: the text of a client error may hold the address with what it was asked for.
        return Unavailable(f"{what}: the connection ended without an answer ({type(error).__name__})")

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise Unavailable("the backend is closed")
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=64, ssl=self._tls, enable_cleanup_closed=TLS_LINGERS)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session
