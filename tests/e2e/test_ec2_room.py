"""Zones and markets of EC2, through the controller: servers are spread, and what is full is passed over, once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support import beds
from tests.support.real import inventory, machine, serve
from tests.support.scene import Watcher
from tests.support.services.ec2 import Control, booting
from tests.support.stack import Api, Stack, always, group

from moorage.hosting.contract import TAG_NAMESPACE, ServerRecord
from moorage.kube.kinds import SERVER_GROUP, VIRTUAL_SERVER
from moorage.testbed import Running

pytestmark = [pytest.mark.bed("ec2"), pytest.mark.timeout(300)]
PATIENCE = 120.0


@dataclass
class Cloud:
    """A HostingService over the bed, for one test."""

    api: Api
    running: Running
    control: Control
    service: str
    before: int

    @property
    def zones(self) -> list[str]:
        """Those that the service makes servers in."""
        return sorted(self.running.settings["subnets"])

    async def begin(self, replicas: int, **settings: Any) -> None:
        """A group of so many servers with these settings."""
        config = machine(self.running, "web", steps=[{"name": "start", "script": "true"}])
        if settings:
            config["spec"]["settings"] = [{"serviceType": "ec2", "values": settings}]
        await self.api.apply(always("policy", self.service), config, group("g", "policy", ("web", "web", replicas)))

    async def here(self) -> dict[str, ServerRecord]:
        """The instances of the test, by EC2's own word."""
        found = (await inventory(self.running)).servers
        return {s.provider_id: s for s in found if s.tags.get(TAG_NAMESPACE) == self.api.namespace}

    def made(self) -> list[dict[str, Any]]:
        """Every instance that was ever made for it."""
        return self.control.ledger()[self.before :]


@pytest.fixture
def control() -> Iterator[Control]:
    """The bed, whose instances boot."""
    with booting(beds.running("ec2")) as found:
        yield found
        found.faults()
        found.call("DELETE", "instances")


@pytest.fixture
async def cloud(real_stack: Stack, real_api: Api, control: Control) -> AsyncIterator[Cloud]:
    running = beds.running("ec2")
    name = f"cloud-{real_api.namespace[-8:]}"
    await serve(real_stack, real_api, running, name)
    yield Cloud(real_api, running, control, name, len(control.ledger()))
    await real_api.delete(SERVER_GROUP, "g")
    await real_api.gone(SERVER_GROUP, "g", PATIENCE)


async def test_two_replicas_are_in_two_zones_and_it_is_seen(cloud: Cloud) -> None:
    await cloud.begin(2)
    await cloud.api.ready("g", PATIENCE)
    servers, here = await cloud.api.servers("g"), await cloud.here()
    assert sorted(s["status"]["zone"] for s in servers) == cloud.zones
    for server in servers:
        zone = server["status"]["zone"]
        assert here[server["status"]["providerID"]].zone == zone
        assert server["spec"]["settings"] == {"zone": zone}, "it was decided before anything was asked for"


async def test_a_full_zone_leads_to_the_other_one_and_nothing_is_made_twice(cloud: Cloud) -> None:
    full, other = cloud.zones
    cloud.control.faults(zone_capacity={full: 0})
    async with Watcher(cloud.api, VIRTUAL_SERVER) as seen:
        await cloud.begin(3)
        ready = await cloud.api.ready("g", PATIENCE)
    status = ready["status"]
    assert (status["placement"]["service"], status["placement"]["number"]) == (cloud.service, 1)
    assert {server["status"]["zone"] for server in await cloud.api.servers("g")} == {other}
    assert [one["zone"] for one in cloud.made()] == [other] * 3
    tried = {(v["metadata"]["uid"], v["spec"]["settings"]["zone"]) for v in seen.versions}
    assert len({uid for uid, _ in tried}) == len(tried), "no VirtualServer was ever of two zones"
    assert {zone for _, zone in tried} == {full, other}
    told = status["members"][0]["message"]
    assert f"new servers go to {other}" in told
    assert full in told


async def test_a_zone_that_does_not_have_the_type_of_instance_leads_to_the_other_one(cloud: Cloud) -> None:
    told = "Your requested instance type is not supported in your requested Availability Zone."
    cloud.control.faults(errors=[{"code": "Unsupported", "message": told, "operation": "RunInstances"}])
    async with Watcher(cloud.api, VIRTUAL_SERVER) as seen:
        await cloud.begin(1)
        await cloud.api.ready("g", PATIENCE)
    zones = seen.told("g-web-0", lambda o: o["spec"]["settings"]["zone"])
    assert sorted(zones) == cloud.zones, "each was tried once"
    assert [one["zone"] for one in cloud.made()] == [zones[-1]]


async def test_where_there_is_no_spot_capacity_servers_are_made_on_demand(cloud: Cloud) -> None:
    cloud.control.faults(spot_capacity=0)
    await cloud.begin(2, market="SpotThenOnDemand")
    await cloud.api.ready("g", PATIENCE)
    servers = await cloud.api.servers("g")
    assert [server["spec"]["settings"]["market"] for server in servers] == ["OnDemand", "OnDemand"]
    assert [one["spot"] for one in cloud.made()] == [False, False]
    assert sorted(server["status"]["zone"] for server in servers) == cloud.zones
