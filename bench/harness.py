"""What all benchmarks share: a whole installation of real processes, and what it costs, read from outside.

Nothing here is told by the programs themselves except their counters: CPU seconds and memory come from /proc, requests
from the API server's own metrics, calls to the hosting service from the controller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from tests.support import cluster
from tests.support.stack import Obj, Process, Stack, condition, kind_of, new_stack

from moorage.controlplane import ControlPlane, acquire, cache_root
from moorage.kube.client import Client
from moorage.kube.errors import NotFound
from moorage.kube.kinds import HOSTING_SERVICE, NAMESPACE, SERVER_GROUP

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"})
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? ([^ ]+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Requests = dict[tuple[str, str, str], int]
"""(verb, resource, subresource) -> how many."""


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> float:
    """Resident memory, in MB (10^6 bytes)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


def load() -> float:
    """The machine's load of the last minute: what else ran on it."""
    return os.getloadavg()[0]


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """The samples of a page of Prometheus metrics."""
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if found is not None:
            yield found[1], dict(_LABEL.findall(found[2] or "")), float(found[3])


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds by process, requests to the API server, calls to hosting services, at one moment or between two.

    `conflicts` are those of the requests that were refused because somebody else had written.
    """

    at: float
    cpu: Mapping[str, float]
    requests: Requests
    conflicts: Requests
    calls: Mapping[str, float]

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.at - other.at,
            {name: seconds - other.cpu.get(name, 0.0) for name, seconds in self.cpu.items()},
            _difference(self.requests, other.requests),
            _difference(self.conflicts, other.conflicts),
            {key: n - other.calls.get(key, 0) for key, n in self.calls.items() if n != other.calls.get(key, 0)},
        )

    def writes(self, *, without: frozenset[str] = frozenset({"leases"})) -> Requests:
        """The writes, but those of some resources."""
        return {key: n for key, n in self.requests.items() if key[0] in WRITES and key[1] not in without}


def _difference(after: Requests, before: Requests) -> Requests:
    return {key: n - before.get(key, 0) for key, n in after.items() if n != before.get(key, 0)}


class Watched:
    """The moments at which groups became ready or went, by one watch: polling would cost the API server CPU."""

    def __init__(self) -> None:
        self.ready: dict[tuple[str, str], float] = {}
        self.gone: dict[tuple[str, str], float] = {}
        self._changed = asyncio.Event()

    async def run(self, client: Client) -> None:
        """Watch for ever."""
        listing = await client.list(SERVER_GROUP)
        version = listing.resource_version
        while True:
            async for event in client.watch(SERVER_GROUP, resource_version=version, duration=600):
                version = event.object["metadata"]["resourceVersion"]
                if event.type != "BOOKMARK":
                    self._take(event.type, event.object)

    def _take(self, type_: str, obj: Obj) -> None:
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        now = time.monotonic()
        if type_ == "DELETED":
            self.ready.pop(key, None)
            self.gone[key] = now
            self._changed.set()
            return
        status = obj.get("status") or {}
        found = condition(obj, "Ready")
        current = status.get("observedGeneration") == obj["metadata"]["generation"]
        if current and found is not None and found["status"] == "True" and key not in self.ready:
            self.ready[key] = now
            self._changed.set()

    async def until_ready(self, namespace: str, names: list[str], seconds: float) -> dict[str, float]:
        """The moments at which they became ready. Raises TimeoutError that tells how many did."""
        return await self._until(self.ready, "ready", namespace, names, seconds)

    async def until_gone(self, namespace: str, names: list[str], seconds: float) -> dict[str, float]:
        """The moments at which they were gone. Raises TimeoutError."""
        return await self._until(self.gone, "gone", namespace, names, seconds)

    async def _until(
        self, moments: dict[tuple[str, str], float], what: str, namespace: str, names: list[str], seconds: float
    ) -> dict[str, float]:
        end = time.monotonic() + seconds
        while True:
            missing = [name for name in names if (namespace, name) not in moments]
            if not missing:
                return {name: moments[namespace, name] for name in names}
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{len(missing)} of {len(names)} groups are not {what} after {seconds:.0f} s")
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)


@dataclass
class Installation:
    """Control plane, one simulating hosting service, controller and configd, each a process of its own."""

    stack: Stack
    client: Client
    configd: Process | None = None
    health: str = ""
    groups: Watched = field(default_factory=Watched)

    def start_configd(self) -> None:
        """Start `configd` alone; it waits for the CA that the controller makes."""
        command = [
            sys.executable,
            "-m",
            "moorage.configd",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.stack.config_port),
        ]
        command += ["--kubeconfig", str(self.stack.plane.kubeconfig), "--endpoint", self.endpoint]
        self.configd = Process("configd", command, self.stack.folder / "configd.log")
        self.stack.others.append(self.configd)

    def start_controller(self) -> float:
        """Start the controller; gives the seconds until it reconciled."""
        started = time.monotonic()
        controller = self.stack.run_controller("--external-configd", "--log-level", "warning")
        self.health = f"http://127.0.0.1:{controller.announcement()['ports']['health']}"
        return time.monotonic() - started

    @property
    def endpoint(self) -> str:
        """Where agents reach configd."""
        return f"https://127.0.0.1:{self.stack.config_port}"

    def metrics(self) -> list[tuple[str, dict[str, str], float]]:
        """The controller's own metrics."""
        with urlopen(f"{self.health}/metrics", timeout=20) as answer:
            return list(samples(answer.read().decode()))

    async def usage(self, *, controller: bool = True) -> Usage:
        """What was used so far; `controller` False: while there is none."""
        pids = {"api server": self.stack.plane.pids["kube-apiserver"], "etcd": self.stack.plane.pids["etcd"]}
        pids |= {f"hostd {name}": host.process.popen.pid for name, host in self.stack.hosts.items() if host.process}
        for name, process in (("controller", self.stack.controller), ("configd", self.configd)):
            if process is not None and process.alive:
                pids[name] = process.popen.pid
        requests: Requests = {}
        conflicts: Requests = {}
        text = await asyncio.to_thread(self.stack.plane.run_kubectl, "get", "--raw", "/metrics")
        for name, labels, value in samples(text.stdout):
            if name == "apiserver_request_total":
                key = (labels["verb"], labels["resource"], labels["subresource"])
                requests[key] = requests.get(key, 0) + int(value)
                if labels["code"] in {"409", "422"}:
                    conflicts[key] = conflicts.get(key, 0) + int(value)
        calls: dict[str, float] = {}
        for name, labels, value in await asyncio.to_thread(self.metrics) if controller else ():
            if name == "moorage_service_calls_total":
                calls[labels["operation"]] = calls.get(labels["operation"], 0) + value
        cpu = {name: cpu_seconds(pid) for name, pid in pids.items()}
        return Usage(time.monotonic(), cpu, requests, conflicts, calls)

    def memory(self) -> dict[str, float]:
        """Resident MB of controller and configd."""
        processes = (("controller", self.stack.controller), ("configd", self.configd))
        return {name: rss_mb(process.popen.pid) for name, process in processes if process is not None}

    async def namespace(self, name: str) -> str:
        """A namespace of that name."""
        await self.client.create(NAMESPACE, {"metadata": {"name": name}})
        return name

    async def exists_service(self, name: str) -> bool:
        """Whether there is a HostingService of that name."""
        try:
            await self.client.get(HOSTING_SERVICE, None, name)
        except NotFound:
            return False
        return True

    async def service_available(self, name: str, seconds: float = 60.0) -> None:
        """Wait until the HostingService is available. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while True:
                found = condition(await self.client.get(HOSTING_SERVICE, None, name), "Available")
                if found is not None and found["status"] == "True":
                    return
                await asyncio.sleep(0.1)

    async def create(self, namespace: str | None, *objects: Obj) -> None:
        """Create objects, at most 8 at a time."""
        slots = asyncio.Semaphore(8)

        async def one(obj: Obj) -> None:
            meta = {**obj["metadata"], **({"namespace": namespace} if namespace else {})}
            async with slots:
                await self.client.create(kind_of(obj), {**obj, "metadata": meta}, manager="bench")

        await asyncio.gather(*(one(obj) for obj in objects))


def compile_once() -> None:
    """Have the programs' bytecode ready, as an installed package has it, wherever it may be written."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(cache_root() / "bench" / "bytecode")
    modules = "moorage.cli.main, moorage.controllers.operator, moorage.configd.__main__, moorage.hostd.__main__"
    modules += ", moorage.hostd.simulate.driver"
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)


def machine_speed() -> float:
    """CPU milliseconds of a fixed piece of work, the best of 5: tells how slow the machine's CPUs were just then."""
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        sum(number * number for number in range(1_000_000))
        best = min(best, time.process_time() - started)
    return best * 1000


@contextlib.asynccontextmanager
async def installation(boot_time: float = 0.0, *, controller: bool = True) -> AsyncIterator[Installation]:
    """A whole installation, with one hosting service `bench` whose servers boot in `boot_time` seconds."""
    compile_once()
    plane: ControlPlane = acquire(cluster.options(None))
    with plane, tempfile.TemporaryDirectory(prefix="moorage-bench-") as folder, new_stack(plane, Path(folder)) as stack:
        stack.hostd("bench", "--simulate", "--boot-time", str(boot_time), "--capacity", "-1")
        async with await Client.connect(str(plane.kubeconfig)) as client:
            installed = Installation(stack, client)
            installed.start_configd()
            watching = asyncio.create_task(installed.groups.run(client))
            try:
                if controller:
                    installed.start_controller()
                yield installed
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
