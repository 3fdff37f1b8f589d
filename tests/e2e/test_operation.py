"""Running it: readiness, the lease, graceful and hard ends, events, logs, metrics, and that idle costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.installation import CONFIGD, CONTROLLER, Installation
from tests.support.recording import recorded_writes
from tests.support.stack import SYSTEM, Api, Hostd, Obj, Process, always, config, group, service

from moorage.kube.kinds import EVENT, HOSTING_SERVICE, LEASE, NAMESPACE, OWN, SECRET, SERVER_GROUP

pytestmark = pytest.mark.timeout(300)

APART = "--external-configd"
QUICK = ("--lease-duration", "3")
NEVER = ("--lease-duration", "300")
"""So long that only a release can be the reason of a takeover."""
GOOD = config("web", steps=[{"name": "start", "script": "true"}])


@dataclass
class Controller:
    """A controller, and what it says over HTTP."""

    process: Process
    port: int

    def get(self, path: str) -> tuple[int, str]:
        """Status and text; 0 while nothing listens."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample."""
        _, text = self.get("/metrics")
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def total(self, name: str, /, **labels: str) -> float:
        """The sum of the samples of that name that have these labels."""
        wanted = set(labels.items())
        return sum(value for (found, has), value in self.metrics().items() if found == name and wanted <= has)


@contextlib.contextmanager
def controller(
    installation: Installation, name: str, *arguments: str, record: Path | None = None
) -> Iterator[Controller]:
    """One replica of the shipped controller, with the channel in its process; not waited for."""
    port = 32000 + os.getpid() % 350 + 350 * (len(name) - 1)  # below the ephemeral range, and each replica its own
    process = installation.program(
        name, "run", CONTROLLER, "--health-port", str(port), "--identity", name, *arguments, record=record
    )
    try:
        yield Controller(process, port)
    finally:
        process.popen.send_signal(signal.SIGCONT) if process.alive else None
        process.stop()


@contextlib.contextmanager
def channel(installation: Installation) -> Iterator[Process]:
    """The configuration channel in a process of its own, so that controllers may come and go."""
    process = installation.program("channel", "configd", CONFIGD)
    try:
        yield process
    finally:
        process.stop()


@contextlib.asynccontextmanager
async def place(installation: Installation, api: Api, name: str, **spec: Any) -> AsyncIterator[Hostd]:
    """A hosting service with a policy, and all of it gone at the end, which needs a controller."""
    host = installation.hostd(name, "--simulate", "--boot-time", "0.1")
    try:
        await api.apply(service(name, host.url, **spec), always("policy", name), GOOD)
        yield host
        for obj in (await api.client.list(SERVER_GROUP, api.namespace)).items:
            await api.delete(SERVER_GROUP, obj["metadata"]["name"])
            await api.gone(SERVER_GROUP, obj["metadata"]["name"])
        await api.delete(HOSTING_SERVICE, name)
        await api.gone(HOSTING_SERVICE, name)
    finally:
        host.stop()


async def holder(api: Api) -> str:
    """Who holds the lease."""
    lease = await api.client.get(LEASE, SYSTEM, "moorage-controller")
    return str(lease["spec"].get("holderIdentity") or "")


async def until(what: str, api: Api, probe: Any) -> Any:
    """`Api.until` for a plain function."""

    async def ask() -> Any:
        return probe()

    return await api.until(what, ask)


