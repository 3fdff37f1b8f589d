"""The life of domains as libvirt tells it, by a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

import libvirt

from moorage.hosting.errors import Unavailable
from moorage.hosting.libvirt.connection import close, guarded
from moorage.hosting.threads import Threads

MOST = 10_000
"""Events that wait to be taken; with more of them an inventory tells sooner."""

SILENCE = 20.0
"""Seconds without an event after which the daemon is asked whether it is there."""


class _Listener:
    """Takes what libvirt's thread tells into the event loop's."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._waiting = 0

    def lifecycle(self, conn: Any, domain: Any, event: int, detail: int, opaque: object) -> None:
        """A domain changed."""
        self._tell(str(domain.UUIDString()))

    def closed(self, conn: Any, reason: int, opaque: object) -> None:
        """The connection ended."""
        self._tell(None)

    def _tell(self, what: str | None) -> None:
        # The loop may have ended.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._put, what)

    def _put(self, what: str | None) -> None:
        if self.queue.qsize() < MOST or what is None:
            self.queue.put_nowait(what)
        elif self.queue.qsize() == MOST:
            self.queue.put_nowait("")


async def events(connect: Callable[[], Any], seconds: float) -> AsyncGenerator[str]:
    """See `Events.events`. `connect` opens a connection (blocking)."""
    threads = Threads("libvirt-listen", size=1)
    listener = _Listener()
    conn: Any = None
    try:
        conn = await threads.run(seconds, "connecting", connect)
        await threads.run(seconds, "listening", guarded, "listening", _listen, conn, listener)
        yield ""
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    what = await listener.queue.get()
            except TimeoutError:
                # Silence may be the end: whoever is there answers a question.
                await threads.run(seconds, "listening", guarded, "listening", conn.getLibVersion)
                continue
            if what is None:
                raise Unavailable("the connection ended")
            yield what
    finally:
        if conn is not None:
            with contextlib.suppress(Exception):
                # In the order of the thread's work; what hangs ends by the keepalive.
                await threads.run(seconds, "closing", _end, conn)
        threads.close()


def _listen(conn: Any, listener: _Listener) -> None:
    conn.registerCloseCallback(listener.closed, None)
    conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, listener.lifecycle, None)


def _end(conn: Any) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        conn.unregisterCloseCallback()
    close(conn)
