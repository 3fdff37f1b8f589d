"""What a person says about a group that is to leave its service: that it may, for exactly this occasion."""

from __future__ import annotations

from moorage.api.conditions import FAILOVER_PENDING, find
from moorage.api.names import ANNOTATION_FAILOVER
from moorage.api.placement import FailoverOccasion
from moorage.api.servergroup import ServerGroup
from moorage.cli.approvals import whoami
from moorage.cli.cluster import Cluster, read
from moorage.cli.errors import CliError, Exit
from moorage.core.failover import order
from moorage.kube.errors import Conflict, Forbidden
from moorage.kube.kinds import SERVER_GROUP

TRIES = 5


async def question(cluster: Cluster, name: str) -> tuple[FailoverOccasion, str]:
    """The occasion that waits for a person, and what saying yes to it does. Raises CliError where nobody is asked."""
    group = read(ServerGroup, await cluster.one(SERVER_GROUP, name))
    return asked(group), consequence(group, await _overlap(cluster, group))


async def _overlap(cluster: Cluster, group: ServerGroup) -> str:
    """What the policy says of it; "" where that cannot be read by whoever asks."""
    try:
        policy = await cluster.policy(group.spec.policy_ref.name)
    except Forbidden:
        return ""
    return "" if policy is None or policy.spec.failover is None else policy.spec.failover.overlap


def consequence(group: ServerGroup, overlap: str) -> str:
    """What becomes of the servers, as the start of a question."""
    service = group.status.placement.service if group.status.placement is not None else "its service"
    verb = "releases" if group.spec.deletion_policy == "Retain" else "removes"
    when = {
        "Forbidden": "first, and then makes the group elsewhere: until then there is none",
        "Allowed": "once the new ones, which are made elsewhere first, are ready",
    }.get(overlap, "before or after the group is made elsewhere, as overlap in its policy says")
    count, ready = group.status.replicas or 0, group.status.ready_replicas or 0
    servers = f"{count} servers on {service}, {ready} of them ready"
    return f"{group.metadata.name} leaves {service}: it {verb} its {servers}, {when}"


async def approve(
    cluster: Cluster, name: str, confirmed: FailoverOccasion | None = None
) -> tuple[ServerGroup, FailoverOccasion]:
    """Write the annotation that lets the group leave its service, for the occasion that was ``confirmed`` (None: the
    present one). Raises CliError where nothing asks for it, or another occasion by now."""
    by = await _name(cluster)
    for _ in range(TRIES):
        obj = await cluster.one(SERVER_GROUP, name)
        group = read(ServerGroup, obj)
        occasion = asked(group)
        if confirmed is not None and occasion != confirmed:
            raise CliError(f"{name} has another occasion by now: nothing was written", hint="look at it again")
        note = {ANNOTATION_FAILOVER: order(occasion.placement, occasion.since, by)}
        meta = {"resourceVersion": obj["metadata"]["resourceVersion"], "annotations": note}
        try:
            await cluster.client.patch(SERVER_GROUP, cluster.namespace, name, {"metadata": meta}, manager="moorage-cli")
        except Conflict:
            continue
        return group, occasion
    raise CliError(f"ServerGroup {name} changes all the time: try again")


async def _name(cluster: Cluster) -> str:
    """Who says so; "" where the API server does not tell."""
    try:
        return await whoami(cluster)
    except (CliError, Forbidden):
        return ""


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
