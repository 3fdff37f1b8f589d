"""Ceilings over the groups of a namespace: what is promised counts at once, and what becomes free is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.controller_bench import Bench, Obj, read_policy

from moorage.api.names import ANNOTATION_MAX_PRICE
from moorage.controllers.edges import Edges
from moorage.controllers.group import GroupController
from moorage.controllers.group_world import GroupObserver
from moorage.core.group import GroupPlan, GroupWorld
from moorage.kube.kinds import (
    HOSTING_POLICY,
    HOSTING_SERVICE,
    NAMESPACE,
    SERVER_GROUP,
    VIRTUAL_SERVER,
    VIRTUAL_SERVER_CONFIG,
)
from moorage.runtime.workers import Result

ALWAYS = {"when": {"all": [{"name": "a", "schedule": {"from": "2000-01-01T00:00:00Z"}}]}}
AVAILABLE = {"type": "Available", "status": "True", "reason": "Available", "message": ""}


class Held(GroupController):
    """Decides, and then waits with all that follows."""

    def __init__(self, bench: Bench, observer: GroupObserver) -> None:
        super().__init__(bench.context, bench.tables, observer, Edges(bench.tables))
        self.go = asyncio.Event()

    async def _commit(self, obj: Obj, world: GroupWorld, plan: GroupPlan) -> Result:
        await self.go.wait()
        return await super()._commit(obj, world, plan)


async def world(bench: Bench, *groups: str, ceiling: str | None = "0.3", **spec: Any) -> GroupObserver:
    """A service at 0.1 a server, and groups of two servers each."""
    annotations = {} if ceiling is None else {ANNOTATION_MAX_PRICE: ceiling}
    await bench.put(NAMESPACE, "ns", {}, None, metadata={"annotations": annotations})
    offerings = [{"name": "small", "cpu": 1, "memory": "1Gi", "pricePerHour": "0.1"}]
    service = {"type": "local", "endpoint": "http://h", "offerings": offerings}
    seen = {**AVAILABLE, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    await bench.put(HOSTING_SERVICE, "s", service, None, status={"observedGeneration": 1, "conditions": [seen]})
    await bench.put(HOSTING_POLICY, "p", ALWAYS)
    await bench.put(VIRTUAL_SERVER_CONFIG, "c", {"images": [{"image": "i"}]})
    for name in groups:
        members = [{"name": "m", "configRef": {"name": "c"}}]
        scale = {"member": "m", "replicas": 2}
        await bench.put(SERVER_GROUP, name, {"policyRef": {"name": "p"}, "members": members, "scale": scale, **spec})
    observer = GroupObserver(bench.context, bench.tables)
    await read_policy(bench)
    return observer


async def settle(bench: Bench, observer: GroupObserver, *names: str) -> None:
    """Reconcile until the placement, its first servers and the status of each group are there."""
    controller = GroupController(bench.context, bench.tables, observer, Edges(bench.tables))
    for name in names * 4:
        await controller.reconcile(("ns", name))
        await bench.context.writer.flush()


def told(bench: Bench, name: str, type_: str) -> tuple[str, str] | None:
    obj = bench.tables.groups.get("ns", name)
    assert obj is not None
    found = (c for c in obj["status"]["conditions"] if c["type"] == type_)
    return next(((c["reason"], c["message"]) for c in found), None)


def servers(bench: Bench, name: str) -> int:
    return len(bench.tables.servers.by_index("group", ("ns", name)))


async def change(bench: Bench, name: str, **spec: Any) -> None:
    found = bench.api.stored(SERVER_GROUP, "ns", name)
    meta = {**found["metadata"], "generation": found["metadata"]["generation"] + 1}
    changed = bench.api.change(SERVER_GROUP, "ns", name, spec={**found["spec"], **spec}, metadata=meta)
    bench.context.store.ingest(SERVER_GROUP, changed)


async def test_two_groups_that_are_decided_upon_at_once_do_not_both_pass(bench: Bench) -> None:
    observer = await world(bench, "one", "two")
    held = Held(bench, observer)
    first = asyncio.create_task(held.reconcile(("ns", "one")))
    await asyncio.sleep(0)
    await settle(bench, observer, "two")
    reason, message = told(bench, "two", "CostLimited") or ("", "")
    assert reason == "PriceAboveCeiling"
    assert "0.2/h for the group and 0.2/h for the namespace's other groups, 0.4/h" in message
    assert servers(bench, "two") == 0
    held.go.set()
    await first
    await settle(bench, observer, "one")
    assert (servers(bench, "one"), told(bench, "one", "CostLimited")) == (2, None)


async def test_what_becomes_free_wakes_those_that_wait_for_it(bench: Bench) -> None:
    observer = await world(bench, "one", "two")
    await settle(bench, observer, "one", "two")
    assert servers(bench, "two") == 0
    bench.asked()
    await change(bench, "one", scale={"member": "m", "replicas": 1})
    await settle(bench, observer, "one")
    for obj in bench.tables.servers.by_index("group", ("ns", "one")):
        if obj["metadata"]["name"] == "one-m-1":
            bench.context.store.ingest(VIRTUAL_SERVER, obj, deleted=True)
            bench.tables.servers.removed(obj["metadata"]["uid"])
    await settle(bench, observer, "one")
    assert ("ServerGroup", "ns", "two") in bench.asked()
    await settle(bench, observer, "two")
    assert (servers(bench, "two"), told(bench, "two", "CostLimited")) == (2, None)


async def test_the_end_of_a_group_wakes_those_that_wait(bench: Bench) -> None:
    observer = await world(bench, "one", "two")
    await settle(bench, observer, "one", "two")
    bench.asked()
    found = bench.tables.groups.get("ns", "one")
    assert found is not None
    bench.tables.groups.removed(found["metadata"]["uid"])
    assert ("ServerGroup", "ns", "two") in bench.asked()


async def test_a_successor_counts_what_status_and_servers_say(bench: Bench) -> None:
    await settle(bench, await world(bench, "one", "two"), "one")
    await settle(bench, GroupObserver(bench.context, bench.tables), "two")
    assert (servers(bench, "one"), servers(bench, "two")) == (2, 0)
    assert "0.2/h for the namespace's other groups" in (told(bench, "two", "CostLimited") or ("", ""))[1]


async def test_a_ceiling_that_is_just_set_counts_what_was_there_without_one(bench: Bench) -> None:
    observer = await world(bench, "one", "two", ceiling=None)
    await settle(bench, observer, "one")
    namespace = bench.api.stored(NAMESPACE, None, "ns")
    meta = {**namespace["metadata"], "annotations": {ANNOTATION_MAX_PRICE: "0.3"}}
    bench.context.store.ingest(NAMESPACE, bench.api.change(NAMESPACE, None, "ns", metadata=meta))
    await settle(bench, observer, "two")
    assert (servers(bench, "one"), servers(bench, "two")) == (2, 0)
    assert "0.2/h for the namespace's other groups" in (told(bench, "two", "CostLimited") or ("", ""))[1]


async def test_growth_goes_as_far_as_the_group_may_pay_and_the_rest_is_told(bench: Bench) -> None:
    observer = await world(bench, "one", ceiling=None, maxPricePerHour="0.35")
    await settle(bench, observer, "one")
    await change(bench, "one", scale={"member": "m", "replicas": 9})
    await settle(bench, observer, "one")
    assert servers(bench, "one") == 3
    reason, message = told(bench, "one", "CostLimited") or ("", "")
    assert reason == "PriceAboveCeiling"
    assert message == (
        "member m asks for 9 servers and gets 3; with 9: 0.9/h for the group, above spec.maxPricePerHour (0.35/h)"
    )
    assert told(bench, "one", "Ready") == (reason, message)


@pytest.mark.parametrize(("annotation", "reason"), [("0.1", "PriceAboveCeiling"), ("cheap", "CeilingInvalid")])
async def test_a_ceiling_that_falls_below_what_runs_removes_nothing_and_says_so(
    bench: Bench, annotation: str, reason: str
) -> None:
    observer = await world(bench, "one", ceiling=None)
    await settle(bench, observer, "one")
    bench.asked()
    namespace = bench.api.stored(NAMESPACE, None, "ns")
    meta = {**namespace["metadata"], "annotations": {ANNOTATION_MAX_PRICE: annotation}}
    bench.context.store.ingest(NAMESPACE, bench.api.change(NAMESPACE, None, "ns", metadata=meta))
    assert ("ServerGroup", "ns", "one") in bench.asked()
    await settle(bench, observer, "one")
    found = told(bench, "one", "CostLimited")
    assert found is not None
    assert found[0] == reason
    assert found[1].endswith("; nothing is removed for it, and nothing added")
    assert servers(bench, "one") == 2
    assert not any(o["metadata"].get("deletionTimestamp") for o in bench.tables.servers)


async def test_guards_bound_what_is_asked_for_and_say_so(bench: Bench) -> None:
    scale = {"member": "m", "replicas": 9, "minReplicas": 1, "maxReplicas": 3}
    observer = await world(bench, "one", ceiling=None, scale=scale)
    await settle(bench, observer, "one")
    assert servers(bench, "one") == 3
    assert told(bench, "one", "ScaleLimited") == (
        "AboveMaximum",
        "spec.scale.replicas asks for 9 servers of member m, and gets 3: maxReplicas is 3",
    )
    await change(bench, "one", scale={**scale, "replicas": 0})
    await settle(bench, observer, "one")
    assert (told(bench, "one", "ScaleLimited") or ("", ""))[0] == "BelowMinimum"
    stored = bench.tables.groups.get("ns", "one")
    assert stored is not None
    assert stored["spec"]["scale"]["replicas"] == 0, "what was asked for is never written over"
    await change(bench, "one", scale={**scale, "replicas": 2})
    await settle(bench, observer, "one")
    assert told(bench, "one", "ScaleLimited") is None
