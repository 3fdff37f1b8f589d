"""Events of a hosting service: hints that lead to a question, so that a change is noticed at once and not at the next
inventory. They prove nothing: what is gone is called gone on the word of inventories, as everywhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final, Protocol

from moorage.core.facts import Lookup, LookupResult, Seen
from moorage.hosting.abilities import Events
from moorage.hosting.errors import HostingError
from moorage.runtime.admission import Admission
from moorage.runtime.budget import Priority
from moorage.runtime.clock import Clock
from moorage.runtime.inventory import ATTENTION, pause_after
from moorage.runtime.workers import outlive_turn

log = logging.getLogger(__name__)

COLLECT: Final = 0.05
"""Seconds in which hints are collected: a server that starts makes several."""
PAUSE: Final = 0.3
"""Seconds between two rounds of questions at least."""
MANY: Final = 50
"""With more servers than this to ask about at once, one inventory is the cheaper question (unless the service answers
about many in one call), one in `ATTENTION` seconds."""
RETRY_LONGEST: Final = 60.0
CLOSING: Final = 5.0


class Listener(Protocol):
    """What a follower needs of its connection."""

    admission: Admission

    @property
    def is_shut(self) -> bool: ...

    @property
    def is_settled(self) -> bool: ...

    @property
    def asks_many(self) -> bool: ...

    def need_inventory(self, newer_than: datetime) -> None: ...

    def known(self, provider_id: str) -> Seen | None: ...

    def flow(self, *, flows: bool) -> None: ...

    def changed(self, provider_id: str, lookup: Lookup) -> bool: ...

    async def ask(self, provider_id: str) -> Lookup: ...


class Follower:
    """Listens to the events of one service, begins again with back-off where they end, and asks about what they name.

    Between two inventories it keeps what it was answered last, so that only changes are told, and which servers
    concern nobody, so that a busy neighbour in the same account costs one question each.
    """

    def __init__(self, listener: Listener, backend: Events, clock: Clock | None = None) -> None:
        self._listener = listener
        self._backend = backend
        self._clock = clock or listener.admission.clock
        self._hints: set[str] = set()
        self._hinted = asyncio.Event()
        self._seen: dict[str, Seen | None] = {}
        self._foreign: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to listen."""
        if not self._tasks:
            loop, name = asyncio.get_running_loop(), self._listener.admission.name
            self._tasks = [
                loop.create_task(self._follow(), name=f"events {name}"),
                loop.create_task(self._answer(), name=f"hints {name}"),
            ]

    async def close(self) -> None:
        """Stop listening."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def forget(self) -> None:
        """An inventory tells it all anew."""
        self._seen.clear()
        self._foreign.clear()

    def made(self, provider_id: str) -> None:
        """This server is ours, as only the answer to its creation told; its events may have come before that."""
        if provider_id in self._seen or provider_id in self._foreign:
            self._seen.pop(provider_id, None)
            self._foreign.discard(provider_id)
            self._hint(provider_id)

    async def _follow(self) -> None:
        outlive_turn()
        failures = 0
        while True:
            if not self._listener.is_shut:
                began = self._clock.monotonic()
                await self._listen()
                lasted = self._clock.monotonic() - began
                failures = 1 if lasted > RETRY_LONGEST else failures + 1
            await self._clock.sleep(pause_after(max(1, failures), RETRY_LONGEST))

    async def _listen(self) -> None:
        """Until the stream ends, however it does."""
        name = self._listener.admission.name
        await self._listener.admission.budget.acquire(Priority.READ)
        stream = self._backend.events()
        try:
            async for provider_id in stream:
                if provider_id:
                    self._hint(provider_id)
                else:
                    self._listener.flow(flows=True)
        except HostingError as error:
            log.info("the events of %s ended: %s", name, error.message)
        except Exception:
            # A fault of ours or of the backend's: inventories go on without events.
            log.exception("the events of %s failed", name)
        finally:
            self._listener.flow(flows=False)
            await _close(stream)

    def _hint(self, provider_id: str) -> None:
        if provider_id not in self._foreign:
            self._hints.add(provider_id)
            self._hinted.set()

    async def _answer(self) -> None:
        outlive_turn()
        while True:
            await self._hinted.wait()
            await self._clock.sleep(COLLECT)
            if self._listener.is_settled:
                self._hinted.clear()
                hints, self._hints = self._hints, set()
                too_many = len(hints) > MANY and not self._listener.asks_many
                if too_many or not all(await asyncio.gather(*map(self._look, sorted(hints)))):
                    # What happened there, an inventory has to tell: with events they are rare.
                    self._listener.need_inventory(self._clock.now())
                    await self._clock.sleep(ATTENTION)
            await self._clock.sleep(PAUSE)

    async def _look(self, provider_id: str) -> bool:
        """Ask about one server. False where there was no answer."""
        try:
            lookup = await self._listener.ask(provider_id)
        except HostingError as error:
            log.debug("event of %s: %s", provider_id, error.message)
            return False
        except Exception:
            log.exception("the event of %s was lost", provider_id)
            return False
        if not self._is_news(provider_id, lookup):
            return True
        self._seen[provider_id] = lookup.seen
        if not self._listener.changed(provider_id, lookup):
            self._foreign.add(provider_id)
        elif lookup.result is LookupResult.NOT_FOUND:
            # Gone, says a direct answer; whether for good, inventories tell.
            self._listener.need_inventory(self._clock.now())
        return True

    def _is_news(self, provider_id: str, lookup: Lookup) -> bool:
        if provider_id in self._seen:
            return self._seen[provider_id] != lookup.seen
        known = self._listener.known(provider_id)
        return known is None or known != lookup.seen


async def _close(stream: AsyncIterator[str]) -> None:
    closing = getattr(stream, "aclose", None)
    if closing is None:
        return
    try:
        async with asyncio.timeout(CLOSING):
            await closing()
    except Exception:
        log.debug("a stream of events did not close well", exc_info=True)
