"""What a policy asks, from its spec to its status: Secrets that agree, answers, restarts, edits, its end."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from tests.support.configd import eventually
from tests.support.controller_bench import Bench

from moorage.controllers.hostingpolicy import PolicyController
from moorage.controllers.probes import Probes, Secrets
from moorage.controllers.resources import ResourceReadings
from moorage.controllers.service_views import ServiceViews
from moorage.controllers.tables import slim_metadata
from moorage.core.targets import AllowList
from moorage.kube.kinds import HOSTING_POLICY, SECRET
from moorage.runtime.probing import SecretUnusable

ALLOWED = {"moorage.dev/allow-probes": "true"}


def secret(bench: Bench, labels: dict[str, str], **data: bytes) -> None:
    """A Secret, changed if it was there, and seen by its metadata only."""
    found = bench.api.objects.get((SECRET.plural, "ns", "s"))
    meta = {"name": "s", "namespace": "ns", "uid": "s-uid", "resourceVersion": bench.api.version(), "labels": labels}
    obj = found or {"metadata": meta}
    obj |= {"metadata": meta, "data": {k: base64.b64encode(v).decode() for k, v in data.items()}}
    bench.api.objects[SECRET.plural, "ns", "s"] = obj
    bench.context.store.ingest(SECRET, {"metadata": dict(meta)})


def reads(bench: Bench) -> int:
    return sum(call == "get Secret s" for call in bench.api.calls)


async def test_a_secret_is_read_once_for_each_version_and_only_where_it_agrees(bench: Bench) -> None:
    secrets = Secrets(bench.context, bench.tables)
    with pytest.raises(SecretUnusable, match="there is no Secret 's'; create it"):
        await secrets.read("ns", "s")
    for labels in ({}, {"moorage.dev/allow-probes": "false"}, {**ALLOWED, "moorage.dev/secret": "server"}):
        secret(bench, labels, token=b"t")
        with pytest.raises(SecretUnusable, match="give it the label"):
            await secrets.read("ns", "s")
    assert reads(bench) == 0, "what does not agree is not even read"
    secret(bench, ALLOWED, token=b"t")
    assert [await secrets.read("ns", "s") for _ in range(3)] == [{"token": b"t"}] * 3
    assert reads(bench) == 1
    secret(bench, ALLOWED, token=b"u")
    assert await secrets.read("ns", "s") == {"token": b"u"}
    secret(bench, {}, token=b"u")
    with pytest.raises(SecretUnusable):
        await secrets.read("ns", "s")


async def test_a_label_that_went_between_the_look_and_the_read_counts(bench: Bench) -> None:
    secret(bench, ALLOWED, token=b"t")
    bench.api.objects[SECRET.plural, "ns", "s"]["metadata"]["labels"] = {}
    with pytest.raises(SecretUnusable, match="does not allow it"):
        await Secrets(bench.context, bench.tables).read("ns", "s")


def test_the_cache_keeps_the_label() -> None:
    meta = {"name": "s", "namespace": "ns", "uid": "u", "resourceVersion": "1", "labels": {**ALLOWED, "other": "x"}}
    assert slim_metadata({"metadata": meta})["metadata"]["labels"] == ALLOWED


class Prom:
    """Answers with one number."""

    def __init__(self) -> None:
        self.value = "12"
        self.asked = 0

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        result = [{"metric": {}, "value": [1, self.value]}]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})


@pytest.fixture
async def prom() -> AsyncIterator[tuple[Prom, str]]:
    prom = Prom()
    app = web.Application()
    app.router.add_post("/api/v1/query", prom.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield prom, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


class Life:
    """One process of the controller after the other, over the same objects."""

    def __init__(self, bench: Bench, url: str) -> None:
        self.bench, self.url = bench, url
        self.start()

    def start(self) -> None:
        bench = self.bench
        self.probes = Probes(bench.context, bench.tables, AllowList.of([self.url]), bench.context.clock)
        views = ServiceViews(bench.context, bench.tables)
        self.controller = PolicyController(
            bench.context, bench.tables, views, self.probes, ResourceReadings(bench.context, recheck=60.0)
        )

    async def put(self, **fields: Any) -> None:
        condition = {
            "name": "long",
            "metric": {"url": self.url, "query": "q", "comparison": "GreaterThan", "threshold": 10, **fields},
            "for": "1h",
        }
        spec = {"when": {"all": [condition]}}
        held = self.bench.tables.policies.get("ns", "p")
        if held is None:
            await self.bench.put(HOSTING_POLICY, "p", spec)
            return
        meta = {**held["metadata"], "generation": 2}
        edited = self.bench.api.change(HOSTING_POLICY, "ns", "p", spec=spec, metadata=meta)
        self.bench.context.store.ingest(HOSTING_POLICY, edited)

    async def reading(self) -> dict[str, Any]:
        await self.controller.reconcile(("ns", "p"))
        await self.bench.context.writer.flush()
        obj = self.bench.tables.policies.get("ns", "p")
        assert obj is not None
        (found,) = obj["status"]["readings"]
        return dict(found)

    async def answered(self) -> None:
        policy = self.bench.tables.policies.parsed("ns", "p")
        assert policy is not None
        await eventually(lambda: self.probes.samples(policy), what="an answer")


async def test_a_restart_goes_on_where_it_was_and_an_edit_does_not(bench: Bench, prom: tuple[Prom, str]) -> None:
    server, url = prom
    life = Life(bench, url)
    await life.put()
    assert (await life.reading())["reason"] == "NotReadYet"
    await life.answered()
    pending = await life.reading()
    assert (pending["value"], pending["reason"]) == ("Unmet", "PendingAnew")
    assert "the result, 12, is greater than 10" in pending["message"]
    await life.probes.close()
    life.start()
    unread = await life.reading()
    assert (unread["reason"], unread["trueSince"]) == ("NotReadYet", pending["trueSince"])
    await life.answered()
    again = await life.reading()
    assert (again["reason"], again["trueSince"]) == ("PendingAnew", pending["trueSince"])
    await life.put(query="another")
    edited = await life.reading()
    assert (edited["reason"], edited.get("trueSince")) == ("NotReadYet", None)
    await life.probes.close()
    assert server.asked >= 2


async def test_a_policy_that_is_gone_is_asked_about_no_more(bench: Bench, prom: tuple[Prom, str]) -> None:
    life = Life(bench, prom[1])
    await life.put()
    await life.reading()
    await life.answered()
    bench.context.store.ingest(HOSTING_POLICY, bench.api.remove(HOSTING_POLICY, "ns", "p"), deleted=True)
    await life.controller.reconcile(("ns", "p"))
    assert len(life.probes._prober) == 0
    await life.probes.close()
    assert json.dumps("p") not in bench.context.metrics.render().decode()
