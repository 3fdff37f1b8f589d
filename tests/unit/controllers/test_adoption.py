"""Of several objects that adopt one server, one gets it: whose it is in an installation is known before its tags."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.controller_bench import Bench

from moorage.controllers.adoption import rival_of
from moorage.controllers.service_news import ServiceNews
from moorage.core.facts import Inventory, Seen, SeenState
from moorage.kube.kinds import HOSTING_SERVICE, VIRTUAL_SERVER
from moorage.runtime.service import ServiceConnection

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
