"""A running control plane, as its users see it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from moorage.controlplane import components, kubeconfig
from moorage.controlplane.cache import locked, try_lock
from moorage.controlplane.choice import Binaries, Choice
from moorage.controlplane.errors import ControlPlaneError, Unavailable
from moorage.controlplane.pki import write_private
from moorage.controlplane.supervisor import READY_DEADLINE, STOP_DEADLINE

_POLL = 0.02


def is_running(directory: Path) -> bool:
    """Whether a supervisor looks after the instance in `directory`."""
    lock = directory / "supervisor"
    if not lock.is_file():
        return False
    descriptor = try_lock(lock)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


@dataclass(eq=False)
class ControlPlane:
    """A control plane in use. Use it as a context manager, or call `stop`.

    `kubeconfig` belongs to an administrator. `controller_manager` tells whether namespaces and owned objects are really
    deleted. `token` and `directory` are None where the control plane is not run by this package.
    """

    choice: Choice
    kubeconfig: Path
    server: str
    kubectl: Path
    controller_manager: bool
    token: str | None = field(default=None, repr=False)
    directory: Path | None = None
    _users: int | None = field(default=None, repr=False)
    _supervisor: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _scratch: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="moorage-kubeconfig-"), repr=False
    )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pids(self) -> Mapping[str, int]:
        """The running processes by name (`supervisor`, `etcd`, `kube-apiserver`, ...); empty where none is ours."""
        if self.directory is None:
            return {}
        try:
            state = json.loads((self.directory / "state.json").read_text())
        except FileNotFoundError:
            return {}
        return dict(state["pids"])

    def run_kubectl(
        self,
        *arguments: str,
        input: str | None = None,
        check: bool = True,
        timeout: float = 60.0,
        kubeconfig: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl, as the administrator or with another `kubeconfig`.

        Raises ControlPlaneError with what it said where it failed (unless `check` is false) or took too long.
        """
        argv = [f"{self.kubectl}", f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments]
        try:
            run = subprocess.run(argv, input=input, capture_output=True, text=True, check=False, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise ControlPlaneError(f"kubectl {' '.join(arguments)}: no answer in {timeout:g} s") from error
        if check and run.returncode != 0:
            raise ControlPlaneError(f"kubectl {' '.join(arguments)}: {run.stderr.strip() or run.stdout.strip()}")
        return run

    def kubeconfig_for(self, serviceaccount: str, namespace: str, *, hours: int = 24) -> Path:
        """A kubeconfig with which one is the service account, and no more than its RBAC rules allow."""
        minted = self.run_kubectl("create", "token", serviceaccount, f"--namespace={namespace}", f"--duration={hours}h")
        admin = kubeconfig.load(self.kubeconfig)
        cluster = admin["clusters"][0]["cluster"]
        content = kubeconfig.document("moorage", cluster, {"token": minted.stdout.strip()}, namespace=namespace)
        path = Path(self._scratch.name) / f"{namespace}.{serviceaccount}.kubeconfig"
        return kubeconfig.write(path, content)

    def apply(self, *paths: Path, timeout: float = 60.0) -> None:
        """Apply files or folders server-side as the administrator; wait until the CRDs among them are established."""
        if not paths:
            return
        files = [f"--filename={path}" for path in paths]
        applied = self.run_kubectl(
            "apply", "--server-side", "--force-conflicts", "--output=name", *files, timeout=timeout
        )
        definitions = [name for name in applied.stdout.split() if name.startswith("customresourcedefinition.")]
        if definitions:
            self.run_kubectl(
                "wait", "--for=condition=Established", f"--timeout={timeout:g}s", *definitions, timeout=timeout + 5
            )

    def restart_apiserver(self) -> None:
        """Stop the API server as a roll-out would (SIGTERM) and start it again on its port; back when it is ready."""
        with self.apiserver_down():
            pass

    @contextmanager
    def apiserver_down(self) -> Iterator[None]:
        """Keep the API server stopped within the block; it is ready again afterwards."""
        directory = self._own("the API server can only be stopped where it was started by us")
        hold = directory / f"{components.APISERVER}.hold"
        hold.touch()
        try:
            self._poke()
            self._await("kube-apiserver to stop", STOP_DEADLINE + 5, lambda: components.APISERVER not in self.pids)
            yield
        finally:
            hold.unlink()
            self._poke()
            port = int(self.server.rsplit(":", 1)[1])
            self._await(
                "kube-apiserver to be ready",
                READY_DEADLINE,
                lambda: components.APISERVER in self.pids and components.apiserver_ready(directory, port),
            )

    def stop(self) -> None:
        """Stop using it. What was started for this user ends now; what others use, or is kept, or foreign, goes on."""
        if self._users is not None:
            os.close(self._users)
            self._users = None
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            self._poke()
            if self._used_by_others():
                # It outlives this user, but is this process's child: somebody has to collect it when it ends.
                threading.Thread(target=supervisor.wait, daemon=True).start()
            else:
                self._see_end(supervisor)
        self._scratch.cleanup()

    def _see_end(self, supervisor: subprocess.Popen[bytes]) -> None:
        try:
            supervisor.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()
            shutil.rmtree(self._own("nothing to remove"), ignore_errors=True)

    def _used_by_others(self) -> bool:
        users = self._own("a foreign control plane has no list of users") / "users"
        if not users.is_file():
            return False
        # The supervisor, too, holds this lock at the end, exclusively; then even a shared one is refused.
        shared = try_lock(users, exclusive=False)
        if shared is None:
            return False
        os.close(shared)
        alone = try_lock(users)
        if alone is None:
            return True
        os.close(alone)
        return False

    def _own(self, problem: str) -> Path:
        if self.directory is None:
            raise ControlPlaneError(problem)
        return self.directory

    def _poke(self) -> None:
        """Wake the supervisor. Its process id is only trusted while its lock is held."""
        directory = self._own("a foreign control plane has no supervisor")
        pid = self.pids.get("supervisor")
        if pid is not None and is_running(directory):
            os.kill(pid, signal.SIGUSR1)

    def _await(self, what: str, seconds: float, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            if not is_running(self._own("a foreign control plane has no supervisor")):
                raise ControlPlaneError(f"the control plane ended while waiting for {what}")
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"waited {seconds:.0f} s in vain for {what}")
            time.sleep(_POLL)


def launch(instances: Path, choice: Choice, binaries: Binaries, kubectl: Path, *, keep: bool = False) -> ControlPlane:
    """Start an instance of `binaries` in a new folder of `instances`; returns when its API server is ready.

    Raises Unavailable with the end of the component's log where it does not start.
    """
    wanted = {name: f"{binaries.directory / name}" for name in (components.ETCD, components.APISERVER)}
    if binaries.controller_manager is not None:
        wanted[components.CONTROLLER_MANAGER] = f"{binaries.controller_manager}"
    token = secrets.token_hex(16)
    spec = {"binaries": wanted, "keep": keep, "token": token}
    instances.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(instances / ".lock"):
        sweep(instances)
        directory = Path(tempfile.mkdtemp(dir=instances))
        lock = try_lock(directory / "supervisor")
        users = try_lock(directory / "users", exclusive=False)
    if lock is None or users is None:
        raise ControlPlaneError(f"somebody else locked the new folder {directory}")
    try:
        write_private(directory / "spec.json", json.dumps(spec).encode())
        supervisor = _spawn(directory, lock)
    except BaseException:
        os.close(users)
        raise
    finally:
        os.close(lock)
    plane = ControlPlane(
        choice=choice,
        kubeconfig=directory / "admin.kubeconfig",
        server="",
        kubectl=kubectl,
        controller_manager=binaries.controller_manager is not None,
        token=token,
        directory=directory,
        _users=users,
        _supervisor=supervisor,
    )
    try:
        plane.server = _await_state(directory, supervisor)["server"]
    except BaseException:
        plane.stop()
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return plane


def attach(directory: Path, choice: Choice, kubectl: Path) -> ControlPlane | None:
    """Use the running instance in `directory` too; None where it has ended or is about to."""
    try:
        users = try_lock(directory / "users", exclusive=False)
    except FileNotFoundError:
        return None
    if users is None:
        return None
    try:
        spec = json.loads((directory / "spec.json").read_text())
        state = json.loads((directory / "state.json").read_text())
    except FileNotFoundError:
        os.close(users)
        return None
    if not is_running(directory):
        os.close(users)
        return None
    used = {name: Path(path) for name, path in spec["binaries"].items()}
    manager = used.get(components.CONTROLLER_MANAGER)
    binaries = Binaries(used[components.APISERVER].parent, controller_manager=manager, kubectl=kubectl)
    return ControlPlane(
        choice=replace(choice, binaries=binaries),
        kubeconfig=directory / "admin.kubeconfig",
        server=state["server"],
        kubectl=kubectl,
        controller_manager=manager is not None,
        token=spec["token"],
        directory=directory,
        _users=users,
    )


def sweep(instances: Path) -> None:
    """Remove the folders of instances whose supervisor is gone without having removed them (it was killed)."""
    for directory in instances.iterdir():
        if directory.is_dir() and not directory.is_symlink() and not is_running(directory):
            shutil.rmtree(directory, ignore_errors=True)


def _spawn(directory: Path, lock: int) -> subprocess.Popen[bytes]:
    with (directory / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "moorage.controlplane.supervisor", f"{directory}", f"{lock}"],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            start_new_session=True,
        )


def _await_state(directory: Path, supervisor: subprocess.Popen[bytes]) -> dict[str, Any]:
    state = directory / "state.json"
    while not state.exists():
        if supervisor.poll() is not None:
            raise Unavailable(f"the control plane did not start: {_problem(directory)}")
        time.sleep(_POLL)
    content: dict[str, Any] = json.loads(state.read_text())
    return content


def _problem(directory: Path) -> str:
    for name in ("error", "supervisor.log"):
        path: Path = directory / name
        if path.is_file() and (text := path.read_text(errors="replace").strip()):
            return text[-2000:]
    return "no reason is known"


def stop_kept(directory: Path) -> bool:
    """Stop the instance in `directory`, kept or not; False where none runs there."""
    if not is_running(directory):
        return False
    pid = json.loads((directory / "state.json").read_text())["pids"]["supervisor"]
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_DEADLINE
    while is_running(directory):
        if time.monotonic() > deadline:
            raise ControlPlaneError(f"the supervisor (process {pid}) does not stop")
        time.sleep(_POLL)
    return True
