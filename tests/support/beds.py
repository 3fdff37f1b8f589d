"""Real hosting services for tests: `@pytest.mark.bed("incus")` says which a test needs.

They are started before the first test and, where this run started them, stopped after the last one. A bed that the
machine cannot run skips its tests and says why; in CI it fails them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.support.needs import missing

from moorage import testbed

MARK = "bed"
STARTED = "MOORAGE_BEDS_STARTED"
"""The folder of one run, in which its processes note what they start."""
_lacking: dict[str, str] = {}


def running(name: str) -> testbed.Running:
    """The bed, which runs (it is started where it does not). Skips the test where it cannot."""
    if name in _lacking:
        missing(_lacking[name])
    bed = testbed.bed(name)
    if STARTED in os.environ and testbed.status(bed) is None:
        (Path(os.environ[STARTED]) / name).touch()
    try:
        return testbed.up(bed, _say)
    except testbed.Lacking as problem:
        _lacking[name] = f"no test bed {name}: {problem}"
        missing(_lacking[name])


def wanted(item: pytest.Item) -> list[str]:
    """The beds that a test needs."""
    return [str(name) for mark in item.iter_markers(MARK) for name in mark.args]


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
                testbed.down(testbed.bed(name), _say)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
