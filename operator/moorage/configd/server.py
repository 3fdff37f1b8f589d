"""Starting and stopping configd: within the controller's process, or alone."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from aiohttp import web

from moorage.configd.app import Channel, Shown
from moorage.configd.connections import (
    MAX_CONNECTIONS,
    MAX_OF_SERVER,
    MAX_OF_STRANGERS,
    ConnectionGuard,
    room,
    small_tls_buffers,
)
from moorage.configd.directory import Directory
from moorage.configd.metrics import Metrics
from moorage.configd.pki import LEAF_LIFETIME, Authority, is_name, utc_now
from moorage.configd.ports import Cluster, Reporter
from moorage.configd.tls import Certificates, server_context
from moorage.configd.zipapp import build_agent

log = logging.getLogger(__name__)

DEFAULT_PORT = 7443
_TICK_SECONDS = 30.0
_HANDSHAKE_SECONDS = 10.0
_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class ConfigdConfig:
    """Where configd listens, and under which names guests reach it."""

    host: str = "0.0.0.0"  # noqa: S104 - guests come from outside
    port: int = DEFAULT_PORT
    """0: any free one."""
    namespace: str = "moorage-system"
    """The controller's namespace, where the CA's Secret is."""
    names: tuple[str, ...] = ()
    """Host names and addresses of the certificate, beside those of the HostingServices' configEndpoints."""
    leaf_lifetime: timedelta = LEAF_LIFETIME
    max_connections: int = MAX_CONNECTIONS
    max_of_strangers: int = MAX_OF_STRANGERS
    """Connections from one address that have shown no key yet."""
    max_of_server: int = MAX_OF_SERVER
    """Connections of one server's agent."""


@dataclass(slots=True)
class Server:
    """A configd that serves. `names` is asked again and again for the names that its certificate needs."""

    config: ConfigdConfig
    directory: Directory
    channel: Channel
    certificates: Certificates
    shown: Shown
    metrics: Metrics
    names: Callable[[], Collection[str]]
    clock: Callable[[], datetime] = utc_now
    _runner: web.AppRunner | None = None
    _listener: asyncio.Server | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that it listens on."""
        if self._listener is None or not self._listener.sockets:
            return self.config.host, self.config.port
        host, port = self._listener.sockets[0].getsockname()[:2]
        return str(host), int(port)

    @property
    def pin(self) -> str:
        """The pin of the present root, for user-data."""
        return self.certificates.authority.pin

    @property
    def bundle(self) -> bytes:
        """The roots, as PEM."""
        return self.shown.bundle

    def use(self, authority: Authority) -> None:
        """Go over to another root (a rotation): announced at once, with a leaf that old and new pins accept."""
        self.certificates.authority = authority
        self.shown.show(authority.bundle)
        self.refresh()

    def refresh(self) -> None:
        """Exchange the leaf where it is due. A name that cannot be one is left out and named in the log."""
        wanted = {*self.config.names, *self.names()}
        good = {name for name in wanted if is_name(name)}
        if wanted - good:
            log.warning("names that no certificate can have: %s", ", ".join(sorted(wanted - good)))
        if self.certificates.refresh(good or {"localhost"}, self.clock()) and self.certificates.leaf is not None:
            log.info("the certificate is for %s", ", ".join(self.certificates.leaf.names))
            self.metrics.leaf_expiry.set(self.certificates.leaf.not_after.timestamp())

    def refresh_soon(self) -> None:
        """The names may have changed. Never raises; what cannot be done now is tried again with the next tick."""
        try:
            self.refresh()
        except (ValueError, ssl.SSLError, OSError) as error:
            log.warning("the certificate cannot be renewed: %s", error)

    async def start(self) -> None:
        """Listen. Raises OSError where the address cannot be used."""
        self.refresh()
        small_tls_buffers()
        runner = web.AppRunner(
            self.channel.application(), access_log=None, handler_cancellation=True, shutdown_timeout=10.0
        )
        await runner.setup()
        server = runner.server
        if server is None:
            raise RuntimeError("aiohttp has set up no server")
        config = self.config
        guard = ConnectionGuard(
            server,
            room(config.max_connections),
            config.max_of_strangers,
            config.max_of_server,
            lambda why: self.metrics.connections_ended.labels(why).inc(),
        )
        self.channel.guard = guard
        self._runner = runner
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            guard,
            self.config.host,
            self.config.port,
            ssl=self.certificates.context,
            backlog=_BACKLOG,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=1.0,
        )
        self.metrics.connections.set_function(lambda: len(guard))
        self.metrics.waiting.set_function(lambda: self.directory.waiting)
        self._tasks = [loop.create_task(guard.sweep()), loop.create_task(self._tick())]
        log.info("the configuration channel listens on %s port %d", *self.address)

    async def stop(self) -> None:
        """Stop listening, end the long polls, let what is being recorded be recorded."""
        self.channel.stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
        self.directory.wake_all()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self.refresh_soon()


def new_server(
    config: ConfigdConfig,
    cluster: Cluster,
    directory: Directory,
    authority: Authority,
    reporter: Reporter,
    metrics: Metrics,
    *,
    names: Callable[[], Collection[str]] = tuple,
    clock: Callable[[], datetime] = utc_now,
) -> Server:
    """A configd over a cache that somebody else keeps."""
    shown = Shown(authority.bundle, build_agent())
    channel = Channel(cluster, directory, reporter, metrics, shown)
    certificates = Certificates(server_context(), authority, config.leaf_lifetime)
    return Server(config, directory, channel, certificates, shown, metrics, names, clock)


def endpoint_host(endpoint: str | None) -> str | None:
    """The host of a configEndpoint; None where there is none."""
    try:
        return urlsplit(endpoint or "").hostname
    except ValueError:
        return None


__all__ = ["ConfigdConfig", "Server", "endpoint_host", "new_server"]
