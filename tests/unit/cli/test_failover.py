"""`moorage failover` says yes to what is asked, and to nothing else."""

from __future__ import annotations

import io
from typing import Any

import pytest
from tests.unit.cli.test_approvals import Reviews

from moorage.api.servergroup import ServerGroup
from moorage.cli.cluster import Cluster
from moorage.cli.commands.failover import confirm
from moorage.cli.errors import CliError, Exit
from moorage.cli.failover import approve, asked, consequence, question
from moorage.kube.kinds import HOSTING_POLICY, SERVER_GROUP


def group(reason: str = "", *, due: bool) -> ServerGroup:
    status: dict[str, Any] = {}
    if reason:
        told = {"type": "FailoverPending", "status": "True", "reason": reason, "message": "told"}
        status["conditions"] = [{**told, "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    if due:
        status["failover"] = {"placement": 3, "reason": "ServiceUnreachable", "since": "2026-01-01T00:00:00Z"}
    spec = {"policyRef": {"name": "p"}, "members": [{"name": "m", "configRef": {"name": "c"}}]}
    meta = {"name": "g", "namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 1}
    return ServerGroup.from_dict({"metadata": meta, "spec": spec, "status": status})


def test_what_waits_for_a_person_is_found() -> None:
    assert asked(group("FailoverNotApproved", due=True)).placement == 3


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (group(due=False), "g has no occasion to fail over"),
        (group("EarlierServersRemain", due=False), "g has no occasion to fail over: told"),
        (group("OverlapForbidden", due=True), "nobody is asked: OverlapForbidden: told"),
    ],
)
def test_without_a_question_nothing_is_written_and_the_reason_is_told(found: ServerGroup, says: str) -> None:
    with pytest.raises(CliError) as caught:
        asked(found)
    assert (caught.value.message, caught.value.code) == (says, Exit.NOT_READY)


async def scene(overlap: str) -> tuple[Reviews, Cluster]:
    """A group that waits for a person, and its policy."""
    api = Reviews()
    obj = group("FailoverNotApproved", due=True).to_dict()
    placement = {"number": 3, "service": "one", "serviceUID": "u1", "time": "2026-01-01T00:00:00Z"}
    status = {**obj["status"], "placement": placement, "replicas": 5, "readyReplicas": 2}
    await api.create(
        SERVER_GROUP, {"metadata": {"name": "g", "namespace": "ns"}, "spec": obj["spec"], "status": status}
    )
    when = {"all": [{"name": "a", "schedule": {"from": "2026-01-01T00:00:00Z"}}]}
    leave = {"when": {"unreachableFor": "5m"}, "action": "Ask", "overlap": overlap}
    await api.create(
        HOSTING_POLICY, {"metadata": {"name": "p", "namespace": "ns"}, "spec": {"when": when, "failover": leave}}
    )
    return api, Cluster(api.client, "ns")


@pytest.mark.parametrize(
    ("overlap", "says"),
    [
        ("Forbidden", "first, and then makes the group elsewhere: until then there is none"),
        ("Allowed", "once the new ones, which are made elsewhere first, are ready"),
    ],
)
async def test_it_asks_and_says_how_many_servers_go(overlap: str, says: str) -> None:
    _, cluster = await scene(overlap)
    occasion, text = await question(cluster, "g")
    assert occasion.placement == 3
    assert text == f"g leaves one: it removes its 5 servers on one, 2 of them ready, {says}"


async def test_it_writes_the_occasion_and_who_said_so() -> None:
    api, cluster = await scene("Forbidden")
    await approve(cluster, "g")
    told = api.stored(SERVER_GROUP, "ns", "g")["metadata"]["annotations"]["moorage.dev/failover"]
    assert told == "3@2026-01-01T00:00:00Z by jane"


async def test_what_was_confirmed_is_not_written_of_another_occasion() -> None:
    api, cluster = await scene("Forbidden")
    occasion, _ = await question(cluster, "g")
    status = api.stored(SERVER_GROUP, "ns", "g")["status"]
    later = {**status["failover"], "since": "2026-01-02T00:00:00Z"}
    api.change(SERVER_GROUP, "ns", "g", status={**status, "failover": later})
    with pytest.raises(CliError, match="another occasion by now"):
        await approve(cluster, "g", occasion)
    assert "annotations" not in api.stored(SERVER_GROUP, "ns", "g")["metadata"]


def test_released_servers_are_not_called_removed() -> None:
    found = group("FailoverNotApproved", due=True)
    found = found.model_copy(update={"spec": found.spec.model_copy(update={"deletion_policy": "Retain"})})
    assert "it releases its 0 servers" in consequence(found, "")


def test_without_anybody_to_confirm_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(CliError, match="nobody is here to confirm: it goes"):
        confirm("it goes")
