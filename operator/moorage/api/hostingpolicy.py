"""HostingPolicy: when servers may be made, and on which hosting service."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from moorage.api.base import Label, Model, Name, Text, Timestamp, listed, text
from moorage.api.failover import Failover
from moorage.api.groupconditions import ApprovalCondition, VoteCondition
from moorage.api.meta import Condition, ObjectMeta
from moorage.api.probes import MetricQuery, Webhook
from moorage.api.quantities import Duration, Interval, parse_duration
from moorage.api.resource import ResourceExpression
from moorage.api.rules import REPEATED, Rule, exactly_one, spoken, unique
from moorage.api.selection import Preference as Preference
from moorage.api.selection import Requirement as Requirement
from moorage.api.selection import Select as Select
from moorage.api.selection import ServiceSelection as ServiceSelection

Verdict = Literal["Met", "Unmet", "Unknown"]
CRON_PATTERN = r"^\s*[0-9A-Za-z*/,#-]+(\s+[0-9A-Za-z*/,#-]+){4}\s*$"


class Schedule(Model):
    """A time; either `cron` with `duration`, or `from`, `until` or both."""

    RULES = (
        Rule(
            "has(self.cron) && has(self.duration) ? !has(self.from) && !has(self.until)"
            " : !has(self.cron) && !has(self.duration) && (has(self.from) || has(self.until))",
            "a schedule is either cron with duration, or from, until or both",
            'write cron: "0 8 * * *" and duration: 10h, or from: and until: with two instants',
        ),
        Rule(
            "!has(self.from) || !has(self.until) || self.from < self.until",
            "the schedule ends before it begins",
            "write an until that is later than from",
            ".until",
        ),
    )

    cron: (
        Annotated[
            str,
            text(
                128,
                CRON_PATTERN,
                "is not a cron line of five fields",
                'write minute, hour, day of month, month and day of week, such as "0 8 * * 1-5"',
            ),
        ]
        | None
    ) = None
    """When it starts: minute, hour, day of month, month, day of week."""
    duration: Interval | None = None
    """How long it holds from each start."""
    from_: Timestamp | None = None
    """The instant from which it holds."""
    until: Timestamp | None = None
    """The instant at which it ends. Default: never."""
    time_zone: Annotated[
        str,
        text(64, r"^[A-Za-z][A-Za-z0-9_+/-]*$", "is not a time zone", "write a name such as Europe/Zurich or UTC"),
    ] = "UTC"
    """The time zone of `cron`, such as Europe/Zurich."""


class ServiceExpression(Model):
    """A fact about the hosting services."""

    expression: Annotated[str, Field(min_length=1, max_length=4096)]
    """A CEL expression over `services`, such as services.exists(s, s.available && s.minPrice < 0.05)."""


KINDS_OF_CONDITION = ("schedule", "service", "metric", "resource", "webhook", "approval", "vote")
MAX_CONDITIONS = 32
"""Conditions of one policy, over all levels."""

_UNHELD = Rule(
    "!has(self.approval) || !has(self.holdFor) || self.holdFor == '0s'",
    "an approval cannot be held longer than it was given for",
    "write no holdFor beside approval; moorage approve --until says how long it counts",
    ".holdFor",
)


class Clause(Model):
    """What a condition can be made of."""

    name: Label | None = None
    """The condition's name, which no other condition of the policy has."""
    schedule: Schedule | None = None
    """Holds at certain times."""
    service: ServiceExpression | None = None
    """Holds when an expression over the hosting services is true."""
    metric: MetricQuery | None = None
    """Holds when the answer of a query to a Prometheus compares as told."""
    resource: ResourceExpression | None = None
    """Holds when an expression over Kubernetes objects is true; they are read as the policy's `serviceAccountName`."""
    webhook: Webhook | None = None
    """Holds when an HTTPS endpoint says so."""
    approval: ApprovalCondition | None = None
    """Holds while a person has approved the group. Decided for each group."""
    vote: VoteCondition | None = None
    """Holds while enough of the group's own servers say so. Decided for each group."""
    for_: Duration | None = None
    """How long it must have been true before it counts as met. Default: 0s."""
    hold_for: Duration | None = None
    """How long it counts as met after it was last true. Default: 0s."""

    @property
    def condition(self) -> PolicyCondition | None:
        """The condition that this is; None for a combination."""
        if self.name is None:
            return None
        given = {name: getattr(self, name) for name in Clause.model_fields}
        delays = {name: given[name] or parse_duration("0s") for name in ("for_", "hold_for")}
        return PolicyCondition.model_construct(None, **{**given, **delays})


