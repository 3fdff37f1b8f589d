"""The programs that the demo starts: the hosting services and the controller."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from moorage.cli.demo.leash import GRACE
from moorage.cli.errors import CliError

T = TypeVar("T")
_POLL = 0.02


@dataclass(frozen=True, slots=True)
class Child:
    """A running program. `output` is what it printed, `log` what it logged."""

    name: str
    process: subprocess.Popen[bytes]
    output: Path
    log: Path

    def last_words(self, lines: int = 12) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Children:
    """Starts programs on a leash: none outlives this process. Use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: list[Child] = []
        self._hold, self._pull = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> Child:
        """Start `python COMMAND…`. Only its log and its output are kept, in files named after it."""
        output, log = self._directory / f"{name}.out", self._directory / f"{name}.log"
        leash = [sys.executable, "-m", "moorage.cli.demo.leash", str(self._hold), sys.executable, *command]
        with output.open("wb") as out, log.open("wb") as err:
            process = subprocess.Popen(
                leash,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self._directory,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                pass_fds=[self._hold],
                start_new_session=True,
            )
        child = Child(name, process, output, log)
        self._children.append(child)
        return child

    def wait_for(self, child: Child, what: str, look: Callable[[], T | None], seconds: float = 30.0) -> T:
        """Wait until `look` gives something. Raises CliError where the program ends or takes too long."""
        deadline = time.monotonic() + seconds
        while (found := look()) is None:
            if child.process.poll() is not None:
                raise CliError(f"{child.name} ended with {child.process.returncode}:\n{child.last_words()}")
            if time.monotonic() > deadline:
                raise CliError(f"{child.name}: waited {seconds:g} s in vain for {what}:\n{child.last_words()}")
            time.sleep(_POLL)
        return found

    def dead(self) -> Child | None:
        """A program that has ended although nobody asked it to, if there is one."""
        return next((child for child in self._children if child.process.poll() is not None), None)

    def stop(self) -> None:
        """End them all, and wait until they are gone. Repeating is harmless."""
        for child in self._children:
            child.process.terminate()
        while self._children:
            child = self._children[-1]
            try:
                child.process.wait(GRACE + 2)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            self._children.pop()
        for descriptor in (self._hold, self._pull):
            if descriptor >= 0:
                os.close(descriptor)
        self._hold = self._pull = -1
