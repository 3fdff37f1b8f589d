"""Several real services at the same time: one group that runs on each of them, and moves from one to another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest
from tests.support import beds
from tests.support.real import inventory, serve
from tests.support.scene import Watcher, item_of, output_of
from tests.support.services.ec2 import Control, booting
from tests.support.stack import Api, Hostd, Obj, Stack, always, config, group

from moorage.hosting.contract import TAG_NAMESPACE
from moorage.kube.kinds import HOSTING_POLICY, HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER
from moorage.testbed import Running

PATIENCE = 240.0
EVERYWHERE = ("ec2", "incus", "libvirt", "openstack")


@pytest.fixture
def hostd(real_stack: Stack) -> Running:
    """A hostd, as a service beside those of the test beds."""
    host: Hostd = real_stack.hosts.get("beside") or real_stack.hostd("beside")
    return Running("local", host.url, "127.0.0.1", image="process/python", offering="small")


@pytest.fixture
def guests() -> Iterator[Control]:
    """EC2's instances boot, and nothing is wrong with it."""
    with booting(beds.running("ec2")) as control:
        yield control


def everywhere(name: str, services: Mapping[str, Running], **spec: object) -> Obj:
    """One VirtualServerConfig that says for each type of service what it boots there."""
    settings = [
        {"serviceType": one.type, "values": one.extra["server_settings"]}
        for one in services.values()
        if one.extra.get("server_settings")
    ]
    return config(
        name,
        images=[{"image": one.image, "serviceType": one.type} for one in services.values()],
        size={"offerings": [{"serviceType": one.type, "name": one.offering} for one in services.values()]},
        **({"settings": settings} if settings else {}),
        **spec,
    )


def pair(services: Mapping[str, Running]) -> tuple[Obj, Obj]:
    """A server that has a value of its own, and one that wants it."""
    first = everywhere(
        "first", services, outputs=[{"name": "value", "command": 'echo "value of $(hostname)"', "refresh": "2s"}]
    )
    second = everywhere(
        "second",
        services,
        configuration=[{"name": "upstream", "valueFrom": {"output": {"member": "first", "name": "value"}}}],
        # No file is read by its path: a process of hostd has the host's own root.
        steps=[{"name": "use", "script": 'test -n "${upstream}"'}],
    )
    return first, second


def two(name: str, policy: str) -> Obj:
    """The group: the same everywhere but for its policy."""
    return group(name, policy, ("first", "first", 1), ("second", "second", 1))


async def here(running: Running, api: Api) -> list[str]:
    """The ids of the test's servers, by the service's own word."""
    servers = (await inventory(running)).servers
    return sorted(s.provider_id for s in servers if s.tags.get(TAG_NAMESPACE) == api.namespace)


@contextlib.asynccontextmanager
async def offered(stack: Stack, api: Api, services: Mapping[str, Running]) -> AsyncIterator[None]:
    """A HostingService over each; at the end the groups go, and what is left of them is an error."""
    for name, running in services.items():
        await serve(stack, api, running, name)
    try:
        yield
    finally:
        for found in (await api.client.list(SERVER_GROUP, api.namespace)).items:
            await api.delete(SERVER_GROUP, found["metadata"]["name"])
        for found in (await api.client.list(SERVER_GROUP, api.namespace)).items:
            await api.gone(SERVER_GROUP, found["metadata"]["name"], PATIENCE)
        for name in services:
            await api.delete(HOSTING_SERVICE, name)
    for running in services.values():
        assert await here(running, api) == []


async def delivered(api: Api, name: str) -> None:
    """The group is ready: its second server has acknowledged the first one's value."""
    await api.ready(name, PATIENCE)
    first, second = await api.servers(name)
    value = output_of(first, "value")
    assert value is not None
    assert value.startswith("value of ")
    item = item_of(second, "upstream")
    assert item is not None
    assert (item["state"], item["stale"]) == ("Acknowledged", False)


