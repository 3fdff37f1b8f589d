"""A server that somebody made at a real service: observed, taken over, repaired, orphaned, released, deleted."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import beds, cli
from tests.support.real import serve
from tests.support.stack import Api, Obj, Stack, condition

from moorage.api.names import API_VERSION
from moorage.cli.errors import Exit
from moorage.hosting.contract import RELEASED, TAG_SERVER, Backend, CreateRequest, ServerState, identity_key
from moorage.hosting.errors import NotFound
from moorage.hosting.registry import backend
from moorage.kube.kinds import HOSTING_SERVICE, VIRTUAL_SERVER
from moorage.testbed import Running
from moorage.testing.service import Spec

BEDS = ("ec2", "hetzner", "incus", "libvirt")
PATIENCE = 180.0


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.bed(name)) for name in BEDS])
def running(request: pytest.FixtureRequest) -> Running:
    """A service; one after the other."""
    return beds.running(request.param)


@pytest.fixture
async def account(running: Running) -> AsyncIterator[Backend]:
    """The same account, as somebody else works in it."""
    spec = Spec(running.endpoint, running.region, running.project, running.settings)
    opened = backend(running.type).open(spec, {key: value.encode() for key, value in running.credentials.items()})
    yield opened
    await opened.close()


async def by_hand(api: Api, running: Running, account: Backend) -> str:
    """The id of a server that runs and has no tag of Moorage's."""
    nonce = secrets.token_hex(4)
    request = CreateRequest(
        key=identity_key("somebody", nonce),
        name=f"by-hand-{nonce}",
        image=running.image or "",
        offering=running.offering or "",
        user_data="#!/bin/sh\ntrue\n",
        tags={},
        settings=running.extra.get("server_settings") or {},
    )
    made = await account.create(request)

    async def runs() -> bool:
        return (await account.get(made.provider_id)).state is ServerState.RUNNING

    await api.until("the server made by hand to run", runs, PATIENCE)
    return made.provider_id


def adopting(service: str, provider_id: str, **spec: Any) -> Obj:
    """A VirtualServer that stands for it."""
    wanted = {"serviceRef": {"name": service}, "adopt": {"providerID": provider_id}, **spec}
    return {"apiVersion": API_VERSION, "kind": "VirtualServer", "metadata": {"name": "theirs"}, "spec": wanted}


@pytest.mark.timeout(600)
async def test_a_server_of_somebody_elses_making(
    real_stack: Stack, real_api: Api, running: Running, account: Any
) -> None:
    api, service = real_api, f"existing-{running.type}"
    await serve(real_stack, api, running, service)
    provider_id = await by_hand(api, running, account)
    before = await account.get(provider_id)

    printed = await cli.moorage(real_stack, "import", service, "-n", api.namespace, "-o", "json")
    assert printed.returncode == Exit.OK, printed.stderr
    found = [o for o in json.loads(printed.stdout)["items"] if o["spec"]["adopt"]["providerID"] == provider_id]
    assert [o["spec"]["managementPolicy"] for o in found] == ["Observe"], printed.stderr
    for value in running.credentials.values():
        assert value not in printed.stdout + printed.stderr

    await api.apply(adopting(service, provider_id, managementPolicy="Observe"))
    seen = await api.condition(VIRTUAL_SERVER, "theirs", "Ready", reason="Observed", seconds=PATIENCE)
    assert seen["status"]["providerID"] == provider_id
    await account.stop(provider_id)
    await api.condition(VIRTUAL_SERVER, "theirs", "Drifted", reason="Stopped", seconds=PATIENCE)
    assert (await account.get(provider_id)).tags == before.tags

    await api.patch(VIRTUAL_SERVER, "theirs", {"spec": {"managementPolicy": "Manage", "driftPolicy": "Repair"}})
    ours = await api.condition(VIRTUAL_SERVER, "theirs", "Ready", reason="Ready", seconds=PATIENCE)
    assert condition(ours, "Drifted") is None
    record = await account.get(provider_id)
    assert record.state is ServerState.RUNNING
    assert record.tags[TAG_SERVER] == ours["metadata"]["uid"]

    await api.patch(VIRTUAL_SERVER, "theirs", {"metadata": {"finalizers": None}})
    await api.delete(VIRTUAL_SERVER, "theirs")

    async def told() -> bool:
        orphans = ((await api.get(HOSTING_SERVICE, service) or {}).get("status") or {}).get("orphans") or ()
        return provider_id in {orphan["providerID"] for orphan in orphans}

    await api.until("the orphan to be told", told, PATIENCE)
    released = await cli.moorage(real_stack, "orphans", "release", service, provider_id)
    assert released.returncode == Exit.OK, released.stderr
    assert (await account.get(provider_id)).tags[TAG_SERVER] == RELEASED

    await api.apply(adopting(service, provider_id, deletionPolicy="Delete"))
    await api.condition(VIRTUAL_SERVER, "theirs", "Ready", seconds=PATIENCE)
    await api.delete(VIRTUAL_SERVER, "theirs")
    await api.gone(VIRTUAL_SERVER, "theirs", PATIENCE)
    with pytest.raises(NotFound):
        await account.get(provider_id)
    await api.delete(HOSTING_SERVICE, service)
    await api.gone(HOSTING_SERVICE, service)
