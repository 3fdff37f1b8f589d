"""One HTTP session to the API server: credentials, slots for writes, observers, guard, bounded retries."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from moorage.kube import kinds
from moorage.kube.calls import Call, Observer
from moorage.kube.credentials import Credentials
from moorage.kube.errors import ApiError, TooLarge, Unavailable, from_status, parse_body
from moorage.kube.lanes import Lane, WriteSlots
from moorage.net import TLS_LINGERS, read_bounded

Guard = Callable[[], None]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_DISCONNECTED = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `body` is encoded as JSON; `guarded` writes ask the guard first.

    An answer of more than `most` bytes is refused.
    """

    call: Call
    method: str
    path: str
    params: Mapping[str, str]
    body: Any = field(default=None, repr=False)
    content_type: str = JSON
    accept: str = JSON
    guarded: bool = True
    lane: Lane | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for one attempt; attempts for what may be repeated; the longest `Retry-After` waited within a call."""

    timeout: float = 30.0
    attempts: int = 4
    longest_wait: float = 10.0
    write_slots: int = 10


class Transport:
    """Sends requests. One per process; `Client` is the interface above it."""

    def __init__(self, credentials: Credentials, *, limits: Limits | None = None) -> None:
        self.credentials = credentials
        self.limits = limits or Limits()
        self.observers: list[Observer] = []
        self.guard: Guard | None = None
        self._slots = WriteSlots(self.limits.write_slots)
        self._session: aiohttp.ClientSession | None = None
        self._random = random.Random()  # noqa: S311 - jitter, not security

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def session(self) -> aiohttp.ClientSession:
        """The HTTP session, made at first use (it belongs to the running loop)."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, enable_cleanup_closed=TLS_LINGERS),
                # The API server compresses long lists where it may: that costs both sides more CPU than the bytes.
                headers={"User-Agent": "moorage", "Accept-Encoding": "identity"},
                auto_decompress=True,
            )
        return self._session

    async def send(self, request: Request) -> Any:
        """The decoded answer. Raises ApiError, and whatever the guard raises.

        Reads are repeated after connection errors, 5xx and 429; a write only after a 429 (which refuses before doing
        anything). A 401 loads the credentials again, once.
        """
        reloaded = False
        for attempt in range(1, self.limits.attempts + 1):
            try:
                return await self._attempt(request)
            except ApiError as error:
                if error.status == 401 and not reloaded:
                    reloaded = True
                    await self.credentials.refresh(force=True)
                    continue
                wait = self._wait(request.call, error, attempt)
                if wait is None:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _wait(self, call: Call, error: ApiError, attempt: int) -> float | None:
        """Seconds until the next attempt, or None to give up."""
        repeatable = error.status == 429 or (not call.is_write and isinstance(error, Unavailable))
        if not repeatable or attempt >= self.limits.attempts:
            return None
        jitter: float = 0.5 + self._random.random()
        if error.retry_after is None:
            return 0.1 * float(2 ** (attempt - 1)) * jitter
        if error.retry_after > self.limits.longest_wait:
            return None
        return error.retry_after + 0.1 * jitter

    async def _attempt(self, request: Request) -> Any:
        if request.call.is_write:
            async with self._slots.slot(request.lane):
                return await self._exchange(request)
        return await self._exchange(request)

    async def _exchange(self, request: Request) -> Any:
        async with self.open(request, aiohttp.ClientTimeout(total=self.limits.timeout)) as response:
            raw = await (response.read() if request.most is None else read_bounded(response, request.most))
        if raw is None:
            raise TooLarge(413, "AnswerTooLarge", f"the answer has more than {request.most} bytes")
        return parse_body(raw)

    @asynccontextmanager
    async def open(self, request: Request, limits: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        """One attempt, as an open response of code 2xx; anything else is raised as ApiError.

        Connection failures, also while the caller reads, become Unavailable.
        """
        await self.credentials.refresh()
        loaded, call = self.credentials.loaded, request.call
        headers = {"Accept": request.accept, **self.credentials.headers()}
        if call.account is not None:
            # The API server adds the groups of a ServiceAccount by itself; naming them would need a right of its own.
            headers["Impersonate-User"] = "system:serviceaccount:{}:{}".format(*call.account)
        data: bytes | None = None
        if request.body is not None:
            data = _encode(request.body).encode()
            headers["Content-Type"] = request.content_type
        if call.is_write and request.guarded and self.guard is not None:
            self.guard()
        for observer in self.observers:
            observer.before(call)
        started = time.perf_counter()
        outcome: int | BaseException | None = None
        try:
            async with self.session().request(
                request.method,
                f"{loaded.host}{request.path}",
                params=request.params,
                data=data,
                headers=headers,
                timeout=limits,
                ssl=self.credentials.tls or True,
                proxy=loaded.proxy,
                server_hostname=loaded.server_name,
                allow_redirects=False,
            ) as response:
                outcome = response.status
                if response.status >= 300:
                    raise await _refusal(response, call)
                yield response
        except _DISCONNECTED as error:
            outcome = error
            raise _unavailable(error, call) from None
        except BaseException as error:
            outcome = outcome if isinstance(error, ApiError) else error
            raise
        finally:
            self._observed(self.observers, call, outcome, time.perf_counter() - started)

    @staticmethod
    def _observed(
        observers: Sequence[Observer], call: Call, outcome: int | BaseException | None, seconds: float
    ) -> None:
        for observer in observers:
            observer.after(call, outcome if outcome is not None else asyncio.CancelledError(), seconds)


def _unavailable(error: BaseException, call: Call) -> Unavailable:
    if isinstance(error, TimeoutError):
        return Unavailable(0, "Timeout", f"the API server did not answer in time: {call}")
    return Unavailable(0, "ConnectionError", f"no connection to the API server: {type(error).__name__}: {error}")


async def _refusal(response: aiohttp.ClientResponse, call: Call) -> ApiError:
    body = parse_body(await response.read())
    header = response.headers.get("Retry-After", "")
    retry_after = float(header) if header.isdigit() else None
    sensitive = call.kind == kinds.SECRET and call.is_write
    return from_status(response.status, body, retry_after=retry_after, sensitive=sensitive)
