"""A group's dependency graph as Mermaid, as DOT and as text: sorted, the same for the same graph."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from moorage.core.dependencies.deadlocks import find_deadlocks, render_path
from moorage.core.dependencies.graph import GroupGraph
from moorage.core.dependencies.nodes import Node

_MERMAID_SHAPES = {
    "item": ('["', '"]'),
    "output": ('(["', '"])'),
    "step": ('[["', '"]]'),
    "file": ('[/"', '"/]'),
    "readiness": ('{{"', '"}}'),
}
_DOT_SHAPES = {"item": "box", "output": "ellipse", "step": "component", "file": "note", "readiness": "hexagon"}


def to_mermaid(graph: GroupGraph) -> str:
    """A Mermaid flowchart: an arrow from each value to what needs it, one box a member, dashed where a default
    serves."""
    names = {node: f"n{number}" for number, node in enumerate(graph.needs)}
    lines = ["flowchart LR"]
    for number, (title, nodes) in enumerate(_by_member(graph)):
        lines.append(f'  subgraph m{number}["{_mermaid(title)}"]')
        for node in nodes:
            opening, closing = _MERMAID_SHAPES[node.kind]
            lines.append(f"    {names[node]}{opening}{_mermaid(_short(node))}{closing}")
        lines.append("  end")
    for node, needs in graph.needs.items():
        arrow = "-.->" if node in graph.given else "-->"
        lines.extend(f"  {names[need]} {arrow} {names[node]}" for need in needs)
    stuck = sorted({names[node] for deadlock in find_deadlocks(graph) for node in deadlock.path})
    if stuck:
        lines += ["  classDef deadlock stroke:#c00,stroke-width:3px", f"  class {','.join(stuck)} deadlock"]
    return "\n".join(lines) + "\n"


def to_dot(graph: GroupGraph) -> str:
    """A Graphviz digraph, drawn as `to_mermaid` is."""
    names = {node: f"n{number}" for number, node in enumerate(graph.needs)}
    stuck = {node for deadlock in find_deadlocks(graph) for node in deadlock.path}
    lines = [f"digraph {_dot(graph.group)} {{", "  rankdir=LR;", "  node [fontname=sans];"]
    for number, (title, nodes) in enumerate(_by_member(graph)):
        lines += [f"  subgraph cluster_{number} {{", f"    label={_dot(title)};"]
        for node in nodes:
            colour = ", color=red" if node in stuck else ""
            lines.append(f"    {names[node]} [label={_dot(_short(node))}, shape={_DOT_SHAPES[node.kind]}{colour}];")
        lines.append("  }")
    for node, needs in graph.needs.items():
        style = " [style=dashed]" if node in graph.given else ""
        lines.extend(f"  {names[need]} -> {names[node]}{style};" for need in needs)
    return "\n".join([*lines, "}"]) + "\n"


def to_text(graph: GroupGraph) -> str:
    """A tree for a terminal: members, what each has, and what that needs; deadlocks and problems at the end."""
    lines = [f"group {graph.group}"]
    sections = list(_by_member(graph))
    for number, (title, nodes) in enumerate(sections):
        last = number == len(sections) - 1
        lines.append(f"{'└─' if last else '├─'} {title}")
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
    needs = ", ".join(_relative(need, node, graph.group) for need in graph.needs[node])
    return f"{note}{f' <- {needs}' if needs else ''}"


def _relative(need: Node, node: Node, group: str) -> str:
    own = (need.group, need.member) == (node.group, node.member)
    return _short(need) if own else need.label(group)


def _short(node: Node) -> str:
    return f"{node.kind} {node.name}" if node.name else node.kind


def _by_member(graph: GroupGraph) -> Iterator[tuple[str, list[Node]]]:
    for (group, member), nodes in groupby(graph.needs, key=lambda node: (node.group, node.member)):
        yield (member if group == graph.group else f"{group}/{member}"), list(nodes)


def _mermaid(text: str) -> str:
    return "".join(c if c.isalnum() or c in " _-./:,()" else f"#{ord(c)};" for c in text)


def _dot(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