class PolicyCondition(Clause):
    """One condition of a policy."""

    RULES = (exactly_one(KINDS_OF_CONDITION, "write one of them, such as schedule: {...}", "a condition"), _UNHELD)

    name: Label
    """The condition's name, which no other condition of the policy has."""
    for_: Duration = parse_duration("0s")
    """How long it must have been true before it counts as met."""
    hold_for: Duration = parse_duration("0s")
    """How long it counts as met after it was last true."""


def _combining(what: str, *combinations: str) -> tuple[Rule, ...]:
    """What is a condition has a name, what is a combination has none."""
    combines = " || ".join(f"has(self.{name})" for name in combinations)
    return (
        exactly_one((*KINDS_OF_CONDITION, *combinations), "write one of them, such as schedule: {...}", what),
        Rule(
            f"({combines}) ? !has(self.name) && !has(self.__for__) && !has(self.holdFor) : has(self.name)",
            f"{what} has a name where it is a condition, and no name, for or holdFor beside {spoken(combinations)}",
            "write name, for and holdFor beside the condition itself",
        ),
        _UNHELD,
    )


_REPEATED: dict[str, Any] = {REPEATED: True}
_UNIQUE = unique("name", "conditions", "write a name of its own for each condition", optional=True)


class Part(Clause):
    """A part of a nested `all` or `any`: a condition, or the opposite of one."""

    RULES = _combining("each part of a nested all or any", "not")

    not_: Annotated[PolicyCondition, Field(json_schema_extra=_REPEATED)] | None = None
    """Met when this condition is unmet, and unmet when it is met. Unknown stays unknown."""


class Entry(Clause):
    """An entry of `when`: a condition, or a combination of some."""

    RULES = (
        *_combining("each entry of all and any", "not", "all", "any"),
        Rule(
            "(!has(self.all) || size(self.all) > 0) && (!has(self.any) || size(self.any) > 0)",
            "a nested all or any is empty",
            "write a condition into it",
        ),
    )

    not_: Annotated[PolicyCondition, Field(json_schema_extra=_REPEATED)] | None = None
    """Met when this condition is unmet, and unmet when it is met. Unknown stays unknown."""
    all: tuple[Part, ...] = listed(8, **_UNIQUE, **_REPEATED)
    """Met when every part is: conditions, or the opposite of one (`not`)."""
    any: tuple[Part, ...] = listed(8, **_UNIQUE, **_REPEATED)
    """Met when one part is: conditions, or the opposite of one (`not`)."""


class When(Model):
    """The conditions; at least one. All of `all` and, where there are some, one of `any` must be met."""

    RULES = (
        Rule(
            "(has(self.all) && size(self.all) > 0) || (has(self.any) && size(self.any) > 0)",
            "a policy needs at least one condition",
            "write all: [...] or any: [...] with a condition, such as {name: always, schedule: {from: ...}}",
        ),
        Rule(
            "!has(self.all) || !has(self.any)"
            " || self.all.all(x, !has(x.name) || !self.any.exists(y, has(y.name) && y.name == x.name))",
            "a condition of all and one of any have one name",
            "write a name of its own for each condition",
        ),
    )

    all: tuple[Entry, ...] = listed(16, **_UNIQUE)
    """What must be met, every entry. At most 32 conditions in the whole of `when`."""
    any: tuple[Entry, ...] = listed(16, **_UNIQUE)
    """What one entry of must be met. At most 32 conditions in the whole of `when`."""

    @cached_property
    def conditions(self) -> tuple[PolicyCondition, ...]:
        """Those of `all`, then those of `any`, in the order in which they are written."""
        return tuple(found for entry in (*self.all, *self.any) for found in _conditions(entry))


