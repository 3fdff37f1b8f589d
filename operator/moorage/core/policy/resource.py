"""The condition `resource`: what an expression over Kubernetes objects is, given what was seen of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from moorage.api.hostingpolicy import PolicyCondition
from moorage.api.resource import SECRET_KIND, ResourceExpression
from moorage.core.expressions import FAILED, ExpressionError
from moorage.core.policy.samples import Sample
from moorage.core.resource_expressions import (
    Objects,
    Variable,
    compile_resource,
    evaluate_resource,
)
from moorage.core.resource_expressions import ResourceExpression as Compiled

NOT_FOUND: Final = "ResourceNotFound"
NO_ACCOUNT: Final = "ServiceAccountMissing"
SECRETS_REFUSED: Final = "SecretsRefused"
INVALID_RESOURCE: Final = "InvalidResource"
INVALID_RESOURCES: Final = frozenset({NO_ACCOUNT, SECRETS_REFUSED, INVALID_RESOURCE})
"""Reasons that only an edit of the policy can end."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """Why nothing is known of the objects."""

    reason: str
    message: str


def variable_of(spec: ResourceExpression) -> Variable:
    """The variable that the expression has: one object where it names one, a list otherwise."""
    return "objects" if spec.name is None else "object"


def refusal(spec: ResourceExpression, account: str | None) -> Unseen | Compiled:
    """The compiled expression, or why nothing is to be read for it: what only an edit of the policy can mend."""
    if spec.kind == SECRET_KIND:
        return Unseen(
            SECRETS_REFUSED, "a condition never reads Secrets; let it read another object, such as a ConfigMap"
        )
    if spec.name is not None and spec.selector.query:
        return Unseen(INVALID_RESOURCE, "`name` and `selector` exclude each other; leave one of them out")
    if not account:
        return Unseen(NO_ACCOUNT, "write spec.serviceAccountName: the objects are read as that ServiceAccount")
    try:
        return compile_resource(spec.expression, variable_of(spec))
    except ExpressionError as error:
        return Unseen(error.reason, error.message)


def sample(spec: ResourceExpression, compiled: Compiled, seen: Objects | Unseen, now: datetime) -> Sample:
    """What the condition is, at ``now``. Never raises, and tells nothing of the objects but whether it holds."""
    if isinstance(seen, Unseen):
        return Sample(None, seen.reason, seen.message, now)
    try:
        holds = evaluate_resource(compiled, seen)
    except ExpressionError as error:
        if error.reason == FAILED and seen.variable == "object" and not seen.count:
            return Sample(None, NOT_FOUND, absent(spec), now)
        return Sample(None, error.reason, error.message, now)
    if holds:
        return Sample(True, "ExpressionTrue", "the expression is true", now)
    return Sample(False, "ExpressionFalse", "the expression is false", now)


def absent(spec: ResourceExpression) -> str:
    """What is said where the one object is not there and the expression cannot do without it."""
    where = f" in namespace {spec.namespace}" if spec.namespace else ""
    return f"there is no {spec.kind} {spec.name}{where}; to count that as unmet, begin with object != null && ..."


def resource_conditions(conditions: tuple[PolicyCondition, ...]) -> dict[str, ResourceExpression]:
    """The conditions of this kind, by their names."""
    return {c.name: c.resource for c in conditions if c.resource is not None}
