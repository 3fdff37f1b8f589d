"""Reads the objects that files hold, as kubectl does: YAML or JSON, documents and lists, folders, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from moorage.cli.errors import CliError, Exit
from moorage.cli.views.safe import safe

Obj = dict[str, Any]
SUFFIXES = (".yaml", ".yml", ".json")
LARGEST = 8 * 1024 * 1024
"""Bytes of a file; no object that an API server stores is larger."""


def read_objects(paths: Iterable[str]) -> list[Obj]:
    """The objects of all files, in their order; `-` is standard input. Raises CliError where one cannot be read."""
    found: list[Obj] = []
    for path in paths:
        for source, text in _texts(path):
            found += _objects(source, text)
    if not found:
        raise CliError("the files hold no object", Exit.USAGE)
    return found


def read_text(path: str) -> str:
    """One file as text. Raises CliError."""
    try:
        if path == "-":
            return sys.stdin.read(LARGEST)
        file = Path(path)
        if file.stat().st_size > LARGEST:
            raise CliError(f"{path} is larger than {LARGEST >> 20} MiB", Exit.USAGE)
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CliError(f"there is no file {path}", Exit.USAGE) from None
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror or type(error).__name__}", Exit.USAGE) from None
    except UnicodeDecodeError:
        raise CliError(f"{path} is not text in UTF-8", Exit.USAGE) from None


def parse_yaml(source: str, text: str) -> list[Any]:
    """The documents of a YAML (or JSON) text. Raises CliError, which says where it is wrong."""
    try:
        return [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise CliError(f"{source} is not YAML: {where}{error.problem or 'it cannot be read'}", Exit.USAGE) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise CliError(f"{source} is not YAML", Exit.USAGE) from None


def title(obj: Obj) -> str:
    """`ServerGroup quickstart`; a file may hold any name."""
    return safe(f"{obj['kind']} {obj['metadata']['name']}")


def _texts(path: str) -> Iterator[tuple[str, str]]:
    folder = Path(path)
    if path != "-" and folder.is_dir():
        files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and file.is_file())
        if not files:
            raise CliError(f"the folder {path} has no file that ends with {', '.join(SUFFIXES)}", Exit.USAGE)
        for file in files:
            yield str(file), read_text(str(file))
        return
    yield "standard input" if path == "-" else path, read_text(path)


def _objects(source: str, text: str) -> Iterator[Obj]:
    for document in parse_yaml(source, text):
        items = document.get("items") if isinstance(document, dict) else None
        kind = document.get("kind") if isinstance(document, dict) else None
        for obj in items if isinstance(items, list) and str(kind).endswith("List") else [document]:
            yield _checked(source, obj)


def _checked(source: str, obj: Any) -> Obj:
    """What tells an object from any other document; all else is the API server's to say."""
    if not isinstance(obj, dict):
        raise CliError(f"{source} holds a document that is no object", Exit.USAGE)
    for field in ("apiVersion", "kind"):
        if not isinstance(obj.get(field), str):
            raise CliError(f"{source} holds an object without {field}", Exit.USAGE)
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise CliError(f"{source} holds a {obj['kind']} without metadata.name", Exit.USAGE)
    return obj
