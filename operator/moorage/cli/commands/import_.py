"""`moorage import`: the objects that would represent the servers that a hosting service has already."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.options import Context, ControllerNamespace, DocumentFormat, Kubeconfig, Namespace

if TYPE_CHECKING:
    from moorage.cli.cluster import Cluster
    from moorage.cli.imports import Imported


def import_(
    service: Annotated[str, typer.Argument(help="The HostingService.", metavar="SERVICE", show_default=False)],
    others: Annotated[
        bool, typer.Option("--all", help="Servers with another owner's tags, too; they can be observed only.")
    ] = False,
    manage: Annotated[bool, typer.Option("--manage", help="Take over what is free, instead of observing it.")] = False,
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    controller_namespace: ControllerNamespace = "moorage-system",
    output: Annotated[DocumentFormat, typer.Option("--output", "-o", help="How it is printed.")] = DocumentFormat.YAML,
) -> None:
    """Print the VirtualServers that would represent what runs at a service. Nothing is written anywhere.

    For example: moorage import SERVICE -n TEAM | kubectl apply -f -
    The service is asked from here, with the credentials that its HostingService names.
    """
    from moorage.cli import output as out
    from moorage.cli.cluster import Target, use_cluster
    from moorage.cli.imports import Wish, imported, summary
    from moorage.cli.services import known_servers, look_into

    async def work(cluster: Cluster) -> Imported:
        look = await look_into(cluster, service, controller_namespace)
        wish = Wish(cluster.namespace, others=others, manage=manage)
        return imported(look, await known_servers(cluster), wish)

    found = use_cluster(Target(namespace, context, kubeconfig), work)
    out.documents(found.objects, output)
    sys.stderr.write(f"{service}: {summary(found)}\n")