def _conditions(clause: Clause) -> Iterator[PolicyCondition]:
    """The conditions within a clause, in order."""
    if isinstance(clause, Entry | Part) and clause.not_ is not None:
        yield clause.not_
    elif isinstance(clause, Entry) and (clause.all or clause.any):
        for part in (*clause.all, *clause.any):
            yield from _conditions(part)
    elif clause.condition is not None:
        yield clause.condition


def _reads_objects() -> str:
    """The expression that a condition of kind resource is somewhere in the policy."""
    part = "has(p.resource) || (has(p.not) && has(p.not.resource))"
    nested = " || ".join(f"(has(e.{name}) && e.{name}.exists(p, {part}))" for name in ("all", "any"))
    entry = f"has(e.resource) || (has(e.not) && has(e.not.resource)) || {nested}"
    return " || ".join(f"(has(self.when.{name}) && self.when.{name}.exists(e, {entry}))" for name in ("all", "any"))


class HostingPolicySpec(Model):
    """When servers may be made, and on which hosting service."""

    RULES = (
        Rule(
            f"has(self.serviceAccountName) || !({_reads_objects()})",
            "a condition of kind resource needs an account to read as",
            "write spec.serviceAccountName with a ServiceAccount of this namespace",
        ),
    )

    when: When
    """The conditions under which servers are made."""
    select: Select = Select()
    """Which service is chosen."""
    failover: Failover | None = None
    """When a placed group leaves its service for another one. Default: never."""
    when_unmet: Literal["Keep", "Release"] = "Keep"
    """What happens to placed groups when the policy is no longer met: their servers stay, or are given back."""
    service_account_name: Name | None = None
    """The ServiceAccount of the policy's namespace as which its `resource` conditions read. Who sets it, or edits a
    policy that has it, needs the right to impersonate that account."""


class Reading(Model):
    """What a condition was found to be."""

    name: Label
    """The condition's name."""
    value: Verdict
    """Met, Unmet, or Unknown, which decides nothing."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """Why, as one CamelCase word."""
    message: Text = ""
    """Why, for people."""
    since: Timestamp
    """Since when it has this value."""
    true_since: Timestamp | None = None
    """With `for` or `holdFor`: since when the condition itself has been true, while it is, or was when last known."""
    last_true: Timestamp | None = None
    """With `for` or `holdFor`: when the condition itself was last true, while it is not."""
    question: Annotated[str, Field(max_length=32)] | None = None
    """A digest of what was asked, in which `for` and `holdFor` do not count. Another question has no memory."""


class HostingPolicyStatus(Model):
    """What the policy's conditions were found to be."""

    observed_generation: int = -1
    """The generation that was last worked on; -1: none yet."""
    conditions: tuple[Condition, ...] = listed(16, key="type")
    """Ready and, while true, Reconciling and Stalled."""
    readings: tuple[Reading, ...] = listed(MAX_CONDITIONS)
    """One for each condition of `when` that its groups share; the others stand in each group's `status.policy`."""
    next_check_time: Timestamp | None = None
    """When a condition can next change by itself."""


class HostingPolicy(Model):
    """When servers may be made, and on which hosting service; ServerGroups refer to it."""

    KIND: ClassVar[str] = "HostingPolicy"
    PLURAL: ClassVar[str] = "hostingpolicies"

    metadata: ObjectMeta
    spec: HostingPolicySpec
    status: HostingPolicyStatus = HostingPolicyStatus()
