"""Connections: how many, whose, and how long one may take to say what it wants."""

from __future__ import annotations

import asyncio
import logging
import resource
from asyncio import sslproto
from collections.abc import Callable, Hashable
from ipaddress import IPv6Network

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

log = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
"""How long a connection may be open, or a request may be begun, until the request's head is complete."""
MAX_CONNECTIONS = 8000
"""Of all: about 0.7 GB, and twice what the agents of 2,000 servers have open."""
MAX_OF_STRANGERS = 1000
"""From one address, of those that have shown no key or token yet. An agent shows one at once, so that any number of
guests may be behind one address."""
MAX_OF_SERVER = 16
"""An agent has two; those of before a cut of the network may linger."""
KEEP_ALIVE_SECONDS = 20.0
"""How long a connection may rest: an agent posts seldom, and each open TLS connection takes about 90 KB."""
OWN_FILES = 512
"""Of the files that the process may have open: for everything but the channel's connections."""
_SWEEP_SECONDS = 2.0
_TLS_BUFFER = 16 * 1024


def small_tls_buffers() -> None:
    """asyncio gives each TLS connection a buffer of 256 KiB; a record has at most 16, and a thousand agents wait."""
    if getattr(sslproto.SSLProtocol, "max_size", 0) > _TLS_BUFFER:
        sslproto.SSLProtocol.max_size = _TLS_BUFFER


Group = tuple[str, Hashable]
"""Whose a connection is: `("source", address)` or `("server", key)`."""


class Connection(RequestHandler):
    """aiohttp's protocol, which knows since when it waits for the head of a request."""

    __slots__ = ("_guard", "group", "since")

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
        self.group: Group | None = None
        """Whose it is, for the guard; None while it is not counted."""
        self.since: float | None = None
        """Since when a head is awaited; None while a request is worked on, or the connection rests between two."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection; close it at once where there are too many."""
        super().connection_made(transport)
        if not self._guard.admit(self, transport.get_extra_info("peername")):
            self.force_close()
            return
        self.since = asyncio.get_running_loop().time()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._guard.forget(self)
        super().connection_lost(exc)

    def end(self) -> None:
        """End the connection at once, whatever it is at."""
        self.force_close()
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """The clock of a head runs from its first byte."""
        if self.since is None and not self._guard.is_busy(self):
            self.since = asyncio.get_running_loop().time()
        super().data_received(data)


def room(wanted: int) -> int:
    """As many connections as the process may have files open, some kept for itself; at most `wanted`.

    The soft limit is raised as far as the system lets it: 1,024 is a usual one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, max(1, hard - OWN_FILES))
    if most < wanted:
        log.warning("only %d connections instead of %d: the process may open %d files", most, wanted, hard)
    return most


class ConnectionGuard:
    """Makes the connections of one server, and ends those that dawdle or are too many.

    Where there are too many of one source or of one server, its own oldest goes; where there are too many in all, the
    oldest stranger's goes, so that nobody without a key keeps agents out.
    """

    def __init__(
        self,
        server: web.Server,
        limit: int = MAX_CONNECTIONS,
        of_strangers: int = MAX_OF_STRANGERS,
        of_server: int = MAX_OF_SERVER,
        on_end: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._on_end = on_end
        """Told why, of each connection that is not let in or is ended: all, source, server or slow."""
        self._server = server
        self._limit = limit
        self._of_strangers = of_strangers
        self._of_server = of_server
        self._open: set[Connection] = set()
        self._busy: set[Connection] = set()
        # Dicts for their order: the oldest is first.
        self._strangers: dict[Connection, None] = {}
        self._groups: dict[Group, dict[Connection, None]] = {}

    def __call__(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self, self._server)

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection, peer: object) -> bool:
        """Take a stranger's connection from the address `peer`; False where agents have all there are."""
        if len(self._open) >= self._limit:
            oldest = next(iter(self._strangers), None)
            if oldest is None:
                self._on_end("all")
                return False
            self._end(oldest, "all")
        self._open.add(connection)
        self._strangers[connection] = None
        self._count(connection, ("source", source_of(peer)), self._of_strangers)
        return True

    def trust(self, request: web.Request, server: Hashable) -> None:
        """The connection's request has shown the key or the join token of a server."""
        connection = request.protocol
        if isinstance(connection, Connection) and connection in self._open:
            self._strangers.pop(connection, None)
            self._count(connection, ("server", server), self._of_server)

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self._open.discard(connection)
        self._busy.discard(connection)
        self._strangers.pop(connection, None)
        self._leave(connection)

    def _count(self, connection: Connection, group: Group, most: int) -> None:
        if connection.group == group:
            return
        self._leave(connection)
        connection.group = group
        members = self._groups.setdefault(group, {})
        members[connection] = None
        if len(members) > most:
            self._end(next(iter(members)), str(group[0]))

    def _leave(self, connection: Connection) -> None:
        group, connection.group = connection.group, None
        members = self._groups.get(group) if group is not None else None
        if group is not None and members is not None:
            members.pop(connection, None)
            if not members:
                del self._groups[group]

    def _end(self, connection: Connection, why: str) -> None:
        self._on_end(why)
        self.forget(connection)
        connection.end()

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
                self._on_end("slow")
                connection.end()


def source_of(peer: object) -> str:
    """What counts as one source: an IPv4 address, or the /64 of an IPv6 address, which one host may have whole."""
    host = str(peer[0]) if isinstance(peer, tuple) and peer else ""
    if ":" not in host:
        return host
    plain = host.partition("%")[0]
    if plain.startswith("::ffff:") and "." in plain:
        return plain.removeprefix("::ffff:")
    return str(IPv6Network((plain, 64), strict=False).network_address)
