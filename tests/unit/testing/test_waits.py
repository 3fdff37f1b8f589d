"""A wait that was in vain says what was seen instead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.services.local import LocalService

from moorage.hosting.contract import ServerState
from moorage.testing.base import in_state, listed


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    """A hostd that simulates, with little patience."""
    async with LocalService(tmp_path, simulate=True) as service:
        service.patience = 0.2
        yield service


async def test_an_inventory_that_lacks_a_server_is_shown(service: LocalService) -> None:
    backend = service.open()
    made = await backend.create(service.request())
    with pytest.raises(AssertionError) as caught:
        await listed(service, backend, {"i-another"}, set())
    wanted = "not within 0.2 s: the inventory has ['i-another'] and has not []"
    assert str(caught.value) == f"{wanted}; it showed ['{made.provider_id}']"


async def test_another_state_is_told(service: LocalService) -> None:
    backend = service.open()
    made = await backend.create(service.request())
    service.patience = 10.0
    await in_state(service, backend, made.provider_id)
    service.patience = 0.2
    with pytest.raises(AssertionError) as caught:
        await in_state(service, backend, made.provider_id, ServerState.STOPPED)
    assert str(caught.value) == f"not within 0.2 s: {made.provider_id} is Stopped; it was Running"
