"""What a VirtualServer's status says, from the facts and the step that was decided on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from moorage.api import conditions as c
from moorage.api.meta import Condition
from moorage.api.virtualserver import Address, ConfigurationState, ItemStatus, VirtualServer, VirtualServerStatus
from moorage.core import steps
from moorage.core.departure import DELETION_OVERDUE
from moorage.core.drift import find_drifts, told
from moorage.core.evidence import sight as latest_sight
from moorage.core.facts import CallFailure, Seen, SeenState, ServerFacts

_Make = Callable[[str, bool, str, str], Condition]
STOPPED_STATES = frozenset({SeenState.STOPPED, SeenState.FAILED})

_HALTED = frozenset({"IdentityMismatch", "ScopeChanged", "OvershootFreeze", "StateDamaged"})
"""Reasons of waits that say more than how far a running server is."""

_BLIND = frozenset({"ScopeChanged", "ServiceUnavailable", "ServiceNotFound"})
"""Reasons of waits during which what the service showed last is not to be judged."""

MAX_NAME = 253

_UNCERTAIN = frozenset({"DuplicateIdentity", "KeyConflict", "RequestTampered"})
"""Terminal failures with which a server of this identity may exist nevertheless."""


@dataclass(frozen=True, slots=True)
class ConfigurationView:
    """How far a server's configuration is. ``done`` and its words are about the required items."""

    revision: int = 0
    controller_revision: str | None = None
    items: tuple[ItemStatus, ...] = ()
    done: bool = False
    reason: str = "WaitingForGroup"
    message: str = "configuration flows once all servers of the group run"
    dependents: tuple[str, ...] = ()
    problem: tuple[str, str] | None = None


def failure_of(server: VirtualServer) -> CallFailure | None:
    """The terminal failure that status records, if there is one (a lost server is told by ``status.lost``)."""
    stalled = c.find(server.status.conditions, c.STALLED)
    if stalled is None or stalled.status != "True" or server.status.lost:
        return None
    definite = stalled.reason not in _UNCERTAIN
    return CallFailure(stalled.reason, stalled.message, terminal=True, definite=definite)


def taken_over(server: VirtualServer) -> str | None:
    """The recorded provider id of a server that is this object's own; an observed one's is shown and not ours."""
    status = server.status
    return status.provider_id if server.spec.adopt is None or status.recorded_at is not None else None


def expected_offering(server: VirtualServer) -> str | None:
    """The offering that the server is to have: recorded, or an adopted one's own wish; None while none is known."""
    wish = server.spec.offering if server.spec.adopt is not None else None
    return wish or server.status.offering


def needs_configuration(server: VirtualServer) -> bool:
    """Whether there is anything to configure: an adopted server without a configuration is just kept."""
    return not server.spec.observes and (server.spec.adopt is None or server.spec.config_ref is not None)


@dataclass(frozen=True, slots=True)
class _Sight:
    """All that the conditions are made of; ``make`` makes one, of the object's generation and time."""

    server: VirtualServer
    facts: ServerFacts
    step: steps.Step
    seen: Seen | None
    view: ConfigurationView
    instantiated: bool
    lost: bool
    make: _Make


def server_status(
    server: VirtualServer,
    facts: ServerFacts,
    step: steps.Step,
    seen: Seen | None,
    configuration: ConfigurationView,
    now: datetime,
) -> VirtualServerStatus:
    """The whole status but for ``agent``; a recorded provider id is never dropped."""
    old, generation = server.status, server.metadata.generation

    def make(type_: str, status: bool, reason: str, message: str) -> Condition:
        return c.condition(type_, status, reason, message, now, generation)

    provider_id = old.provider_id
    recorded_at = old.recorded_at
    if isinstance(step, steps.Record):
        provider_id, recorded_at = step.provider_id, now.replace(microsecond=0)
    elif server.spec.observes and seen is not None:
        provider_id = seen.provider_id
    lost = True if isinstance(step, steps.DeclareLost) or old.lost else None
    instantiated = is_instantiated(server, facts.joined, seen)
    sight = _Sight(server, facts, step, seen, configuration, instantiated, bool(lost), make)
    conditions = c.replace(old.conditions, tuple(_conditions(sight)))
    return VirtualServerStatus(
        observed_generation=generation,
        conditions=conditions,
        provider_id=provider_id,
        recorded_at=recorded_at,
        offering=_offering(facts, seen),
        zone=_zone(old.zone, seen),
        addresses=_addresses(old.addresses, seen),
        state=seen.state.value if seen is not None else old.state,
        lost=lost,
        unhealthy_since=(old.unhealthy_since or now.replace(microsecond=0)) if is_unhealthy(conditions) else None,
        configuration=_configuration(old.configuration, configuration),
        dependents=configuration.dependents,
    )


