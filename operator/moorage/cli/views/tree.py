"""A group as a tree: its policy, its placement, its members, their servers, and what each waits for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from moorage.api.conditions import COST_LIMITED, FAILOVER_PENDING, RECONCILING, SCALE_LIMITED, find, is_true
from moorage.api.servergroup import Member, ServerGroup
from moorage.api.virtualserver import ItemStatus, OutputState, StepResult, VirtualServer
from moorage.cli.views.node import Node, State, age, state_of, why

_VERDICTS = {"Met": State.READY, "Unmet": State.WAITING, "Unknown": State.UNKNOWN}
_ITEMS = {
    "Pending": State.WAITING,
    "Resolved": State.PROGRESSING,
    "Delivered": State.PROGRESSING,
    "Acknowledged": State.READY,
}
_SETTLED = {
    "Resolved": "known, not with the agent yet",
    "Delivered": "with the agent, not in force yet",
    "Acknowledged": "in force",
}
_STEPS = {
    "Waiting": State.WAITING,
    "Running": State.PROGRESSING,
    "Succeeded": State.READY,
    "Failed": State.FAILED,
}


@dataclass(frozen=True, slots=True)
class Detail:
    """`everything`: also the items and steps that are settled, instead of their number."""

    now: datetime
    everything: bool = False


def group_tree(group: ServerGroup, servers: Sequence[VirtualServer], detail: Detail) -> Node:
    """The tree of a group. Servers of members that the group no longer has are shown last."""
    status, spec = group.status, group.spec
    current = status.observed_generation == group.metadata.generation
    members = {member.name for member in spec.members}
    strays = [server for server in servers if server.spec.member not in members]
    children = (
        _policy(group, detail.now),
        _placement(group, detail.now),
        *(
            _member(group, member, [s for s in servers if s.spec.member == member.name], detail)
            for member in spec.members
        ),
        *(server_tree(server, detail) for server in strays),
    )
    ready = f"{status.ready_replicas or 0}/{spec.replicas} servers ready"
    pending = f", {status.pending_items} items pending" if status.pending_items else ""
    suspended = ", suspended" if spec.suspend else ""
    bounds = (SCALE_LIMITED, COST_LIMITED, FAILOVER_PENDING)
    limited = "".join(f", {type_}" for type_ in bounds if is_true(status.conditions, type_))
    return Node(
        kind="ServerGroup",
        name=group.metadata.name,
        state=state_of(status.conditions, current=current, deleting=group.metadata.deleting),
        summary=ready + pending + suspended + limited,
        message=why(status.conditions) if current else "the controller has not seen this generation yet",
        children=children,
    )


def _policy(group: ServerGroup, now: datetime) -> Node:
    policy = group.status.policy
    name = group.spec.policy_ref.name
    if policy is None:
        return Node("HostingPolicy", name, State.UNKNOWN, message="not evaluated yet")
    summary = f"{policy.verdict} for {age(policy.since, now)}"
    own = tuple(
        Node("Condition", r.name, _VERDICTS[r.value], f"{r.value} for {age(r.since, now)}", r.message)
        for r in policy.readings
    )
    return Node("HostingPolicy", policy.name, _VERDICTS[policy.verdict], summary, policy.message, children=own)


def _placement(group: ServerGroup, now: datetime) -> Node:
    placement = group.status.placement
    if placement is None:
        return Node("Placement", "", State.WAITING, message="no hosting service chosen yet")
    score = "" if placement.score is None else f", score {placement.score:g}"
    summary = f"placement {placement.number} for {age(placement.time, now)}{score}"
    leaving = find(group.status.conditions, FAILOVER_PENDING)
    if leaving is not None and leaving.status == "True":
        told = f"{leaving.reason}: {leaving.message}"
        return Node("HostingService", placement.service, State.WAITING, summary, told)
    return Node("HostingService", placement.service, State.READY, summary, placement.message)


def _member(group: ServerGroup, member: Member, servers: Sequence[VirtualServer], detail: Detail) -> Node:
    wanted = group.spec.replicas_of(member)
    children = tuple(server_tree(server, detail) for server in servers)
    ready = sum(child.state is State.READY for child in children)
    state = State.READY if ready == wanted == len(children) else State.PROGRESSING
    return Node("Member", member.name, state, f"{member.config_ref.name}, {ready}/{wanted} ready", children=children)


def server_tree(server: VirtualServer, detail: Detail) -> Node:
    """One server with its items, steps and outputs."""
    status = server.status
    current = status.observed_generation == server.metadata.generation
    state = state_of(status.conditions, current=current, deleting=server.metadata.deleting)
    if status.lost:
        state = State.FAILED
    address = next((a.address for a in status.addresses), "")
    facts = [server.spec.service_ref.name, address, status.provider_id or ""]
    if status.configuration:
        facts.append(_revision(server))
    return Node(
        kind="VirtualServer",
        name=server.metadata.name,
        state=state,
        summary=", ".join(fact for fact in facts if fact),
        message=why(status.conditions) if current or is_true(status.conditions, RECONCILING) else "not seen yet",
        children=(*_items(server, detail), *_steps(server, detail), *_outputs(server)),
    )


def _revision(server: VirtualServer) -> str:
    configuration, agent = server.status.configuration, server.status.agent
    revision = configuration.revision if configuration else 0
    in_force = agent.acknowledged_revision if agent else 0
    return f"revision {revision}" if in_force == revision else f"revision {revision} ({in_force} in force)"


def _items(server: VirtualServer, detail: Detail) -> Iterator[Node]:
    """What waits is shown one by one, the rest as numbers, unless everything is asked for."""
    items = server.status.configuration.items if server.status.configuration else ()
    for item in items:
        if detail.everything or item.stale or item.state == "Pending":
            yield _item(item, detail.now)
    if detail.everything:
        return
    for state, words in _SETTLED.items():
        count = sum(item.state == state and not item.stale for item in items)
        if count:
            number = f"all {count}" if count == len(items) else f"{count} of {len(items)}"
            yield Node("Items", number, _ITEMS[state], words)


def _item(item: ItemStatus, now: datetime) -> Node:
    summary = f"{item.state} for {age(item.since, now)}"
    if item.stale:
        summary += ", stale"
    if item.sensitive:
        summary += ", sensitive"
    state = State.WAITING if item.stale else _ITEMS[item.state]
    return Node("Item", item.name, state, summary, item.message or (item.source if item.state == "Pending" else ""))


def _steps(server: VirtualServer, detail: Detail) -> Iterator[Node]:
    for step in server.status.agent.steps if server.status.agent else ():
        if detail.everything or step.state != "Succeeded":
            yield _step(step)


def _step(step: StepResult) -> Node:
    summary = step.state if step.exit_code in (None, 0) else f"{step.state}, exit code {step.exit_code}"
    if step.attempts > 1:
        summary += f", {step.attempts} attempts"
    return Node("Step", step.name, _STEPS[step.state], summary, step.message or "")


def _outputs(server: VirtualServer) -> Iterator[Node]:
    for output in server.status.agent.outputs if server.status.agent else ():
        yield _output(output)


def _output(output: OutputState) -> Node:
    if output.error:
        return Node("Output", output.name, State.FAILED, output.error, output.message or "")
    value = "(in a Secret)" if output.in_secret else (output.value or "")
    return Node("Output", output.name, State.READY, value)
