"""A problem in what a user wrote or in what became of it: where, a machine word, and what to write instead."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """`path` as in `spec.files[0].content`; `reason` one CamelCase word; `message` for people, never with a value."""

    path: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"
