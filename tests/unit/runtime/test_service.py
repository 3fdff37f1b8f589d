"""The connection to a hosting service: lease and deadline before each call, inventories whole or not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from moorage.core.facts import LookupResult
from moorage.hosting.contract import (
    Backend,
    Capabilities,
    CreateRequest,
    Inventory,
    ServerRecord,
    ServerState,
    identity_tags,
)
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    NotFound,
    Throttled,
    TimedOut,
    Unavailable,
)
from moorage.runtime.budget import Budget
from moorage.runtime.circuit import THRESHOLD
from moorage.runtime.clock import SystemClock
from moorage.runtime.service import Hooks, ServiceCall, ServiceConnection

REQUEST = CreateRequest("m-u1", "g-m-0", "image", "small", "", {})
MINUTE = timedelta(minutes=1)
CAPABILITIES = Capabilities(idempotent_create=True, listing_lag=5, create_timeout=30)


def record(id_: str = "s1") -> ServerRecord:
    return ServerRecord(id_, "m-u1", identity_tags("inst", "ns", "svc", "u1"), ServerState.RUNNING)


@dataclass
class FakeBackend:
    """Answers as told; `errors` are raised by the next calls, a `gate` holds them."""

    servers: list[ServerRecord] = field(default_factory=list)
    of: str = "account"
    errors: list[BaseException] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    called: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False
    capabilities: Capabilities = CAPABILITIES

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        self.called.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)

    async def account(self) -> str:
        await self._called("account")
        return self.of

    async def inventory(self) -> Inventory:
        await self._called("inventory")
        return Inventory(self.of, tuple(self.servers))

    async def get(self, provider_id: str) -> ServerRecord:
        await self._called("get")
        return next(s for s in self.servers if s.provider_id == provider_id)

    async def create(self, request: CreateRequest) -> ServerRecord:
        await self._called("create")
        return record()

    async def delete(self, provider_id: str) -> None:
        await self._called("delete")

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        await self._called("retag")

    async def close(self) -> None:
        self.closed = True


@dataclass
class Watcher:
    """What the connection tells its surroundings."""

    inventories: list[set[str]] = field(default_factory=list)
    troubles: int = 0
    recorded: list[tuple[str, float]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    leads: bool = True
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def guard(self) -> None:
        if not self.leads:
            raise PermissionError("not the leader")

    def on_inventory(self, keys: set[str]) -> None:
        self.inventories.append(keys)
        self.changed.set()

    def on_trouble(self) -> None:
        self.troubles += 1
        self.changed.set()

    def before(self, call: ServiceCall) -> None:
        self.told.append(f"before {call.operation}")

    def after(self, call: ServiceCall, error: BaseException | None, seconds: float) -> None:
        self.told.append(f"after {call.operation} {type(error).__name__ if error else 'well'}")


@dataclass
class Setting:
    """A connection with what it stands between."""

    backend: FakeBackend
    watcher: Watcher
    connection: ServiceConnection

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what the connection tells, at most some seconds."""
        async with asyncio.timeout(10):
            while not holds():
                self.watcher.changed.clear()
                self.connection.watch()
                self.connection.need_inventory(datetime.now(UTC))
                await self.watcher.changed.wait()


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    backend, watcher = FakeBackend(), Watcher()
    hooks = Hooks(watcher.guard, lambda: watcher.recorded, watcher.on_inventory, watcher.on_trouble, [watcher])
    connection = ServiceConnection(
        "anchor",
        "svc",
        "inst",
        cast(Backend, backend),
        hooks,
        SystemClock(),
        Budget(1000, 1000),
        60.0,
    )
    connection.expected_account = "account"
    yield Setting(backend, watcher, connection)
    await connection.close()
    assert backend.closed


async def test_facts_before_and_after_first_contact(setting: Setting) -> None:
    facts = setting.connection.facts()
    assert (facts.connected, facts.trusted, facts.latest, facts.listing_lag) == (True, True, None, timedelta(seconds=5))
    setting.connection.expected_account = None
    assert not setting.connection.facts().connected


async def test_a_complete_inventory_is_kept_and_told(setting: Setting) -> None:
    setting.backend.servers = [record()]
    before = datetime.now(UTC)
    setting.connection.start()
    await setting.until(lambda: bool(setting.watcher.inventories))
    latest = setting.connection.latest
    assert latest is not None
    assert latest.started >= before
    assert set(latest.by_id) == {"s1"}
    assert setting.watcher.inventories[0] == {"m-u1"}
    assert setting.connection.owned == {"s1": "u1"}


async def test_a_failed_inventory_teaches_nothing_but_the_problem(setting: Setting) -> None:
    setting.backend.servers = [record()]
    setting.connection.start()
    await setting.until(lambda: bool(setting.watcher.inventories))
    known = setting.connection.latest
    setting.backend.servers, setting.backend.errors = [], [Unavailable("page 2 failed")]
    await setting.until(lambda: setting.connection.problem == "page 2 failed")
    assert setting.connection.latest is known
    assert setting.connection.previous is None


async def test_another_account_is_never_believed(setting: Setting) -> None:
    setting.backend.servers = [record()]
    setting.connection.start()
    await setting.until(lambda: bool(setting.watcher.inventories))
    known = setting.connection.latest
    setting.backend.of, setting.backend.servers = "other", []
    await setting.until(lambda: setting.connection.foreign_account == "other")
    assert setting.connection.latest is known
    assert not setting.connection.facts().trusted
    setting.backend.of = "account"
    await setting.until(lambda: setting.connection.foreign_account is None)


