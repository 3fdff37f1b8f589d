"""The whole claim on EC2, as moto and the proxy before it play it, with guests that boot."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import beds, killing, places
from tests.support.real import the_whole_claim
from tests.support.services.ec2 import Control, booting
from tests.support.stack import Api, Stack

from moorage.kube.client import Client
from moorage.kube.kinds import NAMESPACE
from moorage.testbed import Running

pytestmark = [pytest.mark.bed("ec2"), pytest.mark.timeout(300)]


@pytest.fixture
def running() -> Iterator[Running]:
    """The bed, whose instances boot."""
    found = beds.running("ec2")
    with booting(found) as control:
        # A real EC2 does not answer in an instant either: the creations of a group are under way at the same time.
        control.faults(latency={"RunInstances": 0.5})
        yield found
        control.faults()
        control.call("DELETE", "instances")


async def test_the_whole_claim_on_instances(real_stack: Stack, real_api: Api, running: Running) -> None:
    await the_whole_claim(real_stack, real_api, running, "cloud")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("full", [0, 1], ids=["room everywhere", "a full zone"])
async def test_killed_while_creating_nothing_is_doubled_or_forgotten(tmp_path: Path, full: int) -> None:
    """`bench/kill.py` does the same with 50 servers, 20 times. Where a zone is full, half of the servers are made once
    more, in the other one."""
    seed = random.randrange(10**6)
    running = beds.running("ec2")
    with killing.mortal_stack(tmp_path) as stack:
        # Two at a time, slowly: a kill after the first ones is half-way.
        here = places.ec2(running, concurrency=2)
        async with await Client.connect(str(stack.plane.kubeconfig)) as client, here as place:
            Control(running).faults(latency={"RunInstances": 0.3})
            await client.create(NAMESPACE, {"metadata": {"name": "killed"}})
            Control(running).faults(zone_capacity=dict.fromkeys(sorted(running.settings["subnets"])[:full], 0))
            found = await killing.kill_while_creating(
                stack, Api(client, "killed"), place, servers=6, rounds=4, dice=random.Random(seed), patience=150
            )
    sys.stdout.write(f"seed {seed}: {killing.told(place, found)}\n")
    killing.assert_none_doubled_none_forgotten(found)
    assert len({one["zone"] for one in Control(running).ledger()[-6:]}) == 2 - full
