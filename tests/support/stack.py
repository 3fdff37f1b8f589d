"""A whole installation for a test: a control plane of its own, hosting services, a controller; all real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import Request, urlopen

from tests.support.cluster import ROOT, crd_files

from moorage.api.names import API_VERSION
from moorage.controlplane import ControlPlane
from moorage.kube.client import Client
from moorage.kube.errors import AlreadyExists, NotFound
from moorage.kube.kinds import (
    HOSTING_POLICY,
    HOSTING_SERVICE,
    NAMESPACE,
    OWN,
    SECRET,
    SERVER_GROUP,
    VIRTUAL_SERVER,
    VIRTUAL_SERVER_CONFIG,
    Kind,
)

Obj = dict[str, Any]
T = TypeVar("T")
SYSTEM = "moorage-system"
PATIENCE = 60.0


class Process:
    """A child that announces itself with one line of JSON on stdout. It dies with this process."""

    def __init__(self, name: str, command: list[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        self._began = log.stat().st_size if log.exists() else 0
        self._out = log.open("ab")
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._out,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            start_new_session=True,
        )
        self.announced: Obj = {}

    def announcement(self, timeout: float = PATIENCE) -> Obj:
        """What it printed once it was ready. Raises AssertionError with its log where it ended instead."""
        if not self.announced:
            assert self.popen.stdout is not None
            os.set_blocking(self.popen.stdout.fileno(), False)
            line, end = b"", time.monotonic() + timeout
            while not line.endswith(b"\n"):
                line += self.popen.stdout.read() or b""
                if self.popen.poll() is not None or time.monotonic() > end:
                    raise AssertionError(f"{self.name} did not start:\n{self.tail()}")
                time.sleep(0.01)
            self.announced = json.loads(line)
        return self.announced

    def said(self) -> str:
        """All that this process has logged: an earlier one of the same name wrote into the same file."""
        return self.log.read_bytes()[self._began :].decode(errors="replace")

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.popen.poll() is None

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where that does not end it in time."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.alive:
            self.popen.send_signal(number)
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait(10)
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        self._out.close()


@dataclass
class Hostd:
    """A hosting service, with the ledger of all servers it ever made and the switches of its faults."""

    name: str
    folder: Path
    arguments: tuple[str, ...]
    process: Process | None = None
    url: str = ""
    token: str = ""

    def start(self) -> None:
        """Start it, on the port it had before."""
        port = self.url.rsplit(":", 1)[-1] if self.url else "0"
        command = [sys.executable, "-m", "moorage.hostd", "--data", str(self.folder / self.name), "--name", self.name]
        token = () if "--token-file" in self.arguments else ("--no-token",)
        command += ["--port", port, *token, *self.arguments]
        self.process = Process(self.name, command, self.folder / f"{self.name}.log")
        self.url = self.process.announcement()["url"]

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def kill(self) -> None:
        """SIGKILL it; its servers live on unless it is ephemeral."""
        if self.process is not None:
            self.process.kill()
            self.process = None

    def call(self, method: str, path: str, body: Obj | None = None) -> Any:
        """One request to its API."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = Request(self.url + path, data=data, method=method, headers=headers)
        with urlopen(request, timeout=20) as answer:
            raw = answer.read()
        return json.loads(raw) if raw else None

    def ledger(self) -> list[Obj]:
        """All that it ever created, deleted or lost, in order: `event` is Created, Deleted or Vanished."""
        found: list[Obj] = self.call("GET", "/v1/ledger")["items"]
        return found

    def servers(self) -> list[Obj]:
        """The servers that are there now."""
        found: list[Obj] = self.call("GET", "/v1/servers?limit=1000")["items"]
        return found

    def faults(self, **faults: Any) -> None:
        """Switch faults on; none given: all off."""
        if faults:
            self.call("PUT", "/v1/faults", faults)
        else:
            self.call("DELETE", "/v1/faults")


