"""Who votes in a group: its servers that run where it is placed, with what they have published."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moorage.api import conditions as c
from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserver import VirtualServer, VirtualServerStatus
from moorage.controllers.references import MemberConfig
from moorage.core.policy import Constituency, Voter, Votes
from moorage.core.server_status import STOPPED_STATES, failure_of

_STOPPED = frozenset(state.value for state in STOPPED_STATES)


def votes(
    group: ServerGroup,
    members: Sequence[MemberConfig],
    servers: Iterable[tuple[VirtualServer, VirtualServerStatus]],
) -> Votes:
    """What the group's servers can be counted by, from caches alone."""
    placement = group.status.placement
    if placement is None:
        return Votes(placed=False, members=tuple(_constituency(group, m) for m in members))
    running = [
        (server, status)
        for server, status in servers
        if server.spec.placement == placement.number
        and not server.metadata.deleting
        and c.is_true(status.conditions, c.INSTANTIATED)
        and not status.lost
        and status.state not in _STOPPED
        and failure_of(server.model_copy(update={"status": status})) is None
    ]
    return Votes(
        placed=True,
        members=tuple(_constituency(group, m) for m in members),
        voters=tuple(_voter(server) for server, _ in running),
    )


def _constituency(group: ServerGroup, m: MemberConfig) -> Constituency:
    outputs = None if m.config is None else {o.name: o.sensitive for o in m.config.spec.outputs}
    return Constituency(m.member.name, group.spec.replicas_of(m.member), outputs)


def _voter(server: VirtualServer) -> Voter:
    """The outputs are those that the cache has: the agent's own, however far the controller is with the rest."""
    agent = server.status.agent
    return Voter(server.spec.member or "", {o.name: o for o in agent.outputs} if agent is not None else {})
