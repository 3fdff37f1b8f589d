"""`moorage orphans`: servers of this installation that no VirtualServer stands for, and what becomes of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from moorage.cli.errors import CliError, Exit
from moorage.cli.options import Context, ControllerNamespace, Format, Kubeconfig, Output

if TYPE_CHECKING:
    from moorage.cli.cluster import Cluster, Target
    from moorage.cli.orphans import Listed
    from moorage.core.orphans import OrphanAction


class _ListsByDefault(TyperGroup):
    """`moorage orphans [SERVICE]` is `moorage orphans list [SERVICE]`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="orphans",
    cls=_ListsByDefault,
    help="Servers of this installation that no VirtualServer stands for: see, release and delete them.",
)
Service = Annotated[str, typer.Argument(help="The HostingService.", metavar="SERVICE", show_default=False)]
Ids = Annotated[list[str], typer.Argument(help="Their ids at the service.", metavar="ID...", show_default=False)]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the controller has done it.")]


@app.command("list")
def list_orphans(
    service: Annotated[
        str, typer.Argument(help="A HostingService. Default: all.", metavar="[SERVICE]", show_default=False)
    ] = "",
    live: Annotated[
        bool, typer.Option("--live", help="Ask the service from here, instead of reading what status tells.")
    ] = False,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    controller_namespace: ControllerNamespace = "moorage-system",
    output: Output = Format.TABLE,
) -> None:
    """List orphans: those that the controller tells of (the oldest 20 of each service), or all there are (--live)."""
    from moorage.cli import output as out
    from moorage.cli.cluster import Target, use_cluster
    from moorage.cli.orphans import from_service, from_status, table

    if live and not service:
        raise CliError("--live needs the name of a HostingService", Exit.USAGE)

    async def work(cluster: Cluster) -> tuple[Listed, ...]:
        return await (from_service(cluster, service, controller_namespace) if live else from_status(cluster, service))

    found = use_cluster(Target("", context, kubeconfig), work)
    out.report([one.to_dict() for one in found], output, table(found) if found else _none(service, live=live))
    hidden = sum(one.more for one in found)
    if hidden:
        sys.stderr.write(f"{hidden} more are not listed in status: moorage orphans SERVICE --live\n")


def _none(service: str, *, live: bool) -> str:
    where = f"of {service}" if service else "of any hosting service"
    return f"There are no orphans {where}{'' if live else ', as far as status tells'}."


@app.command()
def release(service: Service, ids: Ids, context: Context = "", kubeconfig: Kubeconfig = "", wait: Wait = True) -> None:
    """Release orphans: their tags say that they are nobody's, and Moorage never touches them again.

    The controller does it, on an order in the annotation moorage.dev/orphans of the HostingService.
    """
    from moorage.cli.cluster import Target

    _order(Target("", context, kubeconfig), service, ids, "Release", wait=wait)


@app.command()
def delete(
    service: Service,
    ids: Ids,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    wait: Wait = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete orphans, with whatever is on them. The controller does it, as with release."""
    from moorage.cli.cluster import Target

    if not yes:
        _ask(service, ids)
    _order(Target("", context, kubeconfig), service, ids, "Delete", wait=wait)


def _ask(service: str, ids: Sequence[str]) -> None:
    """Raises CliError unless it is a yes."""
    question = f"delete {', '.join(ids)} of {service}, with all data"
    if not sys.stdin.isatty():
        raise CliError(f"nobody is here to confirm: {question}", hint="say --yes")
    sys.stderr.write(f"{question[0].upper()}{question[1:]}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CliError("nothing was deleted")


def _order(target: Target, service: str, ids: Sequence[str], action: OrphanAction, *, wait: bool) -> None:
    from moorage.cli.cluster import use_cluster
    from moorage.cli.orphans import await_done, give_orders

    async def work(cluster: Cluster) -> Any:
        orders = await give_orders(cluster, service, ids, action)
        if wait:
            await await_done(cluster, service, orders, lambda text: typer.echo(text, err=True))

    use_cluster(target, work)
    done = {"Release": "released", "Delete": "deleted"}[action]
    word = done if wait else f"to be {done}; see moorage orphans {service}"
    for provider_id in ids:
        sys.stdout.write(f"{service}: {provider_id} {word}\n")
