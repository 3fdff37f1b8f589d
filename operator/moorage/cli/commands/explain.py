"""`moorage explain`: why a group is where it is."""

from __future__ import annotations

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
    """Explain a group: what its policy was found to be, and how the hosting services compared."""
    from moorage.cli import output as out
    from moorage.cli.cluster import Target, use_cluster
    from moorage.cli.views.explain import Explanation

    async def work(cluster: Cluster) -> Explanation:
        found = await cluster.group(group)
        return Explanation(found, await cluster.policy(found.spec.policy_ref.name))

    explanation = use_cluster(Target(namespace, context, kubeconfig), work)
    out.report(explanation.to_dict(), output, *explanation.show(datetime.now(UTC)))
