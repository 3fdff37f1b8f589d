"""The examples beside the quickstart, on real processes: the quickstart is the demo's and the README's test."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.examples import documents
from tests.support.guest import fetch
from tests.support.stack import Api, Stack, service

from moorage.kube.kinds import VIRTUAL_SERVER


async def start(api: Api, stack: Stack, example: str, group: str) -> None:
    """Apply an example, and wait until its group is ready."""
    await api.apply(service("anchor", stack.hosts["anchor"].url), *documents(example))
    await api.ready(group)


async def addresses(api: Api, group: str) -> dict[str, str]:
    """The address that each server of the group publishes, by name."""
    found: dict[str, str] = {}
    for server in await api.servers(group):
        outputs = ((server.get("status") or {}).get("agent") or {}).get("outputs", ())
        found.update((server["metadata"]["name"], output["value"]) for output in outputs if output.get("value"))
    return found


async def ask(address: str, path: str) -> tuple[int, Any]:
    return await asyncio.to_thread(fetch, f"http://{address}{path}")


async def replace(api: Api, name: str) -> None:
    """Delete a server's object and wait until another one has its name."""
    uid = (await api.client.get(VIRTUAL_SERVER, api.namespace, name))["metadata"]["uid"]
    await api.delete(VIRTUAL_SERVER, name)

    async def another() -> bool:
        there = await api.get(VIRTUAL_SERVER, name)
        return there is not None and there["metadata"]["uid"] != uid

    await api.until(f"another {name}", another)


async def test_three_nodes_that_need_each_other_find_each_other(api: Api, stack: Stack) -> None:
    await start(api, stack, "three-node-cluster", "cluster")
    nodes = await addresses(api, "cluster")
    names = ["cluster-node-0", "cluster-node-1", "cluster-node-2"]
    assert sorted(nodes) == names
    for address in nodes.values():
        _, cluster = await ask(address, "/cluster")
        assert cluster["members"] == {nodes[name]: name for name in names}
        assert cluster["leader"] == "cluster-node-0"

    await replace(api, "cluster-node-1")

    async def whole_again() -> bool:
        now = await addresses(api, "cluster")
        if len(now) < len(names) or now["cluster-node-1"] == nodes["cluster-node-1"]:
            return False
        views = [(await ask(address, "/cluster"))[1]["members"] for address in now.values()]
        return all(view == {now[name]: name for name in names} for view in views)

    await api.until("all nodes to see the new one", whole_again)
    now = await addresses(api, "cluster")
    assert {name: now[name] for name in names if name != "cluster-node-1"} == {
        name: nodes[name] for name in names if name != "cluster-node-1"
    }


async def test_values_flow_down_five_tiers_and_follow_a_replaced_one(api: Api, stack: Stack) -> None:
    await start(api, stack, "chain", "chain")
    tiers = await addresses(api, "chain")
    path = [f"tier-{number}" for number in range(1, 6)]
    assert await ask(tiers["chain-tier-5-0"], "/") == (200, {"path": path})

    await replace(api, "chain-tier-1-0")

    async def flows_again() -> bool:
        return await ask(tiers["chain-tier-5-0"], "/") == (200, {"path": path})

    await api.until("the path to lead over the new first tier", flows_again)
    now = await addresses(api, "chain")
    assert now["chain-tier-1-0"] != tiers["chain-tier-1-0"]
    assert {name: now[name] for name in tiers if name != "chain-tier-1-0"} == {
        name: tiers[name] for name in tiers if name != "chain-tier-1-0"
    }
