"""Incus's REST API in one project: calls, and the operations that some of them start."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from moorage.hosting.errors import HostingError, Invalid, NotFound, Unavailable, stranger
from moorage.hosting.http import Answer, Http
from moorage.hosting.incus.answers import INCUS, body, failure, refusal

MAX_LIST: Final = 32 * 1024 * 1024
"""Most bytes of a list: Incus has no pages, and tells about 8 kB of an instance."""


class Client:
    """Calls in one project. Raises HostingErrors only."""

    def __init__(self, http: Http, project: str, seconds: float) -> None:
        self._http = http
        self._project = project
        self._seconds = seconds

    async def call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        content: Any = None,
        query: Mapping[str, str] | None = None,
        etag: str = "",
        seconds: float | None = None,
        limit: int | None = None,
    ) -> Answer:
        """One exchange: any answer."""
        raw = None if content is None else json.dumps(content, separators=(",", ":")).encode()
        more: dict[str, Any] = {} if limit is None else {"limit": limit}
        return await self._http.call(
            method,
            f"1.0/{path}" if path else "1.0",
            what,
            seconds_allowed=seconds or self._seconds,
            query={"project": self._project, **(query or {})},
            body=raw,
            headers={"If-Match": etag} if etag else None,
            **more,
        )

    async def ask(self, path: str, what: str, **options: Any) -> Any:
        """The metadata of what is there. Raises the error that any other answer stands for."""
        return metadata(await self.call("GET", path, what, **options), what)

    async def project(self) -> dict[str, Any]:
        """The project. Raises Invalid(field="project") where there is none."""
        try:
            found = await self.ask(f"projects/{quote(self._project, safe='')}", "project")
        except NotFound:
            text = f"there is no project {self._project}: create it, or write one that exists"
            raise Invalid(text, field="project") from None
        if not isinstance(found, dict) or found.get("name") != self._project:
            raise Unavailable(f"project: {stranger(INCUS)}")
        return found

    async def act(
        self, method: str, path: str, what: str, *, content: Any = None, query: Mapping[str, str] | None = None
    ) -> HostingError | None:
        """Ask for something and wait for the operation it starts: None where it succeeded, else why it failed. Raises
        what kept it from being asked for; whoever calls bounds the time."""
        return await self.outcome(await self.call(method, path, what, content=content, query=query), what)

    async def outcome(self, answer: Answer, what: str) -> HostingError | None:
        """Wait for the operation that an answer tells of: None where it succeeded, else why it failed. One that ended
        long ago is forgotten by Incus: that is Unavailable, which says nothing about what became of it."""
        if answer.status != 202:
            raise refusal(answer, what)
        operation = str(body(answer, what).get("operation") or "").removeprefix("/1.0/operations/").partition("?")[0]
        if not operation.replace("-", "").isalnum():
            raise Unavailable(f"{what}: {stranger(INCUS)}")
        limit = int(self._seconds) + 1
        while True:
            waited = await self.call(
                "GET", f"operations/{operation}/wait", what, query={"timeout": str(limit)}, seconds=limit + 10.0
            )
            if waited.status == 404 and isinstance(refusal(waited, what), NotFound):
                return Unavailable(f"{what}: the operation ended before it could be looked at")
            if waited.status != 200:
                raise refusal(waited, what)
            found = body(waited, what)
            if found["type"] == "error":  # with status 200: the operation itself failed
                return failure(found, what)
            ended = found.get("metadata")
            if not isinstance(ended, dict) or not isinstance(ended.get("status_code"), int):
                raise Unavailable(f"{what}: {stranger(INCUS)}")
            if ended["status_code"] == 200:
                return None
            if ended["status_code"] >= 400:
                return failure({"error": ended.get("err"), "error_code": 500}, what)

    async def busy(self, name: str) -> bool:
        """Whether an operation on the instance is under way."""
        found = await self.ask("operations", "operations", query={"recursion": "1"})
        if not isinstance(found, dict):
            raise Unavailable(f"operations: {stranger(INCUS)}")
        under_way = [op for state in ("running", "pending") for op in found.get(state) or ()]
        paths = [path for op in under_way for path in (op.get("resources") or {}).get("instances") or ()]
        return any(path.partition("?")[0].rpartition("/")[2] == name for path in paths)

    def events(self, silence: float) -> AsyncIterator[str]:
        """Texts of the project's lifecycle events, the first one empty once Incus listens."""
        query = {"type": "lifecycle", "project": self._project}
        return self._http.messages("1.0/events", "events", silence=silence, query=query)

    async def close(self) -> None:
        """Release the connections."""
        await self._http.close()


def metadata(answer: Answer, what: str) -> Any:
    """The metadata of a successful answer. Raises the error that any other stands for."""
    if answer.status != 200:
        raise refusal(answer, what)
    found = body(answer, what)
    if found["type"] != "sync":
        raise Unavailable(f"{what}: {stranger(INCUS)}")
    return found.get("metadata")
