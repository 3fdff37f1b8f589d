"""`moorage tree`: a group, its servers, and what each waits for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.errors import CliError, Exit
from moorage.cli.options import Context, Format, Kubeconfig, Namespace, Output

if TYPE_CHECKING:
    from moorage.cli.cluster import Cluster
    from moorage.cli.views.node import Node

_PERIOD = 1.0
"""Seconds between two looks of --watch."""


def tree(
    group: Annotated[str, typer.Argument(help="The ServerGroup.", metavar="GROUP", show_default=False)],
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    output: Output = Format.TABLE,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it until Ctrl-C.")] = False,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also items and steps that are settled.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 4 where the group is not ready.")] = False,
) -> None:
    """Show a group as a tree: policy, placement, members, servers, items, and what each waits for."""
    from moorage.cli.cluster import Target, use_cluster
    from moorage.cli.views.node import State

    if watch and output is not Format.TABLE:
        raise CliError("--watch shows a tree only; leave out -o", Exit.USAGE)

    async def work(cluster: Cluster) -> Node:
        if watch:
            await _follow(cluster, group, everything)
        return await look(cluster, group, everything)

    node = use_cluster(Target(namespace, context, kubeconfig), work)
    if not watch:
        _show(node, output)
    if check and node.state is not State.READY:
        raise CliError(f"{group} is not ready: {node.message or node.summary}", Exit.NOT_READY)


async def look(cluster: Cluster, name: str, everything: bool) -> Node:
    """The tree of a group as it is now. Raises CliError where there is no such group."""
    from moorage.cli.views.tree import Detail, group_tree

    # One after the other: which right is missing is then told in the same order every time.
    group = await cluster.group(name)
    servers = await cluster.servers(name)
    return group_tree(group, servers, Detail(datetime.now(UTC), everything))


def _show(node: Node, output: Format) -> None:
    from moorage.cli import output as out
    from moorage.cli.views import paint

    console = out.stdout()
    if output is not Format.TABLE:
        out.document(node.to_dict(), output)
    elif console.is_terminal:
        console.print(paint.tree(node, ascii_only=console.options.ascii_only))
    else:
        for line in paint.plain(node, ascii_only=console.options.ascii_only):
            console.print(line, markup=False)


async def _follow(cluster: Cluster, name: str, everything: bool) -> None:
    """Show the tree again and again: in place on a terminal, else whenever it changes. Ends with Ctrl-C."""
    from rich.live import Live

    from moorage.cli import output as out
    from moorage.cli.views import paint

    console = out.stdout()
    if not console.is_terminal:
        await _print_changes(cluster, name, everything)
        return
    ascii_only = console.options.ascii_only
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            live.update(paint.tree(await look(cluster, name, everything), ascii_only=ascii_only), refresh=True)
            await asyncio.sleep(_PERIOD)


async def _print_changes(cluster: Cluster, name: str, everything: bool) -> None:
    before: object = None
    while True:
        node = await look(cluster, name, everything)
        now = [(part.kind, part.name, part.state, part.message) for part in node.walk()]
        if now != before:  # ages alone are no news
            _show(node, Format.TABLE)
        before = now
        await asyncio.sleep(_PERIOD)
