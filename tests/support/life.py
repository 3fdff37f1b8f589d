"""A full life of groups, for the crash tests: created, configured, scaled, revised, replaced, retained, deleted."""

from __future__ import annotations

from tests.support.stack import Api, Hostd, Obj, always, config, group, service

from moorage.kube.kinds import HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER, VIRTUAL_SERVER_CONFIG
from moorage.testing.promises import PromiseBroken

PATIENCE = 400.0
# Most deaths of a life may fall into the wait for one goal.


def objects(host: Hostd, name: str, settings: Obj) -> list[Obj]:
    """A service, a policy and two configurations that depend on each other's outputs in one direction."""
    return [
        service(name, host.url, settings=settings, inventoryInterval="1s"),
        always("policy", name),
        config(
            "db",
            configuration=[{"name": "password", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "password"}}}],
            files=[{"path": "/etc/password", "content": "${password}"}],
            steps=[{"name": "start", "script": "true"}],
            outputs=[{"name": "address", "command": "hostname", "after": ["start"]}],
        ),
        config(
            "web",
            configuration=[{"name": "db", "valueFrom": {"output": {"member": "db", "name": "address"}}}],
            steps=[{"name": "serve", "script": "echo ${db}"}],
            outputs=[{"name": "url", "command": "hostname", "after": ["serve"]}],
        ),
    ]


async def live(api: Api, host: Hostd, name: str, settings: Obj) -> None:
    """Live it; raises AssertionError where a goal is not reached."""
    await api.secret("secret", password="canary-password")
    await api.apply(*objects(host, name, settings))
    await api.apply(
        group("g", "policy", ("db", "db", 1), ("web", "web", 2)), group("kept", "policy", ("web", "web", 1))
    )
    await api.ready("g", PATIENCE)
    await _scaled(api)
    await _revised(api)
    await _replaced(api)
    await _lost(api, host)
    await _retained(api)
    await api.delete(SERVER_GROUP, "g")
    await api.gone(SERVER_GROUP, "g", PATIENCE)
    await api.delete(HOSTING_SERVICE, name)
    await api.gone(HOSTING_SERVICE, name, PATIENCE)


async def _scaled(api: Api) -> None:
    for replicas in (3, 1):
        members = [
            {"name": "db", "configRef": {"name": "db"}, "replicas": 1},
            {"name": "web", "configRef": {"name": "web"}, "replicas": replicas},
        ]
        await api.patch(SERVER_GROUP, "g", {"spec": {"members": members}})
        await api.ready("g", PATIENCE)
        await api.until("scaling", lambda n=replicas + 1: _count(api, "g", n), PATIENCE)  # type: ignore[misc]


async def _count(api: Api, group_name: str, count: int) -> bool:
    return len(await api.servers(group_name)) == count


async def _revised(api: Api) -> None:
    """Another generation of the configuration, in place: no server is made anew."""
    before = {o["metadata"]["uid"] for o in await api.servers("g")}
    await api.patch(VIRTUAL_SERVER_CONFIG, "db", {"spec": {"steps": [{"name": "start", "script": "true # changed"}]}})

    async def revised() -> bool:
        servers = await api.servers("g")
        states = [(o.get("status") or {}).get("configuration") or {} for o in servers]
        return all(s.get("controllerRevision") == o["spec"]["revision"] for s, o in zip(states, servers, strict=True))

    await api.until("the revision", revised, PATIENCE)
    await api.ready("g", PATIENCE)
    assert {o["metadata"]["uid"] for o in await api.servers("g")} == before


async def _replaced(api: Api) -> None:
    """Another image takes other servers."""
    before = {o["metadata"]["uid"] for o in await api.servers("g") if o["spec"]["member"] == "db"}
    await api.patch(VIRTUAL_SERVER_CONFIG, "db", {"spec": {"images": [{"image": "process/python"}]}})

    async def replaced() -> bool:
        db = [o for o in await api.servers("g") if o["spec"]["member"] == "db"]
        return len(db) == 1 and not before & {o["metadata"]["uid"] for o in db}

    await api.until("the replacement", replaced, PATIENCE)
    await api.ready("g", PATIENCE)


async def _lost(api: Api, host: Hostd) -> None:
    """A server that vanishes at the service is replaced."""
    victim = next(o for o in await api.servers("g") if o["spec"]["member"] == "web")
    host.faults(vanish=[victim["status"]["providerID"]])

    async def replaced() -> bool:
        web = [o for o in await api.servers("g") if o["spec"]["member"] == "web"]
        return bool(web) and web[0]["metadata"]["uid"] != victim["metadata"]["uid"]

    await api.until("the lost server to be replaced", replaced, PATIENCE)
    host.faults()
    await api.ready("g", PATIENCE)


async def _retained(api: Api) -> None:
    """A group that goes and leaves its server."""
    await api.patch(SERVER_GROUP, "kept", {"spec": {"deletionPolicy": "Retain"}})

    async def told() -> bool:
        return all(o["spec"]["deletionPolicy"] == "Retain" for o in await api.servers("kept"))

    await api.until("deletionPolicy to reach the server", told, PATIENCE)
    await api.delete(SERVER_GROUP, "kept")
    await api.gone(SERVER_GROUP, "kept", PATIENCE)


def assert_nothing_twice_nothing_leaked(host: Hostd) -> None:
    """By the service's own ledger: one server for each key, and only the released one is left."""
    created: dict[str, int] = {}
    for entry in host.ledger():
        if entry["event"] == "Created" and entry.get("key"):
            created[entry["key"]] = created.get(entry["key"], 0) + 1
    assert created, "the ledger is empty"
    doubled = {key: n for key, n in created.items() if n > 1}
    left = [server["tags"]["moorage-server"] for server in host.servers()]
    if doubled or left != ["released"]:
        raise PromiseBroken(f"doubled: {doubled}; left: {left}")


async def no_objects_left(api: Api) -> None:
    """No VirtualServer is left in the namespace."""
    listing = await api.client.list(VIRTUAL_SERVER, api.namespace)
    assert listing.items == []
