"""What the tests of the suite have in common: fixtures, waits, and how a creation is brought to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar, Final, TypeVar

import pytest
import pytest_asyncio

from moorage.hosting.abilities import Ability, VolumeRecord, abilities_of
from moorage.hosting.contract import (
    Backend,
    CreateRequest,
    ServerRecord,
    ServerState,
    identity_key,
    identity_tags,
)
from moorage.hosting.errors import HostingError, NotFound, Retryable, Unknown
from moorage.testing.promises import PromiseBroken, not_applicable
from moorage.testing.proxy import FaultProxy
from moorage.testing.service import ServiceUnderTest

Found = TypeVar("Found")
PAUSE = 0.05
TRIES = 20
NO_HTTP: Final = "the service is not reached over HTTP"


@pytest.mark.asyncio
class Contract:
    """Base of the suite's classes. A subclass of them has an async fixture `service`."""

    under_test: ClassVar[type[ServiceUnderTest] | None] = None
    """The class of the service, where a subclass tells it: what cannot apply is then skipped before the service is made
    ready, which may take longer than the test."""

    @pytest.fixture(autouse=True)
    def _told_beforehand(self, request: pytest.FixtureRequest) -> None:
        if self.under_test is not None and not self.under_test.http and "over_http" in request.fixturenames:
            not_applicable(NO_HTTP)

    @pytest.fixture
    def backend(self, service: ServiceUnderTest) -> Backend:
        """A backend on the service."""
        return service.open()

    @pytest.fixture
    def over_http(self, service: ServiceUnderTest) -> None:
        """For tests that put something before the service which speaks HTTP."""
        if not service.http:
            not_applicable(NO_HTTP)

    @pytest_asyncio.fixture
    async def proxy(self, service: ServiceUnderTest, over_http: None) -> AsyncIterator[FaultProxy]:
        """A proxy before the service, that breaks nothing yet."""
        async with FaultProxy(service.addresses(), upstream_tls=service.upstream_tls) as proxy:
            yield proxy


def needs_fault(service: ServiceUnderTest, name: str) -> None:
    """Skip the test where the service cannot be told to do that wrong."""
    if not service.faults.can(name):
        not_applicable(f"{name}: {service.faults.why.get(name, 'the service cannot be told to')}")


def needs_hanging(service: ServiceUnderTest) -> None:
    """Skip the test where the service cannot be made to hang as a whole."""
    if service.http and not service.faults.can("hang"):
        not_applicable("the proxy lets its answers hang")
    needs_fault(service, "hang")


def needs_ability(backend: Backend, ability: Ability) -> Any:
    """The backend, as one that has the ability. Skips the test where it has not."""
    if ability not in abilities_of(backend):
        not_applicable(f"the backend has not the ability {ability}")
    return backend


async def until(
    service: ServiceUnderTest, probe: Callable[[], Awaitable[Found]], what: str | Callable[[], str]
) -> Found:
    """The first true answer of `probe`. Raises AssertionError once the service's patience is over, and says `what` was
    awaited; a function may add what was seen last."""
    end = time.monotonic() + service.patience
    while True:
        answer = await probe()
        if answer:
            return answer
        if time.monotonic() >= end:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {service.patience:g} s: {told}")
        await asyncio.sleep(PAUSE)


async def in_state(
    service: ServiceUnderTest, backend: Backend, provider_id: str, state: ServerState = ServerState.RUNNING
) -> ServerRecord:
    """Wait until the server is in the state."""
    seen: ServerState | None = None

    async def probe() -> ServerRecord | None:
        nonlocal seen
        record = await backend.get(provider_id)
        seen = record.state
        failed = record.state is ServerState.FAILED and state is not ServerState.FAILED
        assert not failed, f"the server failed: {record.message}"
        return record if record.state is state else None

    found = await until(service, probe, lambda: f"{provider_id} is {state}; it was {seen}")
    assert found is not None
    return found


async def is_gone(service: ServiceUnderTest, backend: Backend, provider_id: str) -> None:
    """Wait until the service knows the server no more."""

    async def probe() -> bool:
        try:
            await backend.get(provider_id)
        except NotFound:
            return True
        return False

    await until(service, probe, f"{provider_id} is gone")


async def listed(service: ServiceUnderTest, backend: Backend, present: set[str], absent: set[str]) -> None:
    """Wait until the inventory shows these and does not show those."""
    found: set[str] = set()

    async def probe() -> bool:
        nonlocal found
        found = {server.provider_id for server in (await backend.inventory()).servers}
        return present <= found and not (absent & found)

    wanted = f"the inventory has {sorted(present)} and has not {sorted(absent)}"
    await until(service, probe, lambda: f"{wanted}; it showed {sorted(found)}")


def volume_identity(uid: str) -> tuple[str, dict[str, str]]:
    """Key and tags of a volume."""
    return identity_key("suite", f"volume-{uid}"), identity_tags("suite", "shop", "service-uid", f"volume-{uid}")


async def hangs_on(service: ServiceUnderTest, backend: Any, volume_id: str, server: str | None) -> None:
    """Wait until the volume is shown attached to the server, or to none."""

    async def probe() -> bool:
        found: tuple[VolumeRecord, ...] = await backend.volumes()
        return any(v.volume_id == volume_id and v.attached_to == server for v in found)

    await until(service, probe, f"the volume hangs on {server}")


async def addresses_of(backend: Backend, provider_id: str) -> set[str]:
    """The server's addresses."""
    return {address.address for address in (await backend.get(provider_id)).addresses}


async def made_with(service: ServiceUnderTest, key: str) -> list[str]:
    """The ids of all servers that the service ever created with the key, by its own word."""
    return [made.provider_id for made in await service.ledger() if made.key == key]


async def made_only(service: ServiceUnderTest, key: str, *provider_ids: str) -> None:
    """See that the service ever created these with the key, and no other. Raises PromiseBroken."""
    made = await made_with(service, key)
    if made != list(provider_ids):
        raise PromiseBroken(
            f"made with one key: {made or 'nothing'}; there should be: {list(provider_ids) or 'nothing'}"
        )


async def finish(service: ServiceUnderTest, backend: Backend, request: CreateRequest) -> ServerRecord:
    """Bring a creation that was interrupted to its end, as a controller does.

    Where the service knows its requests again, the same one is repeated. Where not: wait until the deadline of the
    attempt and the lag of listings are over, look into an inventory, use what carries the key, and create only where
    nothing does; and so again where it is not known what became of that.
    """
    if backend.capabilities.idempotent_create:
        return await repeat(lambda: backend.create(request))

    async def once() -> ServerRecord:
        await asyncio.sleep(backend.capabilities.create_timeout + backend.capabilities.listing_lag)
        found = (await repeat(backend.inventory)).with_key(request.key)
        return found[0] if found else await backend.create(request)

    return await repeat(once)


async def repeat(call: Callable[[], Awaitable[Found]]) -> Found:
    """Repeat a call until it succeeds. Errors that are not retryable are raised."""
    for _ in range(TRIES):
        try:
            return await call()
        except (Retryable, Unknown):
            await asyncio.sleep(PAUSE)
    return await call()


async def outcome(call: Awaitable[Any]) -> Any:
    """What the call returned, or the typed error it raised. Anything else it raises is raised."""
    try:
        return await call
    except HostingError as error:
        assert "\n" not in error.message
        assert len(error.message) <= 512
        return error
