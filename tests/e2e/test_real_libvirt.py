"""The whole claim on virtual machines that boot a kernel, on a real libvirt with QEMU."""

from __future__ import annotations

import pytest
from tests.support import beds
from tests.support.real import the_whole_claim
from tests.support.stack import Api, Stack

pytestmark = [pytest.mark.bed("libvirt"), pytest.mark.timeout(600)]


async def test_the_whole_claim_on_virtual_machines(real_stack: Stack, real_api: Api) -> None:
    await the_whole_claim(real_stack, real_api, beds.running("libvirt"), "machines", patience=240.0)
