"""Real hosting services for tests: `@pytest.mark.bed("incus")` says which a test needs.

They are started before the first test and, where this run started them, stopped after the last one. A bed that the
machine cannot run skips its tests and says why; in CI it fails them.

A test has its beds for itself, whatever process it runs in: it begins with an empty bed, and another's servers would be
in the way.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from tests.support.needs import missing

from moorage import testbed

MARK = "bed"
STARTED = "MOORAGE_BEDS_STARTED"
"""The folder of one run, in which its processes note what they start."""
WORN = 250
"""How many instances EC2's bed may have made before it is started anew."""
TELL_AFTER = 10.0
"""Seconds of waiting for another's bed after which it is said, and said again."""
Say = Callable[[str], None]
_lacking: dict[str, str] = {}


def running(name: str) -> testbed.Running:
    """The bed, which runs (it is started where it does not). Skips the test where it cannot."""
    if name in _lacking:
        missing(_lacking[name])
    bed = testbed.bed(name)
    if STARTED in os.environ and testbed.status(bed) is None:
        (Path(os.environ[STARTED]) / name).touch()
    try:
        return testbed.up(bed, say)
    except testbed.Lacking as problem:
        _lacking[name] = f"no test bed {name}: {problem}"
        missing(_lacking[name])


def renew(name: str) -> None:
    """Start the bed anew where it is worn, for a test that has it for itself: moto forgets no instance that ever was,
    and each list takes time with the square of their number."""
    if name != "ec2" or name in _lacking:
        return
    from tests.support.services.ec2 import Control

    bed = testbed.bed(name)
    now = testbed.status(bed)
    if now is not None and len(Control(now).ledger()) > WORN:
        testbed.down(bed, say)
        testbed.up(bed, say)


def wanted(item: pytest.Item) -> list[str]:
    """The beds that a test needs."""
    return [str(name) for mark in item.iter_markers(MARK) for name in mark.args]


@contextlib.contextmanager
def alone(names: Iterable[str], who: str, say: Say, tell_after: float = TELL_AFTER) -> Iterator[None]:
    """Have these beds for oneself: waits for other processes, always in the same order, and lets them go at the end,
    also when this process is killed. `who` is what the others are told that they wait for."""
    with contextlib.ExitStack() as held:
        for name in sorted(set(names)):
            # A bed that cannot run here needs no lock: its tests are skipped, and say why.
            with contextlib.suppress(testbed.Lacking):
                held.enter_context(_locked(name, testbed.mutex(testbed.bed(name)), who, say, tell_after))
        yield


@contextlib.contextmanager
def _locked(name: str, path: Path, who: str, say: Say, tell_after: float) -> Iterator[None]:
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with _telling(lambda: say(f"waiting for the test bed {name}: {_holder(path)} uses it"), tell_after):
                fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()}, {who}")
        file.flush()
        yield


@contextlib.contextmanager
def _telling(tell: Callable[[], None], after: float) -> Iterator[None]:
    over = threading.Event()

    def run() -> None:
        while not over.wait(after):
            tell()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _holder(path: Path) -> str:
    return path.read_text().strip() or "somebody else"


def start(items: Iterable[pytest.Item]) -> None:
    """Start what the tests need, before any of them: installing takes minutes, which no test's time limit allows."""
    for name in sorted({name for item in items for name in wanted(item)}):
        with contextlib.suppress(pytest.skip.Exception, pytest.fail.Exception):
            running(name)


class Beds:
    """Stops what this run started at its end. What somebody else started is theirs; and where this run is a part of a
    greater one, which has made the folder of notes, so is what this one starts."""

    def __init__(self) -> None:
        self._notes: tempfile.TemporaryDirectory[str] | None = None
        if STARTED not in os.environ:
            self._notes = tempfile.TemporaryDirectory(prefix="moorage-beds-")
            os.environ[STARTED] = self._notes.name

    def pytest_unconfigure(self) -> None:
        """The end of the whole run."""
        if self._notes is None:
            return
        del os.environ[STARTED]
        started = sorted(path.name for path in Path(self._notes.name).iterdir())
        self._notes.cleanup()
        for name in started:
            if testbed.status(testbed.bed(name)) is not None:
                # Another run may have taken to it meanwhile: not in the midst of one of its tests.
                with alone([name], "the end of a run", say):
                    testbed.down(testbed.bed(name), say)


def say(text: str) -> None:
    """To whoever watches the run."""
    sys.stderr.write(f"{text}\n")