def is_instantiated(server: VirtualServer, joined: bool, seen: Seen | None) -> bool:
    """Whether the service has reported the server running, or its agent has joined, at any time: latched."""
    if c.is_true(server.status.conditions, c.INSTANTIATED):
        return True
    return joined or (seen is not None and seen.state is SeenState.RUNNING)


def _offering(facts: ServerFacts, seen: Seen | None) -> str | None:
    """Recorded once: what a later sight shows instead is drift."""
    expected = facts.offering or (seen.offering if seen is not None else None)
    return expected if expected is not None and len(expected) <= MAX_NAME else None


def _zone(old: str | None, seen: Seen | None) -> str | None:
    """The last known: a service does not tell it of a server in every state."""
    return old if seen is None or not seen.zone or len(seen.zone) > MAX_NAME else seen.zone


def _addresses(old: tuple[Address, ...], seen: Seen | None) -> tuple[Address, ...]:
    if seen is None or not seen.addresses:
        return old
    return tuple(
        Address(type="External" if kind == "External" else "Internal", address=address)
        for kind, address in seen.addresses[:16]
    )


def _configuration(old: ConfigurationState | None, view: ConfigurationView) -> ConfigurationState | None:
    if not view.revision and not view.items:
        return old
    return ConfigurationState(revision=view.revision, controller_revision=view.controller_revision, items=view.items)


def _conditions(sight: _Sight) -> Iterable[Condition]:
    make, view, spec = sight.make, sight.view, sight.server.spec
    if sight.instantiated:
        yield make(c.INSTANTIATED, True, "Running", "the server runs")
    else:
        yield make(c.INSTANTIATED, False, *_progress(sight.facts, sight.step))
    drift = _drift(sight)
    if drift is not None:
        yield make(c.DRIFTED, True, *drift)
    if spec.observes:
        yield make(c.CONFIGURED, False, "Observed", "nothing is configured on a server that is only observed")
    elif sight.instantiated and not needs_configuration(sight.server):
        yield make(c.CONFIGURED, True, "NoConfiguration", "no configuration is asked for (configRef)")
    elif view.done and sight.instantiated:
        yield make(c.CONFIGURED, True, "Configured", "every required item is in force")
    elif sight.facts.deleting_since is not None:
        yield make(c.CONFIGURED, False, "Deleting", "nothing is delivered to a server that is being deleted")
    elif sight.instantiated:
        yield make(c.CONFIGURED, False, view.reason, view.message)
    else:
        yield make(c.CONFIGURED, False, "NotInstantiated", "the server does not run yet")
    yield from _summary(sight)


def _drift(sight: _Sight) -> tuple[str, str] | None:
    """Reason and message of what was changed behind our back; None where nothing was."""
    if sight.lost or isinstance(sight.step, steps.DeclareLost):
        return "Deleted", "the server was deleted behind our back"
    blind = isinstance(sight.step, steps.Wait) and sight.step.reason in _BLIND
    if blind and c.is_true(sight.server.status.conditions, c.DRIFTED):
        # What was known stays told while nobody can look.
        old = c.find(sight.server.status.conditions, c.DRIFTED)
        return None if old is None else (old.reason, old.message)
    return None if blind else told(sight.facts, find_drifts(sight.facts, latest_sight(sight.facts)))


def _summary(sight: _Sight) -> Iterable[Condition]:
    """Ready and, where they hold, Stalled or Reconciling: the same reason in each, as kstatus clients expect."""
    make = sight.make
    dead = _terminal(sight)
    if dead is not None:
        yield make(c.READY, False, *dead)
        yield make(c.STALLED, True, *dead)
        return
    ready, reason, message = _readiness(sight)
    yield make(c.READY, ready, reason, message)
    if not ready:
        yield make(c.RECONCILING, True, reason, message)


def _terminal(sight: _Sight) -> tuple[str, str] | None:
    facts = sight.facts
    if facts.deleting_since is not None:
        return None
    match sight.step:
        case steps.DeclareLost(message):
            return "Lost", message
        case steps.Fail(failure, _):
            return failure.reason, failure.message
        case _:
            pass
    if sight.lost:
        stalled = c.find(sight.server.status.conditions, c.STALLED)
        return "Lost", stalled.message if stalled is not None else "the server is gone"
    if facts.failed is not None:
        return facts.failed.reason, facts.failed.message
    return None


