"""HostingPolicy: when servers may be made, and on which hosting service."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from moorage.api.base import Label, Model, Name, Text, Timestamp, listed, number, text
from moorage.api.failover import Failover
from moorage.api.meta import OPERATOR_RULE, Condition, LabelKey, LabelSelector, LabelValue, ObjectMeta
from moorage.api.quantities import Duration, Interval, parse_duration
from moorage.api.rules import Rule, exactly_one, rules, unique

Verdict = Literal["Met", "Unmet", "Unknown"]
Preferred = Literal["Price", "Capacity", "Spread"]
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


class PolicyCondition(Model):
    """One condition of a policy; exactly one of `schedule` and `service`."""

    RULES = (exactly_one(("schedule", "service"), "write schedule: {...} or service: {...}", "a condition"),)

    name: Label
    """Its name."""
    schedule: Schedule | None = None
    """Holds at certain times."""
    service: ServiceExpression | None = None
    """Holds when an expression over the hosting services is true."""
    for_: Duration = parse_duration("0s")
    """How long it must have been true before it counts as met."""
    hold_for: Duration = parse_duration("0s")
    """How long it counts as met after it was last true."""


_UNIQUE = unique("name", "conditions", "write a name of its own for each condition")


class When(Model):
    """The conditions; at least one. All of `all` and, where there are some, one of `any` must be met."""

    RULES = (
        Rule(
            "(has(self.all) && size(self.all) > 0) || (has(self.any) && size(self.any) > 0)",
            "a policy needs at least one condition",
            "write all: [...] or any: [...] with a condition, such as {name: always, schedule: {from: ...}}",
        ),
        Rule(
            "!has(self.all) || !has(self.any) || self.all.all(x, !self.any.exists(y, y.name == x.name))",
            "a condition of all and one of any have one name",
            "write a name of its own for each condition",
        ),
    )

    all: tuple[PolicyCondition, ...] = listed(16, key="name", **_UNIQUE)
    """Conditions that must all be met."""
    any: tuple[PolicyCondition, ...] = listed(16, key="name", **_UNIQUE)
    """Conditions of which one must be met."""

    @property
    def conditions(self) -> tuple[PolicyCondition, ...]:
        """Those of `all`, then those of `any`."""
        return self.all + self.any


class ServiceSelection(Model):
    """Which services; both parts must hold."""

    names: tuple[Name, ...] = listed(100)
    """Only services of these names. Default: all."""
    selector: LabelSelector = LabelSelector()
    """Only services with these labels. Default: all."""


class Requirement(Model):
    """What a service must be."""

    RULES = (OPERATOR_RULE,)

    key: LabelKey
    """`region`, `type`, `arch`, or a label of the service such as jurisdiction."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the value relates to `values`."""
    values: tuple[LabelValue, ...] = listed(32)
    """The values; needed by `In` and `NotIn`, and not allowed with `Exists` and `DoesNotExist`."""


class Preference(Model):
    """One view by which services are ranked."""

    weight: Annotated[int, number(0, 100, "is not a weight", "write a whole number from 0 to 100")] = 100
    """How much it counts, 0 to 100, relative to the others."""
    by: Preferred
    """Price: the cheaper, the better; Capacity: the more room; Spread: the fewer servers of other groups there."""


class Select(Model):
    """Which of the services is chosen."""

    services: ServiceSelection = ServiceSelection()
    """The services that may be chosen. Default: all that allow the namespace."""
    requirements: tuple[Requirement, ...] = listed(32)
    """What a service must be; all must hold."""
    preferences: Annotated[
        tuple[Preference, ...],
        Field(
            max_length=3,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["by"],
                **rules(
                    Rule(
                        "self.exists(p, p.weight > 0)",
                        "no preference has a weight",
                        "write a weight above 0 for at least one, such as {by: Price, weight: 100}",
                    ),
                    Rule(
                        "self.all(x, self.exists_one(y, y.by == x.by))",
                        "two preferences are by the same view",
                        "write each of Price, Capacity and Spread once",
                    ),
                ),
            },
        ),
    ] = (Preference(weight=100, by="Price"),)
    """By what the services that are left are ranked. Default: by price alone."""


class HostingPolicySpec(Model):
    """When servers may be made, and on which hosting service."""

    when: When
    """The conditions under which servers are made."""
    select: Select = Select()
    """Which service is chosen."""
    failover: Failover | None = None
    """When a placed group leaves its service for another one. Default: never."""
    when_unmet: Literal["Keep", "Release"] = "Keep"
    """What happens to placed groups when the policy is no longer met: their servers stay, or are given back."""


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
    """With `for` or `holdFor`: since when the condition itself has been true, while it is."""
    last_true: Timestamp | None = None
    """With `for` or `holdFor`: when the condition itself was last true, while it is not."""


class HostingPolicyStatus(Model):
    """What the policy's conditions were found to be."""

    observed_generation: int = -1
    """The generation that was last worked on; -1: none yet."""
    conditions: tuple[Condition, ...] = listed(16, key="type")
    """Ready and, while true, Reconciling and Stalled."""
    readings: tuple[Reading, ...] = listed(32)
    """One for each condition of `when`."""
    next_check_time: Timestamp | None = None
    """When a condition can next change by itself."""


class HostingPolicy(Model):
    """When servers may be made, and on which hosting service; ServerGroups refer to it."""

    KIND: ClassVar[str] = "HostingPolicy"
    PLURAL: ClassVar[str] = "hostingpolicies"

    metadata: ObjectMeta
    spec: HostingPolicySpec
    status: HostingPolicyStatus = HostingPolicyStatus()
