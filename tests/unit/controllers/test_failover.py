"""A failover as the API server sees it: status first, then servers of names of their own, then the end of the old."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.controller_bench import Bench

from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.controllers.edges import Edges
from moorage.controllers.group import GroupController
from moorage.controllers.group_world import GroupObserver
from moorage.controllers.revisions import revision_name
from moorage.kube.kinds import HOSTING_POLICY, HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER
from moorage.runtime.released import Released
from moorage.runtime.service import ServiceConnection

Obj = dict[str, Any]
SINCE = "2020-01-01T00:00:00Z"


def told(type_: str, status: str, reason: str) -> Obj:
    return {"type": type_, "status": status, "reason": reason, "message": "told", "lastTransitionTime": SINCE}


def ready() -> Obj:
    """The status of a server whose agent has joined, and that is ready."""
    conditions = [told(type_, "True", type_) for type_ in ("Instantiated", "Configured", "Ready")]
    return {"observedGeneration": 1, "conditions": conditions, "agent": {"sequence": 1, "ready": True}}


class Scene:
    """A group with a ready server on `one`, beside `two`."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        observer = GroupObserver(bench.context, bench.tables)
        self.groups = GroupController(bench.context, bench.tables, observer, Edges(bench.tables))

    async def begin(self, *, ceiling: str | None = None, **failover: Any) -> None:
        config = await self.bench.config()
        revision = revision_name("c", VirtualServerConfigSpec.from_dict(config["spec"]))
        for name in ("one", "two"):
            offering: Obj = {"name": f"small-{name}", "cpu": 1, "memory": "1Gi", "arch": "amd64"}
            offerings = [offering if ceiling is None else {**offering, "pricePerHour": "0.1"}]
            spec: Obj = {"type": "local", "endpoint": "http://127.0.0.1:1", "offerings": offerings}
            status: Obj = {"observedGeneration": 1, "conditions": [told("Available", "True", "Available")]}
            metadata = {"finalizers": ["moorage.dev/service"]}
            await self.bench.put(HOSTING_SERVICE, name, spec, namespace=None, metadata=metadata, status=status)
        when = {"all": [{"name": "always", "schedule": {"from": SINCE}}]}
        readings = [{"name": "always", "value": "Met", "since": SINCE}]
        await self.bench.put(
            HOSTING_POLICY,
            "p",
            {"when": when, "failover": {"when": {"unreachableFor": "5m"}, **failover}},
            status={"observedGeneration": 1, "readings": readings},
        )
        self.one, self.two = self.uid("one"), self.uid("two")
        placement = {"number": 1, "service": "one", "serviceUID": self.one, "time": SINCE, "gateOpened": SINCE}
        members = [{"name": "m", "config": "c", "desired": 1, "offering": "small-one"}]
        status = {"observedGeneration": 1, "placement": placement, "placements": 1, "members": members}
        asked: Obj = {"policyRef": {"name": "p"}, "members": [{"name": "m", "configRef": {"name": "c"}}]}
        asked["remediation"] = {"maxUnhealthy": 0}
        asked |= {} if ceiling is None else {"maxPricePerHour": ceiling}
        metadata = {"finalizers": ["moorage.dev/group"]}
        self.group = await self.bench.put(SERVER_GROUP, "g", asked, metadata=metadata, status=status)
        spec = {
            "serviceRef": {"name": "one", "uid": self.one},
            "group": {"name": "g", "uid": self.group["metadata"]["uid"]},
            "member": "m",
            "image": "i",
            "offering": "small-one",
            "placement": 1,
            "revision": revision,
        }
        metadata = {"finalizers": ["moorage.dev/server"]}
        await self.bench.put(VIRTUAL_SERVER, "g-m-0", spec, metadata=metadata, status=ready())

    def uid(self, service: str) -> str:
        return str(self.bench.api.stored(HOSTING_SERVICE, None, service)["metadata"]["uid"])

    def down(self) -> None:
        """`one` has not answered for long; this process has seen that itself."""
        status = {"observedGeneration": 1, "conditions": [told("Available", "False", "CircuitOpen")]}
        changed = self.bench.api.change(HOSTING_SERVICE, None, "one", status={**status, "unreachableSince": SINCE})
        self.bench.context.store.ingest(HOSTING_SERVICE, changed)
        self.bench.context.looked_at |= {self.one, self.two}

    def ill(self) -> None:
        """The group's server runs, and has not been ready for long."""
        status = ready() | {"unhealthySince": SINCE}
        status["conditions"][-1] = told("Ready", "False", "ReadinessFailed")
        changed = self.bench.api.change(VIRTUAL_SERVER, "ns", "g-m-0", status=status)
        self.bench.context.store.ingest(VIRTUAL_SERVER, changed)

    def connected(self, *, answers: bool = True, doubt: str = "", looked: datetime | None = None) -> list[datetime]:
        """This process has a connection to `one`; gives the inventories that are asked for there."""
        asked: list[datetime] = []
        latest = None if looked is None else SimpleNamespace(started=looked, by_id={})
        there = SimpleNamespace(
            answers=answers,
            doubt=doubt,
            latest=latest,
            backend=None,
            need_inventory=asked.append,
            released=Released(self.one),
        )
        self.bench.context.connections[self.one] = cast(ServiceConnection, there)
        self.bench.context.looked_at |= {self.one, self.two}
        return asked

    async def reconcile(self, times: int = 6) -> None:
        for _ in range(times):
            await self.groups.reconcile(("ns", "g"))
            for name, obj in self.servers().items():
                if "generation" not in obj["metadata"]:
                    # As a real API server does.
                    meta = {**obj["metadata"], "generation": 1}
                    changed = self.bench.api.change(VIRTUAL_SERVER, "ns", name, metadata=meta)
                    self.bench.context.store.ingest(VIRTUAL_SERVER, changed)

    @property
    def status(self) -> Obj:
        found: Obj = self.bench.api.stored(SERVER_GROUP, "ns", "g")["status"]
        return found

    def servers(self) -> dict[str, Obj]:
        return {
            name: obj for (plural, _, name), obj in self.bench.api.objects.items() if plural == VIRTUAL_SERVER.plural
        }

    def pending(self) -> str:
        return next((c["reason"] for c in self.status["conditions"] if c["type"] == "FailoverPending"), "")


