"""Whether a service may and can take a group at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moorage.api.hostingpolicy import Requirement, Select
from moorage.core.placement.member import arch_matches
from moorage.core.placement.reasons import Reason, Rejection
from moorage.core.services import ServiceView


def reject(select: Select, namespace: str, labels: Mapping[str, str], service: ServiceView) -> Rejection | None:
    """The first reason for which ``service`` may not take any group of this policy, or None."""
    if not service.allowed_namespaces.matches(labels):
        return Rejection(Reason.NOT_ALLOWED, f"the service does not allow the namespace {namespace!r}")
    if select.services.names and service.name not in select.services.names:
        return Rejection(Reason.NOT_SELECTED, "it is not among select.services.names")
    if not select.services.selector.matches(service.labels):
        return Rejection(Reason.NOT_SELECTED, "its labels do not match select.services.selector")
    unmet = next((r for r in select.requirements if not _meets(r, service)), None)
    if unmet is not None:
        return Rejection(Reason.REQUIREMENT, _explain(unmet, service), unmet.key)
    if not service.usable:
        reason, message = service.why_not
        return Rejection(Reason.NOT_AVAILABLE, ": ".join(part for part in (reason, message) if part) or "not available")
    return None


def cannot_retain(service: ServiceView) -> Rejection | None:
    """The reason for which no server can be retained there, or None."""
    if service.retags:
        return None
    return Rejection(Reason.NO_RETENTION, "its servers' tags cannot be rewritten, which deletionPolicy: Retain needs")


def lacks_room(service: ServiceView, needed: int) -> Rejection | None:
    """The reason for which ``needed`` more servers do not fit, or None. A service that tells no bound has room."""
    if service.room is None or needed <= service.room:
        return None
    return Rejection(Reason.NO_CAPACITY, f"needs {needed}, has {service.room}")


def _values(key: str, service: ServiceView) -> Sequence[str]:
    """The service's values under a requirement's key: none, one, or (for arch) several."""
    match key:
        case "region":
            return (service.region,) if service.region else ()
        case "type":
            return (service.type,)
        case "arch":
            return tuple(sorted({o.arch for o in service.offerings}))
        case _:
            return (service.labels[key],) if key in service.labels else ()


def _meets(requirement: Requirement, service: ServiceView) -> bool:
    values = _values(requirement.key, service)
    if requirement.key == "arch" and values:
        return any(arch_matches(requirement, value) for value in values)
    match requirement.operator:
        case "In":
            return any(value in requirement.values for value in values)
        case "NotIn":
            return all(value not in requirement.values for value in values)
        case "Exists":
            return bool(values)
        case "DoesNotExist":
            return not values


def _explain(requirement: Requirement, service: ServiceView) -> str:
    wanted = f" [{', '.join(requirement.values)}]" if requirement.values else ""
    values = _values(requirement.key, service)
    has = f"is {', '.join(values)}" if values else "is not set"
    return f"{requirement.key} {has}, must be {requirement.operator}{wanted}"
