"""What a policy required of a placed group's servers does not go with the policy."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.controller_bench import Bench

from moorage.api.names import ANNOTATION_APPROVAL, ANNOTATION_REQUIRE_APPROVAL
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.controllers.edges import Edges
from moorage.controllers.group import GroupController
from moorage.controllers.group_world import GroupObserver
from moorage.controllers.revisions import revision_name
from moorage.core.policy.approval import Approval
from moorage.kube.kinds import (
    HOSTING_POLICY,
    HOSTING_SERVICE,
    NAMESPACE,
    SERVER_GROUP,
    VIRTUAL_SERVER,
    VIRTUAL_SERVER_CONFIG,
)

Obj = dict[str, Any]
SINCE = "2020-01-01T00:00:00Z"


def told(type_: str, status: str) -> Obj:
    return {"type": type_, "status": status, "reason": type_, "message": "told", "lastTransitionTime": SINCE}


class Scene:
    """A placed group of two servers, which its policy wants on arm64 although amd64 is cheaper."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.groups = GroupController(
            bench.context, bench.tables, GroupObserver(bench.context, bench.tables), Edges(bench.tables)
        )

    async def begin(self) -> None:
        config = await self.bench.config()
        self.revision = revision_name("c", VirtualServerConfigSpec.from_dict(config["spec"]))
        sizes = (("x86", "amd64", "0.01"), ("arm", "arm64", "0.02"), ("arm-large", "arm64", "0.03"))
        offerings = [
            {"name": name, "cpu": 1, "memory": "1Gi", "arch": arch, "pricePerHour": price}
            for name, arch, price in sizes
        ]
        spec: Obj = {"type": "local", "endpoint": "http://127.0.0.1:1", "offerings": offerings}
        status: Obj = {"observedGeneration": 1, "conditions": [told("Available", "True")]}
        metadata = {"finalizers": ["moorage.dev/service"]}
        service = await self.bench.put(HOSTING_SERVICE, "s", spec, namespace=None, metadata=metadata, status=status)
        self.service = {"name": "s", "uid": service["metadata"]["uid"]}
        await self.policy("p", "arm64")
        placement = {"number": 1, "service": "s", "serviceUID": self.service["uid"], "time": SINCE, "gateOpened": SINCE}
        members = [{"name": "m", "config": "c", "desired": 2, "offering": "arm"}]
        status = {"observedGeneration": 1, "placement": placement, "placements": 1, "members": members}
        asked: Obj = {"policyRef": {"name": "p"}, "members": [{"name": "m", "configRef": {"name": "c"}, "replicas": 2}]}
        metadata = {"finalizers": ["moorage.dev/group"]}
        self.group = await self.bench.put(SERVER_GROUP, "g", asked, metadata=metadata, status=status)
        for number in (0, 1):
            await self.server(number)

    async def policy(self, name: str, arch: str, *more: Obj) -> None:
        """A policy that is met, but for what each group decides by itself."""
        when = {"all": [{"name": "always", "schedule": {"from": SINCE}}, *more]}
        select = {"requirements": [{"key": "arch", "operator": "In", "values": [arch]}]}
        readings = [{"name": "always", "value": "Met", "since": SINCE}]
        status = {"observedGeneration": 1, "readings": readings}
        await self.bench.put(HOSTING_POLICY, name, {"when": when, "select": select}, status=status)

    async def server(self, number: int) -> None:
        spec = {
            "serviceRef": self.service,
            "group": {"name": "g", "uid": self.group["metadata"]["uid"]},
            "member": "m",
            "ordinal": number,
            "image": "i",
            "offering": "arm",
            "placement": 1,
            "revision": self.revision,
        }
        conditions = [told(type_, "True") for type_ in ("Instantiated", "Configured", "Ready")]
        status = {"observedGeneration": 1, "conditions": conditions, "agent": {"sequence": 1, "ready": True}}
        await self.bench.put(VIRTUAL_SERVER, f"g-m-{number}", spec, status=status)

    def drop(self, name: str) -> None:
        """A server is gone, as after it was lost."""
        gone = self.bench.api.objects.pop((VIRTUAL_SERVER.plural, "ns", name))
        self.bench.context.store.table(VIRTUAL_SERVER).removed(gone["metadata"]["uid"])

    def approve(self) -> None:
        """A person approves the group as it is now."""
        meta = dict(self.bench.api.stored(SERVER_GROUP, "ns", "g")["metadata"])
        said = Approval(meta["uid"], meta["generation"], "jane", self.bench.context.clock.now())
        meta["annotations"] = {ANNOTATION_APPROVAL: said.encode()}
        self.bench.context.store.ingest(SERVER_GROUP, self.bench.api.change(SERVER_GROUP, "ns", "g", metadata=meta))

    def images(self) -> dict[str, str]:
        """The image of each server that is there to stay."""
        objects = self.bench.api.objects.items()
        there = [o for (kind, _, _), o in objects if kind == VIRTUAL_SERVER.plural]
        return {o["metadata"]["name"]: o["spec"]["image"] for o in there if "deletionTimestamp" not in o["metadata"]}

    def forget(self, policy: str) -> None:
        gone = self.bench.api.objects.pop((HOSTING_POLICY.plural, "ns", policy))
        self.bench.context.store.table(HOSTING_POLICY).removed(gone["metadata"]["uid"])

    def change(self, **spec: Any) -> None:
        """Change the group, as a person does."""
        old = self.bench.api.stored(SERVER_GROUP, "ns", "g")
        meta = {**old["metadata"], "generation": old["metadata"]["generation"] + 1}
        changed = self.bench.api.change(SERVER_GROUP, "ns", "g", spec={**old["spec"], **spec}, metadata=meta)
        self.bench.context.store.ingest(SERVER_GROUP, changed)

    async def reconcile(self) -> dict[str, str]:
        """The offerings of the servers that are there then, by name."""
        for _ in range(4):
            await self.groups.reconcile(("ns", "g"))
        await self.bench.context.writer.flush()
        objects = self.bench.api.objects.items()
        return {name: obj["spec"]["offering"] for (kind, _, name), obj in objects if kind == VIRTUAL_SERVER.plural}

    def condition(self, type_: str) -> tuple[str, str]:
        found = self.bench.api.stored(SERVER_GROUP, "ns", "g")["status"]["conditions"]
        return next(((c["reason"], c["message"]) for c in found if c["type"] == type_), ("", ""))


