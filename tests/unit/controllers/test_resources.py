"""Policies that read other objects: what they need is followed, what is read is said, nothing is said too early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.controller_bench import Bench
from tests.support.memory_cluster import Cluster

from moorage.controllers.hostingpolicy import PolicyController
from moorage.controllers.probes import Probes
from moorage.controllers.resources import ResourceReadings
from moorage.controllers.service_views import ServiceViews
from moorage.core.targets import AllowList
from moorage.kube.kinds import CONFIG_MAP, HOSTING_POLICY, SERVICE_ACCOUNT

GO: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "name": "go", "expression": 'object.data.go == "yes"'}
ASKED = ("HostingPolicy", "ns", "p")


@pytest.fixture
async def cluster() -> Cluster:
    made = Cluster()
    await made.create(SERVICE_ACCOUNT, {"metadata": {"namespace": "ns", "name": "reader"}})
    await made.create(CONFIG_MAP, {"metadata": {"namespace": "ns", "name": "go"}, "data": {"go": "no", "x": "1"}})
    made.events.clear()
    return made


@pytest.fixture
async def resources(bench: Bench, cluster: Cluster) -> AsyncIterator[ResourceReadings]:
    bench.context.client = cluster.client
    made = ResourceReadings(bench.context, recheck=60.0)
    yield made
    await made.stop()


@pytest.fixture
def controller(bench: Bench, resources: ResourceReadings) -> PolicyController:
    probes = Probes(bench.context, bench.tables, AllowList(), bench.context.clock)
    services = ServiceViews(bench.context, bench.tables)
    return PolicyController(bench.context, bench.tables, services, probes, resources)


async def policy(bench: Bench, account: str | None = "reader", name: str = "p", **conditions: dict[str, Any]) -> None:
    spec: dict[str, Any] = {"when": {"all": [{"name": n, "resource": c} for n, c in conditions.items()]}}
    if account is not None:
        spec["serviceAccountName"] = account
    await bench.put(HOSTING_POLICY, name, spec)


async def asked(bench: Bench, times: int) -> None:
    async with asyncio.timeout(5):
        while bench.context.asked.count(ASKED) < times:  # noqa: ASYNC110 - the list has no event
            await asyncio.sleep(0.002)


def readings(bench: Bench) -> list[tuple[str, str, str]]:
    obj = bench.tables.policies.get("ns", "p")
    assert obj is not None
    return [(r["name"], r["value"], r["reason"]) for r in (obj.get("status") or {}).get("readings") or ()]


async def test_it_is_followed_read_again_and_left(
    bench: Bench, cluster: Cluster, controller: PolicyController, resources: ResourceReadings
) -> None:
    await policy(bench, go=GO, absent={**GO, "name": "other"})
    bench.context.asked.clear()
    await controller.reconcile(("ns", "p"))
    waits = [(name, "Unknown", "NotReadYet") for name in ("go", "absent")]
    assert readings(bench) == waits, "nothing is known before the first answer"
    await asked(bench, 2)
    await controller.reconcile(("ns", "p"))
    assert [r for r in readings(bench) if r[0] == "go"] == [("go", "Unmet", "ExpressionFalse")]

    bench.context.asked.clear()
    cluster.change(CONFIG_MAP, "ns", "go", data={"go": "no", "x": "2"})
    cluster.change(CONFIG_MAP, "ns", "go", data={"go": "yes", "x": "2"})
    await asked(bench, 1)
    await controller.reconcile(("ns", "p"))
    assert ("go", "Met", "ExpressionTrue") in readings(bench)

    bench.context.store.ingest(HOSTING_POLICY, cluster_copy(bench), deleted=True)
    await controller.reconcile(("ns", "p"))
    assert len(resources._following) == 0


async def test_a_resource_that_does_not_answer_keeps_no_other_condition_waiting_and_ends_no_for_of_its_own(
    bench: Bench, controller: PolicyController
) -> None:
    day = {"name": "day", "schedule": {"cron": "0 0 1 6 *", "duration": "24h"}}
    spec: dict[str, Any] = {"when": {"all": [{"name": "go", "resource": GO, "for": "1h"}, day]}}
    await bench.put(HOSTING_POLICY, "p", {**spec, "serviceAccountName": "reader"})
    result = await controller.reconcile(("ns", "p"))
    assert readings(bench) == [("go", "Unknown", "NotReadYet"), ("day", "Unmet", "OutOfSchedule")]
    assert result.after is not None, "it comes back for the schedule"


def cluster_copy(bench: Bench) -> dict[str, Any]:
    """The policy, as a watch would report its deletion."""
    obj = bench.tables.policies.get("ns", "p")
    assert obj is not None
    version = str(int(obj["metadata"]["resourceVersion"]) + 100)
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": version}}


@pytest.mark.parametrize(
    ("account", "condition", "reason", "words"),
    [
        (None, GO, "ServiceAccountMissing", "write spec.serviceAccountName"),
        ("reader", {**GO, "kind": "Secret"}, "SecretsRefused", "never reads Secrets"),
        ("reader", {**GO, "selector": {"matchLabels": {"a": "b"}}}, "InvalidResource", "exclude each other"),
        ("reader", {**GO, "expression": "object ="}, "ExpressionInvalid", "line 1"),
        ("reader", {**GO, "expression": "objects.size() > 1"}, "ExpressionInvalid", "with `name` there is `object`"),
    ],
)
async def test_what_only_an_edit_can_mend_is_told_and_not_read(
    bench: Bench,
    cluster: Cluster,
    controller: PolicyController,
    resources: ResourceReadings,
    account: str | None,
    condition: dict[str, Any],
    reason: str,
    words: str,
) -> None:
    await policy(bench, account, go=condition)
    await controller.reconcile(("ns", "p"))
    obj = bench.tables.policies.get("ns", "p")
    assert obj is not None
    (reading,) = obj["status"]["readings"]
    assert (reading["value"], reading["reason"]) == ("Unknown", reason)
    assert words in reading["message"]
    stalled = [c for c in obj["status"]["conditions"] if c["type"] == "Stalled"]
    assert stalled
    assert stalled[0]["reason"] == reason
    assert len(resources._following) == 0
    assert not [call for call in cluster.calls if call.startswith("list")]
