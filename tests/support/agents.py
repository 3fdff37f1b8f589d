"""Agents that the protocol's tests run against: each is started with user-data, in a state directory of its own.

`AGENTS` maps a name to a starter. Another implementation joins the suite by one more entry: a callable that takes
the text of the user-data, the state directory and the root for files, and returns something with `stop` and `kill`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.support.simulated_agent import SimulatedAgent


class RunningAgent(Protocol):
    """An agent that was started."""

    def stop(self) -> None:
        """Ask it to stop, and see it stopped."""
        ...

    def kill(self) -> None:
        """End it without a word, as a crash or a power cut would."""
        ...

    def logged(self) -> str:
        """What it has said so far."""
        ...


Starter = Callable[[str, Path, Path], RunningAgent]


class ProcessAgent:
    """The real agent, as a guest runs it: user-data by a shell, then the zipapp that it fetched."""

    def __init__(self, user_data: str, state: Path, root: Path, python: str = sys.executable) -> None:
        state.mkdir(parents=True, exist_ok=True)
        root.mkdir(parents=True, exist_ok=True)
        tools = state / "bin"
        tools.mkdir(exist_ok=True)
        wrapper = tools / "python3"
        wrapper.write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
        wrapper.chmod(0o755)
        script = state / "user-data"
        script.write_text(user_data)
        environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "MOORAGE_STATE": str(state),
            "MOORAGE_ROOT": str(root),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._log = (state / "console").open("ab")
        self.process = subprocess.Popen(
            ["/bin/sh", str(script)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        self._console = state / "console"

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self._end()

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self._end()

    def _end(self) -> None:
        try:
            self.process.wait(15)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._log.close()

    def logged(self) -> str:
        return self._console.read_text(errors="replace")


AGENTS: dict[str, Starter] = {"process": ProcessAgent, "simulated": SimulatedAgent}

__all__ = ["AGENTS", "ProcessAgent", "RunningAgent", "Starter"]
