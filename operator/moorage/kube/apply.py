"""Writing status and finalizers: only what differs, only to the object that was looked at."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from moorage.kube.client import Client
from moorage.kube.errors import Conflict, KubeError, NotFound
from moorage.kube.kinds import Kind
from moorage.kube.lanes import Lane
from moorage.kube.store import Store

log = logging.getLogger(__name__)

Obj = dict[str, Any]
Requeue = Callable[[Kind, str, str], None]
_Key = tuple[Kind, str]

FOREIGN = frozenset({"agent"})
"""Fields of status that another manager writes: neither compared nor sent."""
KEPT = frozenset({"providerID"})
"""Fields of status that, once recorded, are never dropped."""
REMEMBERED = 1024
LATE_WRITES = 4
"""How many held changes are written at the same time; where writes are slow, the others wait for more company."""


class Written(StrEnum):
    """What became of a status."""

    UNCHANGED = "Unchanged"
    WRITTEN = "Written"
    HELD = "Held"
    """A soft change, waiting for company; it is written within the delay."""
    CONFLICT = "Conflict"
    """Somebody else wrote; the store has been refreshed: decide again."""
    GONE = "Gone"
    """The object (of this uid) does not exist any more."""


@dataclass(slots=True)
class _Held:
    obj: Obj
    status: Obj
    due: float


class StatusWriter:
    """The one writer of status for `manager`.

    `requeue(kind, namespace, name)` is called where a held change could not be written and must be decided again. Run
    `run()` as a task; without it soft changes stay held until `flush()`.
    """

    def __init__(self, client: Client, store: Store, manager: str, requeue: Requeue, *, delay: float = 1.0) -> None:
        self._client = client
        self._store = store
        self._manager = manager
        self._requeue = requeue
        self._delay = delay
        self._held: dict[_Key, _Held] = {}
        self._due: list[tuple[float, int, _Key]] = []
        self._count = itertools.count()
        self._wake = asyncio.Event()
        self._writing: dict[_Key, asyncio.Task[None]] = {}
        self._own: OrderedDict[str, tuple[str, str]] = OrderedDict()

    async def write(self, kind: Kind, obj: Obj, status: Mapping[str, Any], *, hard: bool) -> Written:
        """Make `status` the status of `obj`, the object that it was computed from (its resourceVersion guards).

        Writes nothing where the two agree (transition times of conditions aside). A `hard` change is written at once,
        with all that was held; a soft one within the delay. `status` must carry observedGeneration, and providerID
        once it is recorded: raises ValueError otherwise. Raises ApiError (neither Conflict nor NotFound) and NotLeader.
        """
        key = (kind, obj["metadata"]["uid"])
        writing = self._writing.get(key)
        if hard and writing is not None:
            await asyncio.wait({writing})
        obj = self._after_own(kind, obj)
        stored = obj.get("status") or {}
        desired = desired_status(stored, status)
        if desired == own_part(stored):
            return self._as_it_was(key, obj, desired)
        if hard:
            self._held.pop(key, None)
            return await self._apply(kind, obj, desired)
        self._hold(key, obj, desired)
        return Written.HELD

    def stands(self, kind: Kind, obj: Obj) -> Written:
        """For a caller that has compared by itself: nothing is to be written, and what was held is not wanted now."""
        return self._as_it_was((kind, obj["metadata"]["uid"]), obj, own_part(obj.get("status") or {}))

    def _as_it_was(self, key: _Key, obj: Obj, desired: Obj) -> Written:
        """What is wanted is what is stored; but a change that is on its way has to be taken back."""
        if key in self._writing:
            self._hold(key, obj, desired)
            return Written.HELD
        self._held.pop(key, None)
        return Written.UNCHANGED

    def _after_own(self, kind: Kind, obj: Obj) -> Obj:
        """The object as a held change of ours left it, where that is all that happened to `obj` meanwhile."""
        meta = obj["metadata"]
        current = self._store.table(kind).by_uid(meta["uid"])
        if current is None or current is obj:
            return obj
        versions = (meta["resourceVersion"], current["metadata"]["resourceVersion"])
        return current if self._own.get(meta["uid"]) == versions else obj

    async def run(self) -> None:
        """Write held changes as they fall due; returns only by cancellation."""
        loop = asyncio.get_running_loop()
        while True:
            while self._due and self._due[0][0] <= loop.time() and len(self._writing) < LATE_WRITES:
                _, _, key = heapq.heappop(self._due)
                self._start(key, loop.time())
            self._wake.clear()
            free = len(self._writing) < LATE_WRITES
            timeout = self._due[0][0] - loop.time() if self._due and free else None
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def flush(self) -> None:
        """Write all that is held now, and wait for it (at a clean stop)."""
        self._due.clear()
        while self._held or self._writing:
            for key in [key for key in self._held if key not in self._writing]:
                self._start(key, float("inf"))
            await asyncio.wait(set(self._writing.values()), return_when=asyncio.FIRST_COMPLETED)

    @property
    def held(self) -> int:
        """Changes that wait for company."""
        return len(self._held)

    # How

    def _hold(self, key: _Key, obj: Obj, desired: Obj) -> None:
        waiting = self._held.get(key)
        if waiting is not None:
            # The delay counts from the first change that waits, else a busy object would never be written.
            waiting.obj, waiting.status = obj, desired
            return
        due = asyncio.get_running_loop().time() + self._delay
        self._held[key] = _Held(obj, desired, due)
        heapq.heappush(self._due, (due, next(self._count), key))
        self._wake.set()

    def _start(self, key: _Key, now: float) -> None:
        held = self._held.get(key)
        if held is None or held.due > now:
            return  # written meanwhile by a hard change, or held anew
        if key in self._writing:  # an earlier change of the same object is still on its way
            heapq.heappush(self._due, (now + self._delay, next(self._count), key))
            held.due = now + self._delay
            return
        del self._held[key]
        task = self._writing[key] = asyncio.create_task(self._late(key[0], held))
        task.add_done_callback(lambda _: self._written(key))

    def _written(self, key: _Key) -> None:
        self._writing.pop(key, None)
        self._wake.set()

    async def _late(self, kind: Kind, held: _Held) -> None:
        meta = held.obj["metadata"]
        namespace, name = meta.get("namespace") or "", meta["name"]
        current = self._store.table(kind).by_uid(meta["uid"])
        if current is None:
            return
        obj = self._after_own(kind, held.obj)
        if current["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            if own_part(current.get("status") or {}) != held.status:
                self._requeue(kind, namespace, name)
            return
        try:
            outcome = await self._apply(kind, obj, held.status, lane=Lane.COLD)
        except KubeError as error:
            log.debug("held status of %s %s/%s was not written: %s", kind.kind, namespace, name, error)
            outcome = Written.CONFLICT
        if outcome is Written.CONFLICT:
            self._requeue(kind, namespace, name)

    async def _apply(self, kind: Kind, obj: Obj, desired: Obj, *, lane: Lane | None = None) -> Written:
        meta = obj["metadata"]
        client = self._client if lane is None else self._client.in_lane(lane)
        namespace, name = meta.get("namespace"), meta["name"]
        try:
            answer = await client.apply_status(kind, namespace, name, meta["resourceVersion"], desired, self._manager)
        except NotFound:
            self._store.table(kind).removed(meta["uid"])
            return Written.GONE
        except Conflict:
            return Written.CONFLICT if await refresh(self._client, self._store, kind, obj) else Written.GONE
        self._remember(meta, answer["metadata"])
        self._store.ingest(kind, answer)
        return Written.WRITTEN

    def _remember(self, before: Obj, after: Obj) -> None:
        self._own[before["uid"]] = (before["resourceVersion"], after["resourceVersion"])
        self._own.move_to_end(before["uid"])
        while len(self._own) > REMEMBERED:
            self._own.popitem(last=False)


async def refresh(client: Client, store: Store, kind: Kind, obj: Obj) -> Obj | None:
    """Read `obj` again into the store; None where it, by uid, is gone (a successor is stored). Raises ApiError."""
    meta = obj["metadata"]
    try:
        fresh = await client.get(kind, meta.get("namespace"), meta["name"])
    except NotFound:
        store.table(kind).removed(meta["uid"])
        return None
    if fresh["metadata"]["uid"] != meta["uid"]:
        store.table(kind).removed(meta["uid"])
    store.ingest(kind, fresh)
    return fresh if fresh["metadata"]["uid"] == meta["uid"] else None


def own_part(status: Mapping[str, Any]) -> Obj:
    """A status without the fields that another manager writes."""
    return {key: value for key, value in status.items() if key not in FOREIGN}


def desired_status(stored: Mapping[str, Any], status: Mapping[str, Any]) -> Obj:
    """`status` as it is to be sent: without absent and foreign fields, transition times kept where nothing changed.

    Raises ValueError where observedGeneration, or a recorded providerID, is left out.
    """
    desired = own_part({key: _pruned(value) for key, value in status.items() if value is not None})
    for name in ("observedGeneration", *(kept for kept in KEPT if stored.get(kept))):
        if name not in desired:
            raise ValueError(f"a status without {name} would remove it")
    before = {c.get("type"): c for c in stored.get("conditions") or ()}
    if "conditions" in desired:
        desired["conditions"] = [_kept_time(before.get(c.get("type")), c) for c in desired["conditions"]]
    return desired


def _kept_time(old: Obj | None, new: Obj) -> Obj:
    if old is None or old.get("status") != new.get("status") or "lastTransitionTime" not in old:
        return new
    return {**new, "lastTransitionTime": old["lastTransitionTime"]}


def _pruned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _pruned(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_pruned(inner) for inner in value]
    return value


# Finalizers


async def add_finalizer(client: Client, store: Store, kind: Kind, obj: Obj, finalizer: str) -> Obj:
    """Add `finalizer` to an object that is not being deleted; gives the object as it then is.

    Raises Conflict (the store is refreshed: decide again), NotFound, ValueError for an object that is being deleted.
    """
    present = list(obj["metadata"].get("finalizers") or ())
    if finalizer in present:
        return obj
    if obj["metadata"].get("deletionTimestamp"):
        raise ValueError("the API server allows no new finalizer on an object that is being deleted")
    return await _set_finalizers(client, store, kind, obj, [*present, finalizer])


async def remove_finalizer(client: Client, store: Store, kind: Kind, obj: Obj, finalizer: str) -> bool:
    """Remove `finalizer`; True where the object is gone by that (or was already).

    Raises Conflict (the store is refreshed: decide again).
    """
    present = list(obj["metadata"].get("finalizers") or ())
    if finalizer not in present:
        return False
    try:
        answer = await _set_finalizers(client, store, kind, obj, [f for f in present if f != finalizer])
    except NotFound:
        return True
    meta = answer["metadata"]
    return bool(meta.get("deletionTimestamp")) and not meta.get("finalizers")


async def _set_finalizers(client: Client, store: Store, kind: Kind, obj: Obj, finalizers: list[str]) -> Obj:
    meta = obj["metadata"]
    # A merge patch: a server-side apply cannot drop what the POST wrote. An empty list, for null would be refused
    # by nobody but says less.
    patch = {"metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "finalizers": finalizers}}
    try:
        answer = await client.patch(kind, meta.get("namespace"), meta["name"], patch)
    except NotFound:
        store.table(kind).removed(meta["uid"])
        raise
    except Conflict:
        if await refresh(client, store, kind, obj) is None:
            raise NotFound(404, "NotFound", f"{kind.kind} {meta['name']} of this uid is gone") from None
        raise
    store.ingest(kind, answer)
    return answer
