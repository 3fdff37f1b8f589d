"""Connections of strangers: how many, and how long one may take to say what it wants."""

from __future__ import annotations

import asyncio
from asyncio import sslproto

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

REQUEST_SECONDS = 10.0
"""How long a connection may be open, or a request may be begun, until the request's head is complete."""
MAX_CONNECTIONS = 20000
KEEP_ALIVE_SECONDS = 20.0
"""How long a connection may rest: an agent posts seldom, and each open TLS connection takes about 90 KB."""
_SWEEP_SECONDS = 2.0
_TLS_BUFFER = 16 * 1024


def small_tls_buffers() -> None:
    """asyncio gives each TLS connection a buffer of 256 KiB; a record has at most 16, and a thousand agents wait."""
    if getattr(sslproto.SSLProtocol, "max_size", 0) > _TLS_BUFFER:
        sslproto.SSLProtocol.max_size = _TLS_BUFFER


class Connection(RequestHandler):
    """aiohttp's protocol, which knows since when it waits for the head of a request."""

    __slots__ = ("_guard", "since")

    def __init__(self, guard: ConnectionGuard, server: web.Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            max_line_size=2048,
            max_field_size=2048,
            max_headers=32,
            lingering_time=2.0,
            auto_decompress=False,
        )
        self._guard = guard
        self.since: float | None = None
        """Since when a head is awaited; None while a request is worked on, or the connection rests between two."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection; close it at once where there are too many."""
        super().connection_made(transport)
        if not self._guard.admit(self):
            self.force_close()
            return
        self.since = asyncio.get_running_loop().time()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._guard.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The clock of a head runs from its first byte."""
        if self.since is None and not self._guard.is_busy(self):
            self.since = asyncio.get_running_loop().time()
        super().data_received(data)


class ConnectionGuard:
    """Makes the connections of one server, and ends those that dawdle."""

    def __init__(self, server: web.Server, limit: int = MAX_CONNECTIONS) -> None:
        self._server = server
        self._limit = limit
        self._open: set[Connection] = set()
        self._busy: set[Connection] = set()

    def __call__(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self, self._server)

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection) -> bool:
        """Take a connection, unless there are too many."""
        if len(self._open) >= self._limit:
            return False
        self._open.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self._open.discard(connection)
        self._busy.discard(connection)

    def is_busy(self, connection: Connection) -> bool:
        """Whether one of its requests is worked on."""
        return connection in self._busy

    def begin(self, request: web.Request) -> None:
        """The head of a request is complete."""
        connection = request.protocol
        if isinstance(connection, Connection):
            connection.since = None
            self._busy.add(connection)

    def end(self, request: web.Request) -> None:
        """A request is answered."""
        connection = request.protocol
        if isinstance(connection, Connection):
            self._busy.discard(connection)

    async def sweep(self) -> None:
        """End, for ever, what has not said what it wants in time."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            late = loop.time() - REQUEST_SECONDS
            for connection in [c for c in self._open if c.since is not None and c.since < late]:
                connection.force_close()
                if connection.transport is not None:
                    connection.transport.abort()
