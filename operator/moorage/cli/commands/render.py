"""`moorage render`: the configuration of a server as it would be sent, without its secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from moorage.cli.options import Context, DocumentFormat, Kubeconfig, Namespace

if TYPE_CHECKING:
    from moorage.cli.cluster import Cluster


def render(
    server: Annotated[str, typer.Argument(help="The VirtualServer.", metavar="SERVER", show_default=False)],
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    output: Annotated[DocumentFormat, typer.Option("--output", "-o", help="How it is printed.")] = DocumentFormat.YAML,
) -> None:
    """Render a server's configuration as its agent would get it now. Sensitive values are masked, never shown."""
    from moorage.cli import output as out
    from moorage.cli.cluster import Target, use_cluster
    from moorage.cli.rendering import rendered

    async def work(cluster: Cluster) -> dict[str, Any]:
        return await rendered(cluster, server)

    out.document(use_cluster(Target(namespace, context, kubeconfig), work), output)
