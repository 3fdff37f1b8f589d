"""What a HostingService's object hears of its service, and how often."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.controller_bench import Bench
from tests.unit.runtime.test_service import FakeBackend, record

from moorage.api.names import ANNOTATION_MAX_PRICE
from moorage.controllers import hostingservice
from moorage.controllers.hostingservice import ServiceController
from moorage.controllers.service_news import ServiceNews
from moorage.hosting.contract import RELEASED, TAG_SERVER, Capacity, Inventory, Offering, identity_tags
from moorage.hosting.errors import AuthenticationError, HostingError, Unavailable, Unknown
from moorage.kube.kinds import CONFIG_MAP, HOSTING_POLICY, HOSTING_SERVICE, NAMESPACE, VIRTUAL_SERVER
from moorage.runtime.clock import ManualClock
from moorage.runtime.service import ServiceConnection

WRITE = "apply HostingService s status"


@dataclass
class Fallible(FakeBackend):
    """A service that is there, or is not."""

    down: bool = True
    listing: HostingError | None = None

    async def inventory(self) -> Inventory:
        if self.listing is not None:
            raise self.listing
        return await super().inventory()

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.down:
            raise Unavailable("connection refused")

    async def offerings(self) -> tuple[Offering, ...]:
        await self._called("offerings")
        return ()

    async def images(self) -> tuple[str, ...] | None:
        await self._called("images")
        return None

    async def capacity(self) -> Capacity:
        await self._called("capacity")
        return Capacity(10, 0)


class Scene:
    """One HostingService with its controller."""

    def __init__(self, bench: Bench, service: Fallible) -> None:
        self.bench, self.service = bench, service
        self.controller = ServiceController(bench.context, bench.tables)
        self.clock = cast(ManualClock, bench.context.clock)

    async def look(self, times: int, seconds: float) -> int:
        """Reconcile, and take inventories, again and again; the status writes that it cost."""
        before = self.bench.api.calls.count(WRITE)
        for _ in range(times):
            await self.controller.reconcile(("", "s"))
            for connection in self.bench.context.connections.values():
                if connection.expected_account is not None:
                    await connection._take()
            await self.controller.reconcile(("", "s"))
            await self.bench.context.writer.flush()
            self.clock.advance(seconds)
        return self.bench.api.calls.count(WRITE) - before

    def status(self) -> Any:
        """As it is stored."""
        return self.bench.api.stored(HOSTING_SERVICE, None, "s")["status"]

    def available(self) -> str:
        """The reason of the condition."""
        return str(next(c["reason"] for c in self.status()["conditions"] if c["type"] == "Available"))


@pytest.fixture
async def scene(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Scene:
    service = Fallible()
    opener = SimpleNamespace(open=lambda spec, credentials: service)
    monkeypatch.setattr(hostingservice, "backend", lambda type_: opener)
    # Inventories are taken by the tests.
    monkeypatch.setattr(ServiceConnection, "start", lambda self: None)
    spec = {"type": "local", "endpoint": "http://127.0.0.1:1"}
    status = {"observedGeneration": -1}
    await bench.put(HOSTING_SERVICE, "s", spec, namespace=None, status=status)
    return Scene(bench, service)


@pytest.mark.parametrize(
    ("error", "reason", "unreachable"),
    [(Unavailable("the listing fails"), "Unavailable", True), (Unknown("what is this"), "InventoryOverdue", False)],
)
async def test_a_service_without_an_inventory_for_long_is_not_available_though_single_calls_go_well(
    scene: Scene, error: HostingError, reason: str, unreachable: bool
) -> None:
    """No loss would be noticed there, and the outcome of no creation settled."""
    scene.service.down = False
    await scene.look(2, 10.0)
    scene.service.listing = error
    [connection] = scene.bench.context.connections.values()
    for _ in range(30):
        await scene.look(1, 10.0)
        await connection.describe("account", scene.service.account())
        if scene.available() != "Available":
            break
    assert scene.available() == reason
    assert not connection.answers
    assert "no complete inventory came within 210 s" in condition(scene, "Available")[2]
    assert ("unreachableSince" in scene.status()) == unreachable
    assert await scene.look(3, 1.0) == 0, "it is told once"
    scene.service.listing = None
    await scene.look(2, 10.0)
    assert scene.available() == "Available"
    assert "unreachableSince" not in scene.status()


async def test_that_inventories_are_overdue_is_told_when_the_time_is_over(scene: Scene) -> None:
    scene.service.down = False
    await scene.look(2, 10.0)
    [connection] = scene.bench.context.connections.values()
    scene.bench.asked()
    connection._judge_age()
    assert not scene.bench.asked()
    scene.clock.advance(211.0)
    connection._judge_age()
    assert scene.bench.asked() == {("HostingService", "", "s")}
    connection._judge_age()
    assert not scene.bench.asked()


async def test_a_service_that_stays_down_costs_no_writes(scene: Scene) -> None:
    scene.service.down = False
    await scene.look(3, 10.0)
    assert scene.available() == "Available"
    scene.service.down = True
    assert await scene.look(10, 10.0) > 0
    assert (scene.available(), scene.status()["circuit"]["state"]) == ("CircuitOpen", "Open")
    since = scene.status()["circuit"]["since"]
    tried = len(scene.service.calls)
    assert await scene.look(100, 10.0) == 0
    assert 10 < len(scene.service.calls) - tried < 1000 / 60 + 10
    assert scene.status()["lastError"]["message"] == "connection refused"
    assert scene.status()["circuit"]["since"] == since, "it is open since then, trials or not"
    for connection in scene.bench.context.connections.values():
        connection.circuit.state = "HalfOpen"
    await scene.controller.reconcile(("", "s"))
    await scene.bench.context.writer.flush()
    assert scene.status()["circuit"]["state"] == "Open", "a call on trial is nothing to a reader"
    for connection in scene.bench.context.connections.values():
        connection.circuit.abandoned(scene.clock.monotonic())
    scene.service.down = False
    await scene.look(10, 10.0)
    assert (scene.available(), scene.status()["circuit"]["state"]) == ("Available", "Closed")
    assert scene.status()["circuit"]["since"] > since
    assert await scene.look(10, 10.0) == 0


async def test_a_service_that_never_answered_costs_no_writes(scene: Scene) -> None:
    assert await scene.look(10, 10.0) > 0
    tried = len(scene.service.calls)
    assert await scene.look(100, 10.0) == 0
    assert len(scene.service.calls) - tried > 10
    assert scene.status()["lastError"]["message"] == "connection refused"


async def test_servers_recorded_by_a_clock_that_was_ahead_count_against_the_freeze_too(bench: Bench) -> None:
    """They are judged to be missing by the steady clock, and so is how many of them are."""
    news = ServiceNews(bench.context, bench.tables)
    for name, known in (("old", True), ("unseen", False)):
        spec = {"serviceRef": {"name": "s", "uid": "su"}, "image": "i", "offering": "small"}
        status = {"observedGeneration": 1, "providerID": f"p-{name}", "recordedAt": "2099-01-01T00:00:00Z"}
        server = await bench.put(VIRTUAL_SERVER, name, spec, status=status)
        if known:
            bench.context.memory(server["metadata"]["uid"]).knows_record("p-old", 7.0)
    assert news.recorded("s") == [("p-old", 7.0)], "one that was not looked at is not judged, and counts not"


CATALOGUE = "asOf: 2026-01-01T00:00:00Z\nofferings: [{name: small, cpu: 1, memory: 1Gi, pricePerHour: 0.02}]"


def condition(scene: Scene, type_: str) -> tuple[str, str, str]:
    found = next(c for c in scene.status()["conditions"] if c["type"] == type_)
    return found["status"], found["reason"], found["message"]


async def refer(scene: Scene, **ref: str) -> None:
    spec = scene.bench.api.stored(HOSTING_SERVICE, None, "s")["spec"]
    changed = scene.bench.api.change(HOSTING_SERVICE, None, "s", spec={**spec, "catalogRef": ref})
    scene.bench.context.store.ingest(HOSTING_SERVICE, changed)


async def test_a_catalogue_is_read_and_what_is_wrong_with_it_is_a_condition(scene: Scene) -> None:
    scene.service.down = False
    await refer(scene, name="prices", key="offerings")
    await scene.look(1, 10.0)
    assert condition(scene, "CatalogueRead")[:2] == ("False", "CatalogueNotFound")
    assert "create it there" in condition(scene, "CatalogueRead")[2]
    await scene.bench.put(
        CONFIG_MAP, "prices", {}, namespace="system", data={"offerings": CATALOGUE, "bad": "offerings: 1"}
    )
    assert ("HostingService", "", "s") in scene.bench.asked()
    await scene.look(1, 10.0)
    assert condition(scene, "CatalogueRead")[:2] == ("True", "CatalogueRead")
    assert [o["name"] for o in scene.status()["offerings"]] == ["small"]
    assert scene.status()["sources"] == [{"name": "Catalogue", "at": "2026-01-01T00:00:00Z", "offerings": 1}]
    reads = scene.bench.api.calls.count("get ConfigMap prices")
    await scene.look(5, 10.0)
    assert scene.bench.api.calls.count("get ConfigMap prices") == reads, "a version is read once"
    await refer(scene, name="prices", key="bad")
    await scene.look(1, 10.0)
    assert condition(scene, "CatalogueRead")[:2] == ("False", "CatalogueInvalid")
    assert (
        "key bad: line 1: offerings: Input should be a valid tuple; nothing of it is used"
        in condition(scene, "CatalogueRead")[2]
    )
    assert "offerings" not in scene.status()
    await refer(scene, name="prices", key="other")
    await scene.look(1, 10.0)
    assert "has no key other; it has bad, offerings" in condition(scene, "CatalogueRead")[2]


async def test_how_often_a_service_is_asked_follows_from_what_policies_allow(scene: Scene) -> None:
    scene.service.down = False

    async def asked(times: int, seconds: float) -> int:
        before = scene.service.calls.count("offerings")
        await scene.look(times, seconds)
        return scene.service.calls.count("offerings") - before

    assert await asked(10, 60.0) == 1
    when = {"all": [{"name": "always", "schedule": {"from": "2026-01-01T00:00:00Z"}}]}
    scene.bench.asked()
    await scene.bench.put(HOSTING_POLICY, "p", {"when": when, "select": {"maxDataAge": "4m"}})
    assert ("HostingService", "", "s") in scene.bench.asked()
    assert await asked(10, 60.0) == 5
    await scene.bench.put(HOSTING_POLICY, "q", {"when": when, "select": {"maxDataAge": "1s"}})
    assert await asked(10, 60.0) == 10, "never more than once a minute"


class Selling(Fallible):
    """A service with a spot market."""

    refuses: bool = False

    async def offerings(self) -> tuple[Offering, ...]:
        await self._called("offerings")
        return (
            Offering(name="m", cpu=Decimal(1), memory=Decimal(1), price_per_hour=Decimal("0.10")),
            Offering.model_construct(name="odd", cpu=Decimal(1), memory=Decimal(1), price_per_hour=Decimal("-1")),
        )

    async def spot_prices(self) -> dict[str, Decimal]:
        await self._called("spot_prices")
        if self.refuses:
            raise AuthenticationError("not allowed")
        return {"m": Decimal("0.03")}


async def test_spot_prices_are_asked_for_only_where_a_policy_uses_them(scene: Scene, monkeypatch: Any) -> None:
    service = Selling(down=False)
    monkeypatch.setattr(
        hostingservice, "backend", lambda type_: SimpleNamespace(open=lambda spec, credentials: service)
    )
    await scene.look(3, 10.0)
    assert "spot_prices" not in service.calls
    assert scene.status()["sources"][0]["message"].startswith("offering odd: the price -1 is ignored")
    assert [o.get("pricePerHour") for o in scene.status()["offerings"]] == ["0.10", None]
    when = {"all": [{"name": "always", "schedule": {"from": "2026-01-01T00:00:00Z"}}]}
    await scene.bench.put(HOSTING_POLICY, "p", {"when": when, "select": {"spot": "Allow"}})
    await scene.look(3, 10.0)
    assert service.calls.count("spot_prices") == 1
    assert scene.status()["offerings"][0]["spotPricePerHour"] == "0.03"
    service.refuses = True
    await scene.look(3, 3600.0)
    assert "spotPricePerHour" not in scene.status()["offerings"][0]
    assert "spot prices are not known: AuthenticationFailed: not allowed" in scene.status()["sources"][0]["message"]
    assert scene.available() == "Available", "what refuses prices takes servers all the same"


async def test_what_becomes_of_servers_is_in_the_status_once_also_when_they_are_gone(scene: Scene) -> None:
    scene.service.down = False
    uid = scene.bench.api.stored(HOSTING_SERVICE, None, "s")["metadata"]["uid"]
    runs = {"type": "Instantiated", "status": "True", "reason": "Running"}
    full = {"type": "Stalled", "status": "True", "reason": "InsufficientCapacity"}
    at = scene.clock.now().isoformat()
    for n in range(4):
        condition = {**(full if n == 0 else runs), "lastTransitionTime": at}
        spec = {"serviceRef": {"name": "s", "uid": uid}, "image": "i", "offering": "small"}
        made = {"creationTimestamp": (scene.clock.now() - timedelta(seconds=30 * n)).isoformat()}
        status = {"observedGeneration": 1, "conditions": [condition]}
        server = await scene.bench.put(VIRTUAL_SERVER, f"v{n}", spec, status=status, metadata=made)
        if n == 0:
            scene.bench.context.store.table(VIRTUAL_SERVER).removed(server["metadata"]["uid"])
    assert ("HostingService", "", "s") in scene.bench.asked()
    await scene.look(1, 10.0)
    assert scene.status()["measured"] == {"servers": 4, "bootSeconds": 60.0, "failureRate": 0.25}
    assert await scene.look(5, 10.0) == 0, "nothing counts twice"
    again = ServiceController(scene.bench.context, scene.bench.tables)
    await again.reconcile(("", "s"))
    await scene.bench.context.writer.flush()
    assert scene.status()["measured"]["servers"] == 4, "as after a restart"
    await scene.look(1, 86_400.0)
    await scene.look(1, 10.0)
    assert "measured" not in scene.status()


async def test_how_many_released_servers_run_on_is_in_the_status_and_costs_no_more_writes(scene: Scene) -> None:
    scene.service.down = False
    await scene.look(3, 10.0)
    assert scene.status()["released"] == 0
    stored = scene.bench.api.stored(HOSTING_SERVICE, None, "s")
    tags = {**identity_tags("inst", "ns", stored["metadata"]["uid"], "u1"), TAG_SERVER: RELEASED}
    scene.service.servers = [replace(record(), tags=tags)]
    assert await scene.look(1, 10.0) == 1
    assert scene.status()["released"] == 1
    assert await scene.look(5, 10.0) == 0
    scene.service.servers = []
    await scene.look(1, 10.0)
    assert scene.status()["released"] == 0


async def orphaned(scene: Scene, bench: Bench) -> None:
    """A server without an object is told of."""
    scene.service.down = False
    installation = bench.context.installation.id
    [obj] = bench.tables.services
    tags = identity_tags(installation, "ns", obj["metadata"]["uid"], "nobody")
    scene.service.servers.append(replace(record("i-1"), tags=tags))
    await scene.look(3, 60)
    assert [o["providerID"] for o in scene.status()["orphans"]] == ["i-1"]


async def test_a_restart_forgets_no_orphan_and_has_groups_under_a_ceiling_looked_at_once_they_are_judged(
    scene: Scene, bench: Bench
) -> None:
    await orphaned(scene, bench)
    await bench.put(NAMESPACE, "ns", {}, None, metadata={"annotations": {ANNOTATION_MAX_PRICE: "1"}})
    await bench.group("bounded")
    await bench.group("free", metadata={"namespace": "elsewhere"})
    before = scene.status()["orphans"]
    bench.context.connections.clear()
    scene.controller, scene.service.down = ServiceController(bench.context, bench.tables), True
    await scene.look(2, 60)
    assert (scene.status()["orphans"], scene.status()["orphanCount"]) == (before, 1), "the service is out of reach"
    scene.service.down = False
    await scene.look(1, 60)
    assert (scene.status()["orphans"], scene.status()["orphanCount"]) == (before, 1), "one inventory does not judge"
    bench.asked()
    await scene.look(2, 60)
    assert scene.status()["orphans"] == before, "since when is what it was"
    assert {key for key in bench.asked() if key[0] == "ServerGroup"} == {("ServerGroup", "ns", "bounded")}


async def test_an_edited_service_keeps_its_orphans(scene: Scene, bench: Bench) -> None:
    await orphaned(scene, bench)
    stored = bench.api.stored(HOSTING_SERVICE, None, "s")
    changed = {**stored["spec"], "limits": {"requestsPerSecond": 3}}
    bench.context.store.ingest(HOSTING_SERVICE, bench.api.change(HOSTING_SERVICE, None, "s", spec=changed))
    await scene.controller.reconcile(("", "s"))
    await bench.context.writer.flush()
    assert [o["providerID"] for o in scene.status()["orphans"]] == ["i-1"]
