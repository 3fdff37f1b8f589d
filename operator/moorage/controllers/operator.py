"""The controller's process: connect, fill the caches, hold the lease, reconcile, stop cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from moorage.api.names import DEFAULT_CONTROLLER_NAMESPACE, LABEL_CONFIG, MANAGER_CONTROLLER
from moorage.configd.authority import ensure_authority
from moorage.configd.pki import utc_now
from moorage.configd.run import Running, may_trust, with_endpoint
from moorage.configd.run import start as start_configd
from moorage.configd.server import ConfigdConfig
from moorage.controllers.census import Census
from moorage.controllers.context import ChannelInfo, Context, QueueKey
from moorage.controllers.edges import Edges
from moorage.controllers.group import GroupController
from moorage.controllers.group_world import GroupObserver
from moorage.controllers.hostingpolicy import PolicyController
from moorage.controllers.hostingservice import ServiceController
from moorage.controllers.observers import ServiceMetrics
from moorage.controllers.probes import Probes
from moorage.controllers.resources import ResourceReadings
from moorage.controllers.server import ServerController
from moorage.controllers.tables import Tables, register
from moorage.controllers.telling import Telling
from moorage.controllers.triggers import Triggers
from moorage.controllers.virtualserverconfig import ConfigController
from moorage.controllers.watching import Watches
from moorage.core.targets import AllowList
from moorage.kube import kinds
from moorage.kube.apply import StatusWriter
from moorage.kube.calls import Observer
from moorage.kube.client import Client
from moorage.kube.credentials import loader
from moorage.kube.events import EventRecorder
from moorage.kube.installation import ensure_installation
from moorage.kube.kinds import Kind
from moorage.kube.lease import LeaderLease
from moorage.kube.reflector import Reflector
from moorage.kube.store import Store
from moorage.runtime.clock import Clock, SystemClock
from moorage.runtime.clockwatch import ClockWatch
from moorage.runtime.health import HealthServer
from moorage.runtime.metrics import Metrics
from moorage.runtime.onetimer import OneTimer
from moorage.runtime.queue import WorkQueue
from moorage.runtime.service import CallObserver
from moorage.runtime.workers import Result, Workers

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
CONNECT_SECONDS = 2.0
WORKERS: dict[Kind, int] = {
    kinds.VIRTUAL_SERVER: 16,
    kinds.SERVER_GROUP: 8,
    kinds.HOSTING_SERVICE: 4,
    kinds.HOSTING_POLICY: 2,
    kinds.VIRTUAL_SERVER_CONFIG: 2,
}


class LeaseLost(Exception):
    """Another process may act now: this one ends, and its supervisor starts it again."""


@dataclass(slots=True)
class OperatorConfig:
    """How the controller runs.

    ``config_endpoint`` is where guests reach the configuration channel unless their HostingService says otherwise.
    ``configd`` None: the channel is served elsewhere. Port 0 takes a free one; ``health_port`` None serves no health.
    ``allowed_targets`` is where conditions of policies may ask.
    ``lease_seconds`` are the lease's duration, renewal and retry. Observers see every call (tests use them).
    ``resource_recheck``: after so many seconds, and half as many again, it is noticed that an account may not read any
    more what a condition reads as it.
    """

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str = DEFAULT_CONTROLLER_NAMESPACE
    config_endpoint: str | None = None
    configd: ConfigdConfig | None = field(default_factory=ConfigdConfig)
    health_host: str = "127.0.0.1"
    health_port: int | None = 8080
    lease_seconds: tuple[float, float, float] = (15.0, 5.0, 2.0)
    identity: str | None = None
    allowed_targets: AllowList = field(default_factory=AllowList)
    client_observers: list[Observer] = field(default_factory=list)
    call_observers: list[CallObserver] = field(default_factory=list)
    clock: Clock = field(default_factory=SystemClock)
    resource_recheck: float = 60.0


@dataclass(slots=True)
class Started:
    """What a running controller tells: told to ``on_ready`` once it reconciles."""

    context: Context
    tables: Tables
    configd: Running | None
    health_port: int | None


async def run(
    config: OperatorConfig,
    stop: asyncio.Event,
    on_ready: Callable[[Started], Awaitable[None] | None] | None = None,
) -> None:
    """Run the controller until ``stop`` is set.

    Raises LeaseLost where the lease was lost, and ApiError, ConfigError, CAMissing where it cannot start.
    """
    async with await Client.connect(config.kubeconfig, config.context) as client:
        await Operator(config, client).run(stop, on_ready)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a run consists of."""

    context: Context
    tables: Tables
    watches: Watches
    configd: Running | None
    events: EventRecorder
    writer: StatusWriter
    lease: LeaderLease