async def test_a_standby_takes_over_as_soon_as_the_leader_stops(installation: Installation, shipped_api: Api) -> None:
    api = shipped_api
    with (
        channel(installation),
        controller(installation, "a", APART, *NEVER) as first,
        controller(installation, "bb", APART, *NEVER) as second,
    ):
        # Either may be quicker.
        await api.until("a leader", lambda: _has_lease(api))
        leader, standby = (first, second) if await holder(api) == "a" else (second, first)
        await until("the leader to reconcile", api, lambda: leader.get("/readyz") == (200, "ok"))
        await until("the standby's caches", api, lambda: standby.get("/readyz?exclude=lease") == (200, "ok"))
        status, text = standby.get("/readyz")
        assert (status, "[-]lease failed" in text) == (503, True)
        assert standby.get("/healthz") == (200, "ok")
        async with place(installation, api, "takeover"):
            await api.apply(group("g", "policy", ("web", "web", 1)))
            await api.ready("g")
            assert leader.total("leader_election_master_status") == 1
            assert standby.total("leader_election_master_status") == 0
            assert standby.total("controller_runtime_reconcile_total") == 0, "only one acts"
            for method in ("POST", "PATCH", "DELETE"):
                accepted = standby.total("rest_client_requests_total", method=method, code="201")
                accepted += standby.total("rest_client_requests_total", method=method, code="200")
                assert accepted <= (1 if method == "POST" else 0), "but for the CA or installation, if it was first"
            leader.process.popen.send_signal(signal.SIGTERM)
            await until("the leader to end", api, lambda: not leader.process.alive)
            assert leader.process.popen.returncode == 0
            assert "ERROR" not in leader.process.tail(10_000)
            await until("the standby to reconcile", api, lambda: standby.get("/readyz") == (200, "ok"))
            await api.patch(SERVER_GROUP, "g", {"spec": {"members": [_member(2)]}})
            await api.until("two servers", lambda: _ready_replicas(api, 2))


async def _has_lease(api: Api) -> bool:
    with contextlib.suppress(Exception):
        return await holder(api) in {"a", "bb"}
    return False


def _member(replicas: int) -> Obj:
    return {"name": "web", "configRef": {"name": "web"}, "replicas": replicas}


async def _ready_replicas(api: Api, count: int) -> bool:
    obj = await api.get(SERVER_GROUP, "g")
    return obj is not None and (obj.get("status") or {}).get("readyReplicas") == count


async def test_a_stale_leader_that_wakes_up_writes_nothing(
    installation: Installation, shipped_api: Api, tmp_path: Path
) -> None:
    api, calls = shipped_api, tmp_path / "stale.calls"
    with channel(installation), controller(installation, "a", APART, *QUICK, record=calls) as stale:
        stale.process.announcement()
        async with place(installation, api, "stale", inventoryInterval="1s") as host:
            await api.apply(group("g", "policy", ("web", "web", 1)))
            await api.ready("g")
            stale.process.popen.send_signal(signal.SIGSTOP)
            with controller(installation, "bb", APART, *QUICK) as other:
                # What the stale leader will read when it wakes: work of every kind, done or to be done by another.
                await api.patch(SERVER_GROUP, "g", {"spec": {"members": [_member(3)]}})
                await until("the other to reconcile", api, lambda: other.get("/readyz") == (200, "ok"))
                await api.until("three servers", lambda: _ready_replicas(api, 3))
                await api.apply(group("late", "policy", ("web", "web", 2)))
                before = recorded_writes(calls)
                stale.process.popen.send_signal(signal.SIGCONT)
                await until("the stale leader to end", api, lambda: not stale.process.alive)
                assert stale.process.popen.returncode not in {0, -signal.SIGKILL}
                assert "the lease was lost" in stale.process.tail(10_000)
                assert [w for w in recorded_writes(calls)[len(before) :] if "leases" not in w] == []
                await api.ready("late")
                await api.ready("g")
                created = [entry["key"] for entry in host.ledger() if entry["event"] == "Created"]
                assert len(created) == len(set(created)) == 5
                await _end(api, "stale")


async def _end(api: Api, name: str) -> None:
    """Delete everything while this controller lives."""
    for found in ("g", "late"):
        await api.delete(SERVER_GROUP, found)
        await api.gone(SERVER_GROUP, found)
    await api.delete(HOSTING_SERVICE, name)
    await api.gone(HOSTING_SERVICE, name)


