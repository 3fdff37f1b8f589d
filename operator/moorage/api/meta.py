"""What all kinds share: metadata, selectors, references and conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from moorage.api.base import Model, Name, Timestamp, listed, mapped, prose, text
from moorage.api.rules import Rule

LabelValue = Annotated[str, Field(max_length=63)]
LabelKey = Annotated[str, Field(min_length=1, max_length=317)]

_ATOMIC = ConfigDict(json_schema_extra={"x-kubernetes-map-type": "atomic"})
OPERATOR_RULE = Rule(
    "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0"
    " : !has(self.values) || size(self.values) == 0",
    "In and NotIn need values, Exists and DoesNotExist take none",
    "write values: [...] with In or NotIn, or leave values out",
)


class OwnerReference(Model):
    """An owner of an object."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(Model):
    """The part of an object's metadata that Moorage reads."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None

    @property
    def deleting(self) -> bool:
        """Whether a deletion was asked for."""
        return self.deletion_timestamp is not None


class LabelSelectorRequirement(Model):
    """One requirement on a label."""

    RULES = (OPERATOR_RULE,)

    key: LabelKey
    """The label's key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label's value relates to `values`."""
    values: tuple[LabelValue, ...] = listed(32)
    """The values; needed by `In` and `NotIn`, and not allowed with `Exists` and `DoesNotExist`."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` meets this requirement. As in Kubernetes, `NotIn` holds where the label is absent."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels


class LabelSelector(Model):
    """Selects by labels; an empty selector selects everything."""

    model_config = _ATOMIC

    match_labels: dict[LabelKey, LabelValue] = mapped(32)
    """Labels that must be there with exactly these values."""
    match_expressions: tuple[LabelSelectorRequirement, ...] = listed(32)
    """Requirements that must all hold."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` has every label and meets every requirement."""
        return all(labels.get(k) == v for k, v in self.match_labels.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )

    @property
    def query(self) -> str:
        """As the API server takes it, such as `tier in (a,b),!old`; empty where it selects everything."""
        return ",".join([f"{key}={value}" for key, value in sorted(self.match_labels.items())] + self._requirements())

    def _requirements(self) -> list[str]:
        spelled = {"In": "{0} in ({1})", "NotIn": "{0} notin ({1})", "Exists": "{0}", "DoesNotExist": "!{0}"}
        return [spelled[r.operator].format(r.key, ",".join(r.values)) for r in self.match_expressions]


class NameRef(Model):
    """A reference by name to an object of the same namespace (or a cluster-scoped one)."""

    model_config = _ATOMIC

    name: Name
    """The object's name."""


class SecretRef(Model):
    """A reference to a Secret."""

    model_config = _ATOMIC

    name: Name
    """The Secret's name."""


class KeyRef(Model):
    """A reference to one key of a Secret or a ConfigMap of the same namespace."""

    model_config = _ATOMIC

    name: Name
    """The name of the Secret or ConfigMap."""
    key: Annotated[
        str, text(253, r"^[-._a-zA-Z0-9]+$", "is not a key", "write letters, digits, -, _ and ., such as password")
    ]
    """The key within it."""


ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(Model):
    """One aspect of an object's state, after Kubernetes' API conventions."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """The aspect, in CamelCase."""
    status: ConditionStatus
    """Whether it holds."""
    reason: Annotated[str, prose(1024), Field(json_schema_extra={"maxLength": 1024})] = ""
    """Why, as one CamelCase word."""
    message: Annotated[str, prose(32768), Field(json_schema_extra={"maxLength": 32768})] = ""
    """Why, for people: what is waited for, of whom, since when."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    observed_generation: int | None = None
    """The generation of the spec that this is about."""
