"""`moorage demo` as a stranger runs it: it verifies itself, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.needs import missing

from moorage.controlplane import ControlPlaneError, cache_root, find

MARK = "MOORAGE_TEST_MARK"


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    try:
        find()
    except ControlPlaneError as error:
        missing(str(error))
    running = Demo(tmp_path)
    yield running
    running.sweep()


class Demo:
    """A demo in a cache of its own, that shares the control plane's binaries. All its processes carry a mark."""

    def __init__(self, directory: Path) -> None:
        self.mark = secrets.token_hex(8)
        self.cache = directory / "cache"
        self.cache.mkdir()
        (self.cache / "controlplane").symlink_to(cache_root() / "controlplane")
        self.output = directory / "output"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, MARK: self.mark, "MOORAGE_CACHE": str(self.cache)}
        environment.pop("CI", None)
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moorage.cli", "demo", *options],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self.process

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_for(self, words: str, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while words not in self.said():
            assert self.process is not None
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def processes(self) -> list[int]:
        """Everything that runs with the demo's mark in its environment, the demo itself included."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and f"{MARK}={self.mark}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def left_over(self, seconds: float = 30.0) -> list[str]:
        """What still runs after a while, for the message of a failure."""
        deadline = time.monotonic() + seconds
        while (there := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in there]

    def sweep(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


def test_the_demo_verifies_everything_and_cleans_up(demo: Demo) -> None:
    process = demo.start("--once")
    assert process.wait(150) == 0, demo.said()
    said = demo.said()
    assert said.count("\n      ok   ") == 11, said
    assert "everything holds" in said
    assert demo.left_over() == []
    assert list((demo.cache / "demo").glob("tmp*")) == []


@pytest.mark.parametrize(
    ("number", "moment", "code"),
    [
        (signal.SIGINT, "begins", 130),
        (signal.SIGTERM, "to be created", 143),
        (signal.SIGHUP, "its agent has joined", 143),
        (signal.SIGKILL, "page shows 3 rows", -9),
        (signal.SIGINT, "Ctrl-C ends it", 0),
    ],
)
def test_interrupting_the_demo_leaves_no_processes(demo: Demo, number: signal.Signals, moment: str, code: int) -> None:
    process = demo.start()
    demo.wait_for(moment)
    process.send_signal(number)
    assert process.wait(60) == code, demo.said()
    assert demo.left_over() == []
    assert "Traceback" not in demo.said()
