"""A simulated agent as the protocol's tests want agents: in a thread of its own, told what its programs would do."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

from moorage.api.hostd import SimulateSettings
from moorage.hostd.simulate.agent import Agent, start_agent

OUTPUTS = {
    "address": "10.0.0.1:${port}",
    "password": "canary-7d1e",
    "large": "x" * 5000,
    "odd": "nope",
    "huge": "x" * 1048576,
    "binary": "\0",
    "fine": "fine",
}
"""What the output commands of the tests' configurations would print."""
TRACES = {"early": ("runs", "port"), "late": ("late-runs", "db")}
"""The file that a step of the tests' configurations would append to, and the item that it would write."""


class _Collected(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class SimulatedAgent:
    """Satisfies `tests.support.agents.RunningAgent`."""

    def __init__(self, user_data: str, state: Path, root: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._said = _Collected()
        self._logger = logging.getLogger("moorage.hostd.simulate")
        self._logger.addHandler(self._said)
        self._logger.setLevel(logging.DEBUG)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulated agent", daemon=True)
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(self._start(user_data, state), self._loop)
        self._agent = starting.result(10)

    async def _start(self, user_data: str, state: Path) -> Agent:
        return start_agent(user_data, state, SimulateSettings(outputs=OUTPUTS), self._ran)

    def _ran(self, step: str, environment: dict[str, str]) -> None:
        if step in TRACES:
            name, item = TRACES[step]
            with (self._root / name).open("a") as file:
                file.write(environment.get(item, "") + "\n")

    def stop(self) -> None:
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._agent.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._logger.removeHandler(self._said)

    kill = stop

    def logged(self) -> str:
        return "\n".join(self._said.lines)
