"""The controllers' surroundings over an API server in memory, without processes, services or time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support.memory_api import MemoryApi

from moorage.controllers.context import ChannelInfo, Context
from moorage.controllers.edges import Edges
from moorage.controllers.group_world import GroupObserver
from moorage.controllers.hostingpolicy import PolicyController
from moorage.controllers.probes import Probes
from moorage.controllers.resources import ResourceReadings
from moorage.controllers.service_views import ServiceViews
from moorage.controllers.tables import Tables, register
from moorage.controllers.telling import Telling
from moorage.controllers.triggers import Triggers
from moorage.core.targets import AllowList
from moorage.kube import kinds
from moorage.kube.apply import StatusWriter
from moorage.kube.events import EventRecorder
from moorage.kube.installation import Installation
from moorage.kube.kinds import Kind
from moorage.kube.store import Store
from moorage.runtime.clock import ManualClock
from moorage.runtime.metrics import Metrics

Obj = dict[str, Any]


class Asked(Context):
    """A context that remembers what it is asked to reconcile."""

    asked: list[tuple[str, str, str]]

    def enqueue(
        self, kind: Kind, namespace: str, name: str, *, hot: bool = False, urgent: bool = False, after: float = 0.0
    ) -> None:
        """Remember it."""
        self.asked.append((kind.kind, namespace, name))


@dataclass
class Bench:
    """What the tests of the controllers share."""

    api: MemoryApi
    context: Asked
    tables: Tables
    edges: Edges
    made: int = field(default=0)
    observer: GroupObserver | None = None

    async def put(self, kind: Kind, name: str, spec: Obj, namespace: str | None = "ns", **more: Any) -> Obj:
        """An object at the API server and in the cache."""
        self.made += 1
        meta = {
            "name": name,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "generation": 1,
            **({"namespace": namespace} if namespace else {}),
            **more.pop("metadata", {}),
        }
        obj = await self.api.create(kind, {"metadata": meta, "spec": spec, **more})
        self.context.store.ingest(kind, obj)
        if kind is kinds.HOSTING_SERVICE:
            self.context.looked_at.add(obj["metadata"]["uid"])
        return obj

    async def group(self, name: str = "g", *members: tuple[str, str], policy: str = "p", **more: Any) -> Obj:
        """A ServerGroup of (member, config)."""
        found = [{"name": m, "configRef": {"name": c}} for m, c in members or (("m", "c"),)]
        return await self.put(kinds.SERVER_GROUP, name, {"policyRef": {"name": policy}, "members": found}, **more)

    async def config(self, name: str = "c", *needs: tuple[str, str]) -> Obj:
        """A VirtualServerConfig whose items are outputs of (member, output)."""
        items = [
            {"name": f"item{i}", "valueFrom": {"output": {"member": m, "name": o}}} for i, (m, o) in enumerate(needs)
        ]
        spec: Obj = {"images": [{"image": "i"}], "configuration": items}
        return await self.put(kinds.VIRTUAL_SERVER_CONFIG, name, spec)

    async def server(self, group: Obj, member: str = "m", uid: str = "", **more: Any) -> Obj:
        """The first VirtualServer of a member."""
        meta = group["metadata"]
        spec = {
            "serviceRef": {"name": "s", "uid": "su"},
            "group": {"name": meta["name"], "uid": uid or meta["uid"]},
            "member": member,
            "image": "i",
            "offering": "small",
            "placement": 1,
        }
        return await self.put(kinds.VIRTUAL_SERVER, f"{meta['name']}-{member}-0", spec, **more)

    def asked(self) -> set[tuple[str, str, str]]:
        """What was asked to be reconciled since the last time."""
        found = set(self.context.asked)
        self.context.asked.clear()
        return found


def new_bench() -> Bench:
    """Empty. Needs a running event loop."""
    api, store = MemoryApi(), Store()
    tables = register(store, "inst")
    context = Asked(
        client=api.client,
        store=store,
        installation=Installation("inst", b"key"),
        events=EventRecorder(api.client),
        clock=ManualClock(),
        metrics=Metrics(process=False),
        namespace="system",
        channel=ChannelInfo("https://127.0.0.1", "pin"),
    )
    context.asked = []
    context.set_writer(StatusWriter(api.client, store, "m", context.requeue))
    edges = Edges(tables)
    Triggers(context, tables, edges)
    Telling(context, tables)
    return Bench(api, context, tables, edges)


async def read_policy(bench: Bench, name: str = "p") -> None:
    """Have a policy's conditions read once, with nothing allowed to be asked outside."""
    probes = Probes(bench.context, bench.tables, AllowList(), bench.context.clock)
    services, resources = ServiceViews(bench.context, bench.tables), ResourceReadings(bench.context, recheck=60.0)
    await PolicyController(bench.context, bench.tables, services, probes, resources).reconcile(("ns", name))
    await probes.close()
