"""A problem in what a user wrote or in what became of it: where, a machine word, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

NAMED: Final = 5
"""How many problems a message names; the others are counted."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """`path` as in `spec.files[0].content`; `reason` one CamelCase word; `message` for people, never with a value."""

    path: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def joined(messages: Iterable[str]) -> str:
    """Several messages as one, each once: the first are named, the others counted."""
    found = list(dict.fromkeys(messages))
    more = f" (and {len(found) - NAMED} more)" if len(found) > NAMED else ""
    return "; ".join(found[:NAMED]) + more
