"""Calls of hostd's API: parsed answers, whole lists, typed errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from moorage.api import hostd
from moorage.hosting.errors import Invalid, TimedOut, Unavailable, stranger
from moorage.hosting.http import Answer as Exchanged
from moorage.hosting.http import Http
from moorage.hosting.local.answers import HOSTD, refusal, wants_session
from moorage.hosting.local.settings import LocalSettings

MAX_PAGES = 10_000
Answer = TypeVar("Answer", bound=BaseModel)
Page: TypeAlias = hostd.ServerList | hostd.VolumeList


class Client:
    """The calls of one hostd."""

    def __init__(self, http: Http, settings: LocalSettings) -> None:
        self._http = http
        self._settings = settings
        self._session = ""
        self._renewing = asyncio.Lock()

    async def ask(self, method: str, path: str, model: type[Answer], **options: Any) -> Answer:
        """A call with its answer as a model. Raises HostingError."""
        raw = await self.call(method, path, **options)
        try:
            return model.model_validate_json(raw)
        except ValidationError:
            raise Unavailable(f"{method} {path.partition('/')[0]}: {stranger(HOSTD)}") from None

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - handed to aiohttp, which bounds the whole exchange
    ) -> bytes:
        """A call, sent once. Raises HostingError."""
        what = f"{method} {path.partition('/')[0]}"
        deadline = time.monotonic() + (timeout or self._settings.request_timeout)
        used = self._session
        answer = await self._send(method, path, what, deadline, used, query=query, body=body)
        if wants_session(answer):
            # Nothing was done: the service gives its answers for a session only, and there is none yet or it is over.
            renewed = await self._log_in(what, deadline, used)
            answer = await self._send(method, path, what, deadline, renewed, query=query, body=body)
        if answer.status not in {200, 201, 202}:
            raise refusal(what, answer)
        return answer.raw

    async def _send(
        self, method: str, path: str, what: str, deadline: float, session: str, **options: Any
    ) -> Exchanged:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimedOut(f"{what}: no answer in time")
        headers = _authorization(session)
        return await self._http.call(method, f"v1/{path}", what, seconds_allowed=left, headers=headers, **options)

    async def _log_in(self, what: str, deadline: float, used: str) -> str:
        """A session other than the one that was used; one login for all calls that find theirs over."""
        try:
            async with asyncio.timeout(deadline - time.monotonic()), self._renewing:
                if self._session == used:
                    answer = await self._send("POST", "session", "login", deadline, "")
                    if answer.status not in {200, 201}:
                        raise refusal("login", answer)
                    self._session = hostd.Session.model_validate_json(answer.raw).token
                return self._session
        except TimeoutError:
            raise TimedOut(f"{what}: no session in time") from None
        except ValidationError:
            raise Unavailable(f"login: {stranger(HOSTD)}") from None

    async def pages(self, path: str, model: type[Page], query: Mapping[str, str]) -> tuple[Any, ...]:
        """All items of a list: complete, each once, or an error."""
        items: dict[str, Any] = {}
        seen: set[str] = set()
        page_query = {**query, "limit": str(self._settings.page_size)}
        for _ in range(MAX_PAGES):
            page = await self.ask("GET", path, model, query=page_query)
            for item in page.items:
                if item.id in items:
                    raise Unavailable(f"the service listed one of its {path} twice")
                items[item.id] = item
            if page.continue_ is None:
                return tuple(items.values())
            if not page.continue_ or page.continue_ in seen:
                raise Unavailable("the service's list does not go on where it stopped")
            seen.add(page.continue_)
            page_query["continue"] = page.continue_
        raise Unavailable(f"the service's list has more than {MAX_PAGES} pages")

    async def lines(self, path: str, what: str, *, silence: float) -> AsyncIterator[bytes]:
        """See `Http.lines`."""
        used, told = self._session, False
        try:
            async for line in self._lines(path, what, silence, used):
                told = True
                yield line
        except Unavailable:
            if told:
                raise
            # A stream that is refused does not tell why: a plain call does, and begins another session where it must.
            await self.call("GET", "account")
            if self._session == used:
                raise
        if not told:
            async for line in self._lines(path, what, silence, self._session):
                yield line

    def _lines(self, path: str, what: str, silence: float, session: str) -> AsyncIterator[bytes]:
        return self._http.lines(f"v1/{path}", what, silence=silence, headers=_authorization(session))

    async def close(self) -> None:
        """Release connections. Repetition: harmless."""
        await self._http.close()


def _authorization(session: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {session}"} if session else {}


def segment(text: str, field: str = "providerID") -> str:
    """An id as a segment of a path. Raises Invalid for what cannot be one."""
    if not text or text in {".", ".."}:
        raise Invalid("is not an id", field=field)
    return quote(text, safe="")
