"""What can be done to a call on its way, and what is kept of one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What happens to a call.

    CUT: the connection ends before the service heard of it. DROP: the service acts, the answer is lost. HALF: the
    answer ends in its middle. LATE: the service acts, the answer never comes. HANG: the service hears nothing and no
    answer comes. DELAYED: the service hears of it only after the backend gave up. DUPLICATE: the service gets it
    twice, the backend the second answer. REPLAY: the answer is that of the call before to the same path.
    GARBAGE, HUGE, EMPTY, HTML, OTHER_JSON: 200 with nonsense, an endless body, no body, another service's page,
    another service's JSON. NOT_FOUND, ERROR, GATEWAY, THROTTLED, UNAUTHORIZED: a bare 404, 500, 502, 429 (Retry-After:
    7), 401 with a page of HTML, as a proxy would answer; the service hears nothing.
    """

    CUT = "cut"
    DROP = "drop"
    HALF = "half"
    LATE = "late"
    HANG = "hang"
    DELAYED = "delayed"
    DUPLICATE = "duplicate"
    REPLAY = "replay"
    GARBAGE = "garbage"
    HUGE = "huge"
    EMPTY = "empty"
    HTML = "html"
    OTHER_JSON = "other json"
    NOT_FOUND = "404"
    ERROR = "500"
    GATEWAY = "502"
    THROTTLED = "429"
    UNAUTHORIZED = "401"


BODIES = {
    Fault.GARBAGE: ("application/json", b"\x00\xff<html>"),
    Fault.EMPTY: ("application/json", b""),
    Fault.HTML: ("text/html", b"<!doctype html><title>Welcome</title><h1>Welcome to another service</h1>\n"),
    Fault.OTHER_JSON: ("application/json", b'{"hello": "world", "items": 7, "version": [1, 2, 3]}'),
}
STATUSES = {
    Fault.NOT_FOUND: 404,
    Fault.ERROR: 500,
    Fault.GATEWAY: 502,
    Fault.THROTTLED: 429,
    Fault.UNAUTHORIZED: 401,
}


@dataclass(slots=True)
class Call:
    """A call that reached the proxy. `status` is None until it was answered; `fault` is what was done to it."""

    number: int
    method: str
    path: str
    body: bytes
    status: int | None = None
    fault: Fault | None = None

    @property
    def signature(self) -> tuple[str, str, bytes]:
        """Equal for a call and its repetition."""
        return self.method, self.path, self.body

    def __str__(self) -> str:
        return f"call {self.number} ({self.method} {self.path.partition('?')[0]})"


@dataclass(slots=True)
class Armed:
    """A fault, and which calls it meets."""

    fault: Fault
    first: int
    count: int


class Gate:
    """Holds one call, before or after the service acted, until it is opened."""

    def __init__(self, number: int, *, after: bool) -> None:
        self.number = number
        self.after = after
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def wait(self, number: int, *, after: bool) -> None:
        if number == self.number and after is self.after:
            self.reached.set()
            await self.opened.wait()
