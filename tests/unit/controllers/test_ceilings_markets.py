"""Ceilings where a service sells at two prices, or has no room for what comes first: what is paid is what counts."""

from __future__ import annotations

from typing import Any

from tests.support.controller_bench import Bench, Obj, read_policy

from moorage.controllers.edges import Edges
from moorage.controllers.group import GroupController
from moorage.controllers.group_world import GroupObserver
from moorage.kube import kinds

SINCE = "2026-01-01T00:00:00Z"
AVAILABLE = {"type": "Available", "status": "True", "reason": "Available", "message": "", "lastTransitionTime": SINCE}
WHEN = {"all": [{"name": "a", "schedule": {"from": "2000-01-01T00:00:00Z"}}]}
LENT = {"name": "m", "cpu": 1, "memory": "1Gi", "pricePerHour": "0.10", "spotPricePerHour": "0.03"}


def offering(name: str, price: str) -> Obj:
    return {"name": name, "cpu": 1, "memory": "1Gi", "pricePerHour": price}


class Scene:
    """A group of one server of at least one core."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    async def begin(self, services: dict[str, list[Obj]], select: Obj | None = None, **spec: Any) -> None:
        for name, offerings in services.items():
            wanted = {"type": "local", "endpoint": "http://h", "offerings": offerings}
            status = {"observedGeneration": 1, "conditions": [AVAILABLE]}
            await self.bench.put(kinds.HOSTING_SERVICE, name, wanted, None, status=status)
        await self.bench.put(kinds.HOSTING_POLICY, "p", {"when": WHEN, "select": select or {}})
        await self.bench.put(kinds.VIRTUAL_SERVER_CONFIG, "c", {"images": [{"image": "i"}]})
        members = [{"name": "m", "configRef": {"name": "c"}, "replicas": 1}]
        await self.bench.put(kinds.SERVER_GROUP, "g", {"policyRef": {"name": "p"}, "members": members, **spec})
        observer = GroupObserver(self.bench.context, self.bench.tables)
        self.controller = GroupController(self.bench.context, self.bench.tables, observer, Edges(self.bench.tables))
        await read_policy(self.bench)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(6):
            await self.controller.reconcile(("ns", "g"))
            await self.bench.context.writer.flush()
            self._clear()

    def _clear(self) -> None:
        """Servers that were deleted are gone at once."""
        for obj in self.servers():
            stored = self.bench.api.stored(kinds.VIRTUAL_SERVER, "ns", obj["metadata"]["name"])
            if stored["metadata"].get("deletionTimestamp"):
                self.bench.api.remove(kinds.VIRTUAL_SERVER, "ns", obj["metadata"]["name"])
                self.bench.context.store.ingest(kinds.VIRTUAL_SERVER, obj, deleted=True)
                self.bench.tables.servers.removed(obj["metadata"]["uid"])

    def servers(self) -> list[Obj]:
        return list(self.bench.tables.servers.by_index("group", ("ns", "g")))

    @property
    def made(self) -> list[tuple[str, str, Obj]]:
        return [(s["spec"]["serviceRef"]["name"], s["spec"]["offering"], s["spec"]["settings"]) for s in self.servers()]

    @property
    def status(self) -> Obj:
        found: Obj = self.bench.tables.groups.get("ns", "g")["status"]  # type: ignore[index]
        return found

    def told(self, type_: str) -> tuple[str, str] | None:
        found = (c for c in self.status["conditions"] if c["type"] == type_)
        return next(((c["reason"], c["message"]) for c in found), None)

    async def full(self) -> None:
        """The services have no room for the servers that there are."""
        now = self.bench.context.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        stalled = {"type": "Stalled", "status": "True", "reason": "InsufficientCapacity", "message": "full"}
        for obj in self.servers():
            status = {"observedGeneration": 1, "conditions": [{**stalled, "lastTransitionTime": now}]}
            name = obj["metadata"]["name"]
            changed = self.bench.api.change(kinds.VIRTUAL_SERVER, "ns", name, status=status)
            self.bench.context.store.ingest(kinds.VIRTUAL_SERVER, changed)


async def test_a_server_that_may_be_taken_back_counts_at_the_price_that_it_was_chosen_for(bench: Bench) -> None:
    scene = Scene(bench)
    await scene.begin({"a": [LENT]}, {"spot": "Allow"}, maxPricePerHour="0.05")
    assert scene.made == [("a", "m", {"spot": True})]
    assert scene.status["members"][0]["interruptible"] is True
    assert scene.told("CostLimited") is None


async def test_the_full_price_is_not_paid_under_a_ceiling_where_there_is_no_room_at_the_lower_one(bench: Bench) -> None:
    scene = Scene(bench)
    await scene.begin({"a": [LENT]}, {"spot": "Allow"}, maxPricePerHour="0.05")
    await scene.full()
    await scene.settle()
    assert [settings for _, _, settings in scene.made] == [{"spot": True}]
    reason, message = scene.told("CostLimited") or ("", "")
    assert reason == "PriceAboveCeiling"
    assert "member m does not get offering m that stays, at its full price; with it: 0.1/h" in message
    assert scene.told("Ready") is not None
    assert "turned out to have no room (full)" in (scene.told("Ready") or ("", ""))[1]


async def test_the_full_price_is_paid_where_the_ceiling_allows_it_and_is_recorded(bench: Bench) -> None:
    scene = Scene(bench)
    await scene.begin({"a": [LENT]}, {"spot": "Allow"}, maxPricePerHour="0.10")
    await scene.full()
    await scene.settle()
    assert scene.made == [("a", "m", {})]
    assert scene.status["members"][0]["interruptible"] is False
    assert scene.told("CostLimited") is None


async def test_a_status_without_the_market_is_read_from_its_servers(bench: Bench) -> None:
    scene = Scene(bench)
    await scene.begin({"a": [LENT]}, {"spot": "Allow"}, maxPricePerHour="0.05")
    members = [{k: v for k, v in m.items() if k != "interruptible"} for m in scene.status["members"]]
    older = bench.api.change(kinds.SERVER_GROUP, "ns", "g", status={**scene.status, "members": members})
    bench.context.store.ingest(kinds.SERVER_GROUP, older)
    await scene.settle()
    assert scene.status["members"][0]["interruptible"] is True
    assert scene.told("CostLimited") is None


async def test_where_the_ceiling_refuses_what_has_room_the_next_service_is_taken(bench: Bench) -> None:
    scene = Scene(bench)
    services = {"a": [offering("small", "0.05"), offering("medium", "0.10")], "b": [offering("small", "0.06")]}
    await scene.begin(services, maxPricePerHour="0.06")
    assert scene.made == [("a", "small", {})]
    await scene.full()
    await scene.settle()
    assert scene.made == [("b", "small", {})]
    assert scene.told("CostLimited") is None


async def test_without_another_service_what_comes_first_is_tried_again_and_the_reason_is_told(bench: Bench) -> None:
    scene = Scene(bench)
    await scene.begin({"a": [offering("small", "0.05"), offering("medium", "0.10")]}, maxPricePerHour="0.06")
    await scene.full()
    await scene.settle()
    reason, message = scene.told("Ready") or ("", "")
    assert reason == "PriceAboveCeiling"
    assert "offering small turned out to have no room (full)" in message
    assert "member m does not get offering medium" in message
    bench.context.clock.advance(60)  # type: ignore[attr-defined]
    await scene.settle()
    assert [name for _, name, _ in scene.made] == ["small"]
    assert not any(s.get("status", {}).get("conditions") for s in scene.servers()), "it is a new one"
