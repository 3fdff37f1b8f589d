"""The whole claim on Incus's containers."""

from __future__ import annotations

import pytest
from tests.support import beds
from tests.support.real import the_whole_claim
from tests.support.stack import Api, Stack

pytestmark = [pytest.mark.bed("incus"), pytest.mark.timeout(300)]


async def test_the_whole_claim_on_containers(real_stack: Stack, real_api: Api) -> None:
    await the_whole_claim(real_stack, real_api, beds.running("incus"), "containers")
