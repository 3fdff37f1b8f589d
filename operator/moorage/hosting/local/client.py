"""Calls of hostd's API: parsed answers, whole lists, typed errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from moorage.api import hostd
from moorage.hosting.errors import Invalid, Unavailable
from moorage.hosting.http import Http
from moorage.hosting.local.answers import refusal
from moorage.hosting.local.settings import LocalSettings

MAX_PAGES = 10_000
Answer = TypeVar("Answer", bound=BaseModel)
Page: TypeAlias = hostd.ServerList | hostd.VolumeList


class Client:
    """The calls of one hostd."""

    def __init__(self, http: Http, settings: LocalSettings) -> None:
        self._http = http
        self._settings = settings

    async def ask(self, method: str, path: str, model: type[Answer], **options: Any) -> Answer:
        """A call with its answer as a model. Raises HostingError."""
        raw = await self.call(method, path, **options)
        try:
            return model.model_validate_json(raw)
        except ValidationError:
            raise Unavailable(f"{method} {path.partition('/')[0]}: the answer makes no sense") from None

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
        answer = await self._http.call(
            method,
            f"v1/{path}",
            what,
            seconds_allowed=timeout or self._settings.request_timeout,
            query=query,
            body=body,
        )
        if answer.status not in {200, 201, 202}:
            raise refusal(what, answer)
        return answer.raw

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

    def lines(self, path: str, what: str, *, silence: float) -> AsyncIterator[bytes]:
        """See `Http.lines`."""
        return self._http.lines(f"v1/{path}", what, silence=silence)

    async def close(self) -> None:
        """Release connections. Repetition: harmless."""
        await self._http.close()


def segment(text: str, field: str = "providerID") -> str:
    """An id as a segment of a path. Raises Invalid for what cannot be one."""
    if not text or text in {".", ".."}:
        raise Invalid("is not an id", field=field)
    return quote(text, safe="")
