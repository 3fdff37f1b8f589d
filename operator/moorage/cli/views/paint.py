"""Puts trees on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text
from rich.tree import Tree

from moorage.cli.views.node import Node, State
from moorage.cli.views.safe import safe

_MARKS = {
    State.READY: ("✓", "green"),
    State.PROGRESSING: ("…", "cyan"),
    State.WAITING: ("○", "yellow"),
    State.FAILED: ("✗", "bold red"),
    State.TERMINATING: ("↓", "magenta"),
    State.UNKNOWN: ("?", "dim"),
}
_ASCII = str.maketrans({"✓": "+", "…": "~", "○": "o", "✗": "x", "↓": "v"})


def line(node: Node, *, ascii_only: bool = False) -> Text:
    """One node as one line: mark, kind, name, summary, message."""
    mark, style = _MARKS[node.state]
    text = Text(mark.translate(_ASCII) if ascii_only else mark, style=style)
    text.append(f" {node.kind}", style="dim")
    if node.name:
        text.append(f" {safe(node.name)}", style="bold")
    if node.summary:
        text.append(f"  {safe(node.summary)}", style="not bold")
    if node.message and node.message != node.summary:
        text.append(f"  {safe(node.message)}", style="yellow" if node.state is not State.FAILED else "red")
    return text


def tree(node: Node, *, ascii_only: bool = False, cut: bool = False) -> Tree:
    """The node with everything below it; with `cut` no node takes more than one line, however narrow the terminal."""

    def paint(one: Node) -> Text:
        text = line(one, ascii_only=ascii_only)
        if cut:
            text.no_wrap, text.overflow = True, "ellipsis"
        return text

    def grow(branch: Tree, parent: Node) -> Tree:
        for child in parent.children:
            grow(branch.add(paint(child)), child)
        return branch

    return grow(Tree(paint(node), guide_style="dim"), node)


def plain(node: Node, depth: int = 0, *, ascii_only: bool = False) -> Iterator[str]:
    """The tree as indented lines, for output that is no terminal."""
    yield "  " * depth + line(node, ascii_only=ascii_only).plain
    for child in node.children:
        yield from plain(child, depth + 1, ascii_only=ascii_only)
