"""Items that can never resolve, because they wait for themselves in the end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from moorage.core.dependencies.graph import GroupGraph
from moorage.core.dependencies.nodes import Node
from moorage.core.dependencies.order import components, shortest_circle


@dataclass(frozen=True, slots=True)
class Deadlock:
    """A circle of waiting: each node of `path` waits for the next one, and the last is the first again.

    `blocked` is everything else that can never resolve because it waits for this circle.
    """

    path: tuple[Node, ...]
    blocked: tuple[Node, ...]

    def describe(self, group: str) -> str:
        """The path as one line, and how to break it."""
        return f"{render_path(self.path, group)}: none of these can ever be known; {_REMEDY}"


_REMEDY = (
    "give an item of the circle a default, or publish an output of it without waiting for that step (outputs[].after)"
)


def unresolvable(graph: GroupGraph) -> frozenset[Node]:
    """All nodes that can never resolve, whatever the servers do: those on a circle and those that wait for one.

    What waits for something that does not exist is not among them: it resolves once that exists.
    """
    waits = {node: set() if node in graph.given else set(needs) for node, needs in graph.needs.items()}
    ready = [node for node, needs in waits.items() if not needs]
    resolved: set[Node] = set()
    while ready:
        node = ready.pop()
        resolved.add(node)
        for user in graph.users[node]:
            if node in waits[user]:
                waits[user].discard(node)
                if not waits[user]:
                    ready.append(user)
    return frozenset(graph.needs.keys() - resolved)


def find_deadlocks(graph: GroupGraph) -> tuple[Deadlock, ...]:
    """One deadlock for each set of nodes that wait for each other, with its shortest path, in a stable order."""
    stuck = unresolvable(graph)
    needs = {node: tuple(need for need in graph.needs[node] if need in stuck) for node in sorted(stuck)}
    circles = [c for c in components(needs) if len(c) > 1 or c[0] in needs[c[0]]]
    on_circles = {node for circle in circles for node in circle}
    deadlocks = []
    for circle in sorted(circles):
        blocked = _waiting_for(graph, stuck, circle) - on_circles
        start = max((node for node in circle if node.kind == "item"), default=circle[0])
        deadlocks.append(Deadlock(shortest_circle(needs, circle, start), tuple(sorted(blocked))))
    return tuple(deadlocks)


def render_path(path: Collection[Node], group: str) -> str:
    """`web.a <- db.b (output) <- step start <- …`: a step or file right after an output of its own server is short."""
    words: list[str] = []
    before: Node | None = None
    for node in path:
        own = before is not None and (before.group, before.member) == (node.group, node.member)
        words.append(f"{node.kind} {node.name}" if node.kind in {"step", "file"} and own else node.label(group))
        before = node
    return " <- ".join(words)


def _waiting_for(graph: GroupGraph, stuck: frozenset[Node], circle: tuple[Node, ...]) -> set[Node]:
    found: set[Node] = set()
    queue = list(circle)
    while queue:
        for user in graph.users[queue.pop()]:
            if user in stuck and user not in found:
                found.add(user)
                queue.append(user)
    return found
