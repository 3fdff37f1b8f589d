"""Listings that are late, and clocks that do not agree."""

from __future__ import annotations

import asyncio

import pytest

from moorage.hosting.contract import Backend
from moorage.hosting.errors import HostingError
from moorage.testing.base import Contract, finish, is_gone, listed, made_only, needs_fault, outcome
from moorage.testing.proxy import Fault, FaultProxy
from moorage.testing.service import ServiceUnderTest

LAG = 1.0


class LagContract(Contract):
    """Time, as the service sees it."""

    async def test_listings_are_no_later_than_the_backend_says(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        request = service.request()
        made = await backend.create(request)
        await asyncio.sleep(backend.capabilities.listing_lag)
        assert made.provider_id in {server.provider_id for server in (await backend.inventory()).servers}
        assert [server.provider_id for server in await backend.find(request.key)] == [made.provider_id]
        await backend.delete(made.provider_id)
        await is_gone(service, backend, made.provider_id)
        await asyncio.sleep(backend.capabilities.listing_lag)
        assert made.provider_id not in {server.provider_id for server in (await backend.inventory()).servers}
        assert await backend.find(request.key) == ()

    async def test_get_does_not_lag_behind(self, service: ServiceUnderTest) -> None:
        needs_fault(service, "lag")
        await service.faults.lag(LAG)
        backend = service.open(**service.lagging(LAG))
        assert backend.capabilities.listing_lag >= LAG
        request = service.request()
        made = await backend.create(request)
        assert (await backend.get(made.provider_id)).key == request.key
        await asyncio.sleep(backend.capabilities.listing_lag)
        assert [server.provider_id for server in await backend.find(request.key)] == [made.provider_id]
        assert made.provider_id in {server.provider_id for server in (await backend.inventory()).servers}
        await backend.delete(made.provider_id)
        await is_gone(service, backend, made.provider_id)
        await listed(service, backend, set(), {made.provider_id})

    async def test_a_lost_creation_is_not_doubled_while_listings_are_late(
        self, service: ServiceUnderTest, proxy: FaultProxy
    ) -> None:
        needs_fault(service, "lag")
        await service.faults.lag(LAG)
        hasty = service.short_timeouts(service.hasty * 5)
        backend = service.open_through(proxy, **{**hasty, **service.lagging(LAG)})
        await outcome(backend.create(service.request()))
        calls = len(proxy.calls)
        for first in range(max(0, calls - 2), calls):
            request = service.request()
            proxy.arm(Fault.DROP, first=first, count=1)
            await outcome(backend.create(request))
            proxy.calm()
            made = await finish(service, backend, request)
            await made_only(service, request.key, made.provider_id)

    @pytest.mark.parametrize("seconds", [3600.0, -3600.0], ids=["an hour ahead", "an hour behind"])
    async def test_a_clock_that_is_wrong_costs_nothing_but_the_call(
        self, service: ServiceUnderTest, seconds: float
    ) -> None:
        needs_fault(service, "skew")
        first = await service.open().create(service.request())
        await service.faults.skew(seconds)
        backend = service.open()
        request = service.request()
        answers = [
            await outcome(backend.create(request)),
            await outcome(backend.inventory()),
            await outcome(backend.get(first.provider_id)),
        ]
        refused = [answer for answer in answers if isinstance(answer, HostingError)]
        # Where signatures bear a time all is refused; where not, nothing is.
        assert len(refused) in {0, len(answers)}
        await service.faults.clear()
        made = await finish(service, service.open(), request)
        await made_only(service, request.key, made.provider_id)
        assert (await service.open().get(first.provider_id)).provider_id == first.provider_id
