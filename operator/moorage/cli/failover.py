"""What a person says about a group that is to leave its service: that it may, for exactly this occasion."""

from __future__ import annotations

from moorage.api.conditions import FAILOVER_PENDING, find
from moorage.api.names import ANNOTATION_FAILOVER
from moorage.api.placement import FailoverOccasion
from moorage.api.servergroup import ServerGroup
from moorage.cli.cluster import Cluster, read
from moorage.cli.errors import CliError, Exit
from moorage.core.failover import order
from moorage.kube.errors import Conflict
from moorage.kube.kinds import SERVER_GROUP

TRIES = 5


async def approve(cluster: Cluster, name: str) -> tuple[ServerGroup, FailoverOccasion]:
    """Write the annotation that lets the group leave its service. Raises CliError where nothing asks for it."""
    for _ in range(TRIES):
        obj = await cluster.one(SERVER_GROUP, name)
        group = read(ServerGroup, obj)
        occasion = asked(group)
        note = {ANNOTATION_FAILOVER: order(occasion.placement, occasion.since)}
        meta = {"resourceVersion": obj["metadata"]["resourceVersion"], "annotations": note}
        try:
            await cluster.client.patch(SERVER_GROUP, cluster.namespace, name, {"metadata": meta}, manager="moorage-cli")
        except Conflict:
            continue
        return group, occasion
    raise CliError(f"ServerGroup {name} changes all the time: try again")


def asked(group: ServerGroup) -> FailoverOccasion:
    """The occasion that waits for a person. Raises CliError, with what keeps the group, where none does."""
    name, occasion = group.metadata.name, group.status.failover
    told = find(group.status.conditions, FAILOVER_PENDING)
    if occasion is None:
        message = f"{name} has no occasion to fail over" + (f": {told.message}" if told is not None else "")
        raise CliError(message, Exit.NOT_READY, hint=f"moorage explain {name} tells how it stands")
    if told is not None and told.reason != "FailoverNotApproved":
        raise CliError(f"nobody is asked: {told.reason}: {told.message}", Exit.NOT_READY)
    return occasion
