"""An agent's parts in a directory of the test's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from moorage.agent.process import Runner
from moorage.agent.store import Store
from moorage.agent.work import Work


class Bench:
    """Work, its store and its threads."""

    def __init__(self, folder: Path) -> None:
        self.state, self.root = folder / "state", folder / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        self.store = Store(str(self.state))
        self.work = Work(self.store, str(self.root))
        self.runner = Runner(str(self.state), str(self.root))
        self._threads: list[threading.Thread] = []

    def deliver(self, revision: int, **parts: Any) -> None:
        """What the poll thread does with an answer."""
        document = {"revision": revision, "server": {"name": "me"}, **parts}
        body = json.dumps(document).encode()
        # As from the wire: a test that changes its own dicts later must not change what was delivered.
        self.work.deliver(json.loads(body), body)

    @contextmanager
    def running(self, *bodies: Callable[[], None]) -> Iterator[None]:
        """Run threads until the test leaves."""
        threads = [threading.Thread(target=body) for body in bodies]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.work.stop()
            self.runner.stop()
            for thread in threads:
                thread.join(10)
                assert not thread.is_alive()

    def eventually(self, probe: Callable[[], Any], deadline: float = 20.0) -> Any:
        """Wait, on the work's own condition, until `probe` holds."""
        with self.work.changed:
            assert self.work.changed.wait_for(probe, deadline), "it did not happen"
            return probe()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
