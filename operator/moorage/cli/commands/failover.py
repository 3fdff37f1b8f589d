"""`moorage failover`: let a group leave a service that fails it, where its policy asks a person."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.options import Context, Kubeconfig, Namespace

if TYPE_CHECKING:
    from moorage.api.placement import FailoverOccasion
    from moorage.api.servergroup import ServerGroup
    from moorage.cli.cluster import Cluster


def confirm(text: str) -> None:
    """Raises CliError unless it is a yes."""
    from moorage.cli.errors import CliError

    if not sys.stdin.isatty():
        raise CliError(f"nobody is here to confirm: {text}", hint="say --yes")
    sys.stderr.write(f"{text}. Let it? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CliError("nothing was written: the group stays")


def failover(
    group: Annotated[str, typer.Argument(help="The ServerGroup.", metavar="GROUP", show_default=False)],
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Let a group leave its service, where its policy says failover.action: Ask and an occasion is due.

    It says how many servers that removes, and asks. Then it writes the annotation moorage.dev/failover as you, with
    your name; whoever may change the group may do so. It holds for the occasion that status tells now, and for no
    later one.
    """
    from moorage.cli.cluster import Target, use_cluster
    from moorage.cli.failover import approve, question

    target, confirmed = Target(namespace, context, kubeconfig), None
    if not yes:
        confirmed, text = use_cluster(target, lambda cluster: question(cluster, group))
        confirm(text)

    async def work(cluster: Cluster) -> tuple[ServerGroup, FailoverOccasion]:
        return await approve(cluster, group, confirmed)

    found, occasion = use_cluster(target, work)
    service = found.status.placement.service if found.status.placement is not None else "its service"
    told = f"{occasion.reason} since {occasion.since:%Y-%m-%dT%H:%M:%SZ}"
    sys.stdout.write(f"{group}: may leave {service} ({told}); moorage tree {group} shows how it goes on\n")