@pytest.fixture
async def scene(bench: Bench) -> Scene:
    return Scene(bench)


async def test_a_failover_is_written_before_a_server_of_another_name_is_posted_elsewhere(scene: Scene) -> None:
    await scene.begin(action="Rebuild", overlap="Allowed")
    await scene.reconcile(2)
    assert (scene.status["placement"]["service"], set(scene.servers())) == ("one", {"g-m-0"})
    scene.bench.asked()
    scene.down()
    assert ("ServerGroup", "ns", "g") in scene.bench.asked(), "the group looks as soon as its service does not answer"
    scene.bench.api.calls.clear()
    await scene.reconcile()
    placement = scene.status["placement"]
    assert (placement["service"], placement["number"], placement["overlapping"]) == ("two", 2, True)
    assert placement["message"].startswith("failed over from one: one has not answered since 2020-01-01T00:00:00Z")
    assert [(e["service"], e["placement"]) for e in scene.status["failedOver"]] == [("one", 1)]
    left = next(c for c in placement["candidates"] if c["service"] == "one")
    assert not left["feasible"]
    new = scene.servers()["g-m-0-2"]
    assert (new["spec"]["placement"], new["spec"]["serviceRef"]["name"]) == (2, "two")
    calls = scene.bench.api.calls
    assert calls.index("apply ServerGroup g status") < calls.index("create VirtualServer g-m-0-2")
    assert "delete VirtualServer g-m-0" not in calls, "the old one stays until the new one is ready"
    assert scene.pending() == "EarlierServersRemain"


async def test_the_old_servers_are_removed_once_the_new_ones_are_ready(scene: Scene) -> None:
    await scene.begin(action="Rebuild", overlap="Allowed")
    scene.down()
    await scene.reconcile()
    scene.bench.context.store.ingest(
        VIRTUAL_SERVER, scene.bench.api.change(VIRTUAL_SERVER, "ns", "g-m-0-2", status=ready())
    )
    await scene.reconcile()
    assert "deletionTimestamp" in scene.servers()["g-m-0"]["metadata"]
    assert "deletionTimestamp" not in scene.servers()["g-m-0-2"]["metadata"]


