"""The whole claim on EC2, as moto and the proxy before it play it, with guests that boot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support import beds
from tests.support.real import the_whole_claim
from tests.support.services.ec2 import Control
from tests.support.stack import Api, Stack

from moorage.testbed import Running

pytestmark = [pytest.mark.bed("ec2"), pytest.mark.timeout(300)]


@pytest.fixture
def running() -> Iterator[Running]:
    """The bed, whose instances boot."""
    found = beds.running("ec2")
    control = Control(found)
    control.faults()
    control.guests(enabled=True)
    yield found
    control.faults()
    control.call("DELETE", "instances")
    control.guests(enabled=False)


async def test_the_whole_claim_on_instances(real_stack: Stack, real_api: Api, running: Running) -> None:
    await the_whole_claim(real_stack, real_api, running, "cloud")
