"""Watching the kinds that users write with Kopf, which only feeds the caches: those decide what follows from a change.

Kopf takes every task of its event loop, and the process's signals, for its own: so it has a loop in its own thread. It
reports neither when its first list is complete nor what was deleted while it was not connected: so every kind is listed
by us before any reconciler starts, and compared with a cheap list after reconnects and from time to time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Collection
from typing import Any

import kopf

from moorage.kube.apply import refresh
from moorage.kube.client import Client
from moorage.kube.credentials import Loader
from moorage.kube.errors import ApiError, NotFound
from moorage.kube.kinds import OWN, VIRTUAL_SERVER, Kind
from moorage.kube.store import Store

log = logging.getLogger(__name__)

WATCHED = tuple(kind for kind in OWN if kind != VIRTUAL_SERVER)
"""VirtualServers, of which there are thousands and whose changes are mostly our own, have a reflector: see
docs/decisions/kopf-watches.md."""
SWEEP_EVERY = 300.0
SWEEP_AFTER_RELIST = 2.0
SWEEP_AFTER_START = 10.0
"""Seconds that Kopf has for its own first list: what it lacks went between our list and its."""
ASKED_FOR = 20
RESTART_PAUSE = 1.0
STOP_SECONDS = 5.0


def kopf_settings() -> kopf.OperatorSettings:
    """Watching only: no events, no peering, no namespaces or CRDs looked for, quick recovery."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.queueing.idle_timeout = 1.0
    settings.queueing.worker_limit = None
    settings.networking.error_backoffs = (0.1, 0.2, 0.5, 1.0, 2.0, 2.0, 5.0)
    # The first "list" then comes as a part of the watch: one list of each kind is ours already.
    settings.watching.initial_streaming = True
    # Without handlers of changes nobody asks what changed: neither the state seen last nor progress is kept.
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    return settings