@pytest.mark.bed(*EVERYWHERE)
@pytest.mark.timeout(600)
async def test_the_same_group_runs_on_every_service_unchanged_but_for_its_policy(
    real_stack: Stack, real_api: Api, hostd: Running, guests: Control
) -> None:
    services = {f"every-{name}": beds.running(name) for name in EVERYWHERE} | {"every-local": hostd}
    async with offered(real_stack, real_api, services):
        await real_api.apply(*pair(services), *(always(f"on-{name}", name) for name in services))
        await real_api.apply(*(two(f"g-{name}", f"on-{name}") for name in services))
        for name, running in services.items():
            await delivered(real_api, f"g-{name}")
            placed = await real_api.get(SERVER_GROUP, f"g-{name}")
            assert placed is not None
            assert placed["status"]["placement"]["service"] == name
            ids = sorted(server["status"]["providerID"] for server in await real_api.servers(f"g-{name}"))
            assert await here(running, real_api) == ids


@pytest.mark.bed("ec2", "incus")
@pytest.mark.timeout(600)
async def test_a_group_moves_from_one_service_to_another_by_its_policy(
    real_stack: Stack, real_api: Api, guests: Control
) -> None:
    services = {"move-ec2": beds.running("ec2"), "move-incus": beds.running("incus")}
    async with offered(real_stack, real_api, services):
        policy = always("policy", "move-incus", whenUnmet="Release")
        open_there = "services.exists(s, s.name == '{}' && s.available)"
        policy["spec"]["when"] = {
            "all": [{"name": "open", "service": {"expression": open_there.format("move-incus") + " && true"}}]
        }
        await real_api.apply(*pair(services), policy, two("g", "policy"))
        await delivered(real_api, "g")
        before = await here(services["move-incus"], real_api)
        assert len(before) == 2
        closed = {"all": [{"name": "open", "service": {"expression": "services.exists(s, s.name == 'nowhere')"}}]}
        await real_api.patch(HOSTING_POLICY, "policy", {"spec": {"when": closed}})

        async def released() -> bool:
            found = await real_api.get(SERVER_GROUP, "g")
            return found is not None and found["status"].get("placement") is None

        await real_api.until("the group to be released", released, PATIENCE)
        assert await here(services["move-incus"], real_api) == []
        opened = {"all": [{"name": "open", "service": {"expression": open_there.format("move-ec2")}}]}
        select = {"services": {"names": ["move-ec2"]}}
        await real_api.patch(HOSTING_POLICY, "policy", {"spec": {"when": opened, "select": select}})
        await delivered(real_api, "g")
        assert len(await here(services["move-ec2"], real_api)) == 2


@pytest.mark.bed("ec2", "incus")
@pytest.mark.timeout(600)
async def test_without_capacity_before_the_gate_the_group_is_placed_on_another_service(
    real_stack: Stack, real_api: Api, guests: Control
) -> None:
    """EC2 is cheaper and has room for one of the two: what was made there is removed before anything is made on
    Incus, and nothing had its configuration by then."""
    services = {"full-ec2": beds.running("ec2"), "full-incus": beds.running("incus")}
    async with offered(real_stack, real_api, services):
        cheap = [{"name": services["full-ec2"].offering, "cpu": 1, "memory": "1Gi", "pricePerHour": "0.001"}]
        await real_api.patch(HOSTING_SERVICE, "full-ec2", {"spec": {"offerings": cheap}})
        policy = always("policy", *services)
        policy["spec"]["select"]["preferences"] = [{"by": "Price", "weight": 1}]
        guests.faults(capacity=1)
        made_before = len(guests.ledger())
        async with Watcher(real_api, SERVER_GROUP) as groups, Watcher(real_api, VIRTUAL_SERVER) as servers:
            await real_api.apply(*pair(services), policy, two("g", "policy"))
            await delivered(real_api, "g")
        placements = [(v.get("status") or {}).get("placement") or {} for v in groups.of("g")]
        assert {(p["service"], p["number"]) for p in placements if p} == {("full-ec2", 1), ("full-incus", 2)}
        assert {p["number"] for p in placements if p.get("gateOpened")} == {2}, "configuration flowed on Incus only"
        where = [v["spec"]["serviceRef"]["name"] for v in servers.versions]
        before = [kind for kind, name in zip(servers.types, where, strict=True) if name == "full-ec2"]
        assert before.count("ADDED") == before.count("DELETED") >= 2
        assert "full-ec2" not in where[where.index("full-incus") :], "what was made there went before"
        made = guests.ledger()[made_before:]
        assert len(made) == 1
        assert all(entry["ended"] for entry in made)
        assert await here(services["full-ec2"], real_api) == []
        assert len(await here(services["full-incus"], real_api)) == 2
        await asyncio.to_thread(guests.faults)
