"""Events: counted when repeated, limited per object, never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.memory_api import MemoryApi

from moorage.kube.errors import Forbidden, NotLeader
from moorage.kube.events import EventRecorder
from moorage.kube.kinds import EVENT, HOSTING_SERVICE, SERVER_GROUP

GROUP: dict[str, Any] = {
    "metadata": {"namespace": "ns", "name": "shop", "uid": "u", "resourceVersion": "7"},
    "spec": {"secret": "hunter2"},
}


class Rig:
    def __init__(self) -> None:
        self.api = MemoryApi()
        self.seconds = 0.0
        self.recorder = EventRecorder(
            self.api.client, burst=3, refill_seconds=100, queue_limit=4, monotonic=lambda: self.seconds
        )

    def say(self, reason: str = "Placed", message: str = "on eu", obj: dict[str, Any] | None = None) -> None:
        self.recorder.record(SERVER_GROUP, obj or GROUP, "Normal", reason, message)

    def events(self) -> list[dict[str, Any]]:
        return [obj for (plural, _, _), obj in self.api.objects.items() if plural == EVENT.plural]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    task = asyncio.create_task(rig.recorder.run())
    yield rig
    task.cancel()


async def test_an_event_names_its_object_and_nothing_else_of_it(rig: Rig) -> None:
    rig.say()
    await rig.recorder.flush(5)
    (event,) = rig.events()
    assert event["involvedObject"] == {
        "apiVersion": "moorage.dev/v1alpha1",
        "kind": "ServerGroup",
        "namespace": "ns",
        "name": "shop",
        "uid": "u",
        "resourceVersion": "7",
    }
    assert (event["reason"], event["message"], event["count"]) == ("Placed", "on eu", 1)
    assert event["metadata"]["namespace"] == "ns"
    assert "hunter2" not in str(event)


async def test_repetitions_are_counted_in_one_event(rig: Rig) -> None:
    rig.say()
    rig.say()
    await rig.recorder.flush(5)
    rig.say()
    await rig.recorder.flush(5)
    (event,) = rig.events()
    assert event["count"] == 3
    assert [call.split()[0] for call in rig.api.calls] == ["create", "patch"]


async def test_an_event_that_expired_is_made_anew(rig: Rig) -> None:
    rig.say()
    await rig.recorder.flush(5)
    rig.api.objects.clear()
    rig.say()
    await rig.recorder.flush(5)
    assert rig.events()[0]["count"] == 2


async def test_after_a_while_it_is_another_event(rig: Rig) -> None:
    rig.say()
    await rig.recorder.flush(5)
    rig.seconds += 601
    rig.say()
    await rig.recorder.flush(5)
    assert [event["count"] for event in rig.events()] == [1, 1]


async def test_a_chatty_object_is_cut_off_and_others_are_not(rig: Rig) -> None:
    for number in range(5):
        rig.say(message=str(number))
        await rig.recorder.flush(5)
    assert len(rig.events()) == 3
    assert rig.recorder.dropped == 2
    rig.say(obj={"metadata": {**GROUP["metadata"], "uid": "other"}})
    rig.seconds += 100
    rig.say(message="one token later")
    await rig.recorder.flush(5)
    assert len(rig.events()) == 5


async def test_the_queue_is_bounded() -> None:
    rig = Rig()
    for number in range(6):
        rig.say(obj={"metadata": {**GROUP["metadata"], "uid": str(number)}})
    assert rig.recorder.dropped == 2
    await rig.recorder.flush(0.01)  # nobody writes: it gives up
    assert rig.events() == []


async def test_failures_are_dropped(rig: Rig) -> None:
    rig.api.failures = [Forbidden(403, "Forbidden", "no"), NotLeader("no")]
    rig.say(message="a")
    rig.say(message="b")
    rig.say(message="c")
    await rig.recorder.flush(5)
    assert [event["message"] for event in rig.events()] == ["c"]
    assert rig.recorder.dropped == 2


async def test_cluster_scoped_objects_and_long_messages(rig: Rig) -> None:
    service = {"metadata": {"name": "eu", "uid": "s"}}
    rig.recorder.record(HOSTING_SERVICE, service, "Warning", "Unavailable", "x" * 2000)
    await rig.recorder.flush(5)
    (event,) = rig.events()
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["involvedObject"]
    assert len(event["message"]) == 1024


async def test_a_storm_of_one_reason_does_not_silence_another(rig: Rig) -> None:
    for number in range(10):
        rig.say("Replaced", f"g-m-{number} is replaced")
        await rig.recorder.flush(5)
    rig.say("FailedOver", "to eu")
    await rig.recorder.flush(5)
    assert [event["reason"] for event in rig.events()] == ["Replaced"] * 3 + ["FailedOver"]


async def test_what_is_dropped_is_told_to_whoever_counts() -> None:
    told: list[int] = []
    recorder = EventRecorder(MemoryApi().client, burst=1, on_drop=lambda: told.append(1))
    for _ in range(3):
        recorder.record(SERVER_GROUP, GROUP, "Normal", "Placed", "on eu")
    assert len(told) == recorder.dropped == 2
