"""What changes in the caches is told by Events, log lines and metrics, whoever wrote it and however long it waited."""

from __future__ import annotations

import asyncio
import copy
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.controller_bench import Bench

from moorage.api.names import ANNOTATION_APPROVAL
from moorage.controllers.census import MAX_LINES, Census
from moorage.core.policy.approval import Approval
from moorage.kube.kinds import EVENT, HOSTING_POLICY, HOSTING_SERVICE, SERVER_GROUP, Kind

Obj = dict[str, Any]


def change(bench: Bench, kind: Kind, obj: Obj, status: Obj) -> Obj:
    """As a watch, or the answer to a write, would bring it."""
    new = copy.deepcopy(obj)
    new["status"] = status
    new["metadata"]["resourceVersion"] = str(int(obj["metadata"]["resourceVersion"]) + 1000)
    bench.context.store.ingest(kind, new)
    return new


def conditions(*found: tuple[str, str, str]) -> Obj:
    return {"conditions": [{"type": t, "status": s, "reason": r, "message": "told"} for t, s, r in found]}


async def events(bench: Bench) -> list[tuple[str, str]]:
    task = asyncio.create_task(bench.context.events.run())
    await bench.context.events.flush(5)
    task.cancel()
    kept = [obj for (plural, _, _), obj in bench.api.objects.items() if plural == EVENT.plural]
    return sorted((obj["involvedObject"]["kind"], obj["reason"]) for obj in kept)


async def test_a_status_that_came_by_whatever_way_is_told_once(bench: Bench) -> None:
    group = await bench.group()
    service = await bench.put(HOSTING_SERVICE, "s", {"type": "local"}, namespace=None)
    group = change(bench, SERVER_GROUP, group, conditions(("FailoverPending", "True", "NoCandidate")))
    change(bench, SERVER_GROUP, group, group["status"])
    service = change(bench, HOSTING_SERVICE, service, conditions(("Available", "True", "Available")))
    change(bench, HOSTING_SERVICE, service, conditions(("Available", "False", "OvershootFreeze")))
    assert await events(bench) == [
        ("HostingService", "Available"),
        ("HostingService", "OvershootFreeze"),
        ("ServerGroup", "NoCandidate"),
    ]


async def test_a_freeze_is_a_warning_in_the_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    service = await bench.put(HOSTING_SERVICE, "s", {"type": "local"}, namespace=None)
    change(bench, HOSTING_SERVICE, service, conditions(("Available", "False", "ScopeChanged")))
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("WARNING", "HostingService s: ScopeChanged: told"),
    ]


async def test_a_changed_reading_and_an_approval_are_lines_of_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "moorage.controllers.telling")
    policy = await bench.put(HOSTING_POLICY, "p", {"when": {"all": []}})
    night = {"name": "night", "value": "Met", "reason": "InSchedule", "message": "until 6"}
    change(bench, HOSTING_POLICY, policy, {"readings": [night]})
    group = await bench.group()
    word = {"name": "word", "value": "Met", "reason": "Approved", "message": "approved by anna"}
    change(bench, SERVER_GROUP, group, {"policy": {"name": "p", "verdict": "Met", "message": "", "readings": [word]}})
    told = [record.message for record in caplog.records]
    assert told[0] == "HostingPolicy ns/p: condition night: not read -> Met (InSchedule): until 6"
    assert told[1] == "ServerGroup ns/g: condition word: not read -> Met (Approved): approved by anna"
    assert told[2].startswith("ServerGroup ns/g: policy p: None -> Met")


def shown(census: Census) -> dict[tuple[str, ...], float]:
    return {
        (family.name, *sample.labels.values()): sample.value
        for family in census.families()
        for sample in family.samples
    }


async def test_metrics_count_objects_by_what_their_conditions_say(bench: Bench) -> None:
    group = await bench.group()
    group = change(bench, SERVER_GROUP, group, conditions(("Ready", "False", "Booting")))
    census = Census(bench.tables)
    service = await bench.put(HOSTING_SERVICE, "s", {"type": "local"}, namespace=None)
    change(bench, HOSTING_SERVICE, service, {"orphanCount": 3})
    policy = await bench.put(HOSTING_POLICY, "p", {"when": {"all": []}})
    change(bench, HOSTING_POLICY, policy, {"readings": [{"name": "n", "value": "Unknown", "reason": "TargetTimeout"}]})
    assert shown(census) == {
        ("moorage_objects", "ServerGroup", "Ready", "False", "Booting"): 1,
        ("moorage_objects", "HostingPolicy", "Reading", "Unknown", "TargetTimeout"): 1,
        ("moorage_group_not_ready", "ns", "g", "Booting"): 1,
        ("moorage_orphans", "s"): 3,
    }
    change(bench, SERVER_GROUP, group, conditions(("Ready", "True", "Ready")))
    found = shown(census)
    assert found["moorage_objects", "ServerGroup", "Ready", "True", "Ready"] == 1
    assert not any("Booting" in key for key in found)


async def test_the_number_of_series_is_bounded(bench: Bench) -> None:
    census = Census(bench.tables)
    group = await bench.group()
    for number in range(MAX_LINES + 10):
        census.lines["K", "C", "True", f"R{number}"] = 1
    group = change(bench, SERVER_GROUP, group, conditions(("Ready", "False", "Booting")))
    assert census.lines["ServerGroup", "Ready", "False", "Other"] == 1
    change(bench, SERVER_GROUP, group, conditions(("Ready", "False", "Deleting")))
    assert census.lines["ServerGroup", "Ready", "False", "Other"] == 1


async def test_who_approved_is_a_line_of_the_log_and_so_is_that_it_was_taken_back(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "moorage.controllers.telling")
    group = copy.deepcopy(await bench.group())
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for version, approval in enumerate((Approval("u", 1, "anna", at, reason="release 7").encode(), None)):
        group["metadata"]["annotations"] = {ANNOTATION_APPROVAL: approval} if approval else {}
        group["metadata"]["resourceVersion"] = str(1000 + version)
        bench.context.store.ingest(SERVER_GROUP, copy.deepcopy(group))
    assert [record.message for record in caplog.records] == [
        "ServerGroup ns/g: 'anna' approved generation 1 at 2026-01-01T00:00:00Z (release 7)",
        "ServerGroup ns/g: the approval was taken back",
    ]
