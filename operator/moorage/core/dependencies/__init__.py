"""What needs what in a group: between items, files, steps and outputs, never between servers as such.

Servers that need each other's values are fine: servers exist before their configuration. Only items that can never
resolve are an error (`GroupGraph.deadlocks`).
"""

from moorage.core.dependencies.deadlocks import Deadlock, find_deadlocks, unresolvable
from moorage.core.dependencies.export import to_dot, to_mermaid, to_text
from moorage.core.dependencies.graph import GroupGraph, GroupSource
from moorage.core.dependencies.nodes import Node
from moorage.core.dependencies.order import deletion_order, server_dependents

__all__ = [
    "Deadlock",
    "GroupGraph",
    "GroupSource",
    "Node",
    "deletion_order",
    "find_deadlocks",
    "server_dependents",
    "to_dot",
    "to_mermaid",
    "to_text",
    "unresolvable",
]
