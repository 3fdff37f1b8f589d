"""The whole claim on Nova's servers, each a process tree that boots its user-data."""

from __future__ import annotations

import pytest
from tests.support import beds
from tests.support.real import the_whole_claim
from tests.support.stack import Api, Stack

pytestmark = [pytest.mark.bed("openstack"), pytest.mark.timeout(400)]


async def test_the_whole_claim_on_novas_servers(real_stack: Stack, real_api: Api) -> None:
    await the_whole_claim(real_stack, real_api, beds.running("openstack"), "nova")
