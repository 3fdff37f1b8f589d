"""A pytest plugin that runs tests on a program with a bug: one replacement in the source of one module.

`MOORAGE_MUTANT` is JSON {"module", "old", "new"}; the module is compiled from the changed text, nothing is written.
"""

from __future__ import annotations

import importlib.abc
import json
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, old: str, new: str) -> None:
        super().__init__(name, path)
        self._change = old, new

    def path_stats(self, path: str) -> dict[str, float]:
        """Nothing compiled earlier is used, and nothing is kept."""
        raise OSError

    def get_data(self, path: str) -> bytes:
        """The source with the bug. Raises LookupError where the text to replace is not there exactly once."""
        text = super().get_data(path).decode()
        old, new = self._change
        if text.count(old) != 1:
            raise LookupError(f"{self.name} has this text {text.count(old)} times: {old}")
        return text.replace(old, new).encode()


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module: str, old: str, new: str) -> None:
        self._module, self._old, self._new = module, old, new

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module with the bug; every other is somebody else's."""
        if fullname != self._module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            raise ImportError(f"there is no module {fullname}")
        spec.loader = _Loader(fullname, spec.origin, self._old, self._new)
        return spec


def _install() -> None:
    text = os.environ.get("MOORAGE_MUTANT")
    if text:
        mutant = json.loads(text)
        if mutant["module"] in sys.modules:
            raise RuntimeError(f"{mutant['module']} was imported before it could be changed")
        sys.meta_path.insert(0, _Finder(mutant["module"], mutant["old"], mutant["new"]))


_install()
