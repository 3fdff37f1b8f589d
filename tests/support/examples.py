"""The examples that the project ships, as objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2] / "examples"
EXAMPLES = ("quickstart", "three-node-cluster", "chain")


def documents(example: str) -> list[dict[str, Any]]:
    """Every object of an example, in the order of its files' names."""
    found: list[dict[str, Any]] = []
    for path in sorted((ROOT / example).glob("*.yaml")):
        found += [document for document in yaml.safe_load_all(path.read_text()) if document]
    return found


def one(example: str, kind: str, name: str) -> dict[str, Any]:
    """The object of that kind and name. Raises LookupError where the example has none."""
    for document in documents(example):
        if document["kind"] == kind and document["metadata"]["name"] == name:
            return document
    raise LookupError(f"{example} has no {kind} {name}")
