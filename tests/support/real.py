"""The whole claim on a real hosting service, with the project's agent inside real guests.

`real_stack` is an installation whose configuration channel guests of any bed can reach; `the_whole_claim` runs two
servers through C1 to C9, a replacement, and their end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from tests.support import cluster
from tests.support.installation import ALL_IN_ONE, CONTROLLER
from tests.support.needs import missing
from tests.support.point import Point
from tests.support.scene import Watcher, agent, is_sent, item_of, output_of, step_of
from tests.support.stack import SYSTEM, Api, Obj, Stack, always, config, group, new_stack

from moorage.api.names import API_VERSION, server_secret, session_secret
from moorage.controllers.state import SecretState
from moorage.controlplane import ControlPlaneError, acquire
from moorage.hosting.contract import TAG_NAMESPACE, TAG_SERVER, Backend, Inventory, ServerState
from moorage.hosting.registry import backend
from moorage.kube.kinds import HOSTING_POLICY, HOSTING_SERVICE, SECRET, SERVER_GROUP, VIRTUAL_SERVER
from moorage.testbed import Running
from moorage.testing.service import Spec

ORDER = ["Pending", "Resolved", "Delivered", "Acknowledged"]


@contextlib.contextmanager
def real_stack(folder: Path) -> Iterator[Stack]:
    """A control plane of its own, and a controller under the account and the rules that deploy/ ships, whose
    configuration channel listens on every address of this machine."""
    try:
        plane = acquire(cluster.options(None))
    except ControlPlaneError as error:
        missing(str(error))
    with plane, new_stack(plane, folder) as stack:
        stack.config_port += 7000  # apart from that of another stack in this process
        plane.run_kubectl("apply", "--server-side", "--kustomize", str(ALL_IN_ONE), timeout=120)
        plane.run_kubectl("delete", "validatingadmissionpolicybinding", "moorage-deletion-protection")
        stack.run_controller("--config-host", "0.0.0.0", kubeconfig=plane.kubeconfig_for(CONTROLLER, SYSTEM))
        yield stack


async def serve(stack: Stack, api: Api, running: Running, name: str, **spec: Any) -> None:
    """A HostingService of this name over the bed, with its credentials; waits until it is available."""
    credentials = {"stringData": running.credentials, "metadata": {"name": f"{name}-credentials"}}
    await api.client.create(SECRET, {**credentials, "metadata": {**credentials["metadata"], "namespace": SYSTEM}})
    found: Obj = {
        "type": running.type,
        "endpoint": running.endpoint,
        "region": running.region,
        "credentialsSecretRef": {"name": f"{name}-credentials"},
        "configEndpoint": f"https://{running.guests}:{stack.config_port}",
        "inventoryInterval": "2s",
        "settings": running.settings,
        **({"project": running.project} if running.project else {}),
        **spec,
    }
    await api.apply({"apiVersion": API_VERSION, "kind": "HostingService", "metadata": {"name": name}, "spec": found})
    await api.condition(HOSTING_SERVICE, name, "Available")


def machine(running: Running, name: str, **spec: Any) -> Obj:
    """A VirtualServerConfig with the bed's boot image and size."""
    settings = running.extra.get("server_settings")
    return config(
        name,
        images=[{"image": running.image, "serviceType": running.type}],
        size={"offerings": [{"serviceType": running.type, "name": running.offering}]},
        **({"settings": [{"serviceType": running.type, "values": settings}]} if settings else {}),
        **spec,
    )


@contextlib.asynccontextmanager
async def opened(running: Running) -> AsyncIterator[Backend]:
    """The bed, by its backend."""
    spec = Spec(running.endpoint, running.region, running.project, running.settings)
    found = backend(running.type).open(spec, {key: value.encode() for key, value in running.credentials.items()})
    try:
        yield found
    finally:
        await found.close()


async def inventory(running: Running) -> Inventory:
    """All servers of the bed, by its backend."""
    async with opened(running) as found:
        return await found.inventory()


