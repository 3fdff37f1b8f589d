"""Which servers need which, and the order in which they can be deleted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TypeVar

from moorage.core.dependencies.graph import GroupGraph
from moorage.core.dependencies.nodes import Node

T = TypeVar("T", str, Node)


def components(needs: Mapping[T, Iterable[T]]) -> tuple[tuple[T, ...], ...]:
    """The strongly connected components, each sorted; one comes after those that it needs (Tarjan, without
    recursion)."""
    index: dict[T, int] = {}
    low: dict[T, int] = {}
    stack: list[T] = []
    on_stack: set[T] = set()
    found: list[tuple[T, ...]] = []
    for root in sorted(needs):
        if root in index:
            continue
        work = [(root, iter(sorted(needs[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            for need in rest:
                if need not in index:
                    index[need] = low[need] = len(index)
                    stack.append(need)
                    on_stack.add(need)
                    work.append((need, iter(sorted(needs[need]))))
                    break
                if need in on_stack:
                    low[node] = min(low[node], index[need])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    found.append(_unwind(stack, on_stack, node))
    return tuple(found)


def shortest_circle(needs: Mapping[T, Iterable[T]], circle: Iterable[T], start: T) -> tuple[T, ...]:
    """The shortest way within a strongly connected component from `start` back to itself, both ends included."""
    within = set(circle)
    before: dict[T, T] = {}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for need in sorted(needs[node]):
            if need == start:
                return _way(before, start, node)
            if need in within and need not in before:
                before[need] = node
                queue.append(need)
    raise AssertionError("a strongly connected component without a circle")


def member_needs(graph: GroupGraph) -> Mapping[str, frozenset[str]]:
    """For each member of the group, the other members of it whose outputs it uses."""
    needs: dict[str, set[str]] = {member: set() for member in graph.members}
    for node, required in graph.needs.items():
        for need in required:
            if node.group == need.group == graph.group and node.member != need.member:
                needs[node.member].add(need.member)
    return {member: frozenset(others) for member, others in sorted(needs.items())}


def server_dependents(graph: GroupGraph) -> Mapping[str, frozenset[str]]:
    """For each member, the members whose servers are to be deleted before its own: those that use its outputs.

    Members that need each other, directly or by way of others, are not among each other's: they go together.
    """
    needs = member_needs(graph)
    component = {member: number for number, circle in enumerate(components(needs)) for member in circle}
    dependents: dict[str, set[str]] = {member: set() for member in needs}
    for member, others in needs.items():
        for other in others:
            if component[other] != component[member]:
                dependents[other].add(member)
    return {member: frozenset(names) for member, names in dependents.items()}


def deletion_order(graph: GroupGraph) -> tuple[tuple[str, ...], ...]:
    """The members in waves: a wave may go once all before it are gone, dependents before what they depend on."""
    needs = member_needs(graph)
    circles = components(needs)
    component = {member: number for number, circle in enumerate(circles) for member in circle}
    wave = [0] * len(circles)
    for number in range(len(circles) - 1, -1, -1):
        for member in circles[number]:
            for other in needs[member]:
                if component[other] != number:
                    wave[component[other]] = max(wave[component[other]], wave[number] + 1)
    waves: dict[int, list[str]] = {}
    for number, circle in enumerate(circles):
        waves.setdefault(wave[number], []).extend(circle)
    return tuple(tuple(sorted(waves[number])) for number in sorted(waves))


def _way(before: Mapping[T, T], start: T, last: T) -> tuple[T, ...]:
    way: list[T] = [start]
    while last != start:
        way.append(last)
        last = before[last]
    way.append(start)
    return tuple(reversed(way))


def _unwind(stack: list[T], on_stack: set[T], root: T) -> tuple[T, ...]:
    component: list[T] = []
    while True:
        node = stack.pop()
        on_stack.discard(node)
        component.append(node)
        if node == root:
            return tuple(sorted(component))
