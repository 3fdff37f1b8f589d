"""`moorage render`: the configuration of a server as it would be sent, without its secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from moorage.cli.errors import CliError, Exit
from moorage.cli.options import Context, Format, Kubeconfig, Namespace

if TYPE_CHECKING:
    from moorage.cli.cluster import Cluster


def render(
    server: Annotated[str, typer.Argument(help="The VirtualServer.", metavar="SERVER", show_default=False)],
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    output: Annotated[Format, typer.Option("--output", "-o", help="json or yaml.")] = Format.YAML,
) -> None:
    """Render a server's configuration as its agent would get it now. Sensitive values are masked, never shown."""
    from moorage.cli import output as out
    from moorage.cli.cluster import Target, use_cluster
    from moorage.cli.rendering import rendered

    if output is Format.TABLE:
        raise CliError("a configuration is no table; use -o yaml or -o json", Exit.USAGE)

    async def work(cluster: Cluster) -> dict[str, Any]:
        return await rendered(cluster, server)

    out.document(use_cluster(Target(namespace, context, kubeconfig), work), output)
