"""An Incus that answers from a table, in place of the network."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from moorage.hosting.contract import CreateRequest, identity_key, identity_tags
from moorage.hosting.http import Answer
from moorage.hosting.incus.backend import IncusBackend
from moorage.hosting.incus.client import Client
from moorage.hosting.incus.settings import IncusSettings

SETTINGS = IncusSettings.model_validate(
    {"sizes": [{"name": "small", "cpu": 1, "memory": "1Gi"}, {"name": "large", "cpu": 4, "memory": "8Gi"}]}
)
UUID = "6a1f3a0e-0000-4000-8000-000000000001"
OPERATION = "/1.0/operations/0b2f-77"
REQUEST = CreateRequest(
    key=identity_key("here", "u1"),
    name="web-0",
    image="debian",
    offering="small",
    user_data="#!/bin/sh\n",
    tags=identity_tags("here", "shop", "svc", "u1"),
)


def ok(metadata: Any, etag: str = "") -> Answer:
    """A successful answer."""
    return Answer(200, None, etag, json.dumps({"type": "sync", "metadata": metadata}).encode())


def started(created: str = "2026-11-01T10:00:00Z") -> Answer:
    """An operation was started."""
    body = {"type": "async", "operation": OPERATION, "metadata": {"created_at": created}}
    return Answer(202, None, "", json.dumps(body).encode())


def refused(code: int, text: str, status: int | None = None) -> Answer:
    """An error as Incus tells it; with another `status`, that of an operation."""
    body = {"type": "error", "error_code": code, "error": text, "metadata": None}
    return Answer(code if status is None else status, None, "", json.dumps(body).encode())


def page(status: int) -> Answer:
    """What a proxy on the way would say."""
    return Answer(status, None, "", b"<html>nothing here</html>")


def done() -> Answer:
    """An operation that succeeded."""
    return ok({"status_code": 200})


def instance(request: CreateRequest = REQUEST, **changes: Any) -> dict[str, Any]:
    """A container that was made for the request."""
    config = {
        "volatile.uuid": UUID,
        "limits.cpu": "1",
        "limits.memory": "1GiB",
        "user.moorage-key": request.key,
        "user.moorage-request": request.digest(),
        "user.moorage-name": request.name,
        "user.moorage-offering": request.offering,
        **{f"user.{name}": value for name, value in request.tags.items()},
        **changes.pop("config", {}),
    }
    return {
        "name": request.key,
        "status": "Running",
        "config": config,
        "created_at": "2026-11-01T10:00:01.123456789Z",
        "last_used_at": "2026-11-01T10:00:02.123456789Z",
        "location": "none",
        "type": "container",
        **changes,
    }


class Fake:
    """Stands for `Http`. `answers` has "METHOD path" (without 1.0/) -> an answer, or several in their order."""

    def __init__(self, answers: Mapping[str, Answer | list[Answer]], events: list[str] | None = None) -> None:
        self._answers = dict(answers)
        self._events = events or []
        self.calls: list[tuple[str, dict[str, str], Any, str]] = []

    async def call(self, method: str, path: str, what: str, **options: Any) -> Answer:
        """What the table says."""
        name = f"{method} {path.removeprefix('1.0').removeprefix('/')}"
        body = json.loads(options["body"]) if options.get("body") else None
        headers = options.get("headers") or {}
        self.calls.append((name, dict(options.get("query") or {}), body, headers.get("If-Match", "")))
        found = self._answers.get(name)
        assert found is not None, f"asked for {name}"
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found

    async def messages(self, path: str, what: str, **options: Any) -> AsyncIterator[str]:
        """The events."""
        for text in self._events:
            yield text

    async def close(self) -> None:
        """Nothing to close."""

    @property
    def named(self) -> list[str]:
        """The calls, in order."""
        return [call[0] for call in self.calls]

    def body(self, name: str) -> Any:
        """What was sent with the call of that name."""
        return next(call[2] for call in self.calls if call[0] == name)


def opened(fake: Fake, settings: IncusSettings = SETTINGS, *, expires: datetime | None = None) -> IncusBackend:
    """A backend on it."""
    client = Client(fake, "shop", 5.0)  # type: ignore[arg-type]
    return IncusBackend(client, "shop", settings, expires=expires)
