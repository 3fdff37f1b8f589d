"""What `moorage explain` says of what is to come: the service that would be chosen now, and what is due by itself."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console
from tests.support.controller_bench import read_policy
from tests.support.harbour import ALWAYS, NEVER, SINCE, Harbour, Obj

from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.servergroup import ServerGroup
from moorage.cli.cluster import Cluster
from moorage.cli.plan.outlook import foresee_as_is, look_ahead
from moorage.cli.views.explain import Explanation
from moorage.core.policy.approval import Approval
from moorage.kube import kinds
from moorage.kube.errors import Forbidden

APPROVED: Obj = {"when": {"all": [{"name": "asked", "approval": {"maxAge": "24h"}}]}}


async def explained(harbour: Harbour, cluster: Any = None) -> Explanation:
    """As the command does it, over the API server in memory."""
    api, now = harbour.bench.api, harbour.now()
    group = ServerGroup.from_dict(api.stored(kinds.SERVER_GROUP, "ns", "g"))
    held = harbour.bench.tables.policies.get("ns", group.spec.policy_ref.name)
    policy = None if held is None else HostingPolicy.from_dict(held)
    if cluster is not None:
        return Explanation(group, policy, await look_ahead(cluster, group, now))
    return Explanation(group, policy, foresee_as_is(harbour.gathered(), "g", now))


def text(harbour: Harbour, explanation: Explanation) -> str:
    console = Console(file=io.StringIO(), width=1000, color_system=None)
    for part in explanation.show(harbour.now()):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return "".join(line.rstrip() + "\n" for line in console.file.getvalue().splitlines())


async def waiting(policy: Obj, **group: Any) -> Harbour:
    harbour = Harbour()
    await harbour.namespace({})
    await harbour.set_up(policy=policy)
    await read_policy(harbour.bench)
    await harbour.group(**group)
    return harbour


async def approve(harbour: Harbour, **more: Any) -> None:
    group = harbour.bench.api.stored(kinds.SERVER_GROUP, "ns", "g")
    meta = group["metadata"]
    given = Approval(meta["uid"], meta["generation"], "chief", harbour.now(), **more)
    annotations = {"moorage.dev/approval": given.encode()}
    changed = harbour.bench.api.change(kinds.SERVER_GROUP, "ns", "g", metadata={**meta, "annotations": annotations})
    harbour.bench.context.store.ingest(kinds.SERVER_GROUP, changed)


async def test_while_the_policy_is_unmet_the_service_that_would_be_chosen_is_shown_with_all_candidates() -> None:
    harbour = await waiting({**NEVER, "select": {"services": {"names": ["a", "b"]}}})
    await harbour.service("c", "0.01")
    found = await explained(harbour)
    shown = text(harbour, found)
    assert (
        "no hosting service is chosen yet; if the policy were met now, it would be a: a: cheapest of 2: 0.06/h against "
        "0.12/h (b); 1 services rejected: 1 NotSelected\n"
        "SERVICE  FEASIBLE  SCORE  PRICE  WHY\n"
        "a        yes       100    100    price 0.06/h\n"
        "b        yes       50     50     price 0.12/h\n"
        "c        no        -      -      NotSelected: it is not among select.services.names\n"
        "\n"
        "what would change the choice\n"
        "- b would win if its price fell below 0.06/h (now 0.12/h)\n"
    ) in shown
    data = json.loads(json.dumps(found.to_dict()))
    assert (data["now"]["service"], data["now"]["unless"]) == ("a", "if the policy were met now")
    assert len(data["now"]["candidates"]) == 3


@pytest.mark.parametrize("policy", [ALWAYS, NEVER], ids=["met", "unmet"])
async def test_where_none_could_take_it_each_says_why_and_what_would_let_it(policy: Obj) -> None:
    harbour = Harbour()
    await harbour.too_small(policy)
    shown = text(harbour, await explained(harbour))
    assert "a        InsufficientCapacity: needs 3, has 2\n" in shown
    assert "what would let one take it\n- a would be chosen with room for 3 (now 2)\n" in shown


async def test_what_is_missing_is_why_nobody_can_tell() -> None:
    harbour = Harbour()
    await harbour.service("a", "0.02")
    await harbour.put(kinds.HOSTING_POLICY, "p", NEVER)
    await harbour.group()
    why = "member m: there is no VirtualServerConfig c; create it or change configRef"
    assert f"no hosting service is chosen yet; which would be is unknown: {why}\n" in text(
        harbour, await explained(harbour)
    )


class Blind:
    """A client of somebody who may list nothing."""

    async def list(self, *_: Any, **__: Any) -> Any:
        raise Forbidden(403, "Forbidden", "you may not list hostingservices")


async def test_all_that_keeps_a_group_from_being_placed_is_named() -> None:
    harbour = await waiting(NEVER, suspend=True)
    assert "; if the policy were met now, without suspend, it would be a: " in text(harbour, await explained(harbour))


async def test_of_a_group_that_is_placed_it_is_told_too_that_not_all_may_be_seen() -> None:
    harbour = Harbour()
    await harbour.set_up()
    await harbour.group(1, running=1)
    found = await explained(harbour, cast(Cluster, SimpleNamespace(client=Blind(), namespace="ns")))
    assert found.notes() == ("what is due next is not all known: you may not list hostingservices",)


async def test_who_may_not_see_the_services_is_told_so_and_gets_the_rest() -> None:
    harbour = await waiting(NEVER)
    found = await explained(harbour, cast(Cluster, SimpleNamespace(client=Blind(), namespace="ns")))
    shown = text(harbour, found)
    assert "which would be is unknown: you may not list hostingservices\n" in shown
    assert "looked at again at 2999-01-01T00:00:00Z" in shown


async def test_it_is_found_from_what_the_api_server_has() -> None:
    harbour = await waiting(NEVER)
    found = await explained(harbour, Cluster(harbour.bench.api.client, "ns"))
    assert found.to_dict()["now"]["service"] == "a"


async def test_a_group_that_is_placed_shows_what_is_recorded_and_reads_no_other_namespace() -> None:
    asked: list[tuple[str, str | None]] = []

    class Client:
        async def list(self, kind: Any, namespace: str | None, **more: Any) -> Any:
            asked.append((kind.kind, namespace))
            return await harbour.bench.api.client.list(kind, namespace, **more)

        async def get(self, *args: Any) -> Any:
            return await harbour.bench.api.client.get(*args)

    harbour = await waiting(NEVER, replicas=1, running=1)
    found = await explained(harbour, cast(Cluster, SimpleNamespace(client=Client(), namespace="ns")))
    assert "placed on a" in text(harbour, found)
    assert found.to_dict()["now"] is None
    assert [kind for kind, namespace in asked if namespace is None] == ["HostingService"]


async def test_the_end_of_an_approval_is_named_as_what_is_due_next() -> None:
    harbour = await waiting(APPROVED, replicas=1, running=1)
    await approve(harbour, until=harbour.now() + timedelta(hours=3))
    found = await explained(harbour)
    [due] = found.to_dict()["due"]
    assert due["what"] == "OwnConditions"
    assert f"looked at again at {due['at']}, in 3h (the group's own conditions: approvals, votes), and" in text(
        harbour, found
    )


async def test_several_that_are_due_are_told_in_the_order_of_time() -> None:
    both = {"when": {"any": [*APPROVED["when"]["all"], *NEVER["when"]["all"]]}}
    harbour = await waiting(both, replicas=1, running=1)
    await approve(harbour)
    found = await explained(harbour)
    assert [due["what"] for due in found.to_dict()["due"]] == ["OwnConditions", "PolicyConditions"]
    assert "and when a fact changes; the policy's conditions at 2999-01-01T00:00:00Z, in" in text(harbour, found)


async def test_a_time_out_of_a_server_is_due_too() -> None:
    harbour = await waiting(ALWAYS, replicas=1, running=1)
    server = harbour.bench.api.stored(kinds.VIRTUAL_SERVER, "ns", "g-m-0")
    now = harbour.now().replace(microsecond=0)
    conditions = [{**c, "status": "False"} if c["type"] == "Ready" else c for c in server["status"]["conditions"]]
    status = {**server["status"], "conditions": conditions, "unhealthySince": now.isoformat()}
    changed = harbour.bench.api.change(kinds.VIRTUAL_SERVER, "ns", "g-m-0", status=status)
    harbour.bench.context.store.ingest(kinds.VIRTUAL_SERVER, changed)
    found = await explained(harbour)
    assert [due["what"] for due in found.to_dict()["due"]] == ["Group"]
    assert found.to_dict()["due"][0]["at"] > SINCE
