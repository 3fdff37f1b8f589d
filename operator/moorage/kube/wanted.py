"""What is followed of others' objects, as whom, and what is said where that is not possible."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from moorage.kube.kinds import Kind
from moorage.kube.projection import Path

Obj = dict[str, Any]

MAX_OBJECTS: Final = 5000
"""Of one watch."""
MAX_ANSWER: Final = 2 * 1024 * 1024
"""Bytes of one page of a list, as it is sent: more than an object has. Once read, it may take twenty times as much."""
PAGE: Final = 100
"""Objects of one page; fewer, where so many are too large."""

ACCOUNT_NOT_FOUND: Final = "ServiceAccountNotFound"
MAY_NOT_IMPERSONATE: Final = "ImpersonationForbidden"
FORBIDDEN: Final = "ResourceForbidden"
KIND_NOT_FOUND: Final = "KindNotFound"
NOT_WATCHABLE: Final = "KindNotWatchable"
REFUSED: Final = "SecretsRefused"
WRONG_SCOPE: Final = "InvalidResource"
TOO_LARGE: Final = "ResourceTooLarge"
UNAVAILABLE: Final = "ResourceUnavailable"
TOO_MANY: Final = "TooManyWatches"

PLURAL_OF_SECRETS: Final = "secrets"
CONTROLLER = "moorage-controller"
IMPERSONATOR = "moorage-impersonator"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Objects of a kind, read as the ServiceAccount `account` of `namespace`.

    `where` is the namespace to look in (default: `namespace`), `name` the one object (default: all), `labels` a
    selector. Of each object only `paths` are kept.
    """

    namespace: str
    account: str
    api_version: str
    kind: str
    where: str = ""
    name: str = ""
    labels: str = ""
    paths: frozenset[Path] = frozenset({()})


@dataclass(frozen=True, slots=True)
class Found:
    """All objects that are wanted, by namespace and name. `revision` differs whenever they do."""

    objects: tuple[Obj, ...] = field(repr=False)
    revision: int


@dataclass(frozen=True, slots=True)
class Lacking:
    """Why nothing is known: one CamelCase word, and what to do, for people. Nothing of any object is in it."""

    reason: str
    message: str


class Lacks(Exception):
    """Following is not possible now."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason)
        self.lacking = Lacking(reason, message)


def scope(wanted: Wanted, kind: Kind) -> str | None:
    """The namespace to list; None for a cluster-scoped kind. Raises Lacks."""
    if kind.plural == PLURAL_OF_SECRETS:
        raise Lacks(REFUSED, "a condition never reads Secrets; let it read another object, such as a ConfigMap")
    if kind.namespaced:
        return wanted.where or wanted.namespace
    if wanted.where:
        raise Lacks(WRONG_SCOPE, f"{kind.kind} is cluster-scoped: leave `namespace` out")
    return None


def no_account(wanted: Wanted) -> Lacks:
    """The ServiceAccount does not exist."""
    who = f"{wanted.namespace}/{wanted.account}"
    remedy = f"kubectl create serviceaccount {wanted.account} -n {wanted.namespace}"
    return Lacks(
        ACCOUNT_NOT_FOUND, f"there is no ServiceAccount {who}; create it ({remedy}) and grant it what it reads"
    )


def no_impersonation(wanted: Wanted, controller: str) -> Lacks:
    """We may not act as ServiceAccounts of that namespace."""
    remedy = (
        f"kubectl create rolebinding {IMPERSONATOR} -n {wanted.namespace} --clusterrole={IMPERSONATOR}"
        f" --serviceaccount={controller}:{CONTROLLER}"
    )
    message = (
        f"the controller may not act as ServiceAccounts of namespace {wanted.namespace}; the platform team: {remedy}"
    )
    return Lacks(MAY_NOT_IMPERSONATE, message)


def no_kind(wanted: Wanted) -> Lacks:
    """The API server has no such kind (any more)."""
    message = (
        f"the API server has no kind {wanted.kind} in {wanted.api_version}; correct it, or install what defines it:"
        f" it is looked for again"
    )
    return Lacks(KIND_NOT_FOUND, message)


def not_watchable(wanted: Wanted) -> Lacks:
    """There is such a kind, but nothing to list or watch."""
    return Lacks(NOT_WATCHABLE, f"{wanted.kind} of {wanted.api_version} cannot be listed and watched; use another kind")


def forbidden(wanted: Wanted, kind: Kind, namespace: str | None, verb: str) -> Lacks:
    """The account may not read it: which rule it lacks, and the line that grants it."""
    who = f"{wanted.namespace}/{wanted.account}"
    one = f" {wanted.name}" if wanted.name else ""
    where = f"in namespace {namespace}" if namespace else "in the cluster"
    message = (
        f'ServiceAccount {who} may not {verb} {kind.plural}{one} (apiGroup "{kind.group}") {where};'
        f" grant it list and watch: {grant(wanted, kind, namespace)}"
    )
    return Lacks(FORBIDDEN, message)


def grant(wanted: Wanted, kind: Kind, namespace: str | None) -> str:
    """The line for a shell that grants what is lacking, and nothing more."""
    cluster, flag = ("", f" -n {namespace}") if namespace else ("cluster", "")
    resource = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
    only = f" --resource-name={wanted.name}" if wanted.name else ""
    role = f"{wanted.account}-reads-{kind.plural}"
    return (
        f"kubectl create {cluster}role {role}{flag} --verb=list,watch --resource={resource}{only}"
        f" && kubectl create {cluster}rolebinding {role}{flag} --{cluster}role={role}"
        f" --serviceaccount={wanted.namespace}:{wanted.account}"
    )


def too_large(what: str) -> Lacks:
    """More than is kept in memory for a condition."""
    return Lacks(TOO_LARGE, f"{what}; select fewer objects, by `selector` or `name`, or read fewer fields")
