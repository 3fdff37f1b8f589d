"""Evaluating a policy: readings for its status, and the verdict that each of its groups keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import MappingProxyType
from typing import Final

from moorage.api.hostingpolicy import (
    MAX_CONDITIONS,
    HostingPolicySpec,
    HostingPolicyStatus,
    PolicyCondition,
    Reading,
    ServiceSelection,
    Verdict,
    When,
)
from moorage.api.servergroup import PolicyState
from moorage.core.expressions import Services
from moorage.core.policy.data_age import within_age
from moorage.core.policy.faults import invalid, structural_faults
from moorage.core.policy.hysteresis import settle
from moorage.core.policy.own import is_own, shared_message
from moorage.core.policy.question import marked, question_of, remembered
from moorage.core.policy.readings import Observed, read
from moorage.core.policy.samples import Sample
from moorage.core.policy.verdict import Decided, decide, tree
from moorage.core.services import ServiceView
from moorage.core.timing import earliest

MESSAGE_LENGTH = 1024
SOON: Final = timedelta(seconds=1)
"""How soon it is looked whether all services were looked at, after a start."""
NO_SAMPLES: Final[Mapping[str, Sample]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """What a policy was found to be.

    ``readings`` goes to its status as it is; ``next_check`` is when a reading can change although no fact does (None:
    never), ``look_again`` when to look at the latest, because it is too far away to tell, or because what is known of a
    service becomes too old then unless it is asked before: no news, and so in no status. ``verdict`` is that of all
    readings together, ``message`` names the conditions that decide it. ``invalid`` holds the readings that only an edit
    of the policy can mend.
    """

    readings: tuple[Reading, ...]
    next_check: datetime | None
    look_again: datetime | None
    verdict: Verdict
    message: str
    invalid: tuple[Reading, ...]


def evaluate_policy(
    spec: HostingPolicySpec,
    services: Iterable[ServiceView],
    previous: HostingPolicyStatus,
    now: datetime,
    namespace_labels: Mapping[str, str],
    samples: Mapping[str, Sample] = NO_SAMPLES,
    *,
    uid: str = "",
    unread: datetime | None = None,
) -> PolicyResult:
    """Read every condition that groups share at ``now`` (aware) and apply hysteresis to what ``previous`` says.

    Expressions see those of ``services`` that the policy may choose: allowed in the namespace (of ``namespace_labels``)
    and selected by `select.services`. ``samples`` is what was learnt outside, by the condition's name; ``uid`` is
    the policy's. Until ``unread`` some of the services are still to be looked at by this process: what the one before
    saw last decides nothing, and it is looked again soon. Deterministic, and the order of ``services`` does not matter.
    """
    visible = selected_services(spec.select.services, namespace_services(services, namespace_labels))
    aged = within_age(visible if reads_services(spec.when) else (), spec.select.max_data_age, now)
    observed = Observed(now, Services(aged.services), samples, aged.problem, unread is not None, aged.left_out)
    before = {r.name: r for r in previous.readings}
    faults = structural_faults(spec.when)
    settled, raws = [], []
    for condition in _readable(spec.when):
        question = question_of(uid, condition)
        raw = faults.get(condition.name) or read(condition, observed)
        known = remembered(before.get(condition.name), question)
        raws.append(raw)
        settled.append(marked(settle(condition, raw, known, now), question))
    readings = tuple(s.reading for s in settled)
    by_name = {r.name: r for r in readings}
    decided = decide(tree(spec.when), by_name)
    soon = None if unread is None else min(unread, now + SOON)
    return PolicyResult(
        readings=readings,
        next_check=earliest(*(s.next_check for s in settled)),
        look_again=earliest(aged.crossing, soon, *(raw.look_again for raw in raws)),
        verdict=decided.verdict,
        message=shared_message(spec.when, by_name)[:MESSAGE_LENGTH],
        invalid=invalid(readings),
    )


def group_verdict(
    policy: str,
    when: When | None,
    readings: Iterable[Reading],
    previous: PolicyState | None,
    now: datetime,
    own: Iterable[Reading] = (),
) -> PolicyState:
    """What the policy says of one group, from the readings in the policy's status and the group's ``own``.

    ``when`` is None where the policy does not exist. ``since`` stays while the verdict of the same policy does.
    """
    own = tuple(own)
    if when is None:
        decided = Decided("Unknown", (), f"there is no HostingPolicy {policy!r}")
    else:
        decided = decide(tree(when), {r.name: r for r in (*readings, *own)})
    kept = previous is not None and previous.name == policy and previous.verdict == decided.verdict
    since = previous.since if kept and previous is not None else now.astimezone(UTC).replace(microsecond=0)
    message = decided.message[:MESSAGE_LENGTH]
    return PolicyState(name=policy, verdict=decided.verdict, since=since, message=message, readings=own)


def namespace_services(services: Iterable[ServiceView], namespace_labels: Mapping[str, str]) -> tuple[ServiceView, ...]:
    """The services on which a namespace with these labels may place servers."""
    return tuple(s for s in services if s.allowed_namespaces.matches(namespace_labels))


def selected_services(selection: ServiceSelection, services: Iterable[ServiceView]) -> tuple[ServiceView, ...]:
    """The services that `select.services` names and selects."""
    return tuple(
        s
        for s in services
        if (not selection.names or s.name in selection.names) and selection.selector.matches(s.labels)
    )


def _readable(when: When) -> Iterable[PolicyCondition]:
    """Of those that groups share one condition of each name, and no more than a status takes."""
    return islice({c.name: c for c in when.conditions if not is_own(c)}.values(), MAX_CONDITIONS)


def reads_services(when: When) -> bool:
    """Whether a condition is read from the hosting services."""
    return any(c.service is not None for c in when.conditions)