class Operator:
    """One run of the controller."""

    def __init__(self, config: OperatorConfig, client: Client) -> None:
        self._config = config
        self._client = client
        self._metrics = Metrics()
        self._store = Store()
        self._tasks: list[asyncio.Task[None]] = []
        self._workers: list[Workers[QueueKey]] = []
        self._probes: Probes | None = None
        self._resources: ResourceReadings | None = None
        self._clock: ClockWatch | None = None
        client.observers.append(self._metrics.observer())
        client.observers.extend(config.client_observers)

    async def run(self, stop: asyncio.Event, on_ready: Callable[[Started], Awaitable[None] | None] | None) -> None:
        """See `run`."""
        health = HealthServer(self._metrics)
        states = {"caches": "the caches are being filled", "lease": "waiting for the lease"}
        for name in states:
            health.add_ready_check(name, lambda name=name: states.get(name))  # type: ignore[misc]
        port = None
        if self._config.health_port is not None:
            port = await health.start(self._config.health_host, self._config.health_port)
        try:
            await self._serve(stop, on_ready, states, port)
        finally:
            await self._cancel()
            await health.stop()

    async def _serve(
        self,
        stop: asyncio.Event,
        on_ready: Callable[[Started], Awaitable[None] | None] | None,
        states: dict[str, str],
        port: int | None,
    ) -> None:
        parts = await self._set_up()
        lease = parts.lease
        states.pop("caches", None)
        for work, name in (
            (parts.events.run(), "events"),
            (parts.writer.run(), "status"),
            (parts.watches.run(), "watches"),
        ):
            self._spawn(work, name)
        lease_task = self._spawn(lease.run(), "lease")
        try:
            if await _before(stop, lease.wait_held()):
                parts.context.begin()
                self._reconcile(parts.context, parts.tables)
                states.pop("lease", None)
                if on_ready is not None:
                    result = on_ready(Started(parts.context, parts.tables, parts.configd, port))
                    if result is not None:
                        await result
                if await _before(stop, lease.wait_lost()):
                    raise LeaseLost("the lease was lost: another process may act now")
        finally:
            states["lease"] = "stopping"
            await self._tear_down(parts)
            lease_task.cancel()
            await lease.release()

    async def _set_up(self) -> _Parts:
        """Everything that a run consists of, with full caches, and nothing acting yet."""
        namespace = self._config.namespace
        installation = await ensure_installation(self._client, namespace)
        tables = register(self._store, installation.id)
        watches = Watches(self._client, self._store, loader(self._config.kubeconfig, self._config.context))
        await self._fill(watches)
        channel, configd = await self._channel()
        lease = self._lease()
        context = Context(
            client=self._client,
            store=self._store,
            installation=installation,
            events=EventRecorder(self._client, component=MANAGER_CONTROLLER, on_drop=self._metrics.events_dropped.inc),
            clock=self._config.clock,
            metrics=self._metrics,
            namespace=namespace,
            channel=channel,
            observers=[ServiceMetrics(self._metrics), *self._config.call_observers],
            guard=lease.guard,
        )
        if configd is not None:
            context.secret_written = configd.observe
        writer = StatusWriter(self._client, self._store, MANAGER_CONTROLLER, context.requeue)
        context.set_writer(writer)
        self._client.set_guard(lease.guard)
        return _Parts(context, tables, watches, configd, context.events, writer, lease)

    async def _tear_down(self, parts: _Parts) -> None:
        """Finish what is under way, write what is held while the lease still lets us, and close."""
        if self._clock is not None:
            self._clock.stop()
        for workers in self._workers:
            await workers.stop(STOP_SECONDS)
        if self._probes is not None:
            await self._probes.close()
        if self._resources is not None:
            await self._resources.stop()
        if parts.lease.held():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await parts.writer.flush()
                    await parts.events.flush(2.0)
        for connection in parts.context.connections.values():
            await connection.close()
        if parts.configd is not None:
            await parts.configd.stop()
        parts.watches.stop()

    async def _fill(self, watches: Watches) -> None:
        """Every cache is complete before anything is decided."""
        await watches.fill()
        reflectors = [
            Reflector(self._client, self._store.table(kinds.VIRTUAL_SERVER)),
            Reflector(self._client, self._store.table(kinds.SECRET), metadata_only=True),
            Reflector(self._client, self._store.table(kinds.CONFIG_MAP), metadata_only=True),
            Reflector(self._client, self._store.table(kinds.NAMESPACE), metadata_only=True),
            Reflector(self._client, self._store.table(kinds.CONTROLLER_REVISION), labels=LABEL_CONFIG),
        ]
        for reflector in reflectors:
            self._spawn(reflector.run(), "reflector")
        for reflector in reflectors:
            await reflector.synced.wait()

    async def _channel(self) -> tuple[ChannelInfo, Running | None]:
        """Serve the configuration channel in this process, or only know its root CA."""
        config, endpoint = self._config, self._config.config_endpoint
        if config.configd is None:
            authority = await ensure_authority(
                self._client.unguarded(), config.namespace, utc_now(), self._servers_exist
            )
            return ChannelInfo(endpoint or "https://127.0.0.1:7443", authority.pin), None
        running = await start_configd(
            with_endpoint(config.configd, endpoint or "https://127.0.0.1"),
            self._client,
            self._store,
            registry=self._metrics.registry,
        )
        default = endpoint or f"https://127.0.0.1:{running.address[1]}"
        return ChannelInfo(default, running.pin), running

    async def _servers_exist(self) -> bool:
        return any(may_trust(obj) for kind in (kinds.VIRTUAL_SERVER, kinds.SECRET) for obj in self._store.table(kind))

    def _lease(self) -> LeaderLease:
        duration, renew, retry = self._config.lease_seconds
        return LeaderLease(
            self._client,
            self._config.namespace,
            identity=self._config.identity,
            duration=duration,
            renew=renew,
            retry=retry,
            on_change=self._metrics.leadership("moorage-controller"),
        )

    def _reconcile(self, context: Context, tables: Tables) -> None:
        edges = Edges(tables)
        observer = GroupObserver(context, tables)
        # One timer for all policies, whatever it is that they wait for.
        timers = OneTimer(self._config.clock)
        self._probes = probes = Probes(context, tables, self._config.allowed_targets, timers)
        self._resources = resources = ResourceReadings(context, recheck=self._config.resource_recheck)
        policies = PolicyController(context, tables, observer.services, probes, resources)
        reconcilers: dict[Kind, Callable[[QueueKey], Awaitable[Result]]] = {
            kinds.VIRTUAL_SERVER: ServerController(context, tables, edges).reconcile,
            kinds.SERVER_GROUP: GroupController(context, tables, observer, edges).reconcile,
            kinds.HOSTING_SERVICE: ServiceController(context, tables).reconcile,
            kinds.HOSTING_POLICY: policies.reconcile,
            kinds.VIRTUAL_SERVER_CONFIG: ConfigController(context, tables).reconcile,
        }
        queues: dict[Kind, WorkQueue[QueueKey]] = {}
        for kind in reconcilers:
            queue: WorkQueue[QueueKey] = WorkQueue(
                kind.kind.lower(),
                metrics=self._metrics.queue(kind.kind.lower()),
                clock=timers if kind == kinds.HOSTING_POLICY else None,
            )
            self._metrics.watch_queue(queue)
            queues[kind] = queue
        context.queues = queues
        Triggers(context, tables, edges)
        Telling(context, tables)
        # Not before: of several controllers only the one that decides counts.
        self._metrics.at_scrape(Census(tables).families)
        for kind, reconcile in reconcilers.items():
            workers: Workers[QueueKey] = Workers(
                queues[kind],
                reconcile,
                count=WORKERS[kind],
                metrics=self._metrics.controller(kind.kind.lower()),
                describe=lambda key, kind=kind: f"{kind.kind} {'/'.join(part for part in key if part)}",  # type: ignore[misc]
            )
            self._workers.append(workers)
            for obj in self._store.table(kind):
                meta = obj["metadata"]
                queues[kind].add((meta.get("namespace") or "", meta["name"]))
        self._leftovers(queues, tables)
        for workers in self._workers:
            if workers.name != kinds.VIRTUAL_SERVER.kind.lower():
                workers.start()
        self._spawn(self._start_servers(queues[kinds.HOSTING_SERVICE]), "start")
        self._clock = ClockWatch(self._config.clock, lambda: self._look_at_dated(queues))
        self._clock.start()

    def _look_at_dated(self, queues: dict[Kind, WorkQueue[QueueKey]]) -> None:
        """The time of day moved: whatever waits for a moment works out anew how long that is."""
        for kind in (kinds.HOSTING_POLICY, kinds.SERVER_GROUP, kinds.VIRTUAL_SERVER):
            for obj in self._store.table(kind):
                meta = obj["metadata"]
                queues[kind].add((meta.get("namespace") or "", meta["name"]))

    async def _start_servers(self, services: WorkQueue[QueueKey]) -> None:
        """Servers are looked at once their services are connected: before, each look would only find that out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                while not services.idle:  # noqa: ASYNC110 - once, for a moment
                    await asyncio.sleep(0.01)
        for workers in self._workers:
            if workers.name == kinds.VIRTUAL_SERVER.kind.lower() and not services.closed:
                workers.start()

    def _leftovers(self, queues: dict[Kind, WorkQueue[QueueKey]], tables: Tables) -> None:
        """Kept generations whose configuration is gone are cleared by its key."""
        for revision in tables.revisions:
            meta = revision["metadata"]
            config = (meta.get("labels") or {}).get(LABEL_CONFIG)
            if config:
                queues[kinds.VIRTUAL_SERVER_CONFIG].add((meta["namespace"], config))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        return task

    async def _cancel(self) -> None:
        for task in self._tasks:
            if task.get_name() == "watches":
                with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                    await asyncio.wait_for(asyncio.shield(task), STOP_SECONDS)
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _before(stop: asyncio.Event, other: Awaitable[object]) -> bool:
    """Wait for either; True where ``other`` came to pass, False where ``stop`` was set."""
    tasks = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(other)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return not tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