@dataclass
class Stack:
    """One installation. `controller` and hosting services are started by the test or the fixture."""

    plane: ControlPlane
    folder: Path
    hosts: dict[str, Hostd] = field(default_factory=dict)
    controller: Process | None = None
    others: list[Process] = field(default_factory=list)
    controllers: int = 0
    config_port: int = field(default_factory=lambda: 20000 + os.getpid() % 5000)
    """A fixed port below the ephemeral range, of this process's own."""
    kubeconfig: Path | None = None
    """What the controller was started with: it keeps its rights where a test starts it again."""

    def prepare(self) -> None:
        """CRDs and the controller's namespace."""
        self.plane.apply(*crd_files())
        self.plane.run_kubectl("create", "namespace", SYSTEM, check=False)

    def hostd(self, name: str, *arguments: str, ephemeral: bool = True) -> Hostd:
        """Start a hosting service."""
        extra = ("--ephemeral",) if ephemeral else ()
        host = self.hosts[name] = Hostd(name, self.folder, (*extra, *arguments))
        host.start()
        return host

    def run_controller(
        self, *arguments: str, kubeconfig: Path | None = None, module: str = "moorage.cli", env: Mapping[str, str] = {}
    ) -> Process:
        """Start the controller with its configuration channel, and wait until it reconciles.

        Without `kubeconfig` it has the rights that it had before, at first those of an administrator.
        """
        self.controllers += 1
        self.kubeconfig = kubeconfig or self.kubeconfig or self.plane.kubeconfig
        command = [sys.executable, "-m", module]
        if module == "moorage.cli":
            command.append("run")
        command += ["--kubeconfig", str(self.kubeconfig), "--config-host", "127.0.0.1"]
        command += ["--config-port", str(self.config_port), "--health-port", "0", "--identity", "test"]
        command += ["--config-endpoint", f"https://127.0.0.1:{self.config_port}", *arguments]
        self.controller = Process("controller", command, self.folder / "controller.log", env)
        self.controller.announcement()
        return self.controller

    @property
    def health(self) -> str:
        """The URL of /healthz, /readyz and /metrics."""
        assert self.controller is not None
        return f"http://127.0.0.1:{self.controller.announcement()['ports']['health']}"

    def metrics(self) -> str:
        """What /metrics says."""
        with urlopen(self.health + "/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def stop(self) -> None:
        """End everything."""
        for process in (self.controller, *self.others):
            if process is not None:
                process.stop()
        for host in self.hosts.values():
            host.stop()


@contextlib.contextmanager
def new_stack(plane: ControlPlane, folder: Path) -> Iterator[Stack]:
    """An installation over `plane`; everything but the plane ends with the context."""
    stack = Stack(plane, folder)
    try:
        stack.prepare()
        yield stack
    finally:
        stack.stop()


class Api:
    """What a test says to the API server and waits for there."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    async def apply(self, *objects: Obj) -> list[Obj]:
        """Create each, in this namespace; replace its spec where it exists."""
        return [await self._apply(obj) for obj in objects]

    async def _apply(self, obj: Obj) -> Obj:
        kind = kind_of(obj)
        namespace = self.namespace if kind.namespaced else None
        meta = {**obj["metadata"], **({"namespace": namespace} if namespace else {})}
        try:
            return await self.client.create(kind, {**obj, "metadata": meta}, manager="test")
        except AlreadyExists:
            body = {key: value for key, value in obj.items() if key not in {"metadata", "apiVersion", "kind"}}
            return await self.client.patch(kind, namespace, meta["name"], body, manager="test")

    async def get(self, kind: Kind, name: str) -> Obj | None:
        """The object, or None."""
        try:
            return await self.client.get(kind, self.namespace if kind.namespaced else None, name)
        except NotFound:
            return None

    async def patch(self, kind: Kind, name: str, body: Obj) -> Obj:
        """A merge patch, as the user."""
        return await self.client.patch(kind, self.namespace if kind.namespaced else None, name, body, manager="test")

    async def delete(self, kind: Kind, name: str, *, propagation: str = "") -> None:
        """Ask for a deletion."""
        with contextlib.suppress(NotFound):
            await self.client.delete(kind, self.namespace if kind.namespaced else None, name, propagation=propagation)

    async def servers(self, group: str | None = None) -> list[Obj]:
        """The VirtualServers of the namespace (of a group), by name."""
        listing = await self.client.list(VIRTUAL_SERVER, self.namespace)
        found = [o for o in listing.items if group is None or (o["spec"].get("group") or {}).get("name") == group]
        return sorted(found, key=lambda o: str(o["metadata"]["name"]))

    async def until(self, what: str, probe: Callable[[], Awaitable[T | None]], seconds: float = PATIENCE) -> T:
        """Ask until the probe gives something true. Raises AssertionError that tells what was waited for."""
        end = time.monotonic() + seconds
        while True:
            found = await probe()
            if found:
                return found
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds:.0f} s for {what}\n{await self.describe()}")
            await asyncio.sleep(0.1)

    async def condition(
        self,
        kind: Kind,
        name: str,
        type_: str,
        status: str = "True",
        reason: str | None = None,
        seconds: float = PATIENCE,
    ) -> Obj:
        """Wait until the condition is so; gives the object. A status of an older generation does not count."""

        async def probe() -> Obj | None:
            obj = await self.get(kind, name)
            if obj is None:
                return None
            state = obj.get("status") or {}
            if state.get("observedGeneration") != obj["metadata"].get("generation"):
                return None
            found = condition(obj, type_)
            right = found is not None and found["status"] == status and reason in {None, found["reason"]}
            return obj if right else None

        return await self.until(f"{kind.kind} {name} {type_}={status} {reason or ''}", probe, seconds)

    async def ready(self, group: str, seconds: float = PATIENCE) -> Obj:
        """Wait until the group is ready."""
        return await self.condition(SERVER_GROUP, group, "Ready", seconds=seconds)

    async def gone(self, kind: Kind, name: str, seconds: float = PATIENCE) -> None:
        """Wait until the object is gone."""

        async def probe() -> bool:
            return await self.get(kind, name) is None

        await self.until(f"{kind.kind} {name} to be gone", probe, seconds)

    async def secret(self, name: str, **data: str) -> None:
        """Make a Secret of the user's."""
        await self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})

    async def describe(self) -> str:
        """Conditions of everything in the namespace, for a failed test."""
        lines: list[str] = []
        for kind in OWN:
            for obj in (await self.client.list(kind, self.namespace if kind.namespaced else None)).items:
                told = [
                    f"{c['type']}={c['status']} {c['reason']}: {c['message']}"
                    for c in (obj.get("status") or {}).get("conditions") or ()
                ]
                lines.append(f"{kind.kind} {obj['metadata']['name']}\n    " + "\n    ".join(told))
        return "\n".join(lines)


