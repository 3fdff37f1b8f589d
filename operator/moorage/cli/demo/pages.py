"""What a visitor of the web servers sees, fetched again and again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from moorage.cli.demo.timeline import Timeline

_PERIOD = 0.1
"""Seconds between two visits of a page."""
_TAGS = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class View:
    """A page at one moment. `shown` is its text as a browser would show it; `database` is None while there is none.

    `pid` is the server's own process id and `started` when that process began, seconds since 1970.
    """

    pid: int
    started: float
    waiting: tuple[str, ...]
    database: str | None
    boats: tuple[str, ...]
    shown: str = ""

    @property
    def whole(self) -> bool:
        """Whether the text tells the same as the facts: they are fetched one after the other, and may differ."""
        return all(word in self.shown for word in (*self.waiting, *self.boats, self.database or ""))

    def describe(self) -> str:
        """The page in a few words."""
        if self.boats:
            return f"page shows {len(self.boats)} rows from the database at {self.database}"
        if self.waiting:
            return f"page says that it waits for {', '.join(self.waiting)}"
        return "page shows no rows"


def view(facts: dict[str, Any], html: str) -> View:
    """The view that a page's facts and its HTML give. Raises KeyError where they are not such a page's."""
    return View(
        pid=int(facts["pid"]),
        started=float(facts["started"]),
        waiting=tuple(str(item["item"]) for item in facts["waitingFor"]),
        database=facts["database"],
        boats=tuple(str(row["boat"]) for row in facts["rows"]),
        shown=" ".join(_TAGS.sub(" ", html).split()),
    )


@dataclass(slots=True)
class Pages:
    """Visits the pages whose URLs `urls` tells, by server. `views` holds each server's different views in order."""

    urls: Callable[[], Iterable[tuple[str, str]]]
    timeline: Timeline
    changed: Callable[[], None]
    views: dict[str, list[View]] = field(default_factory=dict)

    def now(self) -> dict[str, View]:
        """The present views."""
        return {server: views[-1] for server, views in self.views.items()}

    async def follow(self) -> None:
        """Visit until cancelled."""
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            while True:
                await asyncio.gather(*(self._visit(session, server, url) for server, url in self.urls()))
                await asyncio.sleep(_PERIOD)

    async def _visit(self, session: aiohttp.ClientSession, server: str, url: str) -> None:
        try:
            async with session.get(url) as answer:
                html = await answer.text()
            async with session.get(f"{url}status.json") as answer:
                seen = view(await answer.json(), html)
        except (aiohttp.ClientError, TimeoutError):
            return  # not up yet, or away: the next visit tells
        if not seen.whole:
            return  # it changed in between
        known = self.views.setdefault(server, [])
        if not known or _essence(known[-1]) != _essence(seen):
            known.append(seen)
            self.timeline.mark(server, seen.describe())
            self.changed()


def _essence(seen: View) -> tuple[object, ...]:
    """A page is another one where this differs; its number of visits does not count."""
    return seen.pid, seen.started, seen.waiting, seen.database, seen.boats