async def the_whole_claim(
    stack: Stack, api: Api, running: Running, service_name: str, *, patience: float = 120.0
) -> None:
    """C1 to C9, the re-delivery of a value that changes and after a replacement, and a deletion that leaves nothing.
    `patience` bounds each wait for guests, in seconds."""
    with Point(running.guests) as point:
        claim = _Claim(stack, api, running, service_name, point, patience)
        try:
            await claim.nothing_before_the_policy_is_met()
            async with Watcher(api, VIRTUAL_SERVER) as seen, claim.at_the_first_delivery() as states:
                await claim.both_are_instantiated()
                await claim.the_second_works_with_what_it_has()
                await claim.then_gets_the_value()
            await claim.both_creations_were_under_way_at_once(seen)
            assert set(states.values()) == {ServerState.RUNNING}, f"a configuration could be sent while {states}"
            await claim.all_was_in_order(seen)
            await claim.a_changed_value_is_told_to_its_dependent()
            await claim.a_replacement_is_told_to_its_dependent()
            await claim.nothing_is_left()
        finally:
            await api.delete(SERVER_GROUP, "g")


class _Claim:
    """The steps, in their order."""

    def __init__(self, stack: Stack, api: Api, running: Running, service: str, point: Point, patience: float) -> None:
        self.stack, self.api, self.running = stack, api, running
        self.service, self.point, self.patience = service, point, patience
        self.value = ""

    async def nothing_before_the_policy_is_met(self) -> None:
        """C1 to C4: a service among others, two configurations, a policy whose condition is not met, then is."""
        await serve(self.stack, self.api, self.running, self.service)
        policy = always("policy", self.service)
        expression = f"services.exists(s, s.name == '{self.service}' && s.available && 'open' in s.labels)"
        policy["spec"]["when"] = {"all": [{"name": "opened", "service": {"expression": expression}}]}
        members = (("first", "first", 1), ("second", "second", 1))
        await self.api.apply(self.first(), self.second(), policy, group("g", "policy", *members))
        unmet = await self.api.condition(SERVER_GROUP, "g", "PolicyMet", "False", "PolicyUnmet")
        assert unmet["status"].get("placement") is None
        assert await self.api.servers("g") == []
        assert await self.here() == []

    async def both_are_instantiated(self) -> None:
        """C4 to C6: the condition is met; one service is told to make both; both run, and the group says so."""
        await self.api.patch(HOSTING_SERVICE, self.service, {"spec": {"labels": {"open": "yes"}}})
        done = await self.api.condition(SERVER_GROUP, "g", "Instantiated", seconds=self.patience)
        assert done["status"]["placement"]["service"] == self.service
        assert [member["instantiated"] for member in done["status"]["members"]] == [1, 1]
        policy = await self.api.get(HOSTING_POLICY, "policy")
        assert policy is not None
        assert [(r["name"], r["value"]) for r in policy["status"]["readings"]] == [("opened", "Met")]
        for name in ("g-first-0", "g-second-0"):
            await self.api.condition(VIRTUAL_SERVER, name, "Instantiated")
        servers = await self.api.servers("g")
        assert sorted(await self.here()) == sorted(server["status"]["providerID"] for server in servers)

    async def the_second_works_with_what_it_has(self) -> None:
        """C7 and C9: the second server has incomplete configuration, has acknowledged it and begun to work, while the
        first one's value is withheld."""

        async def incomplete() -> bool:
            servers = await self.api.servers("g")
            return len(servers) == 2 and agent(servers[-1], "acknowledgedRevision") >= 1

        await self.api.until("the second to acknowledge its incomplete revision", incomplete, self.patience)
        begun = step_of(await self.server("g-second-0"), "begin")
        assert begun is not None
        assert begun["state"] == "Succeeded"
        assert self.point.said("begun") == ["from the start"]
        assert self.point.said("used") == []
        assert output_of(await self.server("g-first-0"), "value") is None
        waiting = await self.api.condition(SERVER_GROUP, "g", "Configured", "False")
        assert [(p["server"], p["item"]) for p in waiting["status"]["pending"]] == [("g-second-0", "upstream")]

    async def then_gets_the_value(self) -> None:
        """C8 and C9: the first one lets its value go; the second one gets it, without a restart."""
        self.point.open("let-go", "let-go")
        await self.api.ready("g", self.patience)
        value = output_of(await self.server("g-first-0"), "value")
        assert value is not None
        assert value.startswith("let-go ")
        assert self.point.said("used") == [value]
        assert self.point.said("begun") == ["from the start"]
        item = item_of(await self.server("g-second-0"), "upstream")
        assert item is not None
        assert (item["state"], item["stale"]) == ("Acknowledged", False)
        self.value = value

    @contextlib.asynccontextmanager
    async def at_the_first_delivery(self) -> AsyncIterator[dict[str, ServerState]]:
        """C7: how the servers were, by the service's own word, when any of them could first be sent a configuration.
        One whose agent has joined runs, whatever the service says."""
        states: dict[str, ServerState] = {}

        async def sent() -> bool:
            return any([await is_sent(self.api, server) for server in await self.api.servers("g")])

        async def look(service: Backend) -> None:
            # Configurations first: what is rendered now was so when no more servers ran than the service tells later.
            await self.api.until("a configuration", sent, 2 * self.patience)
            told = {server.tags.get(TAG_SERVER): server.state for server in (await service.inventory()).servers}
            for server in await self.api.servers("g"):
                state = told.get(server["metadata"]["uid"], ServerState.UNKNOWN)
                joined = await self.api.get(SECRET, session_secret(server["metadata"]["uid"])) is not None
                states[server["metadata"]["name"]] = ServerState.RUNNING if joined else state

        async with opened(self.running) as service:
            await service.inventory()  # logged in: the next one takes no longer than it must
            task = asyncio.create_task(look(service))
            try:
                yield states
                await task
            finally:
                task.cancel()

    async def both_creations_were_under_way_at_once(self, seen: Watcher) -> None:
        """C5: the service was told to make the second before it had answered for the first, whichever that was,
        though the one depends on the other."""
        ids = (bool((version.get("status") or {}).get("providerID")) for version in seen.versions)
        answered = next(time for time, has_id in zip(seen.times, ids, strict=True) if has_id)
        for server in await self.api.servers("g"):
            name = server_secret(server["metadata"]["uid"])
            secret = await self.api.client.get(SECRET, self.api.namespace, name)
            asked = SecretState.of(secret).attempts[0].time
            assert asked < answered, f"{server['metadata']['name']} was asked for after another was made"

    async def all_was_in_order(self, seen: Watcher) -> None:
        """C7 and C9, by every version of the servers that there was: no configuration before the service had made both
        (conditions are written a little later than they are acted upon, ids at once), the item's states one after the
        other, one server and one join."""
        made: set[str] = set()
        for version in seen.versions:
            name, status = version["metadata"]["name"], version.get("status") or {}
            if status.get("providerID"):
                made.add(name)
            if agent(version, "deliveredRevision"):
                assert made == {"g-first-0", "g-second-0"}, f"{name} had configuration early"
        states = seen.item_states("g-second-0", "upstream")
        assert [state for state in ORDER if state in states] == states, states
        assert (states[0], states[-1]) == ("Pending", "Acknowledged")
        for name in ("g-first-0", "g-second-0"):
            assert len({version["metadata"]["uid"] for version in seen.of(name)}) == 1
            joins = seen.told(name, lambda o: ((o.get("status") or {}).get("agent") or {}).get("joinedAt"))
            assert len(joins) == 1

    async def a_changed_value_is_told_to_its_dependent(self) -> None:
        """Re-delivery: the first server's value becomes another; the second uses that, and does nothing else anew."""
        second = await self.server("g-second-0")
        self.point.open("let-go", "changed")
        await self.used(2)
        value = output_of(await self.server("g-first-0"), "value")
        assert value == self.value.replace("let-go ", "changed ")

        async def acknowledged() -> Obj | None:
            found = await self.server("g-second-0")
            item = item_of(found, "upstream") or {}
            newer = agent(found, "acknowledgedRevision") > agent(second, "acknowledgedRevision")
            return found if newer and (item.get("state"), item.get("stale")) == ("Acknowledged", False) else None

        same = await self.api.until("the new value to be acknowledged", acknowledged, self.patience)
        assert same["metadata"]["uid"] == second["metadata"]["uid"]
        await self.api.ready("g", self.patience)
        assert self.point.said("used") == [self.value, value]
        assert self.point.said("begun") == ["from the start"]

    async def used(self, times: int) -> None:
        """Wait until the second server has used so many values."""

        async def told() -> bool:
            return len(self.point.said("used")) >= times

        await self.api.until("the second to use the new value", told, self.patience)

    async def a_replacement_is_told_to_its_dependent(self) -> None:
        """Re-delivery: the first server is replaced; the second gets the new one's value, with no one asking."""
        first, second = await self.server("g-first-0"), await self.server("g-second-0")
        before = self.point.said("used")
        await self.api.delete(VIRTUAL_SERVER, "g-first-0")
        await self.used(len(before) + 1)
        await self.api.ready("g", self.patience)
        new, same = await self.server("g-first-0"), await self.server("g-second-0")
        assert new["metadata"]["uid"] != first["metadata"]["uid"]
        assert new["status"]["providerID"] != first["status"]["providerID"]
        assert same["metadata"]["uid"] == second["metadata"]["uid"]
        value = output_of(new, "value")
        assert value is not None
        assert value not in before
        assert self.point.said("used") == [*before, value]
        # The group knows it before its server's own status is written.
        await self.api.condition(VIRTUAL_SERVER, "g-second-0", "Ready", seconds=self.patience)

    async def nothing_is_left(self) -> None:
        """The group's end is the end of its servers."""
        await self.api.delete(SERVER_GROUP, "g")
        await self.api.gone(SERVER_GROUP, "g", self.patience)
        assert await self.api.servers("g") == []
        assert await self.here() == []
        await self.api.delete(HOSTING_SERVICE, self.service)
        await self.api.gone(HOSTING_SERVICE, self.service)

    async def server(self, name: str) -> Obj:
        """A VirtualServer that exists."""
        found = await self.api.get(VIRTUAL_SERVER, name)
        assert found is not None
        return found

    async def here(self) -> list[str]:
        """The ids of this test's servers at the service, by the service's own word."""
        servers = (await inventory(self.running)).servers
        return [server.provider_id for server in servers if server.tags.get(TAG_NAMESPACE) == self.api.namespace]

    def first(self) -> Obj:
        """Withholds its value until the gate is open. The value is another one on every server."""
        return machine(
            self.running,
            "first",
            configuration=[{"name": "point", "value": self.point.url}],
            outputs=[
                {
                    "name": "value",
                    "refresh": "1s",
                    "command": 'test -s "$MOORAGE_STATE/id" || cat /proc/sys/kernel/random/uuid >"$MOORAGE_STATE/id"\n'
                    'gate="$(wget -q -O - "${point}/gate/let-go")" || exit 1\n'
                    'echo "$gate $(cat "$MOORAGE_STATE/id")"',
                }
            ],
        )

    def second(self) -> Obj:
        """Begins with what it has; uses the first one's value once it has that too."""
        return machine(
            self.running,
            "second",
            configuration=[
                {"name": "point", "value": self.point.url},
                {"name": "known", "value": "from the start"},
                {"name": "upstream", "valueFrom": {"output": {"member": "first", "name": "value"}}},
            ],
            files=[{"path": "/etc/known", "content": "${known}"}, {"path": "/etc/upstream", "content": "${upstream}"}],
            steps=[
                {"name": "begin", "script": _say("begun", "/etc/known", "known")},
                {"name": "use", "script": _say("used", "/etc/upstream", "upstream")},
            ],
        )


def _say(name: str, file: str, item: str) -> str:
    """A step that tells the meeting point what is in a file that an item is written into."""
    text = f'test "$(cat {file})" = "${{{item}}}" || exit 1\n'
    return text + f"wget -q -O /dev/null \"${{point}}/say/{name}?$(sed 's/ /%20/g' {file})\""
