"""`moorage explain`: why a group is where it is."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.options import Context, Format, Kubeconfig, Namespace, Output

if TYPE_CHECKING:
    from moorage.cli.cluster import Cluster
    from moorage.cli.views.explain import Explanation


def explain(
    group: Annotated[str, typer.Argument(help="The ServerGroup.", metavar="GROUP", show_default=False)],
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    output: Output = Format.TABLE,
) -> None:
    """Explain a group: what its policy was found to be, how the hosting services compared, and what is due next.

    While no service is chosen, it shows which would be now, found as the controller would; nothing is written.
    """
    from moorage.cli import output as out
    from moorage.cli.cluster import Target, use_cluster
    from moorage.cli.plan.outlook import look_ahead
    from moorage.cli.views.explain import Explanation

    now = datetime.now(UTC)

    async def work(cluster: Cluster) -> Explanation:
        found = await cluster.group(group)
        policy = await cluster.policy(found.spec.policy_ref.name)
        return Explanation(found, policy, await look_ahead(cluster, found, now))

    explanation = use_cluster(Target(namespace, context, kubeconfig), work)
    for note in explanation.notes():
        sys.stderr.write(f"note: {note}\n")
    out.report(explanation.to_dict(), output, *explanation.show(now))