_KINDS = {kind.kind: kind for kind in (*OWN, SECRET, NAMESPACE)} | {
    "ConfigMap": Kind("", "v1", "configmaps", "ConfigMap")
}


def kind_of(obj: Obj) -> Kind:
    """The kind of an object."""
    return _KINDS[obj["kind"]]


def condition(obj: Obj, type_: str) -> Obj | None:
    """A condition of an object."""
    return next((c for c in (obj.get("status") or {}).get("conditions") or () if c["type"] == type_), None)


# Objects


def service(name: str, url: str, price: str = "0.02", **spec: Any) -> Obj:
    """A HostingService of type local."""
    offering = {"name": "small", "cpu": 1, "memory": "1Gi", "arch": "amd64", "pricePerHour": price}
    return _object(HOSTING_SERVICE, name, {"type": "local", "endpoint": url, "offerings": [offering], **spec})


def always(name: str, *services: str, **spec: Any) -> Obj:
    """A policy that is met since 2020, over the named services."""
    when = {"all": [{"name": "always", "schedule": {"from": "2020-01-01T00:00:00Z"}}]}
    return _object(HOSTING_POLICY, name, {"when": when, "select": {"services": {"names": list(services)}}, **spec})


def config(name: str, **spec: Any) -> Obj:
    """A VirtualServerConfig for local services."""
    return _object(VIRTUAL_SERVER_CONFIG, name, {"images": [{"image": "process/shell"}], **spec})


def group(name: str, policy: str, *members: tuple[str, str, int], **spec: Any) -> Obj:
    """A ServerGroup of (member, config, replicas)."""
    found = [{"name": m, "configRef": {"name": c}, "replicas": r} for m, c, r in members]
    return _object(SERVER_GROUP, name, {"policyRef": {"name": policy}, "members": found, **spec})


def _object(kind: Kind, name: str, spec: Obj) -> Obj:
    return {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}
