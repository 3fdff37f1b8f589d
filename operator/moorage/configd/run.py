"""configd against a real API server: within the controller's process (`start`), or alone (`run`)."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry

from moorage.api.names import FINALIZER_SERVER, LABEL_SECRET, MANAGER_CONFIGD, SECRET_CA
from moorage.configd.authority import ensure_authority, load_authority, read_authority
from moorage.configd.directory import Directory, new_table
from moorage.configd.metrics import Metrics
from moorage.configd.pki import Authority, CAError, CAMissing, utc_now
from moorage.configd.ports import Obj
from moorage.configd.secrets import SELECTOR
from moorage.configd.server import ConfigdConfig, Server, endpoint_host, new_server
from moorage.kube.client import Client
from moorage.kube.errors import ApiError
from moorage.kube.events import EventRecorder
from moorage.kube.kinds import HOSTING_SERVICE, SECRET, VIRTUAL_SERVER
from moorage.kube.reflector import Reflector
from moorage.kube.store import Store, Table, as_is

log = logging.getLogger(__name__)

_CA_RETRY_SECONDS = 5.0
_CA_CHECK_SECONDS = 6 * 3600.0
_GARBAGE_THRESHOLD = 20_000

Joined = Callable[[str, str, str], None]
"""Called with (namespace, VirtualServer name, uid) when an agent joins for the first time."""


class EventReporter:
    """Events on the VirtualServer, and the process's own store kept up with what was written."""

    def __init__(self, events: EventRecorder, store: Store | None, joined: Joined | None) -> None:
        self._events = events
        self._store = store if store is not None and VIRTUAL_SERVER in store else None
        self._joined = joined

    def joined(self, namespace: str, server: str, uid: str) -> None:
        """Tell who asked to be told; the session's Secret shows it to everyone else."""
        if self._joined is not None:
            self._joined(namespace, server, uid)

    def token_replayed(self, namespace: str, server: str, uid: str) -> None:
        """A warning that people see."""
        obj = {"metadata": {"namespace": namespace, "name": server, "uid": uid}}
        message = "the join token was presented again with another key; if nobody re-imaged the server, it has leaked"
        self._events.record(VIRTUAL_SERVER, obj, "Warning", "JoinTokenReplayed", message)

    def state_written(self, virtual_server: Obj) -> None:
        """The controller in this process need not wait for its watch."""
        if self._store is not None:
            self._store.ingest(VIRTUAL_SERVER, virtual_server)


@dataclass(slots=True)
class Running:
    """A configd that serves."""

    server: Server
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    ca_problem: str = ""
    """Why the CA's Secret cannot be used now (it was fine at the start); for a condition or a log."""

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that it listens on."""
        return self.server.address

    @property
    def pin(self) -> str:
        """The pin of the present root CA, for user-data."""
        return self.server.pin

    @property
    def bundle(self) -> bytes:
        """The root CAs as PEM, the present one first."""
        return self.server.bundle

    def observe(self, secret: Mapping[str, Any], *, deleted: bool = False) -> None:
        """Take the answer of a write to a server's Secret by this process, ahead of the watch: it wakes the agent."""
        if LABEL_SECRET in (secret["metadata"].get("labels") or {}):
            self.server.directory.table.ingest(dict(secret), deleted=deleted)

    async def stop(self) -> None:
        """Stop serving; returns when what was being recorded is recorded."""
        await self.server.stop()
        await _end(self.tasks)


async def start(
    config: ConfigdConfig,
    client: Client,
    store: Store | None = None,
    *,
    owns_ca: bool = True,
    events: EventRecorder | None = None,
    joined: Joined | None = None,
    registry: CollectorRegistry = REGISTRY,
) -> Running:
    """Serve. `owns_ca`: make the CA where there is none, and rotate it (the controller); otherwise wait for it.

    `store`, where it has them, gives the HostingServices and takes VirtualServers as they were written. Returns when
    the caches are filled and the port is open. Raises CAMissing, CADamaged, ApiError, OSError.
    """
    # Writes of configd rest on their own preconditions, not on the lease: any replica may make them at any time.
    cluster = client.unguarded()
    tasks: list[asyncio.Task[Any]] = []

    def spawn(body: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.create_task(body))

    try:
        authority = await _authority(cluster, config.namespace, owns_ca)
        if events is None:
            events = EventRecorder(cluster, component=MANAGER_CONFIGD)
            spawn(events.run())
        table = new_table()
        secrets = Reflector(cluster, table, labels=SELECTOR)
        spawn(secrets.run())
        services = await _services(cluster, store, spawn)
        await secrets.synced.wait()
        server = new_server(
            config,
            cluster,
            Directory(cluster, table),
            authority,
            EventReporter(events, store, joined),
            Metrics(registry),
            names=lambda: _endpoint_hosts(services),
        )
        services.subscribe(lambda _old, _new: server.refresh_soon())
        await server.start()
    except BaseException:
        await _end(tasks)
        raise
    running = Running(server, tasks)
    _follow_ca(running, cluster, config.namespace, spawn)
    if owns_ca:
        spawn(_keep_ca(running, cluster, config.namespace))
    return running


