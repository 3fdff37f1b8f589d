"""Services that cannot be used: told with their class, asked rarely, taken up again by themselves."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.controller_bench import Bench
from tests.unit.runtime.test_service import FakeBackend, record

from moorage.controllers import hostingservice
from moorage.controllers.hostingservice import ServiceController
from moorage.controllers.service_news import ServiceNews
from moorage.core.facts import Lookup, LookupResult
from moorage.hosting.abilities import abilities_of
from moorage.hosting.contract import Capacity, Offering, identity_key
from moorage.hosting.errors import AuthenticationError, HostingError, Invalid, Unknown
from moorage.kube.kinds import HOSTING_SERVICE, SECRET, VIRTUAL_SERVER
from moorage.runtime.clock import ManualClock
from moorage.runtime.inventory import seen_of
from moorage.runtime.service import ServiceConnection

HOUR = 3600


@dataclass
class Account(FakeBackend):
    """What stands behind credentials; `mood` is raised by every call."""

    mood: HostingError | None = None

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.mood is not None:
            raise self.mood

    async def offerings(self) -> tuple[Offering, ...]:
        await self._called("offerings")
        return ()

    async def images(self) -> tuple[str, ...] | None:
        return None

    async def capacity(self) -> Capacity:
        return Capacity(10, 0)


@dataclass
class Scene:
    """HostingServices whose backends are made by `accounts`, by the token that they are opened with."""

    bench: Bench
    controller: ServiceController
    accounts: dict[bytes, Account] = field(default_factory=dict)

    @property
    def clock(self) -> ManualClock:
        return cast(ManualClock, self.bench.context.clock)

    def open(self, _: Any, credentials: Mapping[str, bytes]) -> Account:
        return self.accounts.setdefault(credentials.get("token", b""), Account())

    async def service(self, name: str = "s", **spec: Any) -> None:
        whole = {"type": "local", "endpoint": "http://127.0.0.1:1", **spec}
        await self.bench.put(HOSTING_SERVICE, name, whole, namespace=None, status={"observedGeneration": -1})

    async def look(self, name: str = "s") -> float:
        """Reconcile, take an inventory where one would be, reconcile what that asks for; the pause asked for."""
        result = await self.controller.reconcile(("", name))
        for connection in self.bench.context.connections.values():
            if connection.name == name and connection.expected_account is not None:
                await connection._take()
        if ("HostingService", "", name) in self.bench.asked():
            result = await self.controller.reconcile(("", name))
        await self.bench.context.writer.flush()
        return result.after or 0.0

    def connection(self, name: str = "s") -> ServiceConnection:
        return next(c for c in self.bench.context.connections.values() if c.name == name)

    def condition(self, type_: str, name: str = "s") -> tuple[str, str, str]:
        found = self.bench.api.stored(HOSTING_SERVICE, None, name)["status"]["conditions"]
        return next(((c["status"], c["reason"], c["message"]) for c in found if c["type"] == type_), ("", "", ""))


@pytest.fixture
async def scene(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(bench, ServiceController(bench.context, bench.tables))
    monkeypatch.setattr(hostingservice, "backend", lambda type_: SimpleNamespace(open=made.open))
    # Inventories are taken by the tests.
    monkeypatch.setattr(ServiceConnection, "start", lambda self: None)
    return made


TROUBLES: list[tuple[HostingError, str, bool]] = [
    (AuthenticationError("the token was revoked: write a new one"), "AuthenticationFailed", False),
    (Invalid("there is no such region", field="region"), "Invalid", True),
    (Invalid("the project is gone", field="project"), "Invalid", True),
    (Unknown("this is no API of ours: is the endpoint right?"), "Unknown", False),
]


async def test_status_tells_what_can_be_done_there(scene: Scene) -> None:
    await scene.service()
    await scene.look()
    status = scene.bench.api.stored(HOSTING_SERVICE, None, "s")["status"]
    assert status["abilities"] == sorted(map(str, abilities_of(scene.accounts[b""])))
    assert "Images" in status["abilities"]


@pytest.mark.parametrize(("error", "reason", "stalled"), TROUBLES)
async def test_a_service_that_cannot_be_used_is_told_asked_rarely_and_taken_up_again(
    scene: Scene, error: HostingError, reason: str, stalled: bool
) -> None:
    """From the start: a wrong region, a project that is gone, an endpoint that is another service."""
    scene.accounts[b""] = Account(mood=error)
    await scene.service()
    account, passed, pause = scene.accounts[b""], 0.0, 0.0
    while passed < HOUR:
        pause = await scene.look()
        scene.clock.advance(pause)
        passed += pause
    assert scene.condition("Available") == ("False", reason, error.message)
    assert scene.condition("Stalled")[0] == ("True" if stalled else "")
    assert HOUR / 60 <= len(account.calls) <= HOUR / 60 + 20
    account.mood = None
    scene.clock.advance(pause)
    await scene.look()
    assert scene.condition("Available")[0] == "True"


@pytest.mark.parametrize(("error", "reason", "stalled"), TROUBLES[:3])
async def test_what_inventories_are_refused_for_is_told_with_its_class(
    scene: Scene, error: HostingError, reason: str, stalled: bool
) -> None:
    """Half-way: credentials that are revoked, a project that is deleted or paused."""
    await scene.service()
    await scene.look()
    assert scene.condition("Available")[0] == "True"
    scene.accounts[b""].mood = error
    await scene.look()
    assert scene.condition("Available") == ("False", reason, error.message)
    assert scene.condition("Stalled")[0] == ("True" if stalled else "")
    assert not scene.connection().facts().connected
    scene.accounts[b""].mood = None
    await scene.look()
    assert scene.condition("Available")[0] == "True"
    assert scene.connection().facts().connected


async def test_new_credentials_are_taken_at_once_however_long_the_old_ones_failed(scene: Scene) -> None:
    scene.accounts = {b"old": Account(mood=AuthenticationError("expired")), b"new": Account()}
    secret = {"metadata": {"name": "c", "namespace": "system"}, "data": {"token": base64.b64encode(b"old").decode()}}
    stored = await scene.bench.api.create(SECRET, secret)
    scene.bench.context.store.ingest(SECRET, stored)
    await scene.service(credentialsSecretRef={"name": "c"})
    for _ in range(20):
        scene.clock.advance(await scene.look())
    scene.bench.asked()
    stored["data"]["token"] = base64.b64encode(b"new").decode()
    patch = {"data": stored["data"]}
    scene.bench.context.store.ingest(SECRET, await scene.bench.context.client.patch(SECRET, "system", "c", patch))
    assert ("HostingService", "", "s") in scene.bench.asked(), "the change itself has it looked at"
    await scene.look()
    assert scene.condition("Available")[0] == "True"
    assert "new" not in str(scene.bench.api.stored(HOSTING_SERVICE, None, "s"))


async def test_two_services_of_one_account_share_its_budget(scene: Scene) -> None:
    one = {"requestsPerSecond": 5, "burst": 8}
    await scene.service("s", limits=one)
    await scene.service("t", endpoint="http://127.0.0.1:1/", limits={"requestsPerSecond": 50, "burst": 9})
    await scene.service("u", endpoint="http://127.0.0.1:2")
    for name in ("s", "t", "u"):
        await scene.look(name)
        await scene.look(name)
    budgets = {name: scene.connection(name).admission.budget for name in ("s", "t", "u")}
    assert budgets["s"] is budgets["t"]
    assert budgets["u"] is not budgets["s"]
    scene.clock.advance(60)
    assert budgets["t"].available() == 8, "the lowest limits of both"


@pytest.mark.parametrize("result", list(LookupResult))
async def test_what_an_event_led_to_reaches_the_server_that_it_is_about(bench: Bench, result: LookupResult) -> None:
    news = ServiceNews(bench.context, bench.tables)
    spec = {"serviceRef": {"name": "s", "uid": "su"}, "image": "i", "offering": "small"}
    server = await bench.put(VIRTUAL_SERVER, "v", spec, status={"observedGeneration": 1, "providerID": "s1"})
    bench.asked()
    seen = seen_of(record()) if result is LookupResult.FOUND else None
    lookup = Lookup(bench.context.clock.now(), 1.0, result, seen)
    assert news.on_event("s", "s1", lookup)
    assert bench.context.memory(server["metadata"]["uid"]).lookup is lookup
    assert ("VirtualServer", "ns", "v") in bench.asked()
    assert not news.on_event("s", "another", Lookup(bench.context.clock.now(), 1.0, LookupResult.NOT_FOUND))
    assert not news.on_event("t", "s1", Lookup(bench.context.clock.now(), 1.0, LookupResult.NOT_FOUND))


async def test_a_second_server_of_one_identity_does_not_speak_for_the_first(bench: Bench) -> None:
    news = ServiceNews(bench.context, bench.tables)
    spec = {"serviceRef": {"name": "s", "uid": "su"}, "image": "i", "offering": "small"}
    server = await bench.put(VIRTUAL_SERVER, "v", spec, status={"observedGeneration": 1, "providerID": "s1"})
    uid = server["metadata"]["uid"]
    double = seen_of(record("s2"))
    lookup = Lookup(bench.context.clock.now(), 1.0, LookupResult.FOUND, double)
    object.__setattr__(double, "key", identity_key("inst", uid))
    assert news.on_event("s", "s2", lookup)
    assert bench.context.memory(uid).lookup is None