async def test_too_many_missing_at_once_freeze(setting: Setting) -> None:
    setting.watcher.recorded = [(f"s{n}", time.monotonic() - 60) for n in range(4)]
    setting.connection.start()
    await setting.until(lambda: bool(setting.connection.frozen))
    assert "4 of 4 servers are missing" in setting.connection.facts().frozen
    setting.watcher.recorded = setting.watcher.recorded[:2]
    await setting.until(lambda: not setting.connection.frozen)


async def test_whose_word_on_the_end_of_a_server_could_not_be_taken_says_why(setting: Setting) -> None:
    connection = setting.connection
    assert connection.doubt == "it does not answer"
    await connection._take()
    assert connection.doubt == ""
    setting.backend.errors = [Unavailable("page 2 failed")]
    await connection._take()
    assert connection.doubt == "page 2 failed"
    setting.backend.errors = [AuthenticationError("the token was revoked")]
    await connection._take()
    assert connection.doubt == "it refuses us: the token was revoked"
    setting.backend.of = "other"
    await connection._take()
    assert connection.doubt == "it answers for another account than at first contact"
    setting.backend.of = "account"
    setting.watcher.recorded = [(f"s{n}", time.monotonic() - 60) for n in range(4)]
    await connection._take()
    assert connection.doubt.startswith("4 of 4 servers are missing")


async def test_create_is_bounded_by_the_deadline_of_its_attempt(setting: Setting) -> None:
    with pytest.raises(TimedOut, match="deadline passed"):
        await setting.connection.create(REQUEST, time.monotonic())
    assert setting.backend.calls == [], "no call leaves after its deadline"
    setting.backend.gate = asyncio.Event()
    with pytest.raises(TimedOut, match="did not answer create"):
        await setting.connection.create(REQUEST, time.monotonic() + 0.05)
    assert setting.watcher.told == ["before create", "after create TimedOut"]
    setting.backend.gate = None
    seen = await setting.connection.create(REQUEST, time.monotonic() + 60)
    assert (seen.provider_id, seen.owner) == ("s1", "inst/u1")


async def test_other_calls_are_bounded_by_what_the_backend_says_of_itself() -> None:
    bounds = replace(CAPABILITIES, inventory_timeout=0.2, call_timeout=0.05)
    backend, watcher = FakeBackend(capabilities=bounds, gate=asyncio.Event()), Watcher()
    hooks = Hooks(watcher.guard, list, watcher.on_inventory, watcher.on_trouble)
    connection = ServiceConnection(
        "anchor", "svc", "inst", cast(Backend, backend), hooks, SystemClock(), Budget(1000, 1000), 30.0
    )
    with pytest.raises(TimedOut, match="did not answer retag"):
        await connection.retag("s1", {})
    with pytest.raises(TimedOut, match="did not answer get"):
        await connection.ask("s1")
    slow = asyncio.create_task(connection._take())
    await asyncio.sleep(0.1)
    assert not slow.done(), "an inventory has its own time"
    assert not await slow
    assert "did not answer inventory" in connection.problem


async def test_what_changes_something_needs_the_lease(setting: Setting) -> None:
    setting.watcher.leads = False
    for call in (
        setting.connection.create(REQUEST, time.monotonic() + 60),
        setting.connection.delete("s1"),
        setting.connection.retag("s1", {}),
    ):
        with pytest.raises(PermissionError):
            await call
    assert setting.backend.calls == []
    setting.backend.servers = [record()]
    assert (await setting.connection.ask("s1")).result is LookupResult.FOUND


async def test_only_a_typed_not_found_is_an_absence(setting: Setting) -> None:
    setting.backend.errors = [NotFound("no such server"), Unavailable("a proxy's 404")]
    assert (await setting.connection.ask("s1")).result is LookupResult.NOT_FOUND
    with pytest.raises(Unavailable):
        await setting.connection.ask("s1")


async def test_the_circuit_opens_on_no_answers_and_not_on_refusals(setting: Setting) -> None:
    refused: list[HostingError] = [CapacityError("full")] * (THRESHOLD + 1)
    setting.backend.errors = [*refused]
    for _ in refused:
        with pytest.raises(CapacityError):
            await setting.connection.describe("capacity", setting.backend.account())
    assert setting.connection.circuit.state == "Closed"
    setting.backend.errors = [Unavailable("no answer")] * THRESHOLD
    for _ in range(THRESHOLD):
        with pytest.raises(Unavailable):
            await setting.connection.delete("s1")
    assert not setting.connection.facts().connected
    count = len(setting.backend.calls)
    with pytest.raises(Unavailable, match="left alone"):
        await setting.connection.delete("s1")
    assert len(setting.backend.calls) == count
    assert setting.watcher.troubles == 1


async def test_throttling_passes_through_with_its_time(setting: Setting) -> None:
    setting.backend.errors = [Throttled("slow down", retry_after=0.01)]
    with pytest.raises(Throttled) as error:
        await setting.connection.delete("s1")
    assert error.value.retry_after == 0.01
    await setting.connection.delete("s1")


async def test_a_cancelled_call_is_told_and_counts_for_nothing(setting: Setting) -> None:
    setting.backend.gate = asyncio.Event()
    task = asyncio.create_task(setting.connection.delete("s1"))
    await setting.backend.called.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert setting.watcher.told[-1] == "after delete CancelledError"
    assert setting.connection.circuit.failures == 0
