"""What the demo needs to be there: a control plane, three hosting services, the controller."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from moorage.api.names import DEFAULT_CONTROLLER_NAMESPACE
from moorage.cli.data import data
from moorage.cli.demo import install
from moorage.cli.demo.children import Child, Children
from moorage.cli.demo.timeline import Timeline
from moorage.cli.errors import CliError
from moorage.controlplane import ControlPlane, ControlPlaneError, Options, Progress, acquire, cache_root
from moorage.controlplane.cache import locked, try_lock

NAMESPACE = "moorage-demo"
CAPACITY = {"anchor": 2, "bollard": 20, "capstan": 100}
"""The hosting services of the quickstart, and for how many servers each has room."""
SECRET = "quickstart-database"  # noqa: S105 - an object's name
SERVICES_SECRET = "quickstart-services"  # noqa: S105 - an object's name


@dataclass(frozen=True, slots=True)
class Stage:
    """All that is running. `endpoints` are the hosting services' URLs, `directory` has the logs."""

    plane: ControlPlane
    children: Children
    controller: Child
    endpoints: Mapping[str, str]
    directory: Path
    password: str = field(repr=False)
    token: str = field(repr=False)
    """Of the hosting services: whoever has it can run programs as the user of the demo."""

    def documents(self, name: str) -> list[dict[str, Any]]:
        """The objects of one of the quickstart's files, services with the endpoints that they have here."""
        text = (data("examples/quickstart") / f"{name}.yaml").read_text()
        found: list[dict[str, Any]] = [document for document in yaml.safe_load_all(text) if document]
        for document in found:
            if document["kind"] == "HostingService":
                document["spec"]["endpoint"] = self.endpoints[document["metadata"]["name"]]
        return found

    def apply(self, *names: str, password: bool = False) -> None:
        """Apply some of the quickstart's files, and with `password` the Secret with the generated password."""
        documents = [document for name in names for document in self.documents(name)]
        if password:
            held = {"password": self.password}
            documents.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "stringData": held})
        if "services" in names:
            install.apply(self.plane, [_credentials(self.token)], DEFAULT_CONTROLLER_NAMESPACE)
        install.apply(self.plane, documents, NAMESPACE)

    def alive(self) -> None:
        """Raise CliError where something that must run has ended."""
        dead = self.children.dead()
        if dead is not None:
            raise CliError(f"{dead.name} ended with {dead.process.returncode}:\n{dead.last_words()}")


@contextmanager
def build(options: Options, timeline: Timeline, progress: Progress) -> Iterator[Stage]:
    """Start everything; end and remove everything at the end. Raises CliError where something does not start."""
    with ExitStack() as stack:
        directory = stack.enter_context(_directory())
        children = stack.enter_context(Children(directory))
        timeline.mark("services", f"starting the hosting services {', '.join(CAPACITY)}")
        token = secrets.token_urlsafe(32)
        (directory / "token").touch(mode=0o600)
        (directory / "token").write_text(token)
        services = {name: _start_service(children, directory, name) for name in CAPACITY}
        try:
            timeline.mark("control plane", _starting(options))
            plane = stack.enter_context(acquire(options, progress))
            timeline.mark("control plane", f"{plane.server} answers")
            endpoints = {name: _url(children, child) for name, child in services.items()}
            for name, url in endpoints.items():
                timeline.mark(name, f"hosting service at {url}, with room for {CAPACITY[name]} servers")
            timeline.mark("control plane", "installing the CRDs, and the rules of deploy/")
            stack.enter_context(install.installed(plane, [NAMESPACE], CAPACITY))
            timeline.mark("controller", "starting")
            controller = _start_controller(children, install.kubeconfig(plane))
            stack.callback(children.stop)
            timeline.mark("controller", "runs as a service account with the rights of deploy/")
            stage = Stage(plane, children, controller, endpoints, directory, secrets.token_hex(16), token)
            stack.enter_context(_guests(stage))
        except ControlPlaneError as error:
            raise CliError(str(error)) from None
        yield stage


def _starting(options: Options) -> str:
    if options.context:
        return f"asking the cluster of the context {options.context}"
    return "starting a kube-apiserver with its etcd; where they are not there yet, they are built or downloaded first"


def _start_service(children: Children, directory: Path, name: str) -> Child:
    options = ["--ephemeral", "--name", name, "--data", str(directory / name), "--capacity", str(CAPACITY[name])]
    options += ["--token-file", str(directory / "token")]
    return children.start(f"hostd-{name}", "-m", "moorage.hostd", *options)


def _credentials(token: str) -> dict[str, Any]:
    metadata = {"name": SERVICES_SECRET}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": token}}


def _url(children: Children, child: Child) -> str:
    def announced() -> str | None:
        line, end, _ = child.output.read_text().partition("\n")
        return str(json.loads(line)["url"]) if end else None

    return children.wait_for(child, "its address", announced)


@contextmanager
def _directory() -> Iterator[Path]:
    """A directory for the data and the logs. Those of demos that were killed are removed."""
    base = cache_root() / "demo"
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(base / ".lock"):
        for old in base.iterdir():
            if old.is_dir():
                _remove_abandoned(old)
        directory = Path(tempfile.mkdtemp(dir=base))
        lock = try_lock(directory / "demo.lock")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _remove_abandoned(directory: Path) -> None:
    lock = try_lock(directory / "demo.lock")
    if lock is not None:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _start_controller(children: Children, kubeconfig: Path) -> Child:
    options = ["--config-host=127.0.0.1", "--config-port=0", "--health-port=0", f"--kubeconfig={kubeconfig}"]
    child = children.start("controller", "-m", "moorage.cli", "run", *options)
    children.wait_for(child, "its first look at the cluster", lambda: child.output.read_text() or None)
    return child


@contextmanager
def _guests(stage: Stage) -> Iterator[None]:
    """In a cluster that lives on, nothing of the demo does."""
    try:
        yield
    finally:
        if stage.plane.directory is None:
            for kind in ("servergroups", "virtualservers"):
                stage.plane.run_kubectl(
                    "delete", kind, "--all", f"--namespace={NAMESPACE}", "--timeout=60s", check=False, timeout=70
                )
            stage.plane.run_kubectl("delete", "hostingservices", *CAPACITY, "--timeout=30s", check=False)