@pytest.fixture
async def scene(bench: Bench) -> Scene:
    found = Scene(bench)
    await found.begin()
    assert await found.reconcile() == {"g-m-0": "arm", "g-m-1": "arm"}
    return found


async def test_a_lost_server_of_a_group_whose_policy_is_deleted_is_made_again_of_the_same_offering(
    scene: Scene,
) -> None:
    scene.forget("p")
    scene.drop("g-m-1")
    assert await scene.reconcile() == {"g-m-0": "arm", "g-m-1": "arm"}
    assert scene.condition("PolicyMet")[0] == "PolicyNotFound"


async def test_what_needs_another_offering_is_not_made_without_a_policy(scene: Scene) -> None:
    scene.forget("p")
    spec = {"images": [{"image": "i"}], "size": {"cpu": 4}}
    old = scene.bench.api.stored(VIRTUAL_SERVER_CONFIG, "ns", "c")
    meta = {**old["metadata"], "generation": 2}
    changed = scene.bench.api.change(VIRTUAL_SERVER_CONFIG, "ns", "c", spec=spec, metadata=meta)
    scene.bench.context.store.ingest(VIRTUAL_SERVER_CONFIG, changed)
    scene.drop("g-m-1")
    assert await scene.reconcile() == {"g-m-0": "arm"}
    assert scene.condition("Ready")[0] == "PolicyNotFound"


