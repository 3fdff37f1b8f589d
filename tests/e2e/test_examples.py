"""The examples that the project ships, run for real, as they are but for the names and ports of the services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.examples import documents
from tests.support.guest import fetch
from tests.support.scene import Scene, item_of, kubectl, output_of
from tests.support.stack import Hostd, Obj

from moorage.kube.kinds import VIRTUAL_SERVER


def confined(example: str, *services: str) -> list[Obj]:
    """The example's objects but its services, with its policies confined to the test's own services."""
    found = [d for d in documents(example) if d["kind"] != "HostingService"]
    for document in found:
        if document["kind"] == "HostingPolicy":
            document["spec"]["select"]["services"] = {"names": list(services)}
    return found


async def start(scene: Scene, example: str, group: str) -> None:
    """Apply an example, and wait until its group is ready."""
    await scene.serve()
    await scene.api.apply(*confined(example, scene.service))
    await scene.api.ready(group)


async def addresses(scene: Scene, group: str) -> dict[str, str]:
    """The address that each server of the group publishes, by name."""
    found = {s["metadata"]["name"]: output_of(s, "address") for s in await scene.api.servers(group)}
    return {name: address for name, address in found.items() if address is not None}


async def ask(address: str, path: str) -> tuple[int, Any]:
    return await asyncio.to_thread(fetch, f"http://{address}{path}")


async def replace(scene: Scene, name: str) -> None:
    """Delete a server's object and wait until another one has its name."""
    old = await scene.server(name)
    await scene.api.delete(VIRTUAL_SERVER, name)
    await scene.replaced(old)


async def emptied(scene: Scene, host: Hostd) -> None:
    """Wait until the servers of earlier tests, which are on their way out, are gone."""

    async def ask() -> bool:
        return not await asyncio.to_thread(host.servers)

    await scene.api.until(f"{host.name} to be empty", ask)


@pytest.fixture
async def three(scene: Scene) -> AsyncIterator[tuple[str, ...]]:
    """The quickstart's three services, with the room for servers that they say they have."""
    declared = [d for d in documents("quickstart") if d["kind"] == "HostingService"]
    names = []
    for document, (host, room) in zip(declared, (("anchor", 2), ("bollard", 20), ("capstan", 100)), strict=True):
        assert document["metadata"]["name"] == host
        hostd = scene.stack.hosts[host]
        await emptied(scene, hostd)
        hostd.faults(capacity=room)
        spec = {k: v for k, v in document["spec"].items() if k not in {"type", "endpoint", "credentialsSecretRef"}}
        names.append(await scene.serve(f"{scene.service}-{host}", hostd, **spec))
    yield tuple(names)
    for hostd in scene.stack.hosts.values():
        if hostd.process is not None:  # another test may have stopped one of its own
            hostd.faults()


async def test_the_quickstart_shows_its_page_before_the_database_runs(scene: Scene, three: tuple[str, ...]) -> None:
    await scene.api.secret("quickstart-database", password="canary-quickstart")
    await scene.api.apply(*confined("quickstart", *three))

    async def page() -> Obj | None:
        web = await scene.api.get(VIRTUAL_SERVER, "quickstart-web-0")
        url = output_of(web, "url") if web is not None else None
        if url is None:
            return None
        _, shown = await asyncio.to_thread(fetch, f"{url}status.json")
        found: Obj = shown
        return found

    first = await scene.api.until("the page of a web server", page)
    group = await scene.api.ready("quickstart")
    assert group["status"]["placement"]["service"] == three[1], "the cheapest has too little room"
    shown = await page()
    assert shown is not None
    assert [row["boat"] for row in shown["rows"]] == ["Albatross", "Bounty", "Calypso"]
    assert (shown["pid"], shown["started"]) == (first["pid"], first["started"]), "the rows came without a restart"
    db, *webs = await scene.api.servers("quickstart")
    assert shown["database"] == output_of(db, "address")
    for web in webs:
        item = item_of(web, "database_url")
        assert item is not None
        assert (item["state"], item["sensitive"]) == ("Acknowledged", True)
    await kubectl(scene.api, scene.stack, "scale", "sg/quickstart", "--replicas=3")
    await scene.api.condition(VIRTUAL_SERVER, "quickstart-web-2", "Ready")


async def test_three_nodes_that_need_each_other_find_each_other(scene: Scene) -> None:
    await start(scene, "three-node-cluster", "cluster")
    nodes = await addresses(scene, "cluster")
    names = ["cluster-node-0", "cluster-node-1", "cluster-node-2"]
    assert sorted(nodes) == names
    for address in nodes.values():
        _, cluster = await ask(address, "/cluster")
        assert cluster["members"] == {nodes[name]: name for name in names}
        assert cluster["leader"] == "cluster-node-0"

    await replace(scene, "cluster-node-1")

    async def whole_again() -> bool:
        now = await addresses(scene, "cluster")
        if len(now) < len(names) or now["cluster-node-1"] == nodes["cluster-node-1"]:
            return False
        views = [(await ask(address, "/cluster"))[1]["members"] for address in now.values()]
        return all(view == {now[name]: name for name in names} for view in views)

    await scene.api.until("all nodes to see the new one", whole_again)
    now = await addresses(scene, "cluster")
    assert {name: now[name] for name in names if name != "cluster-node-1"} == {
        name: nodes[name] for name in names if name != "cluster-node-1"
    }


async def test_values_flow_down_five_tiers_and_follow_a_replaced_one(scene: Scene) -> None:
    await start(scene, "chain", "chain")
    tiers = await addresses(scene, "chain")
    path = [f"tier-{number}" for number in range(1, 6)]
    assert await ask(tiers["chain-tier-5-0"], "/") == (200, {"path": path})

    await replace(scene, "chain-tier-1-0")

    async def flows_again() -> bool:
        return await ask(tiers["chain-tier-5-0"], "/") == (200, {"path": path})

    await scene.api.until("the path to lead over the new first tier", flows_again)
    now = await addresses(scene, "chain")
    assert now["chain-tier-1-0"] != tiers["chain-tier-1-0"]
    assert {name: now[name] for name in tiers if name != "chain-tier-1-0"} == {
        name: tiers[name] for name in tiers if name != "chain-tier-1-0"
    }
