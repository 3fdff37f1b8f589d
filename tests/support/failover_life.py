"""A group's life on two services, for the crash tests: it is made anew elsewhere because its servers were stopped."""

from __future__ import annotations

from tests.support.life import PATIENCE
from tests.support.stack import Api, Hostd, always, config, group, service

from moorage.kube.kinds import HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER

FAILOVER = {"when": {"unhealthyShare": "50%", "unhealthyFor": "1s"}, "action": "Rebuild"}
"""Under `overlap: Forbidden`: nothing is made elsewhere before the old servers are gone."""


async def begin(api: Api, first: Hostd, second: Hostd) -> None:
    """Until the group is ready on the first service."""
    await api.apply(*(service(host.name, host.url, inventoryInterval="1s") for host in (first, second)))
    await api.apply(
        always("policy", first.name, second.name, failover=FAILOVER),
        config("plain", steps=[{"name": "start", "script": "true"}]),
        group("g", "policy", ("web", "plain", 2), remediation={"maxUnhealthy": 0}),
    )
    await _ready_on(api, first)


def stop_servers(host: Hostd) -> None:
    """Somebody stops them all, behind our back."""
    for server in host.servers():
        host.call("POST", f"/v1/servers/{server['id']}/stop")


async def go_on(api: Api, first: Hostd, second: Hostd) -> None:
    """Until the group is ready on the second service, and then until all of it is gone."""
    await _ready_on(api, second)
    assert first.servers() == []
    await api.delete(SERVER_GROUP, "g")
    await api.gone(SERVER_GROUP, "g", PATIENCE)
    for host in (first, second):
        await api.delete(HOSTING_SERVICE, host.name)
        await api.gone(HOSTING_SERVICE, host.name, PATIENCE)
    listing = await api.client.list(VIRTUAL_SERVER, api.namespace)
    assert listing.items == []


async def _ready_on(api: Api, host: Hostd) -> None:
    async def ready() -> bool:
        found = await api.get(SERVER_GROUP, "g")
        status = (found or {}).get("status") or {}
        conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
        return (status.get("placement") or {}).get("service") == host.name and conditions.get("Ready") == "True"

    await api.until(f"g to be ready on {host.name}", ready, PATIENCE)


def assert_one_generation_after_the_other(first: Hostd, second: Hostd) -> None:
    """By the services' own ledgers: two servers each, and none made elsewhere before the last old one was gone."""
    for host in (first, second):
        events = [entry["event"] for entry in host.ledger()]
        assert sorted(events) == ["Created", "Created", "Deleted", "Deleted"], f"{host.name}: {events}"
        assert host.servers() == []
    gone = max(entry["time"] for entry in first.ledger() if entry["event"] == "Deleted")
    made = min(entry["time"] for entry in second.ledger() if entry["event"] == "Created")
    assert gone <= made