def _readiness(sight: _Sight) -> tuple[bool, str, str]:
    facts, step, seen, view = sight.facts, sight.step, sight.seen, sight.view
    if facts.deleting_since is not None:
        return False, *(_asked_again(sight) or _progress(facts, step))
    if isinstance(step, steps.Wait) and step.reason in _HALTED:
        return False, step.reason, step.message
    if not sight.instantiated:
        return False, *_progress(facts, step)
    if seen is not None and seen.state in STOPPED_STATES:
        return False, _stopped(seen.state), seen.message or f"the service reports it {seen.state.value}"
    old = c.find(sight.server.status.conditions, c.READY)
    if seen is None and old is not None and old.reason in {_stopped(state) for state in STOPPED_STATES}:
        # As after a start, until the first inventory: what its agent said before it was stopped is older.
        return False, old.reason, old.message
    if not needs_configuration(sight.server):
        return _readiness_as_seen(sight)
    if view.problem is not None:
        return False, *view.problem
    if not view.done:
        return False, view.reason, view.message
    agent = sight.server.status.agent
    failed = next((s for s in agent.steps if s.state == "Failed"), None) if agent is not None else None
    if failed is not None:
        return False, "StepFailed", f"step {failed.name} failed: {failed.message or f'exit code {failed.exit_code}'}"
    if agent is None or not agent.ready:
        return False, "ReadinessFailed", "the readiness probe does not succeed"
    return True, "Ready", "the server is configured and ready"


def _asked_again(sight: _Sight) -> tuple[str, str] | None:
    """What status says already, where a deletion is only repeated: nothing was learnt by that.

    One that is overdue stays so for a process that was just started, and has itself asked for it only now.
    """
    old, step = c.find(sight.server.status.conditions, c.READY), sight.step
    asks = isinstance(step, steps.Destroy)
    goes = isinstance(step, steps.Wait) and step.reason == "Deleting"
    if old is None:
        return None
    still = old.reason == DELETION_OVERDUE and (asks or goes)
    again = old.reason == "Deleting" and asks and sight.facts.deleted_at is not None
    return (old.reason, old.message) if still or again else None


def _readiness_as_seen(sight: _Sight) -> tuple[bool, str, str]:
    """Of a server without configuration of ours: it is ready while it runs."""
    facts, step, seen = sight.facts, sight.step, sight.seen
    if isinstance(step, steps.Record):
        return False, "Adopting", f"server {step.provider_id} was taken over a moment ago"
    old = c.find(sight.server.status.conditions, c.READY)
    if seen is None and old is not None:
        # As after a start, until the first inventory.
        return old.status == "True", old.reason, old.message
    if seen is None or seen.state not in {SeenState.RUNNING, SeenState.UNKNOWN}:
        return False, *_progress(facts, step)
    if facts.observes:
        return True, "Observed", "the server runs; it is only observed"
    return True, "Ready", "the server runs, and no configuration is asked for"


def _progress(facts: ServerFacts, step: steps.Step) -> tuple[str, str]:
    """What a server that is not there yet (or not gone yet) waits for."""
    service = facts.service.name if facts.service is not None else "the hosting service"
    match step:
        case steps.Wait(reason, message, _) | steps.AwaitInventory(_, reason, message):
            return reason, message
        case steps.Fail(failure, _):
            return failure.reason, failure.message
        case steps.Create() | steps.CreateAgain():
            return "Creating", f"{service} is being told to create the server"
        case steps.Claim(provider_id):
            return "Adopting", f"server {provider_id} of {service} is being taken over"
        case steps.Destroy() | steps.Release() | steps.Close() | steps.Revoke() | steps.DropFinalizer():
            return "Deleting", f"the server is being removed from {service}"
        case steps.Ask() if facts.deleting_since is not None:
            return "Deleting", f"{service} is deleting the server"
        case _ if facts.failed is not None:
            return facts.failed.reason, facts.failed.message
        case _ if facts.observes:
            return "NotRunning", f"the server does not run at {service}; it is only observed"
        case _:
            return "Booting", f"{service} has the server; waiting until it runs or its agent joins"


def is_unhealthy(conditions: Iterable[Condition]) -> bool:
    """Whether a server that was configured is not ready, or one that ran is stopped.

    Since when, no condition tells: one that is False for another reason before keeps the time of that.
    """
    found = tuple(conditions)
    ready = c.find(found, c.READY)
    if ready is None or ready.status == "True":
        return False
    if ready.reason in {_stopped(state) for state in STOPPED_STATES}:
        return True
    return c.is_true(found, c.CONFIGURED) and ready.reason in {"ReadinessFailed", "StepFailed"}


def _stopped(state: SeenState) -> str:
    return f"Server{state.value}"
