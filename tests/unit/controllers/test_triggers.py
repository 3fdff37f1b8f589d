"""What a change in a cache has looked at again, and which servers one that is deleted waits for."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from moorage.controllers.context import Context
from moorage.controllers.edges import Edges
from moorage.controllers.observation import _remaining
from moorage.controllers.tables import Tables, register
from moorage.controllers.triggers import Triggers
from moorage.kube import kinds
from moorage.kube.kinds import Kind
from moorage.kube.store import Store
from moorage.runtime.clock import ManualClock

NOW = datetime(2026, 1, 1, tzinfo=UTC).isoformat()


@dataclass
class FakeContext:
    """Takes down what is asked for."""

    asked: set[tuple[str, str]] = field(default_factory=set)
    memories: dict[str, Any] = field(default_factory=dict)
    referrers: dict[Any, Any] = field(default_factory=lambda: defaultdict(set))
    abandoned: dict[Any, Any] = field(default_factory=dict)
    namespace: str = "moorage-system"
    clock: ManualClock = field(default_factory=ManualClock)

    def enqueue(self, kind: Kind, namespace: str, name: str, **_: Any) -> None:
        self.asked.add((kind.kind, f"{namespace}/{name}"))

    def enqueue_group(self, namespace: str, name: str) -> None:
        self.asked.add(("ServerGroup", f"{namespace}/{name}"))

    def forget(self, uid: str, key: object) -> None:
        pass


class Scene:
    """Tables with triggers. Each change has a resourceVersion of its own."""

    def __init__(self) -> None:
        self.store, self.context, self.version = Store(), FakeContext(), 0
        self.tables: Tables = register(self.store, "inst")
        self.edges = Edges(self.tables)
        Triggers(cast(Context, self.context), self.tables, self.edges)

    def put(self, kind: Kind, name: str, namespace: str | None = "ns", **parts: Any) -> set[tuple[str, str]]:
        """Change one object; what is looked at again because of that."""
        self.version += 1
        meta = {"name": name, "uid": f"{kind.kind}-{name}", "resourceVersion": str(self.version), "generation": 1}
        meta |= parts.pop("metadata", {}) | ({"namespace": namespace} if namespace else {})
        self.context.asked = set()
        self.store.ingest(kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, **parts})
        return self.context.asked

    def group(self, name: str, *members: str, **parts: Any) -> set[tuple[str, str]]:
        spec = {
            "policyRef": {"name": "p"},
            "members": [{"name": m, "configRef": {"name": m}, "replicas": 1} for m in members],
            **parts.pop("spec", {}),
        }
        return self.put(kinds.SERVER_GROUP, name, spec=spec, **parts)

    def server(self, group: str, member: str, revision: str | None = None, **parts: Any) -> set[tuple[str, str]]:
        spec = {
            "serviceRef": {"name": "anchor"},
            "group": {"name": group, "uid": f"ServerGroup-{group}"},
            "member": member,
            "ordinal": 0,
        } | ({"revision": revision} if revision else {})
        return self.put(kinds.VIRTUAL_SERVER, f"{group}-{member}-0", spec=spec, **parts)

    def config(self, name: str, *items: dict[str, Any], **parts: Any) -> set[tuple[str, str]]:
        spec = {"images": [{"image": "small"}], "configuration": list(items)}
        return self.put(kinds.VIRTUAL_SERVER_CONFIG, name, spec=spec, **parts)


def uses(member: str, group: str | None = None) -> dict[str, Any]:
    output = {"member": member, "name": "address"} | ({"group": group} if group else {})
    return {"name": "upstream", "valueFrom": {"output": output}}


@pytest.fixture
def scene() -> Scene:
    made = Scene()
    made.config("db")
    made.config("web", uses("db"))
    made.config("far", uses("db", "one"))
    made.group("one", "db", "web")
    made.group("two", "far")
    for group, member in (("one", "db"), ("one", "web"), ("two", "far")):
        made.server(group, member)
    return made


def test_another_group_hears_of_a_change_of_what_it_uses(scene: Scene) -> None:
    asked = scene.group("one", "db", "web", spec={"deletionPolicy": "Retain"})
    assert ("VirtualServer", "ns/two-far-0") in asked


def test_dependents_hear_that_a_server_is_lost(scene: Scene) -> None:
    asked = scene.server("one", "db", status={"observedGeneration": 1, "lost": True})
    assert {("VirtualServer", "ns/one-web-0"), ("VirtualServer", "ns/two-far-0")} <= asked


def test_a_server_of_an_earlier_generation_hears_of_what_that_uses(scene: Scene) -> None:
    used = {"images": [{"image": "small"}], "configuration": [uses("db")]}
    labels = {"moorage.dev/config": "web"}
    scene.put(kinds.CONTROLLER_REVISION, "web-1", metadata={"labels": labels}, data={"spec": used}, revision=1)
    scene.server("one", "web", revision="web-1")
    scene.config("web")
    asked = scene.server("one", "db", status={"observedGeneration": 1, "lost": True})
    assert ("VirtualServer", "ns/one-web-0") in asked


def test_an_adopted_server_hears_of_the_generation_that_is_kept(scene: Scene) -> None:
    spec = {"serviceRef": {"name": "anchor"}, "configRef": {"name": "db"}, "adopt": {"providerID": "s1"}}
    scene.put(kinds.VIRTUAL_SERVER, "adopted", spec=spec)
    asked = scene.config("db", status={"observedGeneration": 1, "currentRevision": "db-1"})
    assert asked == {("VirtualServer", "ns/adopted")}


def test_a_placed_group_hears_of_what_its_service_offers(scene: Scene) -> None:
    scene.put(kinds.HOSTING_SERVICE, "anchor", None, spec={"type": "local"})
    placement = {"number": 1, "service": "anchor", "serviceUID": "u", "time": NOW}
    scene.group("one", "db", "web", status={"observedGeneration": 1, "placement": placement})
    scene.group("two", "far", status={"observedGeneration": 1, "placement": {**placement, "service": "other"}})
    asked = scene.put(
        kinds.HOSTING_SERVICE, "anchor", None, spec={"type": "local"}, status={"offerings": [{"name": "big"}]}
    )
    assert ("ServerGroup", "ns/one") in asked
    assert ("ServerGroup", "ns/two") not in asked
    again = scene.put(
        kinds.HOSTING_SERVICE,
        "anchor",
        None,
        spec={"type": "local"},
        status={"offerings": [{"name": "big"}], "servers": 3},
    )
    assert ("ServerGroup", "ns/one") not in again


def test_a_policy_hears_of_the_labels_of_its_namespace(scene: Scene) -> None:
    scene.put(kinds.HOSTING_POLICY, "p", spec={"when": {"all": [{"name": "c"}]}})
    asked = scene.put(kinds.NAMESPACE, "ns", None, metadata={"labels": {"team": "a"}})
    assert ("HostingPolicy", "ns/p") in asked


def test_only_policies_that_read_the_services_hear_of_one(scene: Scene) -> None:
    nested = {"all": [{"name": "c"}, {"any": [{"not": {"name": "d", "service": {"expression": "true"}}}]}]}
    scene.put(kinds.HOSTING_POLICY, "nested", spec={"when": nested})
    scene.put(kinds.HOSTING_POLICY, "timed", spec={"when": {"any": [{"name": "c", "schedule": {}}]}})
    asked = scene.put(kinds.HOSTING_SERVICE, "harbour", None, spec={"type": "local", "endpoint": "http://h"})
    assert {entry for entry in asked if entry[0] == "HostingPolicy"} == {("HostingPolicy", "ns/nested")}


LOOKED = {"outcomes": [{"server": "u", "at": NOW}], "lastError": {"reason": "TimedOut"}, "observedGeneration": 1}
SEEN: dict[str, dict[str, Any]] = {
    "capacity": {"capacity": {"used": 3}},
    "what became of servers": {"measured": {"servers": 9, "failureRate": 0.1}},
    "its circuit": {"circuit": {"state": "Open", "since": NOW}},
    "that it does not answer": {"conditions": [{"type": "Available", "status": "False", "reason": "r", "message": ""}]},
    "released servers": {"released": 2},
}


def told_of(scene: Scene, status: dict[str, Any]) -> set[tuple[str, str]]:
    return scene.put(kinds.HOSTING_SERVICE, "harbour", None, spec={"type": "local"}, status=status)


def reads_services(scene: Scene, **select: Any) -> None:
    spec = {"when": {"all": [{"name": "c", "service": {"expression": "true"}}]}, "select": select}
    scene.put(kinds.HOSTING_POLICY, "p", spec=spec)
    scene.group("waits", "m")
    told_of(scene, {})


LOOKERS = {("HostingPolicy", "ns/p"), ("ServerGroup", "ns/waits")}


@pytest.mark.parametrize("what", SEEN)
def test_decisions_hear_of_what_they_see_of_a_service(scene: Scene, what: str) -> None:
    reads_services(scene)
    assert told_of(scene, SEEN[what]) >= LOOKERS


def test_decisions_hear_of_nothing_that_they_do_not_see(scene: Scene) -> None:
    """A hundred services that are asked each minute would otherwise have each policy evaluated a hundred times."""
    reads_services(scene)
    available = {"type": "Available", "status": "True", "reason": "Available", "message": "3 servers are on it"}
    told_of(scene, {"conditions": [available]})
    asked = set()
    for minute in range(60):
        source = {"name": "Service", "at": f"2026-01-01T00:{minute:02}:00Z"}
        more = {"conditions": [{**available, "message": f"{minute} servers are on it"}], "sources": [source]}
        asked |= told_of(scene, {**LOOKED, **more})
    assert not asked & LOOKERS


def test_who_bounds_the_age_of_data_hears_when_it_crosses_the_bound(scene: Scene) -> None:
    reads_services(scene, maxDataAge="2h")

    def as_of(hour: int) -> dict[str, Any]:
        return {"sources": [{"name": "Service", "at": f"2026-01-01T{hour:02}:00:00Z"}]}

    assert told_of(scene, as_of(0)) >= LOOKERS, "how old it is was not known"
    scene.context.clock.advance(3600)
    assert not told_of(scene, as_of(1)) & LOOKERS, "it was young enough before"
    scene.context.clock.advance(3 * 3600)
    assert told_of(scene, as_of(4)) >= LOOKERS, "it was too old"


def remaining(scene: Scene) -> tuple[str, ...]:
    scene.server("one", "db", metadata={"deletionTimestamp": NOW, "finalizers": ["moorage.dev/server"]})
    server = scene.tables.servers.parsed("ns", "one-db-0")
    assert server is not None
    return _remaining(scene.tables, scene.edges, server)


def test_a_server_that_is_deleted_alone_waits_for_nobody(scene: Scene) -> None:
    assert remaining(scene) == ()


def test_a_server_of_a_deleted_group_waits_for_dependents_whose_deletion_is_on_its_way(scene: Scene) -> None:
    scene.group("one", "db", "web", metadata={"deletionTimestamp": NOW, "finalizers": ["moorage.dev/group"]})
    assert remaining(scene) == ("one-web-0",)


def test_a_protected_group_lets_a_server_that_is_deleted_alone_go(scene: Scene) -> None:
    meta = {"deletionTimestamp": NOW, "finalizers": ["moorage.dev/group"]}
    scene.group("one", "db", "web", metadata=meta, spec={"deletionProtection": True})
    assert remaining(scene) == ()


def test_in_a_namespace_that_is_deleted_dependents_of_every_group_go_first(scene: Scene) -> None:
    scene.put(kinds.NAMESPACE, "ns", None, metadata={"deletionTimestamp": NOW})
    assert remaining(scene) == ("one-web-0", "two-far-0")


def test_a_group_hears_of_its_approval(scene: Scene) -> None:
    assert scene.group("one", "db", "web") == set()
    approved = {"annotations": {"moorage.dev/approval": "..."}}
    assert ("ServerGroup", "ns/one") in scene.group("one", "db", "web", metadata=approved)
    assert scene.group("one", "db", "web", metadata=approved) == set()
    assert ("ServerGroup", "ns/one") in scene.group("one", "db", "web")


@pytest.mark.parametrize("nested", [False, True])
def test_a_group_hears_of_outputs_only_where_its_servers_vote(scene: Scene, nested: bool) -> None:
    def said(value: str) -> set[tuple[str, str]]:
        agent = {"outputs": [{"name": "busy", "value": value}]}
        return scene.server("one", "db", status={"observedGeneration": 1, "agent": agent})

    said("true")
    assert ("ServerGroup", "ns/one") not in said("false")
    vote = {"name": "v", "vote": {"output": "busy", "share": 50}}
    scene.put(kinds.HOSTING_POLICY, "p", spec={"when": {"any": [{"all": [{"not": vote}]} if nested else vote]}})
    assert ("ServerGroup", "ns/one") in said("true")
    assert ("ServerGroup", "ns/one") not in said("true")
