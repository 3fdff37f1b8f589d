"""Scaling: an autoscaler, its guards, none at all, and what a group and a namespace may cost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.metrics_api import metrics_api
from tests.support.scene import Scene, Watcher, is_true, kubectl, scene_of
from tests.support.stack import Api, Obj, Stack, always, condition, config, group

from moorage.api.names import ANNOTATION_MAX_PRICE
from moorage.kube.errors import ApiError
from moorage.kube.kinds import HOSTING_POLICY, HOSTING_SERVICE, NAMESPACE, SERVER_GROUP, VIRTUAL_SERVER, Kind

AUTOSCALER = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
PLAIN = config("plain")


@pytest.fixture
async def scene(stack: Stack, api: Api) -> AsyncIterator[Scene]:
    """A scene whose servers are simulated: only their number matters."""
    if "scaled" not in stack.hosts:
        stack.hostd("scaled", "--simulate", "--boot-time", "0.1")
    async with scene_of(stack, api, "scaled") as found:
        yield found


def scaled(name: str, replicas: int, **more: Any) -> Obj:
    """A group of one member, which is scaled."""
    guards = {key: more.pop(key) for key in ("minReplicas", "maxReplicas") if key in more}
    found = group(name, "policy", ("web", "plain", 0), scale={"member": "web", "replicas": replicas, **guards}, **more)
    del found["spec"]["members"][0]["replicas"]
    return found


def asked(obj: Obj) -> Any:
    """What was asked of the scaled member."""
    return obj["spec"]["scale"]["replicas"]


def autoscaler(target: str, metric: str, each: int) -> Obj:
    """So many servers that each has this much of the metric, at once in both directions."""
    at_once = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 100, "periodSeconds": 1}]}
    wanted = {"type": "AverageValue", "averageValue": str(each)}
    spec = {
        "scaleTargetRef": {"apiVersion": "moorage.dev/v1alpha1", "kind": "ServerGroup", "name": target},
        "minReplicas": 1,
        "maxReplicas": 20,
        "metrics": [{"type": "External", "external": {"metric": {"name": metric}, "target": wanted}}],
        "behavior": {"scaleUp": at_once, "scaleDown": at_once},
    }
    return {"metadata": {"name": target}, "spec": spec}


async def test_an_autoscaler_scales_a_group_by_an_external_metric_and_does_not_fight_its_guards(scene: Scene) -> None:
    api = scene.api
    await scene.serve()
    await api.apply(always("policy", scene.service), PLAIN, scaled("g", 1, maxReplicas=4))
    await api.ready("g")
    async with metrics_api(api, queue=10) as metrics, Watcher(api, SERVER_GROUP) as seen:
        hpa = autoscaler("g", "queue", each=10)
        meta = {**hpa["metadata"], "namespace": api.namespace}
        await api.client.create(AUTOSCALER, {**hpa, "metadata": meta})
        metrics.values["queue"] = 30
        await scene.count(3)
        found = await api.ready("g")
        assert found["status"]["scale"]["replicas"] == 3
        assert condition(found, "ScaleLimited") is None

        metrics.values["queue"] = 80
        found = await api.condition(SERVER_GROUP, "g", "ScaleLimited", reason="AboveMaximum")
        assert "asks for 8 servers of member web, and gets 4" in str(condition(found, "ScaleLimited"))
        await scene.count(4)
        found = await api.ready("g")
        looks = metrics.asked["queue"]

        async def looked_again() -> bool:
            return metrics.asked["queue"] >= looks + 3

        await api.until("the autoscaler to look again", looked_again)
        assert (asked(found), found["status"]["scale"]["replicas"]) == (8, 4)

        metrics.values["queue"] = 10
        await scene.count(1)
        found = await api.ready("g")
        assert condition(found, "ScaleLimited") is None
    assert seen.told("g", asked) == [3, 8, 1], "nobody but the autoscaler wrote it, and it changed its mind no oftener"
    assert sorted(scene.events("Deleted")) == ["g-web-1", "g-web-2", "g-web-3"]


async def test_a_group_is_scaled_to_none_and_back(scene: Scene) -> None:
    await scene.serve()
    await scene.api.apply(always("policy", scene.service), PLAIN, scaled("g", 2))
    placed = (await scene.api.ready("g"))["status"]["placement"]
    await kubectl(scene.api, scene.stack, "scale", "servergroup/g", "--replicas=0")
    await scene.count(0)
    found = await scene.api.ready("g")
    assert (found["status"]["scale"]["replicas"], found["status"]["replicas"]) == (0, 0)
    assert scene.here() == []
    await kubectl(scene.api, scene.stack, "scale", "servergroup/g", "--replicas=3")
    found = await scene.api.ready("g")
    assert len(scene.here()) == found["status"]["scale"]["replicas"] == 3
    assert found["status"]["placement"]["service"] == placed["service"], "none is no reason to move"


async def test_an_unmet_policy_takes_a_group_to_none_once_it_is_held_no_longer(scene: Scene) -> None:
    """The number that was asked for stays, so that it comes back with as many."""
    api = scene.api
    await scene.serve()
    cheap = {"name": "cheap", "service": {"expression": "services.exists(s, s.minPrice < 0.05)"}, "holdFor": "2s"}
    spec = {"when": {"all": [cheap]}, "whenUnmet": "Release"}
    await api.apply(always("policy", scene.service, **spec), PLAIN, scaled("g", 2))
    await api.ready("g")
    async with Watcher(api, HOSTING_POLICY) as policies, Watcher(api, SERVER_GROUP) as groups:
        await api.patch(HOSTING_SERVICE, scene.service, {"spec": {"offerings": [offering("0.10")]}})
        await scene.count(0)
        await api.condition(SERVER_GROUP, "g", "Placed", "False")
        await api.patch(HOSTING_SERVICE, scene.service, {"spec": {"offerings": [offering("0.02")]}})
        found = await api.ready("g")
    readings = policies.told("policy", lambda o: [(r["value"], r["reason"]) for r in o["status"]["readings"]])
    reasons = [reason for ((_, reason),) in readings]
    assert reasons.index("Held") < next(i for i, ((value, _),) in enumerate(readings) if value == "Unmet")
    assert groups.told("g", asked) == [2]
    assert found["status"]["placement"]["number"] == 2
    assert len(scene.here()) == 2
    assert sorted(scene.events("Deleted")) == ["g-web-0", "g-web-1"]


def offering(price: str) -> Obj:
    return {"name": "small", "cpu": 1, "memory": "1Gi", "arch": "amd64", "pricePerHour": price}


async def bound(api: Api, price: str | None) -> None:
    """What the platform team lets the namespace cost."""
    meta = {"annotations": {ANNOTATION_MAX_PRICE: price}}
    await api.client.patch(NAMESPACE, None, api.namespace, {"metadata": meta}, manager="platform")


async def test_a_namespace_pays_no_more_than_it_may_and_loses_nothing(scene: Scene) -> None:
    api = scene.api
    await bound(api, "0.05")
    await scene.serve()
    await api.apply(always("policy", scene.service), PLAIN, scaled("a", 2))
    await api.ready("a")
    await api.apply(scaled("b", 1))
    found = await api.condition(SERVER_GROUP, "b", "CostLimited", reason="PriceAboveCeiling")
    told = "0.02/h for the group and 0.04/h for the namespace's other groups, 0.06/h, above"
    assert told in str(condition(found, "Placed"))
    assert found["status"]["candidates"][0]["reasons"][0].startswith("PriceAboveCeiling: ")
    assert await api.servers("b") == []

    await bound(api, "0.06")
    found = await api.ready("b")
    assert condition(found, "CostLimited") is None
    before = {s["metadata"]["uid"] for s in await api.servers()}
    assert len(before) == 3

    await bound(api, "0.01")
    for name in ("a", "b"):
        found = await api.condition(SERVER_GROUP, name, "CostLimited", reason="PriceAboveCeiling")
        assert "nothing is removed for it" in str(condition(found, "CostLimited"))
        assert is_true(found, "Ready")
    await kubectl(api, scene.stack, "scale", "servergroup/a", "--replicas=4")
    found = await api.condition(SERVER_GROUP, "a", "Ready", "False", "PriceAboveCeiling")
    assert "asks for 4 servers and gets 2; with 4: 0.08/h for the group" in str(condition(found, "Ready"))
    assert {s["metadata"]["uid"] for s in await api.servers()} == before

    lost = await scene.server("a-web-1")
    await api.delete(VIRTUAL_SERVER, "a-web-1")
    await scene.replaced(lost)
    await bound(api, None)
    await api.ready("a")
    assert len(await api.servers("a")) == 4


async def test_a_namespace_s_ceiling_that_is_no_price_is_refused(scene: Scene) -> None:
    for text in ("12,50", "-1", "cheap", ""):
        with pytest.raises(ApiError, match="write a decimal number in quotes"):
            await bound(scene.api, text)
    await bound(scene.api, "12.50")


async def test_a_group_is_not_placed_where_it_costs_more_than_it_may(scene: Scene) -> None:
    api, dear, unpriced = scene.api, f"dear-{scene.service}", f"odd-{scene.service}"
    await scene.serve(dear, offerings=[offering("0.50")])
    nameless = {key: value for key, value in offering("0").items() if key != "pricePerHour"}
    await scene.serve(unpriced, offerings=[{**nameless, "name": "unpriced"}])
    # The service has offerings of its own beside the declared ones.
    exact = [{"service": dear, "name": "small"}, {"service": unpriced, "name": "unpriced"}]
    sized = config("plain", size={"offerings": exact})
    await api.apply(always("policy", dear, unpriced), sized, scaled("g", 2, maxPricePerHour="0.5"))
    found = await api.condition(SERVER_GROUP, "g", "Placed", "False", "NoFeasibleService")
    await api.condition(SERVER_GROUP, "g", "CostLimited", reason="PriceAboveCeiling")
    reasons = {c["service"]: c["reasons"][0] for c in found["status"]["candidates"]}
    assert reasons[dear] == "PriceAboveCeiling: 1/h for the group, above spec.maxPricePerHour (0.5/h)"
    assert reasons[unpriced].startswith("PriceUnknown: no price is known for offering unpriced of odd-")
    await api.patch(SERVER_GROUP, "g", {"spec": {"maxPricePerHour": "1"}})
    found = await api.ready("g")
    assert found["status"]["placement"]["service"] == dear
