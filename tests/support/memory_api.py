"""A few of the API server's rules in memory, for unit tests of what writes to it. The api tests use a real one."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Self, cast

from moorage.kube.answers import Listing, WatchEvent
from moorage.kube.client import Client
from moorage.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from moorage.kube.kinds import Kind

Obj = dict[str, Any]


class MemoryApi:
    """Objects with uid and resourceVersion; `calls` names each request; `failures` are raised by the next ones."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Obj] = {}
        self.calls: list[str] = []
        self.failures: list[BaseException] = []
        self.events: list[WatchEvent] = []
        self._versions = itertools.count(1)
        self._changed = asyncio.Event()

    @property
    def client(self) -> Client:
        """This, as what it stands in for."""
        return cast(Client, self)

    def unguarded(self) -> Self:
        return self

    def in_lane(self, lane: object) -> Self:
        return self

    def version(self) -> str:
        return str(next(self._versions))

    def stored(self, kind: Kind, namespace: str | None, name: str) -> Obj:
        return copy.deepcopy(self._held(kind, namespace, name))

    def change(self, kind: Kind, namespace: str | None, name: str, **fields: Any) -> Obj:
        """Somebody else's write."""
        obj = self._held(kind, namespace, name)
        obj.update(fields)
        return self._touch(obj)

    def remove(self, kind: Kind, namespace: str | None, name: str) -> Obj:
        """Somebody else's deletion."""
        obj = self.objects.pop((kind.plural, namespace or "", name))
        obj["metadata"]["resourceVersion"] = self.version()
        return self._emit("DELETED", obj)

    async def get(self, kind: Kind, namespace: str | None, name: str, *, metadata_only: bool = False) -> Obj:
        self._call(f"get {kind.kind} {name}")
        return self.stored(kind, namespace, name)

    async def list(self, kind: Kind, namespace: str | None = None, **_: Any) -> Listing:
        self._call(f"list {kind.kind}")
        items = [copy.deepcopy(obj) for (plural, _, _), obj in self.objects.items() if plural == kind.plural]
        return Listing(items, self.version())

    async def watch(self, kind: Kind, namespace: str | None = None, **_: Any) -> AsyncGenerator[WatchEvent, None]:
        self._call(f"watch {kind.kind}")
        while True:
            while self.events:
                yield self.events.pop(0)
                if self.failures:
                    raise self.failures.pop(0)
            self._changed.clear()
            await self._changed.wait()
            if self.failures:
                raise self.failures.pop(0)

    def interrupt(self, error: ApiError) -> None:
        """End the present watch."""
        self.failures.append(error)
        self._changed.set()

    async def create(self, kind: Kind, obj: Mapping[str, Any], *, manager: str = "") -> Obj:
        meta = obj["metadata"]
        self._call(f"create {kind.kind} {meta['name']}")
        key = (kind.plural, meta.get("namespace") or "", meta["name"])
        if key in self.objects:
            raise AlreadyExists(409, "AlreadyExists", f"{meta['name']} exists")
        stored = copy.deepcopy(dict(obj))
        stored["metadata"]["uid"] = f"uid-{self.version()}"
        stored["metadata"].setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        self.objects[key] = stored
        return self._touch(stored, "ADDED")

    async def update(self, kind: Kind, obj: Mapping[str, Any], **_: Any) -> Obj:
        meta = obj["metadata"]
        self._call(f"update {kind.kind} {meta['name']}")
        held = self._held(kind, meta.get("namespace"), meta["name"])
        self._check(held, meta)
        held.update(copy.deepcopy({key: value for key, value in obj.items() if key != "metadata"}))
        return self._touch(held)

    async def apply_status(
        self, kind: Kind, namespace: str | None, name: str, resource_version: str, status: Obj, manager: str
    ) -> Obj:
        self._call(f"apply {kind.kind} {name} status")
        held = self._held(kind, namespace, name)
        self._check(held, {"resourceVersion": resource_version})
        foreign = {key: value for key, value in (held.get("status") or {}).items() if key == "agent"}
        held["status"] = copy.deepcopy({**status, **foreign})
        return self._touch(held)

    async def patch(self, kind: Kind, namespace: str | None, name: str, body: Obj, **_: Any) -> Obj:
        self._call(f"patch {kind.kind} {name}")
        held = self._held(kind, namespace, name)
        meta = body.get("metadata", {})
        self._check(held, meta)
        held["metadata"].update(copy.deepcopy({k: v for k, v in meta.items() if k not in ("uid", "resourceVersion")}))
        held.update(copy.deepcopy({key: value for key, value in body.items() if key != "metadata"}))
        if held["metadata"].get("deletionTimestamp") and not held["metadata"].get("finalizers"):
            del self.objects[(kind.plural, namespace or "", name)]
            return copy.deepcopy(held)
        return self._touch(held)

    async def delete(
        self, kind: Kind, namespace: str | None, name: str, *, uid: str = "", propagation: str = ""
    ) -> Obj:
        self._call(f"delete {kind.kind} {name}")
        held = self._held(kind, namespace, name)
        self._check(held, {"uid": uid})
        if held["metadata"].get("finalizers"):
            held["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            return self._touch(held)
        self.remove(kind, namespace, name)
        return {"kind": "Status"}

    def _call(self, call: str) -> None:
        self.calls.append(call)
        if self.failures and not call.startswith("watch"):
            raise self.failures.pop(0)

    def _held(self, kind: Kind, namespace: str | None, name: str) -> Obj:
        try:
            return self.objects[(kind.plural, namespace or "", name)]
        except KeyError:
            raise NotFound(404, "NotFound", f"{name} not found") from None

    @staticmethod
    def _check(held: Obj, meta: Mapping[str, Any]) -> None:
        for field in ("uid", "resourceVersion"):
            if meta.get(field) and meta[field] != held["metadata"][field]:
                raise Conflict(409, "Conflict", f"{field} is another")

    def _touch(self, obj: Obj, event: str = "MODIFIED") -> Obj:
        obj["metadata"]["resourceVersion"] = self.version()
        return self._emit(event, obj)

    def _emit(self, event: str, obj: Obj) -> Obj:
        self.events.append(WatchEvent(event, copy.deepcopy(obj)))
        self._changed.set()
        return copy.deepcopy(obj)
