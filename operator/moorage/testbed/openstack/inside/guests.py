"""The servers of the bed: process trees with a root folder of their own, under bubblewrap.

A guest has its own processes, mounts, host name, IPC and users, and the machine's network. At every boot it runs its
user-data; when that has ended it idles, as a machine does. Its programs are those of a guest root, read-only, which all
guests share; the rest of its files is its own.

A guest is known by its folder, which is among the arguments of its first process: nothing is remembered about it, and
whoever knows the folder can end it. Only the standard library is used, since Nova's environment and Moorage's both
run this.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

CONSOLE = 100 * 1024
"""Most bytes of a console that are told."""
STARTING = 10.0
"""Seconds within which a guest's first process is there."""
ENDING = 20.0
"""Seconds within which a killed guest is gone."""
SHARED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin", "usr")
"""Parts of the guest root that all guests share; the rest is copied."""
USER_DATA = "/var/lib/guest/user-data"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
_INIT = f"cd /; {USER_DATA}; while :; do sleep 86400; done"


class Guest:
    """One guest, that is or is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        """Whether it was made and not removed."""
        return (self.folder / "root").is_dir()

    def make(self, source: Path, user_data: bytes) -> None:
        """Lay out its files, from those of the guest root `source`."""
        root = self.folder / "root"
        root.mkdir(parents=True)
        for here in sorted(source.iterdir()):
            if here.is_symlink():
                (root / here.name).symlink_to(here.readlink())
            elif here.name in SHARED:
                (root / here.name).mkdir()
            elif here.is_dir():
                shutil.copytree(here, root / here.name, symlinks=True)
        program = Path(f"{root}{USER_DATA}")
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_bytes(user_data or b"#!/bin/sh\n")
        program.chmod(0o700)

    def start(self, source: Path, hostname: str) -> None:
        """Boot it, where it does not run. Raises OSError where it does not come up."""
        if self.running:
            return
        root = self.folder / "root"
        shared = [name for name in SHARED if (source / name).is_dir() and not (source / name).is_symlink()]
        command = ["bwrap", "--unshare-user", "--unshare-pid", "--unshare-uts", "--unshare-ipc", "--new-session"]
        command += ["--hostname", hostname or "guest", "--bind", str(root), "/"]
        for name in shared:
            command += ["--ro-bind", str(source / name), f"/{name}"]
        command += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run", "--clearenv"]
        for name, value in ENVIRONMENT.items():
            command += ["--setenv", name, value]
        with (self.folder / "console.log").open("ab") as console:
            subprocess.Popen(
                [*command, "/bin/sh", "-c", _INIT],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                close_fds=True,
                cwd="/",
            )
        end = time.monotonic() + STARTING
        while not self.running:
            if time.monotonic() > end:
                raise OSError(f"the guest does not start: {self.console()[-300:]!r}")
            time.sleep(0.01)

    @property
    def running(self) -> bool:
        """Whether its processes are there."""
        return next(_processes(self.folder), None) is not None

    def stop(self) -> None:
        """End its processes, as pulling the plug does. Raises TimeoutError where they stay."""
        end_all(self.folder)

    def remove(self) -> None:
        """End it and remove its files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def console(self) -> bytes:
        """The end of what it wrote."""
        try:
            with (self.folder / "console.log").open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - CONSOLE))
                return log.read()
        except FileNotFoundError:
            return b""


def end_all(folder: Path) -> None:
    """End every guest whose folder is this or below it. Raises TimeoutError where one stays."""
    end = time.monotonic() + ENDING
    while pids := list(_processes(folder)):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > end:
            raise TimeoutError(f"processes of {folder} do not end: {pids}")
        time.sleep(0.02)


def _processes(folder: Path) -> Iterator[int]:
    """The first processes of guests: that outside, and that which is number 1 inside, with whom all others end."""
    marks = (os.fsencode(folder) + b"/root", os.fsencode(folder) + b"/")
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0] == b"bwrap" and any(word == marks[0] or word.startswith(marks[1]) for word in words):
                yield int(name)
