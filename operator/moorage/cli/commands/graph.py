"""`moorage graph`: what needs what within a group."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.errors import CliError
from moorage.cli.options import Context, Kubeconfig, Namespace

if TYPE_CHECKING:
    from moorage.cli.cluster import Cluster
    from moorage.core.dependencies import GroupGraph


class Drawing(StrEnum):
    """How the graph is written."""

    TEXT = "text"
    MERMAID = "mermaid"
    DOT = "dot"


def graph(
    group: Annotated[str, typer.Argument(help="The ServerGroup.", metavar="GROUP", show_default=False)],
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    output: Annotated[Drawing, typer.Option("--output", "-o", help="For a terminal, or for a drawing.")] = Drawing.TEXT,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 where an item can never resolve.")] = False,
) -> None:
    """Draw which items, files, steps and outputs of a group need which; circles that never resolve are marked."""
    from moorage.cli.cluster import Target, use_cluster
    from moorage.cli.sources import graph_of
    from moorage.core.dependencies import find_deadlocks, to_dot, to_mermaid, to_text

    async def work(cluster: Cluster) -> GroupGraph:
        return await graph_of(cluster, await cluster.group(group))

    found = use_cluster(Target(namespace, context, kubeconfig), work)
    writers = {Drawing.TEXT: to_text, Drawing.MERMAID: to_mermaid, Drawing.DOT: to_dot}
    sys.stdout.write(writers[output](found))
    deadlocks = find_deadlocks(found)
    if check and deadlocks:
        raise CliError("; ".join(deadlock.describe(group) for deadlock in deadlocks))
