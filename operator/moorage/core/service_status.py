"""What a HostingService's status says, from what was seen of the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from moorage.api import conditions as c
from moorage.api.catalogue import Catalogue
from moorage.api.hostingservice import (
    Account,
    Circuit,
    CircuitState,
    HostingService,
    HostingServiceStatus,
    LastError,
    Orphan,
    Outcome,
    ServiceCapacity,
)
from moorage.api.meta import Condition
from moorage.core.outcomes import measured, merged
from moorage.core.pricing import Told, in_force
from moorage.core.services import NOT_SEEN_YET

MAX_ORPHANS = 20
MAX_LISTED = 200

UNREACHABLE = frozenset({"CircuitOpen", "Unavailable", "TimedOut"})
"""The reasons of a service that gives no usable answers. Any other one is an answer, or not known."""


@dataclass(frozen=True, slots=True)
class ServiceSight:
    """What is known of a service. ``invalid``: only a change of its spec can mend the problem.

    ``released`` and ``orphans`` are None where this process has not seen, or not judged, what there is.
    ``overdue``: no complete inventory has come for long, as a reason and a sentence.
    """

    problem: tuple[str, str] | None = None
    invalid: bool = False
    account: str | None = None
    foreign_account: str | None = None
    frozen: str = ""
    told: Told = field(default_factory=Told)
    catalogue: Catalogue | None = None
    catalogue_problem: tuple[str, str] | None = None
    images: tuple[str, ...] | None = None
    abilities: tuple[str, ...] | None = None
    limit: int | None = None
    used: int | None = None
    circuit: CircuitState = "Closed"
    inventory_problem: str = ""
    overdue: tuple[str, str] | None = None
    servers: int = 0
    released: int | None = None
    orphans: Sequence[Orphan] | None = None
    outcomes: Sequence[Outcome] = ()


def service_status(service: HostingService, sight: ServiceSight, now: datetime) -> HostingServiceStatus:
    """The whole status; the account of first contact is never replaced."""
    old, now = service.status, now.replace(microsecond=0)
    available, reason, message = _available(service, sight)
    account = old.account
    if account is None and sight.account is not None and sight.problem is None:
        account = Account(id=sight.account, first_seen=now)
    found = in_force(service.spec.offerings, service.spec.offerings_as_of, sight.catalogue, sight.told)
    outcomes = merged(old.outcomes, sight.outcomes, now)
    known = sight.account is not None and sight.problem is None and sight.foreign_account is None
    return HostingServiceStatus(
        observed_generation=service.metadata.generation,
        conditions=c.replace(old.conditions, _conditions(service, sight, available, reason, message, now)),
        account=account,
        capacity=_capacity(sight) if known else old.capacity,
        offerings=found.offerings[:MAX_LISTED] if known else old.offerings,
        sources=found.sources if known else old.sources,
        images=tuple((sight.images or ())[:MAX_LISTED]) if known else old.images,
        abilities=old.abilities if sight.abilities is None else sight.abilities,
        circuit=_circuit(old.circuit, sight.circuit, now),
        servers=sight.servers,
        released=old.released if sight.released is None else sight.released,
        outcomes=outcomes,
        measured=measured(outcomes),
        unreachable_since=_unreachable_since(old.unreachable_since, available, reason, now),
        last_error=_last_error(old.last_error, sight, now),
        orphans=old.orphans if sight.orphans is None else tuple(sight.orphans[:MAX_ORPHANS]),
        orphan_count=old.orphan_count if sight.orphans is None else len(sight.orphans),
    )


def _available(service: HostingService, sight: ServiceSight) -> tuple[bool, str, str]:
    if sight.problem is not None:
        return False, *sight.problem
    if sight.foreign_account is not None:
        return (
            False,
            "ScopeChanged",
            "endpoint and credentials lead to another account than at first contact: nothing is created, deleted or "
            "called missing there; correct them, or declare the other account as a HostingService of its own",
        )
    if sight.circuit == "Open":
        return (
            False,
            "CircuitOpen",
            sight.inventory_problem or "the service failed repeatedly and is left alone a while",
        )
    if sight.overdue is not None:
        reason, message = sight.overdue
        return False, reason, f"{message}; what is lost or made there would not be noticed, so no group is placed there"
    if sight.frozen:
        return False, "OvershootFreeze", sight.frozen
    if sight.account is None:
        return False, NOT_SEEN_YET, "the service was not reached yet"
    return True, "Available", f"the service answers; {sight.servers} servers of ours are on it"


def _conditions(
    service: HostingService, sight: ServiceSight, available: bool, reason: str, message: str, now: datetime
) -> tuple[Condition, ...]:
    generation = service.metadata.generation
    found = [
        c.condition(c.AVAILABLE, available, reason, message, now, generation),
        c.condition(c.READY, available, reason, message, now, generation),
    ]
    if service.spec.catalog_ref is not None:
        found.append(_catalogue(service, sight, now))
    if sight.invalid or sight.foreign_account is not None:
        found.append(c.condition(c.STALLED, True, reason, message, now, generation))
    elif not available:
        found.append(c.condition(c.RECONCILING, True, reason, message, now, generation))
    return tuple(found)


def _capacity(sight: ServiceSight) -> ServiceCapacity:
    used = sight.used or 0
    available = None if sight.limit is None else max(0, sight.limit - used)
    return ServiceCapacity(limit=sight.limit, used=used, available=available)


def _catalogue(service: HostingService, sight: ServiceSight, now: datetime) -> Condition:
    generation = service.metadata.generation
    if sight.catalogue_problem is not None:
        reason, message = sight.catalogue_problem
        return c.condition(c.CATALOGUE_READ, False, reason, f"{message}; nothing of it is used", now, generation)
    count = len(sight.catalogue.offerings) if sight.catalogue is not None else 0
    return c.condition(c.CATALOGUE_READ, True, "CatalogueRead", f"{count} offerings are in it", now, generation)


def _circuit(old: Circuit | None, state: CircuitState, now: datetime) -> Circuit:
    if old is not None and old.state == state:
        return old
    return Circuit(state=state, since=now)


def _unreachable_since(old: datetime | None, available: bool, reason: str, now: datetime) -> datetime | None:
    if reason == NOT_SEEN_YET:
        return old  # nothing was learnt: neither that it answers nor that it does not
    return (old or now) if not available and reason in UNREACHABLE else None


def _last_error(old: LastError | None, sight: ServiceSight, now: datetime) -> LastError | None:
    if sight.problem is None and not sight.inventory_problem:
        return None
    reason, message = sight.problem or ("Unavailable", sight.inventory_problem)
    if old is not None and old.reason == reason:
        return LastError(reason=reason, message=message, time=old.time)
    return LastError(reason=reason, message=message, time=now)
