"""`moorage plan`: what would happen if files were applied, without applying them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.errors import Exit
from moorage.cli.options import Context, Format, Kubeconfig, Namespace, Output

if TYPE_CHECKING:
    from moorage.cli.cluster import Cluster
    from moorage.cli.plan.gather import Gathered
    from moorage.cli.views.plan import PlanView

Files = Annotated[
    list[str],
    typer.Option(
        "--filename", "-f", help="A file, a folder, or - for standard input; may be repeated.", show_default=False
    ),
]


def plan(
    files: Files,
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    output: Output = Format.TABLE,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 7 where there is something to be done.")
    ] = False,
) -> None:
    """Show what would happen if the files were applied now: met or not, where, at what price, and what would change.

    The files hold ServerGroups, their VirtualServerConfigs and HostingPolicies; what they do not hold is taken from the
    cluster. Without a group in them it is about the groups that use what they hold. Nothing is created or changed: the
    cluster is read, and asked to check and default the files' objects (a dry run).
    """
    from moorage.cli import output as out
    from moorage.cli.cluster import Target, use_cluster
    from moorage.cli.manifests import read_objects
    from moorage.cli.plan.gather import gather, namespace_of

    objects = read_objects(files)
    now = datetime.now(UTC)

    async def work(cluster: Cluster) -> tuple[list[PlanView], tuple[str, ...]]:
        gathered = await gather(cluster, objects)
        return plans(gathered, now), (*gathered.notes, *doubts(gathered))

    target = Target(namespace_of(objects, namespace), context, kubeconfig)
    views, notes = use_cluster(target, work)
    for note in notes:
        sys.stderr.write(f"note: {note}\n")
    if not views:
        sys.stderr.write("note: no group uses what the files hold\n")
    console = out.stdout()
    shown = [part for view in views for part in (*view.show(now, ascii_only=console.options.ascii_only), "")]
    out.report([view.to_dict() for view in views], output, *shown[:-1])
    if exit_code and any(view.changes for view in views):
        raise typer.Exit(Exit.CHANGES)


def doubts(gathered: Gathered) -> list[str]:
    """What the groups' policies say that can lead nowhere."""
    from moorage.core.policy.futile import futile
    from moorage.kube.errors import InvalidObject

    found: dict[str, None] = {}
    for name in gathered.groups:
        group = gathered.tables.groups.get(gathered.namespace, name)
        used = group["spec"]["policyRef"]["name"] if group is not None else ""
        try:
            policy = gathered.tables.policies.parsed(gathered.namespace, used)
        except InvalidObject:
            continue  # the plan of the group says so
        found |= dict.fromkeys(f"HostingPolicy {used}: {doubt}" for doubt in (futile(policy.spec) if policy else ()))
    return list(found)


def plans(gathered: Gathered, now: datetime) -> list[PlanView]:
    """What becomes of each group."""
    from moorage.cli.plan.changes import Comparison
    from moorage.cli.plan.foresee import Foresight
    from moorage.cli.views.plan import PlanView

    found = []
    for name in gathered.groups:
        foreseen = Foresight(gathered).group(name, now)
        compared = Comparison(gathered, foreseen)
        found.append(PlanView(foreseen, compared.changes(), compared.prices(), compared.price_now()))
    return found
