"""After a start nothing is placed on the word of the process before: a service is looked at first."""

from __future__ import annotations

from typing import cast

import pytest
from tests.support.controller_bench import Bench, read_policy
from tests.unit.controllers.test_failover import Scene

from moorage.api.hostingservice import HostingService
from moorage.controllers.service_news import ServiceNews
from moorage.kube.kinds import HOSTING_POLICY, HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER
from moorage.runtime.clock import ManualClock


@pytest.fixture
async def scene(bench: Bench) -> Scene:
    """A group that is not placed; what the process before saw of `one` and `two` is that they are available."""
    found = Scene(bench)
    await found.begin(action="Wait")
    store = bench.context.store
    store.ingest(SERVER_GROUP, bench.api.change(SERVER_GROUP, "ns", "g", status={"observedGeneration": 1}))
    store.table(VIRTUAL_SERVER).removed(bench.api.objects.pop(("virtualservers", "ns", "g-m-0"))["metadata"]["uid"])
    bench.context.looked_at.clear()
    return found


def look(scene: Scene, name: str) -> None:
    """The first look of this process at a service."""
    service = HostingService.from_dict(scene.bench.api.stored(HOSTING_SERVICE, None, name))
    ServiceNews(scene.bench.context, scene.bench.tables).looked_at(service)


def placed(scene: Scene) -> str:
    """The service of the group, or why there is none."""
    told = next(c for c in scene.status["conditions"] if c["type"] == "Placed")
    return str(scene.status["placement"]["service"] if told["status"] == "True" else told["reason"])


async def test_a_group_is_not_placed_on_the_word_of_the_process_before(scene: Scene) -> None:
    """The service may have died while no process ran."""
    await scene.reconcile()
    assert placed(scene) == "ServicesNotSeenYet"
    scene.bench.asked()
    look(scene, "one")
    assert ("ServerGroup", "ns", "g") in scene.bench.asked(), "it waits for just this"
    await scene.reconcile()
    assert placed(scene) == "ServicesNotSeenYet", "there may be a better one"
    look(scene, "two")
    await scene.reconcile()
    assert placed(scene) == "one"


async def test_a_standby_that_takes_over_looks_first_however_long_it_waited(scene: Scene) -> None:
    cast(ManualClock, scene.bench.context.clock).advance(200_000)
    scene.bench.context.begin()
    await scene.reconcile()
    assert placed(scene) == "ServicesNotSeenYet"


async def test_a_service_that_takes_long_to_be_looked_at_is_done_without(scene: Scene) -> None:
    look(scene, "two")
    await scene.reconcile()
    assert placed(scene) == "ServicesNotSeenYet"
    cast(ManualClock, scene.bench.context.clock).advance(11)
    await scene.reconcile()
    assert placed(scene) == "two"


async def test_where_none_is_looked_at_in_time_the_group_waits_and_is_woken_by_the_first(scene: Scene) -> None:
    cast(ManualClock, scene.bench.context.clock).advance(11)
    await scene.reconcile()
    assert placed(scene) == "NoFeasibleService"
    scene.bench.asked()
    look(scene, "one")
    assert ("ServerGroup", "ns", "g") in scene.bench.asked()
    await scene.reconcile()
    assert placed(scene) == "one"


async def test_a_condition_about_services_is_unknown_until_they_were_looked_at_and_remembers(scene: Scene) -> None:
    bench = scene.bench
    condition = {"name": "room", "service": {"expression": "services.exists(s, s.available)"}, "for": "1h"}
    await bench.put(HOSTING_POLICY, "q", {"when": {"all": [condition]}})

    async def read() -> dict[str, str]:
        await read_policy(bench, "q")
        await bench.context.writer.flush()
        (found,) = bench.api.stored(HOSTING_POLICY, "ns", "q")["status"]["readings"]
        return dict(found)

    for name in ("one", "two"):
        look(scene, name)
    before = await read()
    assert before["reason"] == "PendingAnew"
    bench.context.looked_at.clear()
    look(scene, "one")
    unread = await read()
    assert (unread["value"], unread["reason"], unread["trueSince"]) == ("Unknown", "NotReadYet", before["trueSince"])
    cast(ManualClock, bench.context.clock).advance(11)
    after = await read()
    assert after["trueSince"] == before["trueSince"], "what nobody could see did not end"


async def test_a_service_that_is_not_looked_at_in_time_is_not_called_unavailable(scene: Scene) -> None:
    """What runs there would be released on it."""
    bench = scene.bench
    condition = {"name": "room", "service": {"expression": "services.exists(s, s.available)"}}
    await bench.put(HOSTING_POLICY, "q", {"when": {"all": [condition]}})
    cast(ManualClock, bench.context.clock).advance(11)
    await read_policy(bench, "q")
    await bench.context.writer.flush()
    assert bench.api.stored(HOSTING_POLICY, "ns", "q")["status"]["readings"][0]["value"] == "Met"
