"""Requests that policies have sent: only where the platform team allows it, bounded in time and bytes, sent once.

The name is resolved here, the addresses are checked, and the connection goes to a checked address and no other: a name
that is resolved again, to somewhere else, changes nothing. No proxy of the environment, no cookie, no redirect.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from moorage.core.policy.samples import INVALID_CA_BUNDLE
from moorage.core.targets import AllowList, Target, TargetError, target_of
from moorage.hosting.errors import AuthenticationError, Invalid
from moorage.hosting.http import tls_context
from moorage.hosting.tls import tls_failure
from moorage.net import TLS_LINGERS, read_bounded

CONNECTIONS: Final = 256
RESOLVERS: Final = 32
KEEP_ALIVE: Final = 45.0
Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Gives the addresses of a name, or raises OSError."""


class NotAnswered(Exception):
    """There is no whole answer. ``by_target``: nobody else who asks there now would get one."""

    def __init__(self, reason: str, message: str, *, by_target: bool = False) -> None:
        super().__init__(message)
        self.reason, self.message, self.by_target = reason, message, by_target


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: any status, the whole body."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One POST. ``ca`` None: the system's roots. ``limit`` is the most bytes of an answer that are read."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    ca: str | None
    seconds: float
    limit: int


class Outbound:
    """Sends requests to allowed targets."""

    def __init__(self, allowed: AllowList, lookup: Lookup | None = None) -> None:
        self._allowed = allowed
        self._names = _Names(allowed, lookup)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, request: Request) -> Reply:
        """Send it and read the answer. Raises NotAnswered."""
        target = self._target(request.url)
        tls = _tls(request.ca) if target.scheme == "https" else False
        try:
            async with asyncio.timeout(request.seconds):
                return await self._exchange(request, _url(target, request.url), tls)
        except NotAnswered:
            raise
        except TimeoutError:
            message = f"{target} does not answer within {request.seconds:g} s"
            raise NotAnswered("TargetTimeout", message) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _cause(target, error) from None

    async def close(self) -> None:
        """Release the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        self._names.shut()

    def _target(self, url: str) -> Target:
        try:
            target = target_of(url)
        except TargetError as error:
            raise NotAnswered("TargetNotAllowed", str(error)) from None
        if not self._allowed.allows(target):
            message = (
                f"{target} is not among the targets that the controller may ask; "
                f"ask the platform team to add {target} to --allow-target"
            )
            raise NotAnswered("TargetNotAllowed", message)
        return target

    async def _exchange(self, request: Request, url: URL, tls: ssl.SSLContext | bool) -> Reply:
        async with self._open().post(
            url,
            data=request.body,
            headers={"Accept-Encoding": "identity", **request.headers},
            allow_redirects=False,
            ssl=tls,
        ) as answer:
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                answer.close()
                raise NotAnswered("AnswerInvalid", "the answer is compressed, which was not asked for")
            body = await read_bounded(answer, request.limit)
            if body is None:
                raise NotAnswered("AnswerTooLarge", f"the answer is longer than {request.limit} bytes")
            return Reply(answer.status, answer.headers.get("Content-Type", ""), body)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=CONNECTIONS,
                resolver=self._names,
                use_dns_cache=False,
                keepalive_timeout=KEEP_ALIVE,
                enable_cleanup_closed=TLS_LINGERS,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session


def _url(target: Target, text: str) -> URL:
    """Made of what was checked: two parsers might find different hosts in one text."""
    return URL.build(scheme=target.scheme, host=target.host, port=target.port, path=urlsplit(text).path or "/")


class _Forbidden(OSError):
    """All addresses of a name are ones that may not be asked."""


class _Names(AbstractResolver):
    """Resolves a name once for all who ask for it at the same time, and gives the allowed addresses only.

    Resolvers of systems block, for half a minute where nobody answers: they have threads of their own, so that names
    that do not answer keep only themselves waiting.
    """

    def __init__(self, allowed: AllowList, lookup: Lookup | None) -> None:
        self._allowed = allowed
        self._lookup = lookup or self._ask_system
        self._threads: ThreadPoolExecutor | None = None
        self._asking: dict[str, asyncio.Task[Sequence[str]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses to connect to. Raises OSError."""
        task = self._asking.get(host)
        if task is None:
            task = self._asking[host] = asyncio.ensure_future(self._lookup(host))
            task.add_done_callback(lambda done: self._asked(host, done))
        found = await asyncio.shield(task)
        # The scheme does not matter for the address; the target itself was allowed before.
        target = Target("https", host, port)
        usable = [a for a in found if self._allowed.reaches(target, ip_address(a.partition("%")[0]))]
        if not usable:
            raise _Forbidden(", ".join(found[:3]))
        return [_result(host, address, port) for address in usable]

    async def close(self) -> None:
        """The session's connector ends; what is asked ends with `shut`."""

    def shut(self) -> None:
        """Wait for nobody any more."""
        for task in self._asking.values():
            task.cancel()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _asked(self, host: str, done: asyncio.Task[Sequence[str]]) -> None:
        self._asking.pop(host, None)
        if not done.cancelled():
            done.exception()  # whoever waited has it; if nobody did, it is no news

    async def _ask_system(self, host: str) -> Sequence[str]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="names")
        loop = asyncio.get_running_loop()
        infos: list[Any] = await loop.run_in_executor(self._threads, _getaddrinfo, host)
        return list(dict.fromkeys(str(info[4][0]) for info in infos))


def _getaddrinfo(host: str) -> list[Any]:
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=flags)


@lru_cache(maxsize=256)
def _tls(ca: str | None) -> ssl.SSLContext:
    """One context for all who trust the same, or their connections could not be used again."""
    try:
        return tls_context(ca or "")
    except Invalid:
        message = "caBundle is not a bundle of PEM certificates"
        raise NotAnswered(INVALID_CA_BUNDLE, message) from None


def _cause(target: Target, error: Exception) -> NotAnswered:
    """Only what kind of error it is: the text of a client's error may hold what was sent."""
    os_error = getattr(error, "os_error", None)
    if isinstance(os_error, _Forbidden):
        message = (
            f"{target.host} leads to {os_error}, where no question may go; "
            "ask the platform team to allow such addresses with --allow-target"
        )
        return NotAnswered("TargetNotAllowed", message, by_target=True)
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return NotAnswered("TargetNotTrusted", f"{target}: {_distrust(error)}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return NotAnswered("TargetUnreachable", f"there is no address for {target.host}", by_target=True)
    if isinstance(error, aiohttp.ClientConnectorError):
        why = error.os_error.strerror or type(error.os_error).__name__
        return NotAnswered("TargetUnreachable", f"{target} cannot be connected to: {why}", by_target=True)
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return NotAnswered("AnswerInvalid", f"what {target} sends is not HTTP, or ends in the middle")
    return NotAnswered("TargetUnreachable", f"{target} ended the connection without an answer")


def _distrust(error: Exception) -> str:
    found = tls_failure(error, "caBundle")
    if isinstance(found, AuthenticationError):
        return "it asks for a client certificate, which questions have none of"
    return "the TLS connection failed" if found is None else found.message
