"""The part of a HostingPolicy that says which hosting service is chosen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from moorage.api.base import Label, Model, Name, listed, number
from moorage.api.meta import LabelKey, LabelSelector, LabelValue
from moorage.api.quantities import QUANTITY_PATTERN, Interval
from moorage.api.rules import Rule, rules, unique

Preferred = Literal["Price", "Capacity", "Spread", "ZoneSpread", "Latency", "BootTime", "FailureRate", "Expression"]
SpotUse = Literal["Never", "Allow", "Prefer"]
ExpressionText = Annotated[str, Field(min_length=1, max_length=4096)]

_NUMBERS = "['cpu', 'memory', 'price']"
_WORDS = "['region', 'type', 'arch', 'offering', 'image']"


class ServiceSelection(Model):
    """Which services; both parts must hold."""

    names: tuple[Name, ...] = listed(100)
    """Only services of these names. Default: all."""
    selector: LabelSelector = LabelSelector()
    """Only services with these labels in their `spec.labels` (not those of their metadata). Default: all."""


class Requirement(Model):
    """What a service must be."""

    RULES = (
        Rule(
            "self.operator in ['Exists', 'DoesNotExist'] ? !has(self.values) || size(self.values) == 0"
            " : has(self.values) && size(self.values) > 0",
            "In, NotIn, Gt and Lt need values, Exists and DoesNotExist take none",
            "write values: [...], or leave values out",
        ),
        Rule(
            "!(self.operator in ['Gt', 'Lt']) || !has(self.values) || (size(self.values) == 1"
            f" && self.values[0].matches(r'{QUANTITY_PATTERN}'))",
            "Gt and Lt compare with one number",
            "write one number with or without a unit, such as values: ['4'] or values: [8Gi]",
        ),
        Rule(
            f"!(self.key in {_NUMBERS}) || self.operator in ['Gt', 'Lt']",
            "cpu, memory and price of an offering are numbers",
            "write operator: Gt or Lt, such as {key: cpu, operator: Gt, values: ['3']}",
        ),
        Rule(
            f"!(self.key in {_WORDS}) || !(self.operator in ['Gt', 'Lt'])",
            "this is no number",
            "write operator: In, NotIn, Exists or DoesNotExist",
        ),
        Rule(
            "self.key != 'image' || self.operator == 'Exists'",
            "image can only be required to exist",
            "write {key: image, operator: Exists}",
        ),
    )

    key: LabelKey
    """`region`, `type`; `arch`, `offering`, `cpu`, `memory`, `price` of an offering; `image`; or a label of the service
    such as jurisdiction."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the value relates to `values`. Gt and Lt: greater and less than the one number there."""
    values: tuple[LabelValue, ...] = listed(32)
    """The values; needed by `In`, `NotIn`, `Gt` and `Lt`, and not allowed with `Exists` and `DoesNotExist`."""


class ServiceRequirement(Model):
    """An expression that must be true of a service."""

    name: Label
    """Its name, by which a service is said to be rejected."""
    expression: ExpressionText
    """A CEL expression over `service`, such as service.capacity.used < 100."""


class Preference(Model):
    """One view by which services are ranked."""

    RULES = (
        Rule(
            "has(self.expression) == (self.by == 'Expression')",
            "by: Expression needs an expression, and no other view takes one",
            "write {by: Expression, expression: ...}, or leave expression out",
        ),
        Rule(
            "(has(self.values) && size(self.values) > 0) == (self.by == 'Latency')",
            "by: Latency needs values, and no other view takes any",
            "write {by: Latency, values: [...]} with the best value first, or leave values out",
        ),
        Rule(
            "!has(self.label) || self.by in ['Latency', 'ZoneSpread']",
            "only Latency and ZoneSpread look at a label",
            "write by: Latency or by: ZoneSpread, or leave label out",
        ),
    )

    weight: Annotated[int, number(0, 100, "is not a weight", "write a whole number from 0 to 100")] = 100
    """How much it counts, 0 to 100, relative to the others."""
    by: Preferred
    """Price: the cheaper, the better; Capacity: the more room; Spread: the fewer servers of other groups there;
    ZoneSpread: the fewer of them in its zone; Latency: the nearer to the front of `values` its zone is; BootTime and
    FailureRate: the faster and the more often servers came into being there within the last day; Expression: the
    greater its result."""
    label: LabelKey | None = None
    """With Latency and ZoneSpread: the label that holds the zone. Default: zone."""
    values: tuple[LabelValue, ...] = listed(32)
    """With Latency: the wanted values of the label, the best one first."""
    expression: ExpressionText | None = None
    """With Expression: a CEL expression over `service` that gives a number, not negative."""


class Select(Model):
    """Which of the services is chosen."""

    services: ServiceSelection = ServiceSelection()
    """The services that may be chosen. Default: all that allow the namespace."""
    requirements: tuple[Requirement, ...] = listed(32)
    """What a service must be; all must hold."""
    expressions: tuple[ServiceRequirement, ...] = listed(
        8, key="name", **unique("name", "expressions", "write a name of its own for each expression")
    )
    """Expressions over a service; all must be true."""
    preferences: Annotated[
        tuple[Preference, ...],
        Field(
            max_length=8,
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
                        "write each view once",
                    ),
                ),
            },
        ),
    ] = (Preference(weight=100, by="Price"),)
    """By what the services that are left are ranked. Default: by price alone."""
    stickiness: Annotated[int, number(0, 100, "is not a weight", "write a whole number from 0 to 100")] = 0
    """How much it counts, beside the preferences, that the group was on a service before. A placed group never moves
    because of it."""
    spot: SpotUse = "Never"
    """Whether servers may be made from what the service may take back at any time. Never: only where the configuration
    itself asks for it; Allow: where that is cheaper; Prefer: wherever there is any; where there is no room for it, what
    is not taken back is used."""
    max_data_age: Interval | None = None
    """How old what is known of a service's offerings and prices may be. Default: any age."""
