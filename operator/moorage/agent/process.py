"""Running shell scripts with a deadline. A script's own background processes outlive it, unless it runs out of time."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from typing import Dict, List, NamedTuple, Optional

_GRACE = 2.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Outcome(NamedTuple):
    """How a run ended: an exit code, or why there is none."""

    exit_code: Optional[int]
    problem: str = ""
    output: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.exit_code == 0 and not self.problem


class Runner:
    """Starts processes with the guest's environment; knows which run, so that a stop can end them."""

    def __init__(self, state: str, root: str) -> None:
        self._cwd = root or "/"
        self._base = dict(os.environ, MOORAGE_STATE=state, MOORAGE_ROOT=root)
        self._base.setdefault("PATH", _PATH)
        self._running: List["subprocess.Popen[bytes]"] = []
        self._lock = threading.Lock()
        self._stopped = False

    def script(self, argv: List[str], env: Dict[str, str], timeout: float, log_path: str) -> Outcome:
        """Run until it exits; what it prints goes to a file that its background processes can keep open."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            handle = os.open(log_path, flags, 0o600)
        except OSError as error:
            return Outcome(None, "cannot open its log: %s" % error.strerror)
        try:
            process = self._start(argv, env, handle, handle)
        except (OSError, ValueError) as error:
            return Outcome(None, _why(error))
        finally:
            os.close(handle)
        try:
            return Outcome(process.wait(timeout))
        except subprocess.TimeoutExpired:
            end(process)
            return Outcome(None, "timed out after %g s" % timeout)
        finally:
            self._forget(process)

    def capture(self, command: str, env: Dict[str, str], timeout: float, max_bytes: int) -> Outcome:
        """Run a shell command and take at most `max_bytes` + 1 bytes of its standard output."""
        try:
            process = self._start(["/bin/sh", "-c", command], env, subprocess.PIPE, subprocess.DEVNULL)
        except (OSError, ValueError) as error:
            return Outcome(None, _why(error))
        try:
            return _collect(process, time.monotonic() + timeout, timeout, max_bytes)
        finally:
            if process.stdout is not None:
                process.stdout.close()
            self._forget(process)

    def stop(self) -> None:
        """End what runs, and start nothing more."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            end(process)

    def _start(self, argv: List[str], env: Dict[str, str], out: int, err: int) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._stopped:
                raise OSError("the agent stops")
            process = subprocess.Popen(
                argv,
                env=dict(self._base, **env),
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            self._running.append(process)
            return process

    def _forget(self, process: "subprocess.Popen[bytes]") -> None:
        with self._lock:
            self._running.remove(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its group: asked first, then forced."""
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _collect(process: "subprocess.Popen[bytes]", deadline: float, timeout: float, max_bytes: int) -> Outcome:
    if process.stdout is None:
        return Outcome(None, "no pipe")
    source = process.stdout.fileno()
    os.set_blocking(source, False)
    taken = b""
    while True:
        exited = process.poll() is not None
        # A background process may hold the pipe open: once the command has exited, what is there is all there is.
        readable = select.select([source], [], [], 0 if exited else min(0.1, max(0.0, deadline - time.monotonic())))[0]
        chunk = os.read(source, 65536) if readable else None
        if chunk:
            taken += chunk
        if len(taken) > max_bytes:
            end(process)
            return Outcome(None, "", taken)
        if chunk == b"" or (exited and not readable):
            break
        if time.monotonic() >= deadline:
            break
    try:
        return Outcome(process.wait(max(0.0, deadline - time.monotonic())), "", taken)
    except subprocess.TimeoutExpired:
        end(process)
        return Outcome(None, "timed out after %g s" % timeout)


def _why(error: Exception) -> str:
    """Why nothing could be started, without the arguments or the environment."""
    if isinstance(error, OSError):
        return "cannot start: %s" % (error.strerror or error)
    return "cannot start: an item has a character that an environment cannot hold"


def trim(path: str, limit: int) -> None:
    """Bound a log that processes still append to: keep its last half as `<path>.1` and empty it."""
    try:
        if os.path.getsize(path) <= limit:
            return
        with open(path, "rb+") as log_file:
            log_file.seek(-(limit // 2), os.SEEK_END)
            tail = log_file.read()
            log_file.truncate(0)
        handle = os.open(path + ".1", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as kept:
            kept.write(tail)
    except OSError:
        return
