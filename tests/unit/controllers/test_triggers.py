"""What a change has reconciled, by what differs; which members use the outputs of which; kept generations."""

from __future__ import annotations

import copy

from tests.support.controller_bench import Bench

from moorage.api.names import FINALIZER_SERVER
from moorage.api.virtualserverconfig import VirtualServerConfig
from moorage.controllers.revisions import ensure_revision, revision_name
from moorage.kube import kinds
from moorage.kube.kinds import Kind


def changed(bench: Bench, kind: Kind, name: str, namespace: str | None = "ns", **fields: object) -> None:
    bench.context.store.ingest(kind, bench.api.change(kind, namespace, name, **copy.deepcopy(fields)))


async def test_an_echo_asks_for_nothing(bench: Bench) -> None:
    server = await bench.server(await bench.group())
    bench.asked()
    bench.context.store.ingest(kinds.VIRTUAL_SERVER, server)
    assert bench.asked() == set()


async def test_an_agents_words_go_to_its_server_and_its_outputs_to_those_who_use_them(bench: Bench) -> None:
    group = await bench.group("g", ("db", "db"), ("web", "web"))
    await bench.config("db")
    await bench.config("web", ("db", "address"))
    await bench.server(group, "db")
    await bench.server(group, "web")
    bench.asked()
    changed(bench, kinds.VIRTUAL_SERVER, "g-db-0", status={"agent": {"sequence": 1}})
    assert bench.asked() == {("VirtualServer", "ns", "g-db-0")}
    outputs = [{"name": "address", "value": "x", "version": 1}]
    changed(bench, kinds.VIRTUAL_SERVER, "g-db-0", status={"agent": {"sequence": 2, "outputs": outputs}})
    assert bench.asked() == {("VirtualServer", "ns", "g-db-0"), ("VirtualServer", "ns", "g-web-0")}


async def test_our_own_status_asks_for_the_group_only_where_a_condition_turned(bench: Bench) -> None:
    await bench.server(await bench.group())
    bench.asked()
    changed(bench, kinds.VIRTUAL_SERVER, "g-m-0", status={"state": "Running"})
    assert bench.asked() == set()
    ready = [{"type": "Ready", "status": "True"}]
    changed(bench, kinds.VIRTUAL_SERVER, "g-m-0", status={"state": "Running", "conditions": ready})
    assert bench.asked() == {("ServerGroup", "ns", "g")}


async def test_a_group_a_policy_and_a_config_ask_for_those_that_rest_on_them(bench: Bench) -> None:
    await bench.config("c")
    await bench.group()
    policy = {"when": {"all": [{"name": "x", "schedule": {"from": "2020-01-01T00:00:00Z"}}]}}
    await bench.put(kinds.HOSTING_POLICY, "p", policy)
    assert {("HostingPolicy", "ns", "p"), ("ServerGroup", "ns", "g")} <= bench.asked()
    changed(bench, kinds.VIRTUAL_SERVER_CONFIG, "c", spec={"images": [{"image": "other"}]})
    assert bench.asked() == {("VirtualServerConfig", "ns", "c"), ("ServerGroup", "ns", "g")}
    changed(bench, kinds.HOSTING_POLICY, "p", status={"readings": []})
    assert bench.asked() == {("ServerGroup", "ns", "g")}


async def test_a_secret_of_a_dead_server_asks_for_its_release(bench: Bench) -> None:
    server = await bench.server(await bench.group())
    for uid in (server["metadata"]["uid"], "uid-of-the-dead"):
        meta = {
            "labels": {"moorage.dev/secret": "server"},
            "annotations": {"moorage.dev/server": "g-m-0", "moorage.dev/state": "{}"},
            "finalizers": [FINALIZER_SERVER],
            "deletionTimestamp": "2026-01-01T00:00:00Z",
        }
        await bench.put(kinds.SECRET, uid, {}, metadata=meta)
    assert bench.context.abandoned == {("ns", "g-m-0"): "uid-of-the-dead"}


async def test_edges_are_found_both_ways_and_circles_have_no_order(bench: Bench) -> None:
    await bench.group("g", ("db", "db"), ("web", "web"), ("a", "a"), ("b", "b"))
    await bench.config("db")
    await bench.config("web", ("db", "address"), ("not-there", "address"))
    await bench.config("a", ("b", "x"))
    await bench.config("b", ("a", "x"))
    edges = bench.edges
    assert edges.consumers("ns", "g", "db") == (("g", "web"),)
    assert edges.providers("ns", "g", "web") == (("g", "db"),)
    assert edges.dependents("ns", "g", "db") == (("g", "web"),)
    assert edges.consumers("ns", "g", "a") == (("g", "b"),)
    assert edges.dependents("ns", "g", "a") == ()
    assert edges.consumers("elsewhere", "g", "db") == ()


async def test_edges_follow_a_change(bench: Bench) -> None:
    await bench.group("g", ("db", "db"), ("web", "web"))
    await bench.config("db")
    assert bench.edges.consumers("ns", "g", "db") == ()
    await bench.config("web", ("db", "address"))
    assert bench.edges.consumers("ns", "g", "db") == (("g", "web"),)


async def test_equal_specs_share_a_revision_and_other_specs_do_not(bench: Bench) -> None:
    made = VirtualServerConfig.from_dict(await bench.config("c"))
    other = VirtualServerConfig.from_dict(await bench.config("d", ("db", "address")))
    first = await ensure_revision(bench.context, bench.tables, made)
    bench.tables.revisions.removed(bench.api.stored(kinds.CONTROLLER_REVISION, "ns", first.name)["metadata"]["uid"])
    again = await ensure_revision(bench.context, bench.tables, made)
    assert first.name == again.name == revision_name("c", made.spec)
    assert revision_name("c", other.spec) != first.name
    assert len(revision_name("x" * 253, made.spec)) == 253
