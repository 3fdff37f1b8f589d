"""A policy that is valid and can lead nowhere says so."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.controller_bench import Bench, new_bench, read_policy

from moorage.api.hostingpolicy import HostingPolicySpec
from moorage.cli.commands.plan import doubts
from moorage.cli.plan.gather import Gathered
from moorage.core.policy.futile import futile
from moorage.kube.kinds import HOSTING_POLICY

ALWAYS = {"all": [{"name": "always", "schedule": {"from": "2000-01-01T00:00:00Z"}}]}
UNREACHABLE = {"unreachableFor": "10m"}
UNHEALTHY = {"unhealthyShare": "50%", "unhealthyFor": "10m"}


def failover(when: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"when": ALWAYS, "failover": {"when": when, "action": "Rebuild", **more}}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (failover(UNREACHABLE), True),
        (failover({**UNREACHABLE, **UNHEALTHY}), True),
        (failover(UNREACHABLE, action="Ask"), True),
        (failover(UNREACHABLE, action="Wait"), False),
        (failover(UNREACHABLE, overlap="Allowed"), False),
        (failover(UNHEALTHY), False),
        ({"when": ALWAYS}, False),
    ],
)
def test_a_failover_that_can_never_begin_is_told(spec: dict[str, Any], told: bool) -> None:
    assert bool(futile(HostingPolicySpec.from_dict(spec))) is told


@pytest.fixture
async def bench() -> Bench:
    found = new_bench()
    await found.put(HOSTING_POLICY, "p", failover(UNREACHABLE))
    await found.group()
    return found


async def test_the_condition_of_the_policy_tells_it_and_the_policy_is_valid(bench: Bench) -> None:
    await read_policy(bench)
    (ready,) = bench.api.stored(HOSTING_POLICY, "ns", "p")["status"]["conditions"]
    assert (ready["status"], ready["reason"]) == ("True", "Evaluated")
    assert "unreachableFor never has a group leave" in ready["message"]


async def test_a_plan_tells_it(bench: Bench) -> None:
    gathered = Gathered("ns", bench.context.store, bench.tables, ("g",), frozenset(), {}, ())
    (told,) = doubts(gathered)
    assert told.startswith("HostingPolicy p: failover.when.unreachableFor never")
