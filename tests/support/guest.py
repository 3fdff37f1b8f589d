"""Runs the programs of the examples as a guest would: files below a root of its own, steps by a shell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from moorage.api.virtualserverconfig import VirtualServerConfigSpec

T = TypeVar("T")


def eventually(probe: Callable[[], T | None], deadline: float = 20.0) -> T:
    """The first answer that is not None. Raises AssertionError after `deadline` seconds without one."""
    end = time.monotonic() + deadline
    while (answer := probe()) is None:
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return answer


class Guest:
    """A directory that plays a server's file system."""

    def __init__(self, root: Path, spec: VirtualServerConfigSpec, items: dict[str, str]) -> None:
        self.root = root
        self.spec = spec
        self.items = dict(items)
        self.state = root / "state"
        self.state.mkdir(parents=True)

    def render(self, text: str) -> str | None:
        """`text` with the items in it, or None while one of them is not known."""
        for item in self.spec.configuration:
            mark = "${" + item.name + "}"
            if mark in text:
                value = self.render(item.template) if item.template else self.items.get(item.name)
                if value is None:
                    return None
                text = text.replace(mark, value)
        return text

    def write_files(self) -> None:
        """Write each file whose items are known, whole at once as the agent does."""
        for file in self.spec.files:
            content = self.render(file.content)
            if content is None:
                continue
            path = Path(f"{self.root}{file.path}")
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(path.name + ".new")
            new.write_text(content)
            new.chmod(int(file.mode, 8))
            new.rename(path)

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script with the items in its environment."""
        environment = {
            "PATH": os.environ["PATH"],
            "MOORAGE_ROOT": str(self.root),
            "MOORAGE_STATE": str(self.state),
            **self.items,
        }
        return subprocess.run(
            ["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=30, check=False
        )

    def start(self) -> subprocess.CompletedProcess[str]:
        """Run the step `start`."""
        return self.shell(next(step.script for step in self.spec.steps if step.name == "start"))

    def ready(self) -> bool:
        """Whether the readiness probe succeeds."""
        assert self.spec.readiness is not None
        assert self.spec.readiness.exec is not None
        return self.shell(self.spec.readiness.exec.command).returncode == 0

    def output(self, name: str) -> str:
        """The value of a published output."""
        path = next(output.file for output in self.spec.outputs if output.name == name)
        return Path(f"{self.root}{path}").read_text().strip()

    def pending(self, *items: str) -> None:
        """Say, as the agent does, what the configuration waits for."""
        waits = [{"item": item, "waitingFor": f"output of another server for {item}"} for item in items]
        (self.state / "status.json").write_text(json.dumps({"revision": 1, "pending": waits, "ready": False}))

    def processes(self) -> Iterator[int]:
        """The processes that run a program of this guest."""
        for entry in Path("/proc").iterdir():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            except OSError:
                continue
            if any(argument.startswith(str(self.root).encode() + b"/") for argument in arguments):
                yield int(entry.name)

    def stop(self) -> None:
        """End every process of this guest, and see it gone."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: True if not any(self.processes()) else None)


def fetch(url: str) -> tuple[int, Any]:
    """GET: the status, and the body, as JSON where it is JSON."""
    import urllib.error
    import urllib.request

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=10) as answer:
            text = answer.read().decode()
            return answer.status, json.loads(text) if "json" in answer.headers["Content-Type"] else text
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
