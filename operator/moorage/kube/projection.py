"""The parts of others' objects that somebody reads: nothing else of them is kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Obj = dict[str, Any]
Path = tuple[str, ...]

MAX_DEPTH = 48
"""Levels of nesting; deeper objects are refused."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_TEXT = 56
_LIST = 64
_ITEM = 8
_MAP = 200
_KEY = 60
_OTHER = 32
"""Bytes that Python takes for each, beside the text itself."""


class TooDeep(Exception):
    """An object is nested deeper than anybody reads."""


class Projection:
    """Keeps the given paths of an object, each with all that is below it; the empty path is the whole object."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = frozenset(paths)

    @property
    def metadata_only(self) -> bool:
        """Whether nothing but metadata is kept, so that nothing else need be sent."""
        return all(path[:1] == ("metadata",) for path in self._paths)

    def __call__(self, obj: Obj) -> tuple[Obj, int]:
        """The kept parts, and about how many bytes of memory they take. Raises TooDeep."""
        kept = _without_bookkeeping(obj) if () in self._paths else _kept(obj, self._paths)
        return kept, size_of(kept)


def _kept(value: Any, paths: frozenset[Path]) -> Any:
    """What is not an object on the way of a path stays as it is: it is found to be something else there."""
    if () in paths or not isinstance(value, dict):
        return value
    below: dict[str, set[Path]] = {}
    for path in paths:
        below.setdefault(path[0], set()).add(path[1:])
    return {name: _kept(value[name], frozenset(rest)) for name, rest in below.items() if name in value}


def _without_bookkeeping(obj: Obj) -> Obj:
    meta = {key: value for key, value in (obj.get("metadata") or {}).items() if key != "managedFields"}
    annotations = meta.get("annotations")
    if annotations and _LAST_APPLIED in annotations:
        meta["annotations"] = {key: value for key, value in annotations.items() if key != _LAST_APPLIED}
    return {**obj, "metadata": meta}


def size_of(value: Any, depth: int = 0) -> int:
    """About how many bytes of memory a JSON value takes, which is much more than its text. Raises TooDeep."""
    if depth > MAX_DEPTH:
        raise TooDeep(f"more than {MAX_DEPTH} levels of nesting")
    if isinstance(value, str):
        return _TEXT + _length(value)
    if isinstance(value, dict):
        return _MAP + sum(_KEY + _length(key) + size_of(inner, depth + 1) for key, inner in value.items())
    if isinstance(value, list):
        return _LIST + sum(_ITEM + size_of(inner, depth + 1) for inner in value)
    return _OTHER


def _length(text: str) -> int:
    """One character outside of ASCII may make each of them four bytes long."""
    return len(text) if text.isascii() else 4 * len(text)
