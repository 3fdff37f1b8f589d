"""Programs that live on after the command that started them, known again by a file each."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from moorage.testbed import procs

GRACE = 10.0
"""Seconds that a program has to end by itself."""


class Daemons:
    """The programs of one bed: a folder with one file each, that names process and start time, and their logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        umask: int = 0o077,
    ) -> int:
        """Start it in a session of its own, its output in `<name>.log`; gives the process id."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
                umask=umask,
            )
        record = {"pid": process.pid, "started": procs.started(process.pid)}
        (self.folder / f"{name}.json").write_text(json.dumps(record))
        # The parent does not wait for it, by intent; it is nobody's zombie once this process has ended.
        process.returncode = 0
        return process.pid

    def log(self, name: str) -> Path:
        """Its log."""
        return self.folder / f"{name}.log"

    def tail(self, name: str, lines: int = 20) -> str:
        """The end of its log, for an error message."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])
        return ""

    def pid(self, name: str) -> int | None:
        """Its process, None where it does not run (any more)."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            record = json.loads((self.folder / f"{name}.json").read_text())
            if procs.alive(record["pid"], record["started"]):
                return int(record["pid"])
        return None

    def names(self) -> list[str]:
        """Those that were started, in no order."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def all_alive(self) -> bool:
        """Whether every program that was started still runs (true where none was)."""
        return all(self.pid(name) is not None for name in self.names())

    def kill(self, name: str) -> None:
        """SIGKILL the program alone, as a crash would; what it started lives on."""
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            _wait(lambda: self.pid(name) is None)

    def stop(self, name: str) -> None:
        """SIGTERM its session, SIGKILL after a while, and forget it."""
        pid = self.pid(name)
        if pid is not None:
            _signal(pid, signal.SIGTERM)
            if not _wait(lambda: self.pid(name) is None):
                _signal(pid, signal.SIGKILL)
                _wait(lambda: self.pid(name) is None)
            _signal(pid, signal.SIGKILL)
        (self.folder / f"{name}.json").unlink(missing_ok=True)

    def end(self) -> None:
        """Stop all, the last started first."""
        files = sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in files:
            self.stop(path.stem)


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _wait(done: Callable[[], bool]) -> bool:
    end = time.monotonic() + GRACE
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
