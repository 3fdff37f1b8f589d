"""A deletion that a service accepts and does not carry out is told in an Event, once."""

from __future__ import annotations

from tests.support.controller_bench import Bench

from moorage.api.virtualserver import VirtualServerStatus
from moorage.controllers.observation import observe
from moorage.controllers.server import ServerController

TOLD = {"type": "Ready", "status": "False", "reason": "DeletionOverdue", "message": "still there"}


async def test_an_overdue_deletion_is_told_once(bench: Bench) -> None:
    group = await bench.group()
    obj = await bench.server(group)
    controller = ServerController(bench.context, bench.tables, bench.edges)
    seen = observe(bench.context, bench.tables, bench.edges, obj, bench.context.clock.now())
    before = VirtualServerStatus()
    after = VirtualServerStatus.from_dict({"conditions": [{**TOLD, "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    controller._announce(seen, before, after)
    controller._announce(seen, after, after)
    told = {key[1:3]: series.count for key, series in bench.context.events._series.items()}
    assert told == {("Warning", "DeletionOverdue"): 1}
