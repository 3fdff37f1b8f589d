"""Whether a service may and can take a group at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from moorage.api.quantities import format_duration
from moorage.api.selection import Select
from moorage.core.expressions import Expression, ExpressionError
from moorage.core.placement.expression import Seen
from moorage.core.placement.reasons import Reason, Rejection
from moorage.core.placement.requirements import explain_unmet, meets
from moorage.core.services import ServiceView


class Filter:
    """What a policy asks of a service, its expressions apart."""

    def __init__(
        self,
        select: Select,
        namespace: str,
        labels: Mapping[str, str],
        now: datetime | None,
    ) -> None:
        self._select = select
        self._namespace = namespace
        self._labels = labels
        self._now = now

    def reject(self, service: ServiceView) -> Rejection | None:
        """The first reason for which ``service`` may not take any group of this policy, or None."""
        select = self._select
        if not service.allowed_namespaces.matches(self._labels):
            return Rejection(Reason.NOT_ALLOWED, f"the service does not allow the namespace {self._namespace!r}")
        if select.services.names and service.name not in select.services.names:
            return Rejection(Reason.NOT_SELECTED, "it is not among select.services.names")
        if not select.services.selector.matches(service.labels):
            return Rejection(Reason.NOT_SELECTED, "its spec.labels do not match select.services.selector")
        unmet = next((r for r in select.requirements if not meets(r, service)), None)
        if unmet is not None:
            return Rejection(Reason.REQUIREMENT, explain_unmet(unmet, service), unmet.key)
        if not service.usable:
            detail = ": ".join(part for part in service.why_not if part) or "not available"
            return Rejection(Reason.NOT_AVAILABLE, detail)
        return self._too_old(service)

    def _too_old(self, service: ServiceView) -> Rejection | None:
        """No choice rests on data older than the policy allows; of what age data is must be known then."""
        allowed = self._select.max_data_age
        if allowed is None:
            return None
        limit = f"they may be at most {format_duration(allowed)} old"
        if self._now is None or service.data_at is None:
            undated = ", ".join(s.name for s in service.sources if s.at is None) or "no source"
            return Rejection(Reason.DATA_TOO_OLD, f"how old its offerings are is not known ({undated}); {limit}")
        if not service.is_older(allowed, self._now):
            return None
        # Of when, not how old: the age is another one each minute, and would be written each time.
        return Rejection(Reason.DATA_TOO_OLD, f"its offerings are of {service.data_at:%Y-%m-%dT%H:%M:%SZ}; {limit}")


class Expressions:
    """The expressions that must be true, prepared for the services that are left."""

    def __init__(self, select: Select, seen: Seen) -> None:
        self._seen = seen
        self._expressions: Sequence[tuple[str, Expression | ExpressionError]] = [
            (e.name, seen.prepare(e.expression, "bool")) for e in select.expressions
        ]

    def reject(self, service: ServiceView) -> Rejection | None:
        """The first expression that is not true of ``service``, or None."""
        for name, expression in self._expressions:
            if isinstance(expression, ExpressionError):
                return Rejection(Reason.EXPRESSION, expression.message, name)
            try:
                holds = self._seen.holds(expression, service)
            except ExpressionError as error:
                return Rejection(Reason.EXPRESSION, error.message, name)
            if not holds:
                return Rejection(Reason.REQUIREMENT, "the expression is false", name)
        return None


def age_text(age: timedelta) -> str:
    """Whole seconds below a minute, then whole minutes; what lies in the future is 0s old."""
    seconds = max(0, int(age.total_seconds()))
    return format_duration(timedelta(seconds=seconds if seconds < 60 else seconds - seconds % 60))


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
