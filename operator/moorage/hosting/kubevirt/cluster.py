"""Calls of one namespace's API: lists over all pages, single objects, watches."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from moorage.hosting.errors import Unavailable, stranger
from moorage.hosting.http import Answer, Http
from moorage.hosting.kubevirt.answers import CLUSTER, parsed, refusal

MAX_PAGES: Final = 10_000
WATCH: Final = 45
"""Seconds after which a watch is ended by the API server and taken up again."""
SILENCE: Final = WATCH + 10.0
"""Seconds without a byte after which a watch is taken for dead."""


class Cluster:
    """One namespace. `timeout` bounds each call, in seconds."""

    def __init__(self, http: Http, namespace: str, *, timeout: float, page_size: int) -> None:
        self._http = http
        self.namespace = namespace
        self._timeout = timeout
        self._page_size = page_size

    async def call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content: str = "application/json",
        timeout: float | None = None,  # noqa: ASYNC109 - handed on to what bounds the whole exchange
    ) -> Answer:
        """One call, whatever its status. Raises TimedOut and Unavailable."""
        return await self._http.call(
            method,
            path,
            what,
            seconds_allowed=timeout or self._timeout,
            query=query,
            body=None if body is None else json.dumps(body).encode(),
            content=content,
        )

    async def ask(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content: str = "application/json",
    ) -> dict[str, Any]:
        """The object that a successful call answers with. Raises HostingError."""
        answer = await self.call(method, path, what, query=query, body=body, content=content)
        if answer.status not in {200, 201, 202}:
            raise refusal(answer, what, self.namespace)
        return parsed(answer, what)

    async def pages(self, path: str, what: str, query: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """All objects of a list: complete or raises."""
        items: list[dict[str, Any]] = []
        seen: set[str] = set()
        asked = {**(query or {}), "limit": str(self._page_size)}
        for _ in range(MAX_PAGES):
            page = await self.ask("GET", path, what, query=asked)
            meta, found = page.get("metadata"), page.get("items")
            if not isinstance(meta, dict) or not isinstance(found, list):
                raise Unavailable(f"{what}: {stranger(CLUSTER)}")
            items += found
            token = meta.get("continue") or ""
            if not token:
                return items
            if token in seen:
                raise Unavailable(f"{what}: the list does not go on where it stopped")
            seen.add(token)
            asked["continue"] = token
        raise Unavailable(f"{what}: the list has more than {MAX_PAGES} pages")

    async def watch(self, path: str, version: str) -> AsyncIterator[tuple[dict[str, Any] | None, str]]:
        """Objects that changed after `version`, each with the version to go on from.

        None for a mere bookmark; a version of "" ends it and says that changes may be missed. Raises Unavailable or
        TimedOut, at the latest `SILENCE` seconds after the cluster went.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH),
        }
        async for line in self._http.lines(path, "events", silence=SILENCE, query=query):
            if not line:
                continue
            try:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    # Too old a version (410), or the API server lost its place.
                    yield None, ""
                    return
                version = str(event["object"]["metadata"]["resourceVersion"])
                changed = None if event["type"] == "BOOKMARK" else event["object"]
            except (ValueError, KeyError, TypeError, RecursionError):
                raise Unavailable("events: the answer makes no sense") from None
            yield changed, version

    async def close(self) -> None:
        """Release the connections."""
        await self._http.close()
