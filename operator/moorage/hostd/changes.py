"""Which servers changed, told to everybody who listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

MISSED = ""
MOST_WAITING = 10_000
BEAT = 10.0
"""Seconds after which a listener is told that there is nothing to tell."""


class Changes:
    """Ids of servers, handed to each listener. One that is too slow is told that it missed some."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[str | None]] = set()

    def tell(self, server_id: str) -> None:
        """The server appeared, changed or went."""
        for queue in self._listeners:
            if queue.qsize() < MOST_WAITING:
                queue.put_nowait(server_id)
            else:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(MISSED)

    def close(self) -> None:
        """No more changes come: listeners end."""
        for queue in self._listeners:
            queue.put_nowait(None)

    async def listen(self) -> AsyncIterator[str | None]:
        """`MISSED` at once, then the ids as they come; None as a sign of life."""
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield MISSED
            while True:
                try:
                    async with asyncio.timeout(BEAT):
                        server_id = await queue.get()
                except TimeoutError:
                    yield None
                    continue
                if server_id is None:
                    return
                yield server_id
        finally:
            self._listeners.discard(queue)
