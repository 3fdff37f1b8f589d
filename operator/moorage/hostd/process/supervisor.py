"""The supervisor of one boot of one server: standard library only, run as a script of its own, detached from hostd.

It is the server's ground: the process tree hangs below it and ends with it. Where the system lets it, the tree lives
in namespaces of its own (process ids, mounts, host name, IPC), whose end the kernel itself guarantees; elsewhere the
supervisor adopts orphans and kills the tree process by process. It starts the user-data once and restarts nothing:
a server whose programs have all ended is an idle machine, not a stopped one.

Usage: supervisor.py DIRECTORY BOOT, with fd 3 to report the start on and, for an ephemeral server, fd 4: the end of
a pipe whose other end hostd holds. SIGTERM shuts down gracefully, SIGINT at once. `--probe` tries the namespaces.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

STATUS_FD, LIFELINE_FD = 3, 4
LOCKED = 75
CONSOLE_LIMIT = 128 * 1024
PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
NEW_MOUNTS, NEW_UTS, NEW_IPC, NEW_USER, NEW_PID = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError where a call of the C library failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave namespaces for new ones. Raises OSError."""
    check(libc.unshare(flags), "unshare")


def enter_outer() -> None:
    """New process-id namespace for the children; as an ordinary user inside a user namespace. Raises OSError."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        unshare(NEW_PID)
        return
    unshare(NEW_USER | NEW_PID)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def enter_inner(hostname: str) -> None:
    """As the first process of the new namespace: own mounts, /proc, host name. Raises OSError."""
    unshare(NEW_MOUNTS | NEW_UTS | NEW_IPC)
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount /")
    check(libc.mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None), "mount /proc")
    name = hostname.encode()
    check(libc.sethostname(name, len(name)), "sethostname")


def probe() -> int:
    """0 where servers can have namespaces of their own."""
    try:
        enter_outer()
        child = os.fork()
    except OSError:
        return 1
    if child == 0:
        try:
            enter_inner("probe")
        except OSError:
            os._exit(1)
        os._exit(0 if os.path.exists("/proc/1/stat") else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def started_at(pid: int | str) -> int:
    """Start time of a process in ticks since the host's start."""
    with open(f"/proc/{pid}/stat", errors="replace") as file:
        stat = file.read()
    return int(stat[stat.rindex(")") + 2 :].split()[19])


def write_atomic(path: str, data: object) -> None:
    """Replace a JSON file."""
    temporary = f"{path}.{os.getpid()}"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(data, file)
    os.replace(temporary, path)


def interpreter(path: str) -> list[str]:
    """How to run the script: by its `#!` line, so that a directory mounted noexec does not matter."""
    with open(path, "rb") as file:
        line = file.readline(256)
    if line.startswith(b"#!"):
        words = line[2:].strip().decode(errors="replace").split(None, 1)
        if words:
            return [*words, path]
    return ["/bin/sh", path]


def run_user_data(spec: dict[str, Any], console: int) -> NoReturn:
    """In a new process: become the user-data. Never returns."""
    try:
        for number in (*HANDLED, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.setsid()
        os.umask(0o022)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(console, 1)
        os.dup2(console, 2)
        os.closerange(3, 256)
        os.chdir(spec["root"])
        command = interpreter(spec["userData"])
        os.execve(command[0], command, spec["environment"])  # noqa: S606 - what a server is for
    except OSError as error:
        os.write(2, f"cannot run the user-data: {error.strerror}\n".encode())
    os._exit(127)


def init(spec: dict[str, Any], console: int, ready: int) -> NoReturn:
    """The first process of a server's namespace: starts the user-data, reaps orphans, passes SIGTERM on."""
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_NAME, b"init", 0, 0, 0)
        enter_inner(spec["hostname"])
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGTERM])
        if os.fork() == 0:
            run_user_data(spec, console)
    except OSError as error:
        os.write(ready, str(error).encode())
        os._exit(1)
    os.write(ready, b"ok")
    os.closerange(3, 256)
    ending = False
    while True:
        if signal.sigwait([signal.SIGCHLD, signal.SIGTERM]) == signal.SIGTERM:
            ending = True
            try:
                os.kill(-1, signal.SIGTERM)
            except ProcessLookupError:
                os._exit(0)
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                if ending:
                    os._exit(0)
                break


