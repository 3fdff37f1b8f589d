"""Servers that were released run on and are paid for: they count, or nothing would bound how many there are."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.controller_bench import Bench
from tests.unit.controllers.test_ceilings import change, servers, settle, told, world

from moorage.controllers.acts import Acts
from moorage.controllers.observation import Observed, refusal
from moorage.controllers.released import count
from moorage.controllers.service_views import ServiceViews
from moorage.core.facts import RELEASED, Inventory, Lookup, LookupResult, Seen, SeenState
from moorage.kube import kinds
from moorage.runtime.released import Released
from moorage.runtime.service import ServiceConnection

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def seen(name: str, service: str, **fields: Any) -> Seen:
    found = {"owner": RELEASED, "namespace": "ns", "offering": "small", **fields}
    return Seen(name, None, state=SeenState.RUNNING, service=service, **found)


def inventory(*servers: Seen, steady: float = 0.0) -> Inventory:
    return Inventory(NOW, steady, {s.provider_id: s for s in servers}, {})


def service_of(bench: Bench) -> dict[str, Any]:
    found = bench.tables.services.get(None, "s")
    assert found is not None
    return found


def connect(bench: Bench, *servers: Seen) -> Released:
    """The service as an inventory has shown it."""
    uid = service_of(bench)["metadata"]["uid"]
    released = Released(uid)
    released.inventory(inventory(*servers), 0)
    released.orphans = frozenset()
    shown = inventory(*servers)
    connection = SimpleNamespace(
        released=released,
        latest=shown,
        backend=None,
        answers=True,
        doubt="",
        known=lambda key: shown.by_id.get(key),
    )
    bench.context.connections[uid] = cast("ServiceConnection", connection)
    return released


def uid(bench: Bench) -> str:
    return str(service_of(bench)["metadata"]["uid"])


async def test_released_servers_count_for_the_ceiling_of_their_namespace(bench: Bench) -> None:
    observer = await world(bench, "one", ceiling="0.3")
    connect(bench, seen("i-1", uid(bench)), seen("i-2", uid(bench)))
    await settle(bench, observer, "one")
    reason, message = told(bench, "one", "CostLimited") or ("", "")
    assert reason == "PriceAboveCeiling"
    assert "0.2/h for the namespace's other groups and 2 servers of no group, 0.4/h" in message


@pytest.mark.parametrize(
    "other",
    [{"namespace": "elsewhere"}, {"service": "another"}, {"owner": "inst/uid"}, {"owner": None}],
    ids=["of another namespace", "of another service", "of an object", "of nobody's making"],
)
async def test_other_servers_do_not(bench: Bench, other: dict[str, Any]) -> None:
    observer = await world(bench, "one", ceiling="0.2")
    connect(bench, seen("i-1", **{"service": uid(bench), **other}))
    await settle(bench, observer, "one")
    assert told(bench, "one", "CostLimited") is None


async def test_orphans_count_as_well(bench: Bench) -> None:
    observer = await world(bench, "one", ceiling="0.2")
    found = connect(bench, seen("i-1", uid(bench), owner="inst/uid"))
    found.orphans = frozenset({"i-1"})
    assert count(bench.context, bench.tables, service_of(bench)) == 1
    await settle(bench, observer, "one")
    assert "and 1 servers of no group, 0.3/h" in (told(bench, "one", "CostLimited") or ("", ""))[1]


async def test_an_adopted_server_costs_what_its_service_shows_and_not_what_its_object_says(bench: Bench) -> None:
    observer = await world(bench, "one", ceiling="0.2")
    connect(bench, seen("i-1", uid(bench), owner="inst/uid"))
    spec = {"serviceRef": {"name": "s", "uid": uid(bench)}, "adopt": {"providerID": "i-1"}, "offering": "free"}
    status = {"providerID": "i-1", "recordedAt": "2026-01-01T00:00:00Z", "offering": "free"}
    await bench.put(kinds.VIRTUAL_SERVER, "kept", spec, status=status)
    await settle(bench, observer, "one")
    assert told(bench, "one", "CostLimited") is not None


async def test_a_released_server_that_was_adopted_counts_on(bench: Bench) -> None:
    observer = await world(bench, "one", ceiling="0.2")
    connect(bench, seen("i-1", uid(bench)))
    spec = {"serviceRef": {"name": "s", "uid": uid(bench)}, "adopt": {"providerID": "i-1"}}
    status = {"providerID": "i-1", "recordedAt": "2026-01-01T00:00:00Z", "offering": "small"}
    await bench.put(kinds.VIRTUAL_SERVER, "kept", spec, status=status)
    assert count(bench.context, bench.tables, service_of(bench)) == 0, "it has an object by now"
    await settle(bench, observer, "one")
    assert "0.1/h for the namespace's other groups and 1 servers" in (told(bench, "one", "CostLimited") or ("", ""))[1]


async def test_a_released_server_without_a_price_lets_nothing_be_added(bench: Bench) -> None:
    observer = await world(bench, "one", ceiling="9")
    connect(bench, seen("i-1", uid(bench), offering=None))
    await settle(bench, observer, "one")
    assert (told(bench, "one", "CostLimited") or ("", ""))[0] == "PriceUnknown"


async def test_those_that_wait_are_looked_at_once_fewer_are_released(bench: Bench) -> None:
    observer = await world(bench, "one", ceiling="0.2")
    connect(bench, seen("i-1", uid(bench)))
    bench.context.store.ingest(
        kinds.HOSTING_SERVICE,
        bench.api.change(kinds.HOSTING_SERVICE, None, "s", status={**service_of(bench)["status"], "released": 1}),
    )
    await settle(bench, observer, "one")
    group = bench.tables.groups.get("ns", "one")
    assert group is not None
    bench.asked()
    connect(bench)
    bench.context.store.ingest(
        kinds.HOSTING_SERVICE,
        bench.api.change(kinds.HOSTING_SERVICE, None, "s", status={**service_of(bench)["status"], "released": 0}),
    )
    assert ("ServerGroup", "ns", "one") in bench.asked()
    await settle(bench, observer, "one")
    assert told(bench, "one", "CostLimited") is None


async def test_released_servers_count_for_the_limit_of_their_service(bench: Bench) -> None:
    await world(bench, ceiling=None)
    limited = {**service_of(bench)["spec"], "limits": {"servers": 2}}
    bench.context.store.ingest(kinds.HOSTING_SERVICE, bench.api.change(kinds.HOSTING_SERVICE, None, "s", spec=limited))
    connect(bench, seen("i-1", uid(bench)), seen("i-2", uid(bench), namespace="elsewhere"))
    group = await bench.group("g", ("m", "c"))
    await bench.server(group)
    server = bench.tables.servers.parsed("ns", "g-m-0")
    assert server is not None
    assert refusal(bench.tables, server, count(bench.context, bench.tables, service_of(bench))) == (
        "LimitReached",
        "limits.servers of HostingService s is 2, and 2 servers that were released, or are orphans, run on there: "
        "raise it, or delete other servers",
    )
    assert refusal(bench.tables, server, 1) is None
    assert ServiceViews(bench.context, bench.tables).views()[0].room == 0


async def test_a_server_that_takes_over_a_released_one_is_not_in_its_own_way(bench: Bench) -> None:
    await world(bench, ceiling=None)
    connect(bench, seen("i-1", uid(bench)))
    assert count(bench.context, bench.tables, service_of(bench), but="i-1") == 0


def test_a_server_counts_from_the_moment_when_it_is_let_go_until_an_inventory_tells() -> None:
    found = Released("s")
    found.note(seen("i-1", "s", offering=None), "small", steady=10.0)
    assert found.servers()["i-1"].offering == "small"
    found.inventory(inventory(steady=12.0), 5)
    assert set(found.servers()) == {"i-1"}, "the listing may lag behind"
    found.inventory(inventory(steady=16.0), 5)
    assert not found.servers()


async def test_the_release_is_noted_before_the_object_goes(bench: Bench) -> None:
    await world(bench, ceiling=None)
    found = connect(bench)
    group = await bench.group("g", ("m", "c"))
    obj = await bench.server(group)
    server = bench.tables.servers.parsed("ns", "g-m-0")
    lookup = Lookup(NOW, 0.0, LookupResult.FOUND, seen("i-1", uid(bench)))
    connection = bench.context.connections[uid(bench)]
    observed = SimpleNamespace(
        obj=obj, server=server, secret=None, memory=SimpleNamespace(lookup=lookup), connection=connection
    )
    acts = object.__new__(Acts)
    acts._context = bench.context
    await acts.drop_finalizer(cast("Observed", observed))
    assert set(found.servers()) == {"i-1"}


def recorded(bench: Bench, **told: int) -> None:
    """What an earlier process wrote of the service."""
    status = {**service_of(bench)["status"], **told}
    bench.context.store.ingest(kinds.HOSTING_SERVICE, bench.api.change(kinds.HOSTING_SERVICE, None, "s", status=status))


async def test_what_status_tells_counts_before_the_service_was_seen(bench: Bench) -> None:
    await world(bench, ceiling=None)
    recorded(bench, released=3, orphanCount=2)
    assert count(bench.context, bench.tables, service_of(bench)) == 5
    connect(bench, seen("i-1", uid(bench))).orphans = None
    assert count(bench.context, bench.tables, service_of(bench)) == 3, "orphans are judged by a later inventory"


@pytest.mark.parametrize("told_before", [{"released": 1}, {"orphanCount": 1}])
async def test_a_group_does_not_grow_past_the_ceiling_while_a_new_process_has_seen_nothing(
    bench: Bench, told_before: dict[str, int]
) -> None:
    observer = await world(bench, "one", ceiling="0.3")
    await settle(bench, observer, "one")
    assert servers(bench, "one") == 2
    recorded(bench, **told_before)
    await change(bench, "one", scale={"member": "m", "replicas": 3})
    await settle(bench, observer, "one")
    reason, message = told(bench, "one", "CostLimited") or ("", "")
    assert (reason, servers(bench, "one")) == ("PriceUnknown", 2), "nothing is added, and nothing taken away"
    assert "offering of the 1 servers without an object on s (no inventory since the controller's start" in message
    connect(bench)
    await settle(bench, observer, "one")
    assert (told(bench, "one", "CostLimited"), servers(bench, "one")) == (None, 3)


async def test_orphans_count_for_the_ceiling_until_they_are_judged_anew(bench: Bench) -> None:
    observer = await world(bench, "one", ceiling="0.3")
    recorded(bench, orphanCount=1)
    connect(bench).orphans = None
    await settle(bench, observer, "one")
    assert servers(bench, "one") == 0


async def test_what_runs_unseen_where_a_namespace_is_not_allowed_does_not_hold_it_up(bench: Bench) -> None:
    observer = await world(bench, "one", ceiling="0.3")
    elsewhere = {"allowedNamespaces": {"matchLabels": {"team": "other"}}, "type": "local", "endpoint": "http://o"}
    await bench.put(kinds.HOSTING_SERVICE, "o", elsewhere, None, status={"observedGeneration": 1, "released": 1})
    await settle(bench, observer, "one")
    assert servers(bench, "one") == 2