async def test_it_does_not_outlive_its_lease_without_an_api_server(
    installation: Installation, shipped_api: Api
) -> None:
    with controller(installation, "a", *QUICK) as cut_off:
        cut_off.process.announcement()
        assert cut_off.get("/readyz") == (200, "ok")

        def over() -> bool:
            return not cut_off.process.alive

        with installation.plane.apiserver_down():
            await asyncio.to_thread(_wait, "the end without an API server", over)
            assert "the lease was lost" in cut_off.process.tail(10_000)
            assert "Traceback" not in cut_off.process.tail(10_000)
    with controller(installation, "a", *QUICK) as again:
        again.process.announcement()
        await until("readiness", shipped_api, lambda: again.get("/readyz") == (200, "ok"))


def _wait(what: str, probe: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


async def test_idle_costs_nothing_and_a_life_is_told_once(
    installation: Installation, shipped_api: Api, tmp_path: Path
) -> None:
    api, calls = shipped_api, tmp_path / "idle.calls"
    with controller(installation, "a", "--log-format", "json", record=calls) as running:
        running.process.announcement()
        # While the service tells its events, an inventory is taken every ten of these.
        async with place(installation, api, "idle", inventoryInterval="150ms"):
            await api.apply(group("g", "policy", ("web", "web", 2)))
            await api.ready("g")
            await _idle(running, api, calls)
            assert await _events(api) == {("Placed", 1), ("Ready", 1)}
            await _pending_items(running, api)
            _metrics_move(running)
        assert running.total("moorage_items_pending") == 0
    _logs(running.process)


async def _idle(running: Controller, api: Api, calls: Path) -> None:
    """Over several inventories: no write but the Lease, no call but the inventory, at most one an interval."""

    def inventories() -> float:
        return running.total("moorage_service_calls_total", service="idle", operation="inventory")

    def others() -> float:
        return running.total("moorage_service_calls_total", service="idle") - inventories()

    known = inventories()
    await until("an inventory that shows the group", api, lambda: inventories() >= known + 2)
    await _settled(calls, api)
    versions, writes, other = await _versions(api), recorded_writes(calls), others()
    began, first = time.monotonic(), inventories()
    await until("five more inventories", api, lambda: inventories() >= first + 5)
    made = inventories() - first
    assert made <= (time.monotonic() - began) / 1.5 * 1.2 + 1, "one an interval, which is a second and a half"
    assert others() == other
    later = [w for w in recorded_writes(calls)[len(writes) :] if "leases" not in w]
    # The namespace of an earlier test may still be going.
    assert [w for w in later if " t-" not in w or api.namespace in w] == []
    assert await _versions(api) == versions


async def _settled(calls: Path, api: Api) -> None:
    """The last status writes are held back for a moment: wait until the Lease is the only thing that is written.

    The namespaces of earlier tests may still be emptied, which this controller sees and answers.
    """

    async def alone() -> bool:
        return not any(n["metadata"].get("deletionTimestamp") for n in (await api.client.list(NAMESPACE, None)).items)

    async def probe() -> bool:
        before = [w for w in recorded_writes(calls) if "leases" not in w]
        await asyncio.sleep(2)
        return [w for w in recorded_writes(calls) if "leases" not in w] == before

    await api.until("the end of other namespaces", alone)
    await api.until("quiet", probe)


async def _versions(api: Api) -> dict[str, str]:
    return {
        f"{kind} {o['metadata']['name']}": o["metadata"]["resourceVersion"]
        for kind in (*OWN, SECRET, EVENT)
        for o in (await api.client.list(kind, api.namespace if kind.namespaced else None)).items
    }


async def _events(api: Api) -> set[tuple[str, int]]:
    return {(o["reason"], o["count"]) for o in (await api.client.list(EVENT, api.namespace)).items}


async def _pending_items(running: Controller, api: Api) -> None:
    """An item of a group that is not there yet, then is."""
    item = {"name": "peer", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "peer"}}}
    await api.apply(
        config("waits", configuration=[item], steps=[{"name": "start", "script": "echo ${peer}"}]),
        group("waiting", "policy", ("web", "waits", 1)),
    )

    def pending() -> float:
        return running.total("moorage_items_pending", group="waiting")

    await until("an item pending", api, lambda: pending() == 1)
    await api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}, "data": {"peer": "x"}})
    await api.ready("waiting")
    await until("no item pending", api, lambda: pending() == 0)


