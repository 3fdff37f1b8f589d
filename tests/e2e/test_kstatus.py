"""What kstatus and `kubectl wait` make of every kind in every state that real controllers bring it into."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.cluster import KStatus, Kubectl
from tests.support.installation import Installation
from tests.support.stack import Api, Hostd, Obj, Process, always, config, group, service

from moorage.kube.kinds import (
    HOSTING_POLICY,
    HOSTING_SERVICE,
    OWN,
    SERVER_GROUP,
    VIRTUAL_SERVER,
    VIRTUAL_SERVER_CONFIG,
    Kind,
)

pytestmark = pytest.mark.timeout(400)

HOLD = "example.com/hold"
NAMES = {
    HOSTING_SERVICE: "kstatus",
    VIRTUAL_SERVER_CONFIG: "web",
    HOSTING_POLICY: "policy",
    SERVER_GROUP: "g",
    VIRTUAL_SERVER: "g-web-0",
}
STALLED = {
    HOSTING_SERVICE: "kstatus-bad",
    VIRTUAL_SERVER_CONFIG: "cycle",
    HOSTING_POLICY: "broken",
    SERVER_GROUP: "nowhere",
    VIRTUAL_SERVER: "adopted",
}


@dataclass
class World:
    """One look at any object by both clients."""

    api: Api
    kstatus: KStatus
    kubectl: Kubectl

    async def look(self, kind: Kind, name: str) -> str:
        """What kstatus says."""
        obj = await self.api.get(kind, name)
        text, _ = self.kstatus(obj)
        return text

    async def until(self, kind: Kind, name: str, wanted: str) -> None:
        """Wait until kstatus says so."""

        async def probe() -> bool:
            return await self.look(kind, name) == wanted

        await self.api.until(f"kstatus {wanted} for {kind} {name}", probe)

    def waits(self, kind: Kind, name: str, seconds: int = 1) -> bool:
        """Whether `kubectl wait` for Ready is still waiting after some seconds."""
        where = [f"--namespace={self.api.namespace}"] if kind.namespaced else []
        run = self.kubectl(
            "wait", f"{kind.plural}/{name}", "--for=condition=Ready", f"--timeout={seconds}s", *where, check=False
        )
        assert run.returncode == 0 or "timed out" in run.stderr, run.stderr
        return run.returncode != 0


@pytest.fixture
def world(installation: Installation, shipped_api: Api, kstatus: KStatus) -> World:
    return World(shipped_api, kstatus, Kubectl(installation.plane))


@contextmanager
def controller(installation: Installation) -> Iterator[Process]:
    """The shipped controller with the channel in its own process."""
    process = installation.program("kstatus", "run", "moorage-controller")
    try:
        process.announcement()
        yield process
    finally:
        process.stop()


@contextmanager
def stopped(process: Process) -> Iterator[None]:
    """Nothing is reconciled within the block; much shorter than the lease."""
    process.popen.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.popen.send_signal(signal.SIGCONT)


def objects(host: Hostd) -> list[Obj]:
    """One of each kind (the VirtualServer comes of the group), with labels and annotations of the user's."""
    made = [
        service("kstatus", host.url, inventoryInterval="1s"),
        always("policy", "kstatus"),
        config("web", steps=[{"name": "start", "script": "true"}]),
        group("g", "policy", ("web", "web", 1)),
    ]
    for obj in made:
        obj["metadata"] |= {"labels": {"team": "blue"}, "annotations": {"example.com/note": "mine"}}
    return made


def broken() -> list[Obj]:
    """What can never become ready until a person changes it."""
    policy = always("broken", "kstatus")
    policy["spec"]["when"] = {"all": [{"name": "x", "service": {"expression": "services.exists(s, s.price <"}}]}
    return [
        service("kstatus-bad", "http://127.0.0.1:9", settings={"noSuchSetting": 1}),
        config("cycle", configuration=[{"name": "a", "template": "${b}"}, {"name": "b", "template": "${a}"}]),
        policy,
        group("nowhere", "policy", ("web", "cycle", 1)),
    ]


CHANGES: dict[Kind, Obj] = {
    HOSTING_SERVICE: {"spec": {"labels": {"zone": "b"}}},
    VIRTUAL_SERVER_CONFIG: {"spec": {"steps": [{"name": "start", "script": "true # again"}]}},
    HOSTING_POLICY: {"spec": {"whenUnmet": "Release"}},
    SERVER_GROUP: {"spec": {"remediation": {"bootTimeout": "20m"}}},
    VIRTUAL_SERVER: {"spec": {"deletionPolicy": "Retain"}},
}


async def test_every_kind_in_every_state(installation: Installation, world: World) -> None:
    api = world.api
    host = installation.hostd("kstatus", "--simulate", "--boot-time", "0.2")
    host.faults(bootNever=True)
    try:
        await _new(world, host)
        with controller(installation) as process:
            await _in_progress(world)
            host.faults()
            await api.delete(VIRTUAL_SERVER, NAMES[VIRTUAL_SERVER])  # never booted, never will: another one does
            await _ready(world)
            await _stalled(world)
            await _changed(world, process)
            await _nothing_of_the_users_is_written(api)
            await _deleting(world, process)
    finally:
        host.stop()


