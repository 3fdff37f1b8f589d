"""The process that holds one control plane together: `python -m moorage.controlplane.supervisor FOLDER LOCK_FD`.

It starts the components, restarts one that ends, and stops them when the instance's last user is gone: a user holds a
shared lock on the file `users`, which the kernel drops with the user however it ends. When this process itself is
killed, the kernel kills its components (on Linux). The instance's folder holds everything, and is removed at the end.
"""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from moorage.controlplane import components, kubeconfig
from moorage.controlplane.cache import try_lock
from moorage.controlplane.pki import write_pki, write_private

POLL = 0.5
"""Seconds between two looks at whether anyone still uses the instance."""
READY_DEADLINE = 120.0
STOP_DEADLINE = 10.0
_GRACE = 2.0
"""Seconds for a component to end by itself. The API server would wait much longer for its open watches."""
_RESTARTS_IN_A_MINUTE = 5
_PORT_TRIES = 5
_PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """The control plane cannot run; the message goes to whoever asked for it."""


class Supervisor:
    """One instance. All waiting is in `_wait`, which a signal or a component's end cuts short."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.spec: dict[str, Any] = json.loads((directory / "spec.json").read_text())
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.port = 0
        self.stopping = False
        self._users: int | None = None
        self._starts: dict[str, list[float]] = {}
        self._wakeup, writer = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def run(self) -> None:
        """Start, look after the components until the end is asked for, stop."""
        try:
            self._start_all()
            while not self._finished():
                self._tend()
                self._wait(POLL)
        finally:
            self._stop_all()

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _finished(self) -> bool:
        if self.stopping:
            return True
        if self.spec["keep"]:
            return False
        # Nobody can take a shared lock any more once this exclusive one is held: a late user starts an instance anew.
        self._users = try_lock(self.directory / "users")
        return self._users is not None

    def _start_all(self) -> None:
        write_pki(self.directory, datetime.datetime.now(datetime.UTC))
        token = self.spec["token"]
        write_private(self.directory / "tokens.csv", f'{token},admin,admin,"system:masters"\n'.encode())
        chooser = random.SystemRandom()
        self._start(components.ETCD)
        for _ in range(_PORT_TRIES):
            self.port = components.free_port(chooser)
            self._start(components.APISERVER)
            if self._await_ready():
                break
        else:
            raise Failed(f"kube-apiserver found no free port in {_PORT_TRIES} tries")
        cluster = {
            "server": f"https://127.0.0.1:{self.port}",
            "certificate-authority": f"{self.directory / 'ca.crt'}",
        }
        content = kubeconfig.document("moorage", cluster, {"token": token})
        kubeconfig.write(self.directory / "admin.kubeconfig", content)
        if self.spec["binaries"].get(components.CONTROLLER_MANAGER):
            self._start(components.CONTROLLER_MANAGER)
        self._report()

    def _await_ready(self) -> bool:
        """Wait until the API server is ready; False where its port was taken. Raises Failed where it or etcd ended."""
        deadline = time.monotonic() + READY_DEADLINE
        while not components.apiserver_ready(self.directory, self.port):
            if self.stopping:
                raise Failed("stopped while starting")
            for name, process in self.processes.items():
                if process.poll() is None:
                    continue
                if name == components.APISERVER and components.port_was_taken(self._log_tail(name)):
                    return False
                raise Failed(f"{name} ended with {process.returncode}: {self._log_tail(name)}")
            if time.monotonic() > deadline:
                raise Failed(
                    f"kube-apiserver was not ready after {READY_DEADLINE:.0f} s: {self._log_tail(components.APISERVER)}"
                )
            self._wait(0.05)
        return True

    def _tend(self) -> None:
        """Bring every component to what is wanted: running, or held back by a file `NAME.hold`."""
        changed = False
        for name, process in list(self.processes.items()):
            held = (self.directory / f"{name}.hold").exists()
            if process.poll() is None:
                if held:
                    _end(process)
                    self._starts[name] = []
                    changed = True
            elif not held:
                self._check_restarts(name)
                self._start(name)
                changed = True
        if changed:
            self._report()

    def _check_restarts(self, name: str) -> None:
        ends = [at for at in self._starts.get(name, []) if time.monotonic() - at < 60]
        if len(ends) >= _RESTARTS_IN_A_MINUTE:
            raise Failed(f"{name} ended {len(ends)} times within a minute: {self._log_tail(name)}")

    def _start(self, name: str) -> None:
        binary = Path(self.spec["binaries"][name])
        argv = {
            components.ETCD: lambda: components.etcd_argv(binary),
            components.APISERVER: lambda: components.apiserver_argv(binary, self.port),
            components.CONTROLLER_MANAGER: lambda: components.controller_manager_argv(binary),
        }[name]()
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                argv,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=self._die_with_parent,  # noqa: PLW1509 - this process has one thread only
            )
        self._starts.setdefault(name, []).append(time.monotonic())

    def _die_with_parent(self) -> None:
        if self._libc is not None:
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def _report(self) -> None:
        """Tell the users, in one step, where the instance is and which processes it has."""
        running = {name: process.pid for name, process in self.processes.items() if process.poll() is None}
        state = {"server": f"https://127.0.0.1:{self.port}", "pids": {"supervisor": os.getpid(), **running}}
        fresh = self.directory / ".state.json"
        fresh.write_text(json.dumps(state))
        fresh.rename(self.directory / "state.json")

    def _log_tail(self, name: str) -> str:
        try:
            lines = (self.directory / f"{name}.log").read_text(errors="replace").splitlines()
        except OSError:
            return "it wrote no log"
        return " / ".join(line.strip() for line in lines[-8:])[-2000:]

    def _wait(self, seconds: float) -> None:
        select.select([self._wakeup], [], [], seconds)
        try:
            while os.read(self._wakeup, 512):
                pass
        except BlockingIOError:
            return

    def _stop_all(self) -> None:
        # The folder goes next, so nothing has to be saved.
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main(arguments: list[str]) -> int:
    """Run the instance in the folder `arguments[0]`; `arguments[1]` is the inherited descriptor of its lock."""
    directory = Path(arguments[0])
    os.set_inheritable(int(arguments[1]), False)
    supervisor = Supervisor(directory)
    try:
        supervisor.run()
    except (Failed, OSError) as error:
        fresh = directory / ".error"
        fresh.write_text(f"{error}")
        fresh.rename(directory / "error")
        return 1
    shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