class Console:
    """What the server prints: the last 128 to 256 KiB of it, in two files."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd, self._size = self._open()

    def _open(self) -> tuple[int, int]:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return fd, os.fstat(fd).st_size

    def write(self, data: bytes) -> None:
        """Keep it. A full disk loses output, never the server."""
        try:
            if self._size + len(data) > CONSOLE_LIMIT:
                os.close(self._fd)
                os.replace(self._path, f"{self._path}.old")
                self._fd, self._size = self._open()
            self._size += os.write(self._fd, data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise


class Supervisor:
    """One boot of one server."""

    def __init__(self, directory: str, boot: int, spec: dict[str, Any], lifeline: bool) -> None:
        self.directory = directory
        self.boot = boot
        self.spec = spec
        self.lifeline = lifeline
        self.root = 0
        self.deadline: float | None = None
        self.console = Console(os.path.join(directory, "console.log"))
        self.output, self._console_in = os.pipe()
        self.wake, wake_in = os.pipe()
        os.set_blocking(self.output, False)
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_in, False)
        signal.set_wakeup_fd(wake_in)
        for number in HANDLED:
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def note(self, ended: bool) -> None:
        """Write down who supervises, for a hostd that comes back."""
        me = {"pid": os.getpid(), "started": started_at("self"), "boot": self.boot, "ended": ended}
        write_atomic(os.path.join(self.directory, "supervisor.json"), me)

    def start(self) -> None:
        """Start the user-data. Raises OSError."""
        if not self.spec["namespaces"]:
            self.root = os.fork()
            if self.root == 0:
                run_user_data(self.spec, self._console_in)
            os.close(self._console_in)
            return
        ready, ready_in = os.pipe()
        enter_outer()
        self.root = os.fork()
        if self.root == 0:
            signal.set_wakeup_fd(-1)
            os.close(ready)
            init(self.spec, self._console_in, ready_in)
        os.close(ready_in)
        os.close(self._console_in)
        answer = os.read(ready, 512)
        os.close(ready)
        if answer != b"ok":
            raise OSError(0, answer.decode(errors="replace") or "the first process ended at once")

    def run(self) -> None:
        """Serve until the server is down."""
        poll = select.poll()
        for fd in (self.output, self.wake, *((LIFELINE_FD,) if self.lifeline else ())):
            poll.register(fd, select.POLLIN)
        while not self.down():
            for fd, _ in poll.poll(self.patience()):
                if fd == self.wake:
                    self.signals(os.read(fd, 4096))
                elif fd == LIFELINE_FD:
                    poll.unregister(fd)
                    self.deadline = 0.0
                elif not self.copy():
                    poll.unregister(fd)
        self.copy()
        self.note(ended=True)

    def patience(self) -> float | None:
        """Milliseconds until something must be done unasked; processes of a plain tree end without a word."""
        if self.deadline is None:
            return None
        return max(0.0, min(self.deadline - time.monotonic(), 0.02)) * 1000

    def copy(self) -> bool:
        """Move output to the console; False when nothing will ever come again."""
        try:
            data = os.read(self.output, 65536)
        except BlockingIOError:
            return True
        self.console.write(data)
        return bool(data)

    def signals(self, numbers: bytes) -> None:
        """Act on signals that came."""
        for number in numbers:
            if number == signal.SIGINT:
                self.deadline = 0.0
            elif number == signal.SIGTERM and self.deadline is None:
                self.deadline = time.monotonic() + self.spec["grace"]
                self.send(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the whole tree."""
        for pid in [self.root] if self.spec["namespaces"] else descendants(os.getpid()):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def down(self) -> bool:
        """Reap; kill what has outstayed its time; true when nothing of the server is left."""
        gone = self.reap()
        if self.spec["namespaces"]:
            if not gone and self.overdue():
                self.send(signal.SIGKILL)
                os.waitpid(self.root, 0)
                return True
            return gone
        if self.deadline is None:
            return False
        if self.overdue():
            self.send(signal.SIGKILL)
            self.reap()
        return not descendants(os.getpid())

    def overdue(self) -> bool:
        """Whether the time for ending gracefully is over."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def reap(self) -> bool:
        """Collect ended children; true when the root process has ended."""
        gone = False
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return gone
            if pid == 0:
                return gone
            gone = gone or pid == self.root


def descendants(top: int) -> list[int]:
    """All live processes below a process."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", errors="replace") as file:
                stat = file.read()
        except OSError:
            continue
        state, parent = stat[stat.rindex(")") + 2 :].split()[:2]
        children.setdefault(int(parent), []).append(int(name) if state not in "ZX" else -int(name))
    found: list[int] = []
    queue = [top]
    while queue:
        below = children.get(queue.pop(), [])
        queue += [abs(pid) for pid in below]
        found += [pid for pid in below if pid > 0]
    return found


def report(status: str) -> None:
    """Tell hostd how the start went, if it is still there to be told: the server does not depend on it."""
    with contextlib.suppress(BrokenPipeError):
        os.write(STATUS_FD, status.encode())
    os.close(STATUS_FD)


def main(arguments: list[str]) -> int:
    """See the module's usage."""
    if arguments == ["--probe"]:
        return probe()
    directory, boot = arguments[0], int(arguments[1])
    for fd in (STATUS_FD, LIFELINE_FD):
        try:
            os.set_inheritable(fd, False)
        except OSError:
            continue
    lock = os.open(os.path.join(directory, "supervisor.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return LOCKED
    with open(os.path.join(directory, "supervise.json")) as file:
        spec = json.load(file)
    libc.prctl(PR_SET_NAME, b"moorage-server", 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    supervisor = Supervisor(directory, boot, spec, lifeline=bool(spec["ephemeral"]))
    supervisor.note(ended=False)
    try:
        supervisor.start()
    except OSError as error:
        supervisor.note(ended=True)
        report(f"failed {error.strerror or error}")
        return 1
    report("started")
    supervisor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
