"""A group's dependency graph as Mermaid, as DOT and as text: sorted, the same for the same graph."""

from __future__ import annotations

from collections.abc import Iterator

from moorage.core.dependencies.deadlocks import find_deadlocks, render_path
from moorage.core.dependencies.graph import GroupGraph
from moorage.core.dependencies.nodes import Node

Scope = tuple[str, str]
"""A member, as (group, member)."""

_MERMAID_SHAPES = {
    "item": ('["', '"]'),
    "output": ('(["', '"])'),
    "step": ('[["', '"]]'),
    "file": ('[/"', '"/]'),
    "readiness": ('{{"', '"}}'),
}
_UNKNOWN = "unknown"
"""Marks what is needed and does not exist."""
_DOT_SHAPES = {"item": "box", "output": "ellipse", "step": "component", "file": "note", "readiness": "hexagon"}


def to_mermaid(graph: GroupGraph) -> str:
    """A Mermaid flowchart: an arrow from each value to what needs it, one box a member, dashed where a default
    serves. What is needed and does not exist is drawn outside the boxes, with a dashed edge."""
    names = {node: f"n{number}" for number, node in enumerate(graph.needs)}
    lines = ["flowchart LR"]
    for number, (scope, nodes) in enumerate(_by_member(graph)):
        lines.append(f'  subgraph m{number}["{_mermaid(_title(graph, scope))}"]')
        for node in nodes:
            opening, closing = _MERMAID_SHAPES[node.kind]
            lines.append(f"    {names[node]}{opening}{_mermaid(_short(node))}{closing}")
        if not nodes:
            lines.append(f'    e{number}["{_mermaid(_emptiness(graph, scope))}"]')
        lines.append("  end")
    for node, needs in graph.needs.items():
        arrow = "-.->" if node in graph.given else "-->"
        lines.extend(f"  {names[need]} {arrow} {names[node]}" for need in needs)
    absent = _absent(graph)
    for need, name in absent.items():
        lines.append(f'  {name}["{_UNKNOWN} {_mermaid(need.label(graph.group))}"]')
    lines.extend(f"  {absent[need]} --> {names[node]}" for node, needs in graph.unknown.items() for need in needs)
    if absent:
        lines += ["  classDef unknown stroke:#c00,stroke-dasharray:4", f"  class {','.join(absent.values())} unknown"]
    stuck = sorted({names[node] for deadlock in find_deadlocks(graph) for node in deadlock.path})
    if stuck:
        lines += ["  classDef deadlock stroke:#c00,stroke-width:3px", f"  class {','.join(stuck)} deadlock"]
    return "\n".join(lines) + "\n"


def to_dot(graph: GroupGraph) -> str:
    """A Graphviz digraph, drawn as `to_mermaid` is."""
    names = {node: f"n{number}" for number, node in enumerate(graph.needs)}
    stuck = {node for deadlock in find_deadlocks(graph) for node in deadlock.path}
    lines = [f"digraph {_dot(graph.group)} {{", "  rankdir=LR;", "  node [fontname=sans];"]
    for number, (scope, nodes) in enumerate(_by_member(graph)):
        lines += [f"  subgraph cluster_{number} {{", f"    label={_dot(_title(graph, scope))};"]
        for node in nodes:
            colour = ", color=red" if node in stuck else ""
            lines.append(f"    {names[node]} [label={_dot(_short(node))}, shape={_DOT_SHAPES[node.kind]}{colour}];")
        if not nodes:
            lines.append(f"    e{number} [label={_dot(_emptiness(graph, scope))}, shape=plaintext];")
        lines.append("  }")
    for node, needs in graph.needs.items():
        style = " [style=dashed]" if node in graph.given else ""
        lines.extend(f"  {names[need]} -> {names[node]}{style};" for need in needs)
    absent = _absent(graph)
    for need, name in absent.items():
        label = _dot(f"{_UNKNOWN} {need.label(graph.group)}")
        lines.append(f"  {name} [label={label}, shape={_DOT_SHAPES[need.kind]}, style=dashed, color=red];")
    lines.extend(f"  {absent[need]} -> {names[node]};" for node, needs in graph.unknown.items() for need in needs)
    return "\n".join([*lines, "}"]) + "\n"


def to_text(graph: GroupGraph) -> str:
    """A tree for a terminal: members, what each has, and what that needs; deadlocks and problems at the end."""
    lines = [f"group {graph.group}"]
    sections = list(_by_member(graph))
    for number, (scope, nodes) in enumerate(sections):
        last = number == len(sections) - 1
        note = "" if nodes else f" ({_emptiness(graph, scope)})"
        lines.append(f"{'└─' if last else '├─'} {_title(graph, scope)}{note}")
        for position, node in enumerate(nodes):
            branch = "└─" if position == len(nodes) - 1 else "├─"
            lines.append(f"{'   ' if last else '│  '}{branch} {_short(node)}{_needs(graph, node)}")
    lines += [f"deadlock: {render_path(deadlock.path, graph.group)}" for deadlock in find_deadlocks(graph)]
    lines += [f"problem: {problem}" for problem in graph.problems]
    return "\n".join(lines) + "\n"


def _needs(graph: GroupGraph, node: Node) -> str:
    marks = [word for word, nodes in (("default", graph.given), ("sensitive", graph.sensitive)) if node in nodes]
    if node.kind == "output" and "default" in marks:
        marks[0] = "published"
    note = f" ({', '.join(marks)})" if marks else ""
    found = [_relative(need, node, graph.group) for need in graph.needs[node]]
    found += [f"{_UNKNOWN} {_relative(need, node, graph.group)}" for need in graph.unknown.get(node, ())]
    needs = ", ".join(found)
    return f"{note}{f' <- {needs}' if needs else ''}"


def _relative(need: Node, node: Node, group: str) -> str:
    own = (need.group, need.member) == (node.group, node.member)
    return _short(need) if own else need.label(group)


def _short(node: Node) -> str:
    return f"{node.kind} {node.name}" if node.name else node.kind


def _by_member(graph: GroupGraph) -> Iterator[tuple[Scope, list[Node]]]:
    """Every member of the group, and of other groups those that something refers to, with its nodes."""
    nodes: dict[Scope, list[Node]] = {(graph.group, member): [] for member in graph.members}
    nodes |= {scope: [] for scope in graph.unconfigured}
    for node in graph.needs:
        nodes.setdefault((node.group, node.member), []).append(node)
    yield from sorted(nodes.items())


def _title(graph: GroupGraph, scope: Scope) -> str:
    group, member = scope
    return member if group == graph.group else f"{group}/{member}"


def _emptiness(graph: GroupGraph, scope: Scope) -> str:
    return "its configuration does not exist" if scope in graph.unconfigured else "nothing to configure"


def _absent(graph: GroupGraph) -> dict[Node, str]:
    """What is needed and does not exist, each under a name for the drawing."""
    found = sorted({need for needs in graph.unknown.values() for need in needs})
    return {need: f"u{number}" for number, need in enumerate(found)}


def _mermaid(text: str) -> str:
    return "".join(c if c.isalnum() or c in " _-./:,()" else f"#{ord(c)};" for c in text)


def _dot(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