async def test_what_this_process_has_not_seen_itself_moves_nothing(scene: Scene) -> None:
    await scene.begin(action="Rebuild", overlap="Allowed")
    scene.down()
    scene.bench.context.looked_at.clear()
    await scene.reconcile()
    assert (scene.status["placement"]["service"], scene.pending()) == ("one", "")


async def test_without_overlap_nothing_is_done_about_a_service_that_cannot_be_reached(scene: Scene) -> None:
    await scene.begin(action="Rebuild")
    scene.down()
    await scene.reconcile()
    assert (scene.status["placement"]["service"], scene.pending()) == ("one", "OverlapForbidden")
    assert set(scene.servers()) == {"g-m-0"}


ILL: dict[str, Any] = {"when": {"unhealthyShare": "50%", "unhealthyFor": "5m"}, "action": "Rebuild"}


@pytest.mark.parametrize("answers", [True, False])
async def test_without_overlap_no_server_is_given_up_where_the_service_could_not_confirm_its_end(
    scene: Scene, answers: bool
) -> None:
    """Its status says that it is available: it does answer, for another account or to refuse the credentials."""
    await scene.begin(**ILL)
    scene.connected(answers=answers, doubt="told", looked=scene.bench.context.clock.now())
    scene.ill()
    await scene.reconcile()
    assert (scene.status["placement"]["service"], scene.pending()) == ("one", "OverlapForbidden")
    assert "deletionTimestamp" not in scene.servers()["g-m-0"]["metadata"]


async def test_without_overlap_a_service_is_looked_into_before_its_servers_are_given_up(scene: Scene) -> None:
    await scene.begin(**ILL)
    asked = scene.connected(looked=datetime.fromisoformat("2020-01-01T00:05:00Z"))
    scene.ill()
    await scene.reconcile()
    assert (scene.status["placement"]["service"], scene.pending()) == ("one", "InventoryAwaited")
    assert set(asked) == {datetime.fromisoformat("2020-01-01T00:05:00Z")}
    scene.connected(looked=datetime.fromisoformat("2020-01-01T00:05:01Z"))
    await scene.reconcile()
    assert "placement" not in scene.status
    assert "deletionTimestamp" in scene.servers()["g-m-0"]["metadata"]


async def test_the_annotation_of_a_person_lets_it_go(scene: Scene) -> None:
    await scene.begin(action="Ask", overlap="Allowed")
    scene.down()
    await scene.reconcile()
    assert scene.pending() == "FailoverNotApproved"
    assert scene.status["failover"] == {"placement": 1, "reason": "ServiceUnreachable", "since": SINCE}
    scene.bench.asked()
    note = {"metadata": {"annotations": {"moorage.dev/failover": f"1@{SINCE}"}}}
    changed = await scene.bench.api.patch(SERVER_GROUP, "ns", "g", note)
    scene.bench.context.store.ingest(SERVER_GROUP, changed)
    assert ("ServerGroup", "ns", "g") in scene.bench.asked()
    await scene.reconcile()
    assert scene.status["placement"]["service"] == "two"
    assert "failover" not in scene.status


async def test_a_ceiling_bounds_where_a_group_goes_and_not_that_both_cost_until_the_old_servers_are_gone(
    scene: Scene,
) -> None:
    await scene.begin(action="Rebuild", overlap="Allowed", ceiling="0.1")
    scene.down()
    await scene.reconcile()
    await scene.bench.context.writer.flush()
    assert set(scene.servers()) == {"g-m-0", "g-m-0-2"}
    assert scene.servers()["g-m-0-2"]["spec"]["offering"] == "small-two"
    assert scene.status["members"][0]["offering"] == "small-two"
    limited = next(c for c in scene.status["conditions"] if c["type"] == "CostLimited")
    assert limited["reason"] == "PriceAboveCeiling"
    assert limited["message"].startswith("0.2/h for the group, above spec.maxPricePerHour (0.1/h)")


async def test_a_ceiling_that_no_other_service_keeps_holds_the_group_where_it_is(scene: Scene) -> None:
    await scene.begin(action="Rebuild", overlap="Allowed", ceiling="0.05")
    scene.down()
    await scene.reconcile()
    assert (scene.status["placement"]["service"], scene.pending()) == ("one", "NoCandidate")
    pending = next(c for c in scene.status["conditions"] if c["type"] == "FailoverPending")
    assert "two rejected: PriceAboveCeiling" in pending["message"]
