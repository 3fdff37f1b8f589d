"""After the time of day moved, all that waits for a moment is looked at: policies, groups and servers."""

from __future__ import annotations

from tests.support.controller_bench import Bench

from moorage.controllers.context import QueueKey
from moorage.controllers.operator import Operator, OperatorConfig
from moorage.kube.client import Client
from moorage.kube.credentials import Credentials, Loaded
from moorage.kube.kinds import HOSTING_POLICY, SERVER_GROUP, VIRTUAL_SERVER, Kind
from moorage.kube.transport import Transport
from moorage.runtime.queue import WorkQueue


async def test_a_policy_that_waits_for_its_hour_is_looked_at_when_the_clock_was_set(bench: Bench) -> None:
    loaded = Loaded("http://127.0.0.1:1", "home", None, None, None, True, None, None, lambda: "")
    operator = Operator(OperatorConfig(health_port=None), Client(Transport(Credentials(lambda: loaded))))
    operator._store = bench.context.store
    day = {"name": "day", "schedule": {"cron": "0 8 * * *", "duration": "10h"}}
    await bench.put(HOSTING_POLICY, "office", {"when": {"all": [day]}})
    queues: dict[Kind, WorkQueue[QueueKey]] = {
        kind: WorkQueue(kind.kind) for kind in (HOSTING_POLICY, SERVER_GROUP, VIRTUAL_SERVER)
    }
    queues[HOSTING_POLICY].add_after(("ns", "office"), 8 * 3600.0)
    operator._look_at_dated(queues)
    assert [len(queue) for queue in queues.values()] == [1, 0, 0]
    for queue in queues.values():
        queue.close()