async def test_a_group_between_two_policies_stays_and_keeps_its_offering_until_the_second_one_is_there(
    scene: Scene,
) -> None:
    scene.change(policyRef={"name": "q"})
    scene.drop("g-m-0")
    assert await scene.reconcile() == {"g-m-0": "arm", "g-m-1": "arm"}
    scene.forget("p")
    scene.change(members=[{"name": "m", "configRef": {"name": "c"}, "replicas": 3}])
    assert await scene.reconcile() == {"g-m-0": "arm", "g-m-1": "arm"}, "growth waits for a policy that says so"
    await scene.policy("q", "amd64")
    assert await scene.reconcile() == {"g-m-0": "arm", "g-m-1": "arm", "g-m-2": "x86"}, "what runs is not replaced"
    scene.drop("g-m-0")
    assert (await scene.reconcile())["g-m-0"] == "x86"


OTHER = [{"name": "m", "configRef": {"name": "other"}, "replicas": 2}]


async def other(scene: Scene) -> None:
    """Another configuration, of another image."""
    await scene.bench.put(VIRTUAL_SERVER_CONFIG, "other", {"images": [{"image": "not-approved"}]})


async def let_approval_lapse(scene: Scene) -> None:
    """The group is approved and ready; then its members ask for another configuration, and a server is lost."""
    await other(scene)
    scene.approve()
    await scene.reconcile()
    assert scene.condition("Ready")[0] == "Ready"
    scene.change(members=OTHER)
    scene.drop("g-m-1")
    await scene.reconcile()
    assert scene.images() == {"g-m-0": "i", "g-m-1": "i"}, "neither rolled, nor made again from it"


async def test_what_was_approved_is_not_replaced_by_a_configuration_that_nobody_approved(scene: Scene) -> None:
    """An approval decides what may be made: an edit that lapses it makes nothing of what it asks for."""
    scene.forget("p")
    await scene.policy("p", "arm64", {"name": "asked", "approval": {}})
    await let_approval_lapse(scene)
    reason, message = scene.condition("Ready")
    assert reason == "ConfigNotApproved"
    assert "configuration other waits until policy p allows it" in message
    assert scene.bench.api.stored(SERVER_GROUP, "ns", "g")["status"]["members"][0]["config"] == "c"
    scene.approve()
    await scene.reconcile()
    assert scene.condition("Ready")[0] != "ConfigNotApproved"
    assert len(scene.images()) == 1, "one is being replaced"


async def test_what_a_namespace_asks_to_be_approved_is_not_replaced_by_what_nobody_approved(scene: Scene) -> None:
    """Whatever the policy asks: that is the tenant's to write."""
    await scene.bench.put(NAMESPACE, "ns", {}, None, metadata={"annotations": {ANNOTATION_REQUIRE_APPROVAL: "true"}})
    await let_approval_lapse(scene)
    assert scene.condition("Ready")[0] == "ConfigNotApproved"
    scene.approve()
    await scene.reconcile()
    assert scene.condition("Ready")[0] != "ConfigNotApproved"


async def test_a_policy_that_does_not_exist_is_no_way_round_an_approval(scene: Scene) -> None:
    await other(scene)
    scene.change(members=OTHER, policyRef={"name": "nowhere"})
    scene.drop("g-m-1")
    await scene.reconcile()
    assert scene.images() == {"g-m-0": "i", "g-m-1": "i"}


async def test_a_policy_that_is_unmet_for_another_reason_holds_no_configuration_back(scene: Scene) -> None:
    scene.forget("p")
    await scene.policy("p", "arm64")
    stored = scene.bench.api.stored(HOSTING_POLICY, "ns", "p")
    readings = [{"name": "always", "value": "Unmet", "since": SINCE}]
    changed = scene.bench.api.change(HOSTING_POLICY, "ns", "p", status={**stored["status"], "readings": readings})
    scene.bench.context.store.ingest(HOSTING_POLICY, changed)
    await other(scene)
    scene.change(members=OTHER)
    await scene.reconcile()
    assert "not-approved" in scene.images().values(), "it only stops growth"
