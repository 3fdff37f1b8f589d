"""Orphans for people: what a service is found to have, and orders about what status tells of."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from tests.support.memory_api import MemoryApi
from typer.testing import CliRunner

from moorage.cli.cluster import Cluster
from moorage.cli.errors import CliError
from moorage.cli.main import app
from moorage.cli.orphans import give_orders
from moorage.cli.services import abandoned_by
from moorage.hosting.contract import ServerRecord, ServerState, identity_tags
from moorage.kube.errors import Forbidden
from moorage.kube.kinds import HOSTING_SERVICE, SECRET


async def cluster(**status: Any) -> tuple[Cluster, str]:
    """With one HostingService, whose uid is given."""
    api = MemoryApi()
    spec = {"type": "local", "endpoint": "http://h"}
    made = await api.create(HOSTING_SERVICE, {"metadata": {"name": "anchor"}, "spec": spec, "status": status})
    data = {"id": base64.b64encode(b"inst").decode()}
    await api.create(SECRET, {"metadata": {"name": "moorage-installation", "namespace": "system"}, "data": data})
    return Cluster(api.client, "ns"), made["metadata"]["uid"]


def server(service: str, owner: str = "vs", installation: str = "inst") -> ServerRecord:
    return ServerRecord("i-1", None, identity_tags(installation, "ns", service, owner), ServerState.RUNNING)


async def test_servers_of_this_installation_whose_service_object_is_gone_are_told() -> None:
    found, uid = await cluster()
    is_abandoned = await abandoned_by(found, "system")
    assert is_abandoned(server("uid-of-one-that-is-gone"))
    assert not is_abandoned(server(uid))
    assert not is_abandoned(server("gone", owner="released"))
    assert not is_abandoned(server("gone", installation="another"))
    assert not is_abandoned(ServerRecord("i-2", None, {}, ServerState.RUNNING))


async def test_who_may_not_read_the_installations_identity_is_told_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = await cluster()

    async def refused(*_: object) -> None:
        raise Forbidden(403, "Forbidden", "no")

    monkeypatch.setattr(Cluster, "maybe", refused)
    assert not (await abandoned_by(found, "system"))(server("gone", installation=""))


async def test_an_orphan_beyond_those_that_status_tells_of_is_not_called_none() -> None:
    told = [{"providerID": f"i-{n}", "virtualServer": "vs", "since": "2026-01-01T00:00:00Z"} for n in range(20)]
    found, _ = await cluster(orphans=told, orphanCount=21)
    with pytest.raises(CliError) as raised:
        await give_orders(found, "anchor", ["i-20"], "Release")
    assert raised.value.message == "i-20 is not among the 20 orphans that status tells of; anchor has 21"
    assert "dealt with first" in (raised.value.hint or "")


def listed(monkeypatch: pytest.MonkeyPatch, *arguments: str, **status: Any) -> str:
    """What `moorage orphans` prints of a cluster with one HostingService of this status."""

    async def run(work: Any) -> Any:
        found, _ = await cluster(**status)
        return await work(found)

    monkeypatch.setattr("moorage.cli.cluster.use_cluster", lambda _, work: asyncio.run(run(work)))
    result = CliRunner().invoke(app, ["orphans", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "There are no orphans of any hosting service, as far as status tells.\n"),
        (["anchor"], "There are no orphans of anchor, as far as status tells.\n"),
        (["-o", "json"], "[]\n"),
    ],
)
def test_where_there_are_none_a_sentence_says_so(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert listed(monkeypatch, *arguments) == said


def test_where_there_are_some_they_are_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [{"providerID": "i-1", "virtualServer": "vs", "since": "2026-01-01T00:00:00Z"}]
    shown = listed(monkeypatch, orphans=told, orphanCount=1).splitlines()
    assert [line.split()[0] for line in shown] == ["SERVICE", "anchor"]
