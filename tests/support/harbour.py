"""Two hosting services, a policy and a group in a cache: what the commands that foresee are tried on."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Console
from tests.support.controller_bench import Bench, new_bench

from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.cli.commands.plan import plans
from moorage.cli.plan.gather import Gathered
from moorage.cli.views.plan import PlanView
from moorage.controllers.revisions import revision_name
from moorage.kube import kinds
from moorage.kube.kinds import Kind

Obj = dict[str, Any]

ALWAYS = {"when": {"all": [{"name": "always", "schedule": {"from": "2020-01-01T00:00:00Z"}}]}}
NEVER = {"when": {"all": [{"name": "then", "schedule": {"from": "2999-01-01T00:00:00Z"}}]}}
IMAGE = {"images": [{"image": "debian-12"}], "size": {"cpu": 1}}
SINCE = "2026-01-01T00:00:00Z"
IN_ZONES = {"type": "ec2", "region": "r", "settings": {"subnets": {"zone-a": "subnet-a", "zone-b": "subnet-b"}}}


def condition(type_: str, status: str = "True") -> Obj:
    return {"type": type_, "status": status, "reason": type_, "message": "", "lastTransitionTime": SINCE}


@dataclass
class Harbour:
    """Two services, a policy, a configuration and a group of one member."""

    bench: Bench = field(default_factory=new_bench)
    planned: set[tuple[str, str]] = field(default_factory=set)
    before: dict[tuple[str, str], Obj] = field(default_factory=dict)
    hardware: Obj = field(default_factory=lambda: dict(IMAGE))
    zones: tuple[str, ...] = ()
    """Those that the servers are in, where a is EC2."""

    async def put(self, kind: Kind, name: str, spec: Obj, namespace: str | None = "ns", **more: Any) -> Obj:
        return await self.bench.put(kind, name, spec, namespace, **more)

    async def service(self, name: str, price: str, **more: Any) -> None:
        offering = {"name": "small", "cpu": 1, "memory": "1Gi", "arch": "amd64", "pricePerHour": price}
        spec = {"type": "local", "endpoint": "http://x", "offerings": [offering], **more}
        await self.put(kinds.HOSTING_SERVICE, name, spec, None, status={"conditions": [condition("Available")]})

    async def namespace(self, annotations: dict[str, str]) -> None:
        await self.put(kinds.NAMESPACE, "ns", {}, None, metadata={"annotations": annotations})

    async def set_up(self, policy: Obj | None = None, config: Obj | None = None) -> None:
        await self.service("a", "0.02", **(IN_ZONES if self.zones else {}))
        await self.service("b", "0.04")
        await self.put(kinds.HOSTING_POLICY, "p", policy or ALWAYS)
        self.hardware = config or dict(IMAGE)
        await self.put(kinds.VIRTUAL_SERVER_CONFIG, "c", self.hardware)

    async def too_small(self, policy: Obj) -> None:
        """A group of three, and one service that has room for two."""
        await self.service("a", "0.02", limits={"servers": 2})
        await self.put(kinds.HOSTING_POLICY, "p", policy)
        await self.put(kinds.VIRTUAL_SERVER_CONFIG, "c", dict(IMAGE))
        await self.group(3)

    async def group(
        self, replicas: int = 3, *, running: int | None = None, old: Obj | None = None, **spec: Any
    ) -> None:
        """A group; with `running` it is placed on a, and has so many ready servers, made from `old`."""
        wanted = {
            "policyRef": {"name": "p"},
            "members": [{"name": "m", "configRef": {"name": "c"}, "replicas": replicas}],
        }
        status: Obj = {}
        if running is not None:
            service = self.bench.tables.services.get(None, "a")
            assert service is not None
            uid = service["metadata"]["uid"]
            status = {
                "placement": {"number": 1, "service": "a", "serviceUID": uid, "time": SINCE, "gateOpened": SINCE},
                "placements": 1,
                "members": [{"name": "m", "config": "c", "desired": running}],
            }
        made = await self.put(kinds.SERVER_GROUP, "g", {**wanted, **spec}, status=status)
        for ordinal in range(running or 0):
            await self._server(made, ordinal, old or self.hardware)

    async def _server(self, group: Obj, ordinal: int, config: Obj) -> None:
        revision = revision_name("c", VirtualServerConfigSpec.from_dict(config))
        if self.bench.tables.revisions.get("ns", revision) is None:
            body = {"metadata": {"name": revision, "namespace": "ns", "labels": {"moorage.dev/config": "c"}}}
            kept = await self.bench.api.create(kinds.CONTROLLER_REVISION, {**body, "data": {"spec": config}})
            self.bench.context.store.ingest(kinds.CONTROLLER_REVISION, kept)
        spec = {
            "serviceRef": {"name": "a", "uid": group["status"]["placement"]["serviceUID"]},
            "group": {"name": "g", "uid": group["metadata"]["uid"]},
            "member": "m",
            "ordinal": ordinal,
            "placement": 1,
            "image": config["images"][0]["image"],
            "offering": "small",
            "settings": {
                **next((s["values"] for s in config.get("settings", [])), {}),
                **({"zone": self.zones[ordinal]} if self.zones else {}),
            },
            "revision": revision,
            "deletionPolicy": "Delete",
        }
        ready = [condition(type_) for type_ in ("Instantiated", "Configured", "Ready")]
        status = {
            "observedGeneration": 1,
            "providerID": f"i-{ordinal}",
            "conditions": ready,
            "agent": {"sequence": 1, "delivered": 1, "acknowledged": 1},
        }
        await self.put(kinds.VIRTUAL_SERVER, f"g-m-{ordinal}", spec, status=status)

    async def succeed(self) -> None:
        """The server of the second placement is there and ready."""
        old = self.bench.api.stored(kinds.VIRTUAL_SERVER, "ns", "g-m-0")
        group = self.bench.api.stored(kinds.SERVER_GROUP, "ns", "g")
        placement = group["status"]["placement"]
        ref = {"name": placement["service"], "uid": placement["serviceUID"]}
        spec = {**old["spec"], "serviceRef": ref, "placement": placement["number"]}
        await self.put(kinds.VIRTUAL_SERVER, "g-m-0-2", spec, status=old["status"])

    def plan(self, *, new: bool = False, policy: Obj | None = None) -> PlanView:
        """With `policy` the files hold one, and that is what the cluster has."""
        key = ("ServerGroup", "g")
        held = self.bench.tables.groups.get("ns", "g")
        assert held is not None
        before = {} if new else {key: held}
        if policy is not None:
            before["HostingPolicy", "p"] = policy
        tables, store = self.bench.tables, self.bench.context.store
        gathered = Gathered("ns", store, tables, ("g",), frozenset({key}), before, ())
        return plans(gathered, self.now())[0]

    def gathered(self) -> Gathered:
        """What the cluster has, with no files."""
        return Gathered("ns", self.bench.context.store, self.bench.tables, ("g",), frozenset(), {}, ())

    def now(self) -> datetime:
        return self.bench.context.clock.now()

    def text(self, view: PlanView) -> str:
        console = Console(file=io.StringIO(), width=1000, color_system=None)
        for part in view.show(self.now()):
            console.print(part)
        assert isinstance(console.file, io.StringIO)
        return "".join(line.rstrip() + "\n" for line in console.file.getvalue().splitlines())
