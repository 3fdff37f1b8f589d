"""Reading a catalogue of sizes and prices: what is wrong with it is told with the line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import yaml
from pydantic import ValidationError

from moorage.api.catalogue import Catalogue

MAX_LENGTH: Final = 65_536
"""Characters; 200 offerings take a third of it."""
_MAX_NODES: Final = 4_000
_MAX_DEPTH: Final = 8
_TOLD: Final = 3


class CatalogueError(Exception):
    """What is wrong with a catalogue, for people."""


def read_catalogue(text: str) -> Catalogue:
    """The catalogue in a YAML text. Raises `CatalogueError` that names the lines."""
    if len(text) > MAX_LENGTH:
        raise CatalogueError(f"it has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    try:
        _bounded(text)
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise CatalogueError(f"{where}it is not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise CatalogueError(f"it is not YAML: {str(error).splitlines()[0]}") from None
    if root is None:
        raise CatalogueError("it is empty; write offerings: [...]")
    try:
        found = Catalogue.from_dict(_plain(root))
    except ValidationError as error:
        raise CatalogueError(_told(error, root)) from None
    names = [entry.name for entry in found.offerings]
    twice = next((i for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        line = _line(root, ("offerings", twice))
        raise CatalogueError(f"line {line}: offering {names[twice]} is there twice; write each once")
    return found


def _bounded(text: str) -> None:
    """Raises `CatalogueError` for what would take long, although the text is short.

    What is nested too deeply takes YAML's parser very long (and ends the process in the one written in C); aliases make
    a short text stand for a very long one.
    """
    depth = count = 0
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        if isinstance(event, yaml.AliasEvent):
            raise CatalogueError(f"line {_at(event)}: aliases are not read; write the value itself")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        count += isinstance(event, yaml.NodeEvent)
        if depth > _MAX_DEPTH or count > _MAX_NODES:
            raise CatalogueError(f"line {_at(event)}: it is nested too deeply, or has more than {_MAX_NODES} values")


def _at(event: yaml.Event) -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1


def _plain(node: yaml.Node) -> Any:
    """YAML's nodes as dicts, lists and texts: a price stays as it is written, and no key is lost."""
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in found:
                raise CatalogueError(f"line {key.start_mark.line + 1}: a key is there twice, or is no plain word")
            found[key.value] = _plain(value)
        return found
    return [_plain(item) for item in node.value] if isinstance(node, yaml.SequenceNode) else node.value


def _told(error: ValidationError, root: yaml.Node) -> str:
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    told = []
    for one in errors[:_TOLD]:
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in one["loc"]).lstrip(".")
        told.append(f"line {_line(root, one['loc'])}: {path or 'it'}: {one['msg'].removeprefix('Value error, ')}")
    more = f"; and {len(errors) - _TOLD} more" if len(errors) > _TOLD else ""
    return "; ".join(told) + more


def _line(root: yaml.Node, path: Sequence[int | str]) -> int:
    """The line of the deepest part of ``path`` that is there."""
    node, line = root, root.start_mark.line + 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == part), None)
            if found is None:
                return line
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line
