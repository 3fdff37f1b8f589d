"""How xdist spreads tests that need test beds: those that share a bed go to one worker, one after another.

xdist has groups of its own (`--dist=loadgroup`), but appends them to an attribute of items that pytest 9.2 does not
read any more. Workers therefore write down which tests belong together, in a file that the controlling process names,
and this scheduler reads it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped] # it has no types

_INPUT = "moorage_bed_groups"


def groups(needs: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """From the beds that each test needs to the group it belongs to: tests of one group have a bed in common, directly
    or through others. Tests without beds are in none."""
    joined: dict[str, set[str]] = {}
    for beds in needs.values():
        merged = set(beds).union(*(joined[bed] for bed in beds if bed in joined))
        joined.update(dict.fromkeys(merged, merged))
    return {test: "+".join(sorted(joined[beds[0]])) for test, beds in needs.items() if beds}


def write_down(config: pytest.Config, needs: Mapping[str, Sequence[str]]) -> None:
    """In a worker, once its tests are collected. All workers write the same."""
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    if _INPUT in worker:
        path = Path(worker[_INPUT])
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(groups(needs)))
        partial.replace(path)


class BedScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Every group of beds is one piece of work, and so is every other test; the largest groups begin."""

    def __init__(self, config: pytest.Config, log: Any, path: Path) -> None:
        super().__init__(config, log)
        self._path = path
        self._groups: dict[str, str] | None = None

    def _split_scope(self, nodeid: str) -> str:
        if self._groups is None:
            self._groups = json.loads(self._path.read_text())
        return self._groups.get(nodeid, nodeid)


class BedScheduler:
    """The plugin of the controlling process."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="moorage-beds-")
        self._path = Path(self._folder.name) / "groups.json"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker where to write."""
        node.workerinput[_INPUT] = f"{self._path}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> BedScheduling | None:
        """Asked for as `--dist=loadgroup`."""
        return BedScheduling(config, log, self._path) if config.getvalue("dist") == "loadgroup" else None

    def pytest_unconfigure(self) -> None:
        """The end of the whole run."""
        self._folder.cleanup()