def _metrics_move(running: Controller) -> None:
    for name, labels in (
        ("controller_runtime_reconcile_total", {"controller": "servergroup", "result": "success"}),
        ("controller_runtime_reconcile_total", {"controller": "virtualserver"}),
        ("controller_runtime_reconcile_time_seconds_count", {"controller": "servergroup"}),
        ("controller_runtime_reconcile_time_seconds_bucket", {"controller": "servergroup"}),
        ("workqueue_adds_total", {"name": "virtualserver"}),
        ("workqueue_queue_duration_seconds_count", {"name": "virtualserver"}),
        ("workqueue_work_duration_seconds_count", {"name": "virtualserver"}),
        ("rest_client_requests_total", {"code": "201", "method": "POST"}),
        ("moorage_service_calls_total", {"service": "idle", "operation": "create", "result": "ok"}),
        ("moorage_service_call_seconds_count", {"service": "idle", "operation": "create"}),
        ("moorage_convergence_seconds_count", {}),
        ("moorage_objects", {"kind": "ServerGroup", "condition": "Ready", "status": "True"}),
        ("moorage_configd_joins_total", {}),
        ("process_cpu_seconds_total", {}),
    ):
        assert running.total(name, **labels) > 0, name
    names = {name for name, _ in running.metrics()}
    assert {"workqueue_depth", "workqueue_retries_total", "controller_runtime_reconcile_errors_total"} <= names
    assert {"controller_runtime_active_workers", "moorage_event_loop_lag_seconds"} <= names
    converged = running.total("moorage_convergence_seconds_count")
    assert converged == 2, "once for each group that became ready"


def _logs(process: Process) -> None:
    """Each line is an object; those of a reconcile say of what, and which run of it."""
    lines = [json.loads(line) for line in process.said().splitlines()]
    assert {"time", "level", "logger", "message"} <= set(lines[0])
    reconciles = [line for line in lines if "controller" in line]
    assert any(line["message"].startswith("Placed: idle") for line in reconciles)
    for line in reconciles:
        assert line["object"].startswith(("ServerGroup ", "VirtualServer ", "HostingService ", "HostingPolicy "))
        assert len(line["reconcileID"]) == 12
    assert {line["level"] for line in lines} == {"info"}, [line for line in lines if line["level"] != "info"]


async def test_logs_are_text_by_default_and_failing_calls_are_counted(
    installation: Installation, shipped_api: Api
) -> None:
    api = shipped_api
    with controller(installation, "a") as running:
        running.process.announcement()
        async with place(installation, api, "failing", inventoryInterval="1s") as host:
            await api.condition(HOSTING_SERVICE, "failing", "Ready")
            host.faults(errorRate=1.0)

            def failed() -> float:
                everything = running.total("moorage_service_calls_total", service="failing")
                return everything - running.total("moorage_service_calls_total", service="failing", result="ok")

            await until("failed calls", api, lambda: failed() > 0)
            await api.condition(HOSTING_SERVICE, "failing", "Available", "False")
            host.faults()
            await api.condition(HOSTING_SERVICE, "failing", "Available", "True")
            await api.apply(group("g", "policy", ("web", "web", 1)))
            await api.ready("g")
    placed = next(line for line in running.process.said().splitlines() if "Placed: failing" in line)
    assert f'object="ServerGroup {api.namespace}/g"' in placed
    assert "reconcileID=" in placed


async def test_the_lease_names_its_holder_and_is_released(installation: Installation, shipped_api: Api) -> None:
    with controller(installation, "a", *NEVER) as running:
        running.process.announcement()
        assert await holder(shipped_api) == "a"
        running.process.stop()
        assert running.process.popen.returncode == 0
    assert await holder(shipped_api) == ""