async def run(config: ConfigdConfig, kubeconfig: str | None = None, context: str | None = None) -> None:
    """`moorage configd`: serve alone, until SIGTERM or SIGINT. Raises ConfigError, CADamaged, ApiError, OSError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with await Client.connect(kubeconfig, context) as client:
        starting = asyncio.create_task(start(config, client, owns_ca=False))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return
        try:
            running = await starting
            settle()
            await stopping
            await running.stop()
        finally:
            stopping.cancel()


def settle() -> None:
    """What is there now lives long, and what requests leave behind is little: the collector need not look so often.

    It is set for the whole process: by the program that the process is, once its caches are full.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD, 20, 20)


async def _authority(client: Client, namespace: str, owns_ca: bool) -> Authority:
    if owns_ca:
        return await ensure_authority(client, namespace, utc_now(), lambda: _servers_exist(client))
    told = ""
    while True:
        try:
            return await load_authority(client, namespace)
        except (CAMissing, ApiError) as error:
            if str(error) != told:
                log.warning("waiting for the root CA: %s", error)
            told = str(error)
        await asyncio.sleep(_CA_RETRY_SECONDS)


async def _servers_exist(client: Client) -> bool:
    for kind, labels in ((VIRTUAL_SERVER, ""), (SECRET, SELECTOR)):
        listing = await client.list(kind, labels=labels, metadata_only=True)
        if any(may_trust(obj) for obj in listing.items):
            return True
    return False


def may_trust(obj: Mapping[str, Any]) -> bool:
    """Whether a server may have been told of a root CA, by its VirtualServer or by one of its Secrets.

    A VirtualServer that only its user wrote, to adopt a server, was seen by no controller yet.
    """
    meta = obj["metadata"]
    return FINALIZER_SERVER in (meta.get("finalizers") or ()) or LABEL_SECRET in (meta.get("labels") or {})


async def _services(
    client: Client, store: Store | None, spawn: Callable[[Coroutine[Any, Any, None]], None]
) -> Table[Any]:
    """The HostingServices: of the process's store, or of a watch of our own."""
    if store is not None and HOSTING_SERVICE in store:
        return store.table(HOSTING_SERVICE)
    table: Table[Obj] = Table(HOSTING_SERVICE, as_is)
    reflector = Reflector(client, table)
    spawn(reflector.run())
    await reflector.synced.wait()
    return table


def _endpoint_hosts(services: Table[Any]) -> set[str]:
    hosts = {endpoint_host((obj.get("spec") or {}).get("configEndpoint")) for obj in services}
    return {host for host in hosts if host}


def _follow_ca(
    running: Running, client: Client, namespace: str, spawn: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    """Another replica may rotate the CA; somebody may delete its Secret, which must not go unnoticed."""
    table: Table[Obj] = Table(SECRET, as_is)

    def changed(_old: Obj | None, new: Obj | None) -> None:
        try:
            if new is None:
                raise CAMissing(f"the Secret {namespace}/{SECRET_CA} with the root CA was deleted: restore it")
            authority = read_authority(new)
        except CAError as error:
            running.ca_problem = str(error)
            log.error("%s (agents are served with the root CA in memory)", error)
            return
        running.ca_problem = ""
        if authority != running.server.certificates.authority:
            log.info("another root CA is in use from now on")
            running.server.use(authority)

    table.subscribe(changed)
    spawn(Reflector(client, table, namespace=namespace, fields=f"metadata.name={SECRET_CA}").run())


async def _keep_ca(running: Running, client: Client, namespace: str) -> None:
    """Rotate the root when it is due."""
    while True:
        await asyncio.sleep(_CA_CHECK_SECONDS)
        try:
            authority = await ensure_authority(client, namespace, utc_now(), lambda: _servers_exist(client))
        except (CAError, ApiError) as error:
            log.warning("the root CA cannot be checked: %s", error)
            continue
        if authority != running.server.certificates.authority:
            running.server.use(authority)


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await asyncio.gather(task, return_exceptions=True)


def with_endpoint(config: ConfigdConfig, endpoint: str | None) -> ConfigdConfig:
    """The configuration with the host of the controller-wide default endpoint among the certificate's names."""
    host = endpoint_host(endpoint)
    return config if host is None else replace(config, names=tuple(sorted({*config.names, host})))