async def _new(world: World, host: Hostd) -> None:
    """No controller has seen it: no client takes it for finished."""
    await world.api.apply(*objects(host))
    for kind, name in NAMES.items():
        if kind is not VIRTUAL_SERVER:
            assert await world.look(kind, name) == "InProgress"
            assert world.waits(kind, name)
    adopted = {
        "apiVersion": VIRTUAL_SERVER.api_version,
        "kind": VIRTUAL_SERVER.kind,
        "metadata": {"name": "adopted"},
        "spec": {"serviceRef": {"name": "kstatus"}, "adopt": {"providerID": "i-1"}, "configRef": {"name": "web"}},
    }
    await world.api.apply(adopted)
    assert await world.look(VIRTUAL_SERVER, "adopted") == "InProgress"
    assert world.waits(VIRTUAL_SERVER, "adopted")


async def _in_progress(world: World) -> None:
    """The server boots for ever: it and its group are in progress, with the present generation observed."""
    for kind in (SERVER_GROUP, VIRTUAL_SERVER):
        obj = await world.api.condition(kind, NAMES[kind], "Ready", "False")
        assert obj["status"]["observedGeneration"] == obj["metadata"]["generation"]
        assert world.kstatus(obj)[0] == "InProgress"
        assert world.waits(kind, NAMES[kind])


async def _ready(world: World) -> None:
    for kind, name in NAMES.items():
        await world.until(kind, name, "Current")
        assert not world.waits(kind, name, 10)


async def _stalled(world: World) -> None:
    """Nothing will change until a person changes it: kstatus says Failed, with our message."""
    await world.api.apply(*broken())
    for kind, name in STALLED.items():
        await world.until(kind, name, "Failed")
        obj = await world.api.get(kind, name)
        stalled = next(c for c in (obj or {})["status"]["conditions"] if c["type"] == "Stalled")
        assert world.kstatus(obj)[1] == stalled["message"] != ""
        assert world.waits(kind, name)
    for kind, name in STALLED.items():
        await world.api.delete(kind, name)


async def _changed(world: World, process: Process) -> None:
    """Until the new generation was seen, the old Ready does not count."""
    with stopped(process):
        for kind, change in CHANGES.items():
            await world.api.patch(kind, NAMES[kind], change)
            assert await world.look(kind, NAMES[kind]) == "InProgress", kind
    await world.api.until("Retain to be taken back", lambda: _is_delete(world.api))
    for kind in CHANGES:
        await world.until(kind, NAMES[kind], "Current")
        assert not world.waits(kind, NAMES[kind], 10)


async def _is_delete(api: Api) -> bool:
    """The group applies its own deletionPolicy to its servers."""
    server = await api.get(VIRTUAL_SERVER, NAMES[VIRTUAL_SERVER])
    return server is not None and server["spec"]["deletionPolicy"] == "Delete"


async def _nothing_of_the_users_is_written(api: Api) -> None:
    """No field of spec, labels or annotations of a user's object belongs to a manager of ours."""
    for kind, name in NAMES.items():
        if kind is VIRTUAL_SERVER:
            continue
        obj = await api.get(kind, name)
        assert obj is not None
        for entry in obj["metadata"]["managedFields"]:
            if entry["manager"] != "test":
                assert _user_fields(entry["fieldsV1"]) == set(), entry["manager"]
        assert obj["metadata"]["labels"] == {"team": "blue"}
        assert obj["metadata"]["annotations"] == {"example.com/note": "mine"}


def _user_fields(fields: dict[str, Any]) -> set[str]:
    meta = fields.get("f:metadata") or {}
    return {key for key in fields if key == "f:spec"} | {k for k in meta if k in {"f:labels", "f:annotations"}}


async def _deleting(world: World, process: Process) -> None:
    """Something holds it: clients see that it goes; then it is gone."""
    with stopped(process):
        for kind in OWN:
            name = NAMES[kind]
            obj = await world.api.get(kind, name)
            held = [*((obj or {})["metadata"].get("finalizers") or ()), HOLD]
            await world.api.patch(kind, name, {"metadata": {"finalizers": held}})
            await world.api.delete(kind, name)
            assert await world.look(kind, name) == "Terminating"
    for kind in (VIRTUAL_SERVER, SERVER_GROUP, HOSTING_POLICY, VIRTUAL_SERVER_CONFIG, HOSTING_SERVICE):
        await world.api.until(f"only our hold on {kind}", lambda kind=kind: _only_held(world.api, kind))  # type: ignore[misc]
        assert await world.look(kind, NAMES[kind]) == "Terminating"
        await world.api.patch(kind, NAMES[kind], {"metadata": {"finalizers": []}})
        await world.until(kind, NAMES[kind], "NotFound")


async def _only_held(api: Api, kind: Kind) -> bool:
    obj = await api.get(kind, NAMES[kind])
    return obj is not None and obj["metadata"].get("finalizers") == [HOLD]
