"""The time in which a server is to run counts from the first attempt to make it, as its Secret records it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.support.controller_bench import Bench

from moorage.api.names import ANNOTATION_STATE, FINALIZER_SERVER, LABEL_SECRET, SECRET_KIND_SERVER
from moorage.controllers.group_world import GroupObserver
from moorage.controllers.outcomes import Outcomes
from moorage.controllers.state import SecretState
from moorage.core.facts import Attempt
from moorage.core.rollout import find_sick
from moorage.kube.kinds import SECRET, VIRTUAL_SERVER

MADE = datetime.fromisoformat("2026-01-01T00:00:00Z")
LIMIT = timedelta(minutes=10)
TRIED = MADE + timedelta(hours=2)


async def attempt(bench: Bench, uid: str) -> None:
    state = SecretState((Attempt(TRIED, TRIED + timedelta(seconds=60)),))
    labels, annotations = {LABEL_SECRET: SECRET_KIND_SERVER}, {ANNOTATION_STATE: state.encode()}
    meta = {"labels": labels, "annotations": annotations, "creationTimestamp": TRIED.isoformat()}
    await bench.put(SECRET, uid, {}, metadata=meta)


def sick(bench: Bench, group: dict[str, Any], now: datetime) -> list[str]:
    world = GroupObserver(bench.context, bench.tables).observe(group, now)
    return [s.reason for s in find_sick(world.servers, world.group.spec.remediation, now)[0]]


async def test_a_server_that_was_held_for_long_is_not_sick_when_its_group_is_resumed(bench: Bench) -> None:
    group = await bench.group()
    server = await bench.server(group)
    assert sick(bench, group, TRIED) == [], "it was posted two hours ago, and never asked for"
    await attempt(bench, server["metadata"]["uid"])
    assert sick(bench, group, TRIED + LIMIT - timedelta(seconds=1)) == []
    assert sick(bench, group, TRIED + LIMIT) == ["BootTimeout"]


async def test_a_server_whose_secret_may_not_be_seen_was_tried_when_its_id_was_recorded(bench: Bench) -> None:
    group = await bench.group()
    status = {"observedGeneration": 1, "providerID": "i-1", "recordedAt": TRIED.isoformat()}
    await bench.server(group, status=status)
    assert sick(bench, group, TRIED + LIMIT - timedelta(seconds=1)) == []
    assert sick(bench, group, TRIED + LIMIT) == ["BootTimeout"]


async def test_that_a_server_was_held_counts_neither_as_a_failure_nor_as_boot_time_of_its_service(bench: Bench) -> None:
    outcomes, group = Outcomes(bench.context, bench.tables), await bench.group()
    server = await bench.server(group)

    def change(now: datetime, status: dict[str, Any], **meta: Any) -> None:
        version = str(int(server["metadata"]["resourceVersion"]) + int((now - MADE).total_seconds()))
        changed = {**server["metadata"], "resourceVersion": version, "finalizers": [FINALIZER_SERVER], **meta}
        bench.context.store.ingest(VIRTUAL_SERVER, {**server, "metadata": changed, "status": status})

    going = TRIED - timedelta(minutes=5)
    change(going, {}, deletionTimestamp=going.isoformat())
    assert outcomes.of("su") == (), "it was never asked for"
    await attempt(bench, server["metadata"]["uid"])
    ran = TRIED + timedelta(seconds=40)
    runs = {"type": "Instantiated", "status": "True", "reason": "Running", "lastTransitionTime": ran.isoformat()}
    change(ran, {"conditions": [runs]})
    assert [(o.seconds, o.failed) for o in outcomes.of("su")] == [(40, None)]
