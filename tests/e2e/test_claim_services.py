"""What the project must do, line by line: services, configurations, policies, placement, instantiation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.barrier import Barrier
from tests.support.scene import Scene, Watcher, is_true
from tests.support.stack import Obj, always, condition, config, group, service

from moorage.kube.errors import Invalid
from moorage.kube.kinds import HOSTING_POLICY, HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER, VIRTUAL_SERVER_CONFIG

PLAIN = config("plain", steps=[{"name": "start", "script": "true"}])
WAITING = config(
    "second",
    images=[{"image": "process/python"}],
    configuration=[{"name": "from_first", "valueFrom": {"output": {"member": "first", "name": "value"}}}],
    steps=[{"name": "use", "script": "test -n ${from_first}"}],
)
SLOW = config("slow", settings=[{"serviceType": "local", "values": {"bootDelay": 3600}}])
FIRST = config("first", outputs=[{"name": "value", "command": "hostname"}])


async def boot_the_slow_one(scene: Scene) -> None:
    """Settings with which it boots at once: a server that has not booted costs nothing to replace."""
    await scene.api.patch(VIRTUAL_SERVER_CONFIG, "slow", {"spec": {"settings": []}})


def priced(price: str) -> list[Obj]:
    """Offerings at that price."""
    return [{"name": "small", "cpu": 1, "memory": "1Gi", "arch": "amd64", "pricePerHour": price}]


async def test_c1_an_interface_to_a_plurality_of_hosted_virtual_server_services(scene: Scene) -> None:
    """C1: an interface to a plurality of hosted virtual server services."""
    names = [f"{scene.service}-{host}" for host in ("anchor", "bollard", "capstan")]
    for name, host in zip(names, scene.stack.hosts.values(), strict=False):
        await scene.serve(name, host)
    await scene.api.apply(PLAIN, *(always(f"only-{name}", name) for name in names))
    await scene.api.apply(*(group(f"g{i}", f"only-{name}", ("m", "plain", 1)) for i, name in enumerate(names)))
    accounts = set()
    for number, (name, host) in enumerate(zip(names, scene.stack.hosts.values(), strict=False)):
        ready = await scene.api.ready(f"g{number}")
        assert ready["status"]["placement"]["service"] == name
        (server,) = await scene.api.servers(f"g{number}")
        assert [s["id"] for s in scene.here(host)] == [server["status"]["providerID"]]
        seen = await scene.api.get(HOSTING_SERVICE, name)
        assert seen is not None
        accounts.add(seen["status"]["account"]["id"])
    assert len(accounts) == len(names) == 3


async def test_c2_a_user_selects_configurations_each_a_boot_image_and_configuration_information(scene: Scene) -> None:
    """C2: a user selects one or more virtual server configurations, each a boot image and configuration information."""
    first = config(
        "first",
        images=[{"image": "process/shell"}],
        configuration=[{"name": "colour", "value": "red"}],
        files=[{"path": "/etc/colour", "content": "${colour}"}],
    )
    second = config(
        "second",
        images=[{"image": "process/python"}],
        configuration=[{"name": "colour", "value": "blue"}],
        files=[{"path": "/etc/colour", "content": "${colour}"}],
    )
    await scene.begin(first, second, members=(("a", "first", 1), ("b", "second", 1)))
    await scene.api.ready("g")
    a, b = await scene.api.servers("g")
    assert {s["name"]: s["image"] for s in scene.here()} == {"g-a-0": "process/shell", "g-b-0": "process/python"}
    assert (scene.read(a, "/etc/colour"), scene.read(b, "/etc/colour")) == ("red", "blue")


NONE = "a policy needs at least one condition"


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ({}, NONE),
        ({"all": []}, NONE),
        ({"any": []}, NONE),
        ({"all": [{"name": "none"}]}, "needs exactly one of schedule, service,"),
        ({"all": [{"any": []}]}, "a nested all or any is empty"),
    ],
)
async def test_c3_a_user_sets_a_policy_with_at_least_one_condition(
    scene: Scene, when: dict[str, object], why: str
) -> None:
    """C3: a user sets a policy, with at least one condition, for dynamically selecting a service and dynamically
    instantiating servers on it."""
    policy = always("policy", scene.service)
    with pytest.raises(Invalid) as refused:
        await scene.api.apply({**policy, "spec": {**policy["spec"], "when": when}})
    assert why in str(refused.value)
    assert await scene.api.get(HOSTING_POLICY, "policy") is None


async def test_c3_the_policy_selects_the_service_dynamically(scene: Scene) -> None:
    """C3: a user sets a policy, with at least one condition, for dynamically selecting a service and dynamically
    instantiating servers on it."""
    dear, cheap = f"{scene.service}-dear", f"{scene.service}-cheap"
    await scene.serve(dear, scene.stack.hosts["anchor"], offerings=priced("0.05"))
    await scene.serve(cheap, scene.stack.hosts["bollard"])
    await scene.api.apply(PLAIN, always("policy", dear, cheap), group("one", "policy", ("m", "plain", 1)))
    assert (await scene.api.ready("one"))["status"]["placement"]["service"] == cheap
    await scene.api.patch(HOSTING_SERVICE, dear, {"spec": {"offerings": priced("0.01")}})
    await scene.api.condition(HOSTING_SERVICE, dear, "Available")
    await scene.api.apply(group("two", "policy", ("m", "plain", 1)))
    assert (await scene.api.ready("two"))["status"]["placement"]["service"] == dear


async def test_c4_the_manager_determines_that_the_condition_has_been_met(scene: Scene) -> None:
    """C4: the manager determines that the condition has been met (here: a price that falls)."""
    await scene.serve(offerings=priced("0.90"))
    expression = f"services.exists(s, s.name == '{scene.service}' && s.available && s.minPrice < 0.05)"
    policy = always("policy", scene.service)
    policy["spec"]["when"] = {"all": [{"name": "affordable", "service": {"expression": expression}}]}
    await scene.api.apply(PLAIN, policy, group("g", "policy", ("m", "plain", 1)))
    unmet = await scene.api.condition(SERVER_GROUP, "g", "PolicyMet", "False", "PolicyUnmet")
    assert unmet["status"]["policy"]["verdict"] == "Unmet"
    assert unmet["status"].get("placement") is None
    assert await scene.api.servers("g") == []
    await scene.api.patch(HOSTING_SERVICE, scene.service, {"spec": {"offerings": priced("0.01")}})
    met = await scene.api.ready("g")
    assert met["status"]["policy"]["verdict"] == "Met"
    seen = await scene.api.get(HOSTING_POLICY, "policy")
    assert seen is not None
    assert [(r["name"], r["value"]) for r in seen["status"]["readings"]] == [("affordable", "Met")]


async def test_c4_the_condition_is_met_once_its_time_has_come(scene: Scene) -> None:
    """C4: the manager determines that the condition has been met (here: a moment in time, with no one asking)."""
    await scene.serve()
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=6)
    policy = always("policy", scene.service)
    policy["spec"]["when"]["all"][0]["schedule"] = {"from": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}
    async with Watcher(scene.api, SERVER_GROUP) as seen:
        await scene.api.apply(PLAIN, policy, group("g", "policy", ("m", "plain", 1)))
        ready = await scene.api.ready("g")
    verdicts = seen.told("g", lambda o: ((o.get("status") or {}).get("policy") or {}).get("verdict"))
    assert verdicts[-1] == "Met"
    assert verdicts[-2:-1] in ([], ["Unmet"])
    assert datetime.fromisoformat(ready["status"]["placement"]["time"]) >= moment


async def test_c5_it_tells_one_service_to_instantiate_both_at_once(scene: Scene) -> None:
    """C5: it tells one of the services to instantiate a first and a second server from their boot images; both
    creations in flight at once; a dependency never delays an instantiation."""
    async with Barrier(scene.host.url, 2) as barrier:
        await scene.api.apply(service(scene.service, barrier.url))
        scene.services.append(scene.service)
        await scene.begin(FIRST, WAITING, members=(("first", "first", 1), ("second", "second", 1)))
        ready = await scene.api.ready("g")
        created = {c["name"]: c["image"] for c in barrier.creations}
        assert created == {"g-first-0": "process/shell", "g-second-0": "process/python"}
        assert len(barrier.creations) == 2
        assert ready["status"]["placement"]["service"] == scene.service
        await scene.api.delete(SERVER_GROUP, "g")
        await scene.api.gone(SERVER_GROUP, "g")


async def test_c6_it_determines_that_instantiation_of_both_is_complete(scene: Scene) -> None:
    """C6: it determines that instantiation of both is complete: condition Instantiated on each VirtualServer and on the
    group."""
    async with Watcher(scene.api, VIRTUAL_SERVER) as servers, Watcher(scene.api, SERVER_GROUP) as groups:
        await scene.begin(PLAIN, SLOW, members=(("quick", "plain", 1), ("slow", "slow", 1)))
        await scene.api.condition(VIRTUAL_SERVER, "g-quick-0", "Instantiated")
        booting = await scene.api.condition(SERVER_GROUP, "g", "Instantiated", "False", "Booting")
        found = condition(booting, "Instantiated")
        assert found is not None
        assert "g-slow-0" in found["message"]
        await boot_the_slow_one(scene)
        await scene.api.condition(VIRTUAL_SERVER, "g-slow-0", "Instantiated")
        done = await scene.api.condition(SERVER_GROUP, "g", "Instantiated")
        assert [m["instantiated"] for m in done["status"]["members"]] == [1, 1]
        await scene.api.ready("g")
        assert any(is_true(v, "Instantiated") for v in servers.of("g-quick-0"))
        assert any(is_true(v, "Instantiated") for v in servers.of("g-slow-0"))
    states = [is_true(v, "Instantiated") for v in groups.of("g")]
    assert states == sorted(states), "once complete, it stays complete"


async def test_c7_responsive_to_that_it_transmits_to_each_its_configuration(scene: Scene) -> None:
    """C7: responsive to that, it transmits to each its configuration: nothing before all are instantiated."""
    async with _rendered_early(scene) as early:
        await scene.begin(PLAIN, SLOW, members=(("quick", "plain", 1), ("slow", "slow", 1)))
        await scene.api.condition(VIRTUAL_SERVER, "g-quick-0", "Instantiated")
        await scene.joined("g-quick-0")
        held = await scene.api.condition(VIRTUAL_SERVER, "g-quick-0", "Configured", "False", "WaitingForGroup")
        assert not await scene.sent(held)
        await boot_the_slow_one(scene)
        await scene.api.ready("g")
    assert early == []
    for name in ("g-quick-0", "g-slow-0"):
        assert await scene.sent(await scene.server(name))


@contextlib.asynccontextmanager
async def _rendered_early(scene: Scene) -> AsyncIterator[list[str]]:
    """Servers that had a configuration while the service did not run all servers of the group yet."""
    early: list[str] = []

    async def look() -> None:
        while True:
            # Secrets first: what is in them now was written when no more servers ran than the service tells afterwards.
            sent = [s["metadata"]["name"] for s in await scene.api.servers("g") if await scene.sent(s)]
            here = await asyncio.to_thread(scene.here)
            if sum(server["state"] == "Running" for server in here) < 2:
                early.extend(sent)
            await asyncio.sleep(0.1)

    task = asyncio.create_task(look())
    try:
        yield early
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_c7_with_server_instantiated_each_server_waits_only_for_itself(scene: Scene) -> None:
    """C7: spec.configureWhen: ServerInstantiated transmits to each server as soon as it is instantiated itself."""
    await scene.begin(
        PLAIN, SLOW, members=(("quick", "plain", 1), ("slow", "slow", 1)), configureWhen="ServerInstantiated"
    )
    await scene.api.condition(VIRTUAL_SERVER, "g-quick-0", "Ready")
    assert not is_true(await scene.server("g-slow-0"), "Instantiated")
    assert not await scene.sent(await scene.server("g-slow-0"))
