"""A deletion that a service accepts and does not carry out is told in an Event, once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from tests.support.controller_bench import Bench

from moorage.api.virtualserver import VirtualServerStatus
from moorage.controllers.acts import Acts
from moorage.controllers.observation import observe
from moorage.controllers.server import ServerController
from moorage.core.facts import Lookup, LookupResult, Seen, SeenState
from moorage.kube.kinds import VIRTUAL_SERVER
from moorage.runtime.clock import ManualClock

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


class Accepting:
    """A connection to a service that accepts the deletion of this server."""

    name = "s"

    def __init__(self, bench: Bench, owner: str) -> None:
        self._clock, self._owner = bench.context.clock, owner

    async def ask(self, provider_id: str) -> Lookup:
        """It is there."""
        found = Seen(provider_id, None, self._owner, SeenState.RUNNING)
        return Lookup(self._clock.now(), self._clock.monotonic(), LookupResult.FOUND, found)

    async def delete(self, provider_id: str) -> None:
        """Accepted."""


async def test_since_when_a_service_was_asked_is_when_it_first_accepted_the_deletion(bench: Bench) -> None:
    obj, clock = await bench.server(await bench.group()), cast(ManualClock, bench.context.clock)
    meta = {**obj["metadata"], "resourceVersion": "99", "finalizers": ["moorage.dev/server"]}
    going = {**obj, "metadata": {**meta, "deletionTimestamp": clock.now().isoformat()}}
    bench.context.store.ingest(VIRTUAL_SERVER, going)

    def look() -> Any:
        return observe(bench.context, bench.tables, bench.edges, going, clock.now())

    clock.advance(3600.0)
    assert look().facts.asked_since is None, "its service could not be reached, say"
    first = clock.now()
    for _ in range(2):
        seen = look()
        connection = cast(Any, Accepting(bench, seen.facts.identity.owner))
        await Acts(bench.context, bench.tables).destroy(replace(seen, connection=connection), ("s1",))
        assert (look().facts.asked_since, look().facts.deleted_at) == (first, clock.now())
        clock.advance(30.0)
    assert clock.now() - first == timedelta(seconds=60)
