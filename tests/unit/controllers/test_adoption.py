"""Of several objects that adopt one server, one gets it: whose it is in an installation is known before its tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.controller_bench import Bench
from tests.unit.controllers.test_orphans import Tagged
from tests.unit.runtime.test_service import Watcher

from moorage.api.names import FINALIZER_SERVER
from moorage.controllers.adoption import rival_of
from moorage.controllers.server import ServerController
from moorage.controllers.service_news import ServiceNews
from moorage.core.facts import Inventory, Seen, SeenState
from moorage.hosting.contract import (
    RELEASED,
    TAG_NAMESPACE,
    TAG_SERVER,
    Backend,
    ServerRecord,
    ServerState,
    identity_tags,
)
from moorage.kube.kinds import HOSTING_SERVICE, VIRTUAL_SERVER
from moorage.runtime.budget import Budget
from moorage.runtime.service import Hooks, ServiceConnection

NOW = datetime(2026, 1, 1, tzinfo=UTC)

OURS = {"providerID": "i-1", "recordedAt": "2026-01-01T00:00:00Z"}
REFUSED = {"type": "Stalled", "status": "True", "reason": "AdoptRefused", "lastTransitionTime": "2026-01-01T00:00:00Z"}
OLDER, YOUNGER = "2025-01-01T00:00:00Z", "2027-01-01T00:00:00Z"
GROUP = {"adopt": None, "group": {"name": "g", "uid": "g"}, "member": "m", "image": "i", "offering": "o"}


async def put(bench: Bench, name: str, created: str = OLDER, deleting: bool = False, **more: Any) -> None:
    status = more.pop("status", {})
    spec = {"serviceRef": {"name": "s"}, "adopt": {"providerID": "i-1"}, **more}
    metadata = {
        "creationTimestamp": created,
        **({"deletionTimestamp": YOUNGER, "finalizers": ["f/f"]} if deleting else {}),
    }
    spec = {key: value for key, value in spec.items() if value is not None}
    await bench.put(VIRTUAL_SERVER, name, spec, metadata=metadata, status=status)


CASES: dict[str, tuple[dict[str, Any], bool]] = {
    "asked before": ({}, True),
    "asked later": ({"created": YOUNGER}, False),
    "asked before, and is being deleted": ({"deleting": True}, False),
    "asked before, and was refused": ({"status": {"conditions": [REFUSED]}}, False),
    "only observes": ({"managementPolicy": "Observe", "status": {"providerID": "i-1"}}, False),
    "asked for another server": ({"adopt": {"providerID": "i-2"}}, False),
    "asked at another service": ({"serviceRef": {"name": "t"}}, False),
    "has it, asked later": ({"created": YOUNGER, "status": OURS}, True),
    "has it, and is being deleted": ({"deleting": True, "status": OURS}, True),
    "had it": ({"status": {**OURS, "lost": True, "conditions": [REFUSED]}}, False),
    "made it": ({**GROUP, "status": OURS}, True),
    "made another": ({**GROUP, "status": {**OURS, "providerID": "i-2"}}, False),
}


@pytest.mark.parametrize("case", CASES)
async def test_whose_a_server_is(bench: Bench, case: str) -> None:
    other, expected = CASES[case]
    await put(bench, "other", **other)
    await put(bench, "mine", created="2026-01-01T00:00:00Z")
    server = bench.tables.servers.parsed("ns", "mine")
    assert server is not None
    assert rival_of(bench.tables, server, "i-1") is expected


@pytest.mark.parametrize("told", ["Running", "Stopped"])
async def test_an_adopted_server_that_came_back_between_two_kept_inventories_is_looked_at(
    bench: Bench, told: str
) -> None:
    seen = Seen("i-1", None, None, SeenState.RUNNING)
    listing = Inventory(NOW, 0.0, {"i-1": seen}, {})
    service = await bench.put(HOSTING_SERVICE, "s", {"type": "local", "endpoint": "http://h"}, namespace=None)
    connection = SimpleNamespace(latest=listing, previous=listing)
    bench.context.connections[service["metadata"]["uid"]] = cast(ServiceConnection, connection)
    await put(bench, "mine", managementPolicy="Observe", status={"providerID": "i-1", "state": told})
    bench.asked()
    ServiceNews(bench.context, bench.tables).on_inventory("s", set())
    assert (("VirtualServer", "ns", "mine") in bench.asked()) is (told == "Stopped")


async def adopt(bench: Bench, tags: Mapping[str, str]) -> tuple[Tagged, dict[str, Any]]:
    """Have a VirtualServer of namespace ns adopt a server with these tags; the service and the object then."""
    backend, watcher = Tagged([ServerRecord("i-1", None, tags, ServerState.RUNNING)]), Watcher()
    service = await bench.put(HOSTING_SERVICE, "s", {"type": "local", "endpoint": "http://h"}, namespace=None)
    uid, clock = service["metadata"]["uid"], bench.context.clock
    hooks = Hooks(watcher.guard, list, watcher.on_inventory, watcher.on_trouble)
    connection = ServiceConnection(
        "s", uid, "inst", cast(Backend, backend), hooks, clock, Budget(1000, 1000, clock=clock), 60.0
    )
    connection.expected_account = "account"
    bench.context.connections[uid] = connection
    bench.context.channel = replace(bench.context.channel, pin="0" * 64)
    spec = {"serviceRef": {"name": "s", "uid": uid}, "adopt": {"providerID": "i-1"}}
    await bench.put(VIRTUAL_SERVER, "mine", spec, metadata={"finalizers": [FINALIZER_SERVER]})
    controller = ServerController(bench.context, bench.tables, bench.edges)
    for _ in range(3):
        await controller.reconcile(("ns", "mine"))
        await bench.context.writer.flush()
    return backend, bench.api.stored(VIRTUAL_SERVER, "ns", "mine")


LET_GO = {**identity_tags("inst", "elsewhere", "svc", "u1"), TAG_SERVER: RELEASED}


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        (LET_GO, "server i-1 was released by another namespace: take its tags off to give it away"),
        (identity_tags("inst", "ns", "svc", "u1"), "server i-1 belongs to another owner (see its tags)"),
        (identity_tags("other", "ns", "svc", "u1"), "server i-1 belongs to another owner (see its tags)"),
    ],
    ids=["released by another namespace", "another object's", "another installation's"],
)
async def test_what_is_another_tenants_is_not_to_be_had(bench: Bench, tags: dict[str, str], told: str) -> None:
    backend, mine = await adopt(bench, tags)
    stalled = [(c["reason"], c["message"]) for c in mine["status"]["conditions"] if c["type"] == "Stalled"]
    assert stalled == [("AdoptRefused", told)]
    assert "providerID" not in mine["status"]
    assert "retag" not in backend.calls
    assert backend.servers[0].tags == tags


@pytest.mark.parametrize(
    "tags",
    [
        {**LET_GO, TAG_NAMESPACE: "ns"},
        {name: value for name, value in LET_GO.items() if name != TAG_NAMESPACE},
        {},
    ],
    ids=["released by the same namespace", "the tag is taken off", "all tags are taken off"],
)
async def test_what_was_released_here_or_given_away_is_to_be_had(bench: Bench, tags: dict[str, str]) -> None:
    backend, mine = await adopt(bench, tags)
    assert mine["status"]["providerID"] == "i-1"
    uid = mine["metadata"]["uid"]
    assert (backend.servers[0].tags[TAG_SERVER], backend.servers[0].tags[TAG_NAMESPACE]) == (uid, "ns")
