"""Health, readiness and metrics over HTTP."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from moorage.hosting.errors import AuthenticationError
from moorage.kube.calls import Call
from moorage.kube.errors import Unavailable
from moorage.kube.kinds import SECRET
from moorage.runtime.clock import ManualClock
from moorage.runtime.health import HealthServer
from moorage.runtime.metrics import Metrics
from moorage.runtime.queue import WorkQueue
from moorage.runtime.workers import DONE, Result, Workers


class Site:
    def __init__(self, server: HealthServer, port: int, session: aiohttp.ClientSession) -> None:
        self.server, self.port, self._session = server, port, session

    async def get(self, path: str) -> tuple[int, str]:
        async with self._session.get(f"http://127.0.0.1:{self.port}{path}") as response:
            return response.status, await response.text()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(process=False)


@pytest.fixture
async def site(metrics: Metrics) -> AsyncIterator[Site]:
    server = HealthServer(metrics, lag_interval=0.01, lag_limit=0.05)
    async with aiohttp.ClientSession() as session:
        yield Site(server, await server.start("127.0.0.1", 0), session)
        await server.stop()


async def test_checks_have_names_and_reasons(site: Site) -> None:
    assert await site.get("/healthz") == (200, "ok")
    problem: list[str | None] = ["servergroups are not listed yet"]
    site.server.add_ready_check("caches", lambda: problem[0])
    site.server.add_ready_check("other", lambda: None)
    assert await site.get("/readyz") == (
        503,
        "[-]caches failed: servergroups are not listed yet\n[+]other ok\ncheck failed\n",
    )
    assert (await site.get("/livez"))[0] == 200, "not ready is not dead"
    assert await site.get("/readyz?exclude=caches") == (200, "ok")
    problem[0] = None
    assert await site.get("/readyz") == (200, "ok")
    assert (await site.get("/readyz?verbose"))[1] == "[+]caches ok\n[+]other ok\ncheck passed\n"


async def test_a_broken_check_fails_without_its_message(site: Site) -> None:
    def broken() -> str | None:
        raise RuntimeError("hunter2")

    site.server.add_live_check("broken", broken)
    status, text = await site.get("/healthz")
    assert status == 503
    assert "[-]broken failed: RuntimeError" in text
    assert "hunter2" not in text


async def test_a_blocked_loop_is_noticed(site: Site, metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    await asyncio.sleep(0.02)
    time.sleep(0.2)  # noqa: ASYNC251 - what is to be noticed
    async with asyncio.timeout(5):
        while "the event loop was blocked for" not in caplog.text:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.005)


async def test_metrics_have_the_conventional_names(site: Site, metrics: Metrics) -> None:
    clock = ManualClock()
    queue: WorkQueue[str] = WorkQueue("servergroup", clock=clock, metrics=metrics.queue("servergroup"))
    metrics.watch_queue(queue)

    async def reconcile(key: str) -> Result:
        if key == "bad":
            raise Unavailable(503, "ServiceUnavailable", "no")
        return DONE

    workers = Workers(queue, reconcile, count=1, metrics=metrics.controller("servergroup"))
    workers.start()
    queue.add("good")
    queue.add("bad")
    async with asyncio.timeout(5):
        while not queue.idle:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0)
    await workers.stop(5)
    observer = metrics.observer()
    observer.before(Call("create", SECRET))
    observer.after(Call("create", SECRET), 201, 0.1)
    observer.after(Call("list", SECRET), TimeoutError(), 0.1)
    observer.after(Call("delete", SECRET), Unavailable(503, "x", "y"), 0.1)
    with metrics.service_call("eu", "create"):
        pass
    with pytest.raises(AuthenticationError), metrics.service_call("eu", "get"):
        raise AuthenticationError("no")
    with pytest.raises(ValueError, match="no"), metrics.service_call("eu", "create"):
        raise ValueError("no")
    metrics.leadership("moorage-controller")(True)
    metrics.pending("ns", "shop", 3)
    metrics.pending("ns", "gone", 1)
    metrics.pending("ns", "gone", None)
    metrics.pending("ns", "unknown", None)
    metrics.convergence_seconds.observe(1.5)
    _, text = await site.get("/metrics")
    for line in (
        'controller_runtime_reconcile_total{controller="servergroup",result="success"} 1.0',
        'controller_runtime_reconcile_total{controller="servergroup",result="error"} 1.0',
        'controller_runtime_reconcile_errors_total{controller="servergroup"} 1.0',
        'controller_runtime_reconcile_time_seconds_count{controller="servergroup"} 2.0',
        'controller_runtime_active_workers{controller="servergroup"} 0.0',
        'workqueue_adds_total{name="servergroup"} 2.0',
        'workqueue_depth{name="servergroup"} 0.0',
        'workqueue_retries_total{name="servergroup"} 1.0',
        'workqueue_queue_duration_seconds_count{name="servergroup"} 2.0',
        'workqueue_work_duration_seconds_count{name="servergroup"} 2.0',
        'workqueue_unfinished_work_seconds{name="servergroup"} 0.0',
        'workqueue_longest_running_processor_seconds{name="servergroup"} 0.0',
        'rest_client_requests_total{code="201",method="POST"} 1.0',
        'rest_client_requests_total{code="<error>",method="GET"} 1.0',
        'rest_client_requests_total{code="503",method="DELETE"} 1.0',
        'moorage_service_calls_total{operation="create",result="ok",service="eu"} 1.0',
        'moorage_service_calls_total{operation="get",result="AuthenticationFailed",service="eu"} 1.0',
        'moorage_service_calls_total{operation="create",result="ValueError",service="eu"} 1.0',
        'moorage_service_call_seconds_count{operation="create",service="eu"} 2.0',
        'moorage_items_pending{group="shop",namespace="ns"} 3.0',
        "moorage_convergence_seconds_count 1.0",
        'leader_election_master_status{name="moorage-controller"} 1.0',
    ):
        assert line in text.splitlines(), line
    assert "moorage_event_loop_lag_seconds" in text
    assert 'group="gone"' not in text


def test_process_metrics_are_there_by_default() -> None:
    assert b"process_cpu_seconds_total" in Metrics().render()