class _NoDiffBase(kopf.DiffBaseStorage):
    """Spares Kopf a deep copy and a comparison of each object that comes."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    """Progress of handlers that there are not."""

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


class Watches:
    """Keeps the caches of these kinds as the API server has them."""

    def __init__(self, client: Client, store: Store, loader: Loader) -> None:
        self._client = client
        self._store = store
        self._loader = loader
        self._stop = threading.Event()
        self._stopping = asyncio.Event()
        self._sweeps: dict[Kind, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._relisted: dict[Kind, set[str]] = {}
        self._relisted_at: dict[Kind, float] = {}
        self._arrived: deque[tuple[Kind, str | None, dict[str, Any]]] = deque()

    async def fill(self) -> None:
        """List every kind once. Raises ApiError."""
        for kind in WATCHED:
            listing = await self._client.list(kind)
            for obj in listing.items:
                self._store.ingest(kind, _complete(kind, obj))

    async def run(self) -> None:
        """Watch until `stop`, starting Kopf again where it ends."""
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._watch, args=(loop,), name="kopf", daemon=True)
        thread.start()
        sweeper = asyncio.create_task(self._sweep_regularly(), name="sweep")
        self._expect_lists()
        try:
            await self._stopping.wait()
        finally:
            self._stop.set()
            sweeper.cancel()
            for handle in self._sweeps.values():
                handle.cancel()
            await asyncio.to_thread(thread.join, STOP_SECONDS)
            await asyncio.gather(sweeper, *self._tasks, return_exceptions=True)

    def stop(self) -> None:
        """End `run`."""
        self._stopping.set()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """The thread: one Kopf operator after the other."""
        while not self._stop.is_set():
            try:
                asyncio.run(
                    kopf.operator(
                        registry=self._registry(loop),
                        settings=kopf_settings(),
                        clusterwide=True,
                        standalone=True,
                        stop_flag=self._stop,
                    )
                )
            except Exception:
                # An unexpected watch error ends Kopf's operator; the watches must not end with it.
                log.exception("watching ended and is started again")
            if not self._stop.wait(RESTART_PAUSE):
                for kind in WATCHED:
                    loop.call_soon_threadsafe(self._sweep_soon, kind)

    def _registry(self, loop: asyncio.AbstractEventLoop) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for kind in WATCHED:
            register = kopf.on.event(
                kind.group, kind.version, kind.plural, id=kind.plural, registry=registry, when=self._news(kind)
            )
            register(self._handler(loop, kind))
        return registry

    def _news(self, kind: Kind) -> Any:
        """Most events are echoes of our own writes, whose answers the cache took: they need not change threads."""
        table = self._store.table(kind)

        def news(event: Any, **_: Any) -> bool:
            meta = event["object"]["metadata"]
            held = table.by_uid(meta["uid"])
            known = held is not None and held["metadata"]["resourceVersion"] == meta["resourceVersion"]
            return event["type"] in {None, "DELETED"} or not known

        return news

    def _handler(self, loop: asyncio.AbstractEventLoop, kind: Kind) -> Any:
        async def take(event: Any, **_: Any) -> None:
            self._arrived.append((kind, event["type"], event["object"]))
            if len(self._arrived) == 1:
                with contextlib.suppress(RuntimeError):  # the main loop is closed: the process is ending
                    loop.call_soon_threadsafe(self._take_all)

        return take

    def _take_all(self) -> None:
        """Take what has come; who adds to an empty list asks for this."""
        while True:
            try:
                kind, type_, obj = self._arrived[0]
            except IndexError:
                return
            try:
                self._take(kind, type_, obj)
            except Exception:
                # The sweep finds what was missed here; what comes after must not wait for ever.
                log.exception("an event of %s was not taken", kind.plural)
            self._arrived.popleft()

    def _take(self, kind: Kind, type_: str | None, obj: dict[str, Any]) -> None:
        if type_ is None:
            self._relisted.setdefault(kind, set()).add(obj["metadata"]["uid"])
            self._relisted_at[kind] = asyncio.get_running_loop().time()
            self._sweep_soon(kind)
        self._store.ingest(kind, obj, deleted=type_ == "DELETED")

    async def _login(self, **_kwargs: Any) -> kopf.ConnectionInfo:
        loaded = await asyncio.to_thread(self._loader)
        authorization = await asyncio.to_thread(loaded.authorization)
        scheme, token = (*(authorization or "").split(" ", 1), "", "")[:2]
        return kopf.ConnectionInfo(
            server=loaded.host,
            ca_path=loaded.ca_file,
            insecure=not loaded.verify,
            scheme=scheme or None,
            token=token or None,
            certificate_path=loaded.cert_file,
            private_key_path=loaded.key_file,
            proxy_url=loaded.proxy,
        )

    # Sweeping

    def _expect_lists(self) -> None:
        """Kopf lists for the first time: of a kind without objects it will tell nothing, which is a list, too."""
        loop = asyncio.get_running_loop()
        for kind in WATCHED:
            self._relisted.setdefault(kind, set())
            self._sweeps[kind] = loop.call_later(SWEEP_AFTER_START, self._sweep_now, kind)

    def _sweep_soon(self, kind: Kind) -> None:
        """Kopf has listed again: what was deleted meanwhile was not reported."""
        if kind not in self._sweeps:
            loop = asyncio.get_running_loop()
            self._sweeps[kind] = loop.call_later(SWEEP_AFTER_RELIST, self._sweep_now, kind)

    def _sweep_now(self, kind: Kind) -> None:
        self._sweeps.pop(kind, None)
        if asyncio.get_running_loop().time() < self._relisted_at.get(kind, 0.0) + SWEEP_AFTER_RELIST:
            self._sweep_soon(kind)  # Kopf's list still goes on
            return
        task = asyncio.get_running_loop().create_task(self._sweep_quietly(kind, self._relisted.pop(kind, None)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            for kind in WATCHED:
                await self._sweep_quietly(kind)

    async def _sweep_quietly(self, kind: Kind, listed: Collection[str] | None = None) -> None:
        """``listed`` are the uids that Kopf's own list had: what it lacks is asked for, where that is little."""
        try:
            missing = (
                [] if listed is None else [o for o in self._store.table(kind) if o["metadata"]["uid"] not in listed]
            )
            if listed is None or len(missing) > ASKED_FOR:
                await self.sweep(kind)
            for obj in missing[:ASKED_FOR]:
                await refresh(self._client, self._store, kind, obj)
        except ApiError as error:
            log.warning("sweep of %s: %s", kind.plural, error)

    async def sweep(self, kind: Kind) -> None:
        """Compare the cache with a metadata-only list; drop what is gone, read what is newer. Raises ApiError."""
        listing = await self._client.list(kind, metadata_only=True)
        swept = self._store.table(kind).sweep(listing.items, listing.resource_version)
        for namespace, name in swept.newer:
            with contextlib.suppress(NotFound):
                self._store.ingest(kind, await self._client.get(kind, namespace, name))
        if swept.gone:
            log.info("%d %s were deleted unseen", len(swept.gone), kind.plural)


def _complete(kind: Kind, obj: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
