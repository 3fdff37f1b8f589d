"""The nodes of a group's dependency graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["file", "item", "output", "readiness", "step"]


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """An item, file, step, output or readiness probe of a member of a group; all replicas of a member are one."""

    group: str
    member: str
    kind: Kind
    name: str = ""

    def label(self, group: str) -> str:
        """How people read it, within `group`: `web.url`, `db.address (output)`, `step start of db`."""
        scope = self.member if self.group == group else f"{self.group}/{self.member}"
        match self.kind:
            case "item":
                return f"{scope}.{self.name}"
            case "output":
                return f"{scope}.{self.name} (output)"
            case "readiness":
                return f"readiness of {scope}"
            case "file" | "step":
                return f"{self.kind} {self.name} of {scope}"
