"""A HostingService of a type that nobody brings: its condition says what to install."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from tests.support.controller_bench import Bench

from moorage.controllers.hostingservice import ServiceController
from moorage.hosting import registry
from moorage.kube.kinds import HOSTING_SERVICE


async def available(bench: Bench, type_: str) -> Any:
    """The condition of a service of that type, after a look at it."""
    spec = {"type": type_, "endpoint": "http://127.0.0.1:1"}
    await bench.put(HOSTING_SERVICE, "s", spec, namespace=None, status={"observedGeneration": -1})
    await ServiceController(bench.context, bench.tables).reconcile(("", "s"))
    await bench.context.writer.flush()
    status = bench.api.stored(HOSTING_SERVICE, None, "s")["status"]
    return next(condition for condition in status["conditions"] if condition["type"] == "Available")


async def test_the_condition_names_the_package_to_install(bench: Bench) -> None:
    condition = await available(bench, "nocloud")
    assert (condition["status"], condition["reason"]) == ("False", "Invalid")
    assert "no backend of type 'nocloud': install the package that brings it" in condition["message"]
    assert "an entry point nocloud of the group moorage.backends" in condition["message"]
    assert "local" in condition["message"]


async def test_the_condition_names_the_extra_to_install(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = registry.load({"local": "moorage"}, [])
    monkeypatch.setattr(registry, "registry", lambda: fresh)
    monkeypatch.setitem(sys.modules, "moorage.hosting.local", None)
    condition = await available(bench, "local")
    assert condition["reason"] == "Invalid"
    assert "needs its extra, which is not installed: pip install 'moorage[local]'" in condition["message"]
