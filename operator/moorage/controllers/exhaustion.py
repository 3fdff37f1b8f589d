"""What backends know to try: spot settings, zones, and other settings where a server found no room."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from moorage.api.hostingservice import HostingService
from moorage.api.meta import Condition
from moorage.api.virtualserver import VirtualServer
from moorage.core.exhaustion import Attempted
from moorage.core.facts import CallFailure
from moorage.core.zones import Zones
from moorage.hosting.errors import HostingError
from moorage.hosting.factory import BackendFactory
from moorage.hosting.registry import backend

log = logging.getLogger(__name__)
T = TypeVar("T")


def next_settings(type_: str, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a backend of this type tries where these settings found no room; None where it knows nothing."""
    return _asked(type_, "fallback", lambda factory: factory.fallback(settings))


def spot_settings(type_: str, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """How a backend of this type is asked for a server that may be taken back; None where it has no such thing."""
    return _asked(type_, "spot settings", lambda factory: factory.spot(settings))


def asks_for_spot(type_: str, settings: Mapping[str, Any]) -> bool:
    """Whether a server with these settings may be taken back: they are what its backend makes of them without one."""
    return any(
        spot_settings(type_, {key: value for key, value in settings.items() if key != added}) == settings
        for added in settings
    )


def zones_of(service: HostingService | None, settings: Mapping[str, Any]) -> Zones:
    """The zones of a service that a server with these settings may be in; none where it has no such thing."""
    if service is None:
        return {}
    return _asked(service.spec.type, "zones", lambda factory: factory.zones(service.spec.settings, settings)) or {}


def zone_settings(type_: str) -> frozenset[str] | None:
    """The settings by which a backend of this type puts servers into zones; None where it cannot be asked."""
    return _asked(type_, "zone settings", lambda factory: factory.zone_settings)


def _asked(type_: str, what: str, ask: Callable[[BackendFactory], T | None]) -> T | None:
    try:
        return ask(backend(type_))
    except HostingError:
        return None
    except Exception:
        # A backend's fault must not keep the group from being looked at.
        log.exception("the %s of the backend %s failed", what, type_)
        return None


def attempted(server: VirtualServer, failed: CallFailure | None, stalled: Condition | None) -> Attempted | None:
    """What a server that found no room was to be made from, and when that was told."""
    if failed is None or stalled is None:
        return None
    spec = server.spec
    return Attempted(
        service=spec.service_ref.name,
        service_uid=spec.service_ref.uid or "",
        offering=spec.offering or "",
        settings=spec.settings,
        reason=failed.reason,
        message=failed.message,
        at=stalled.last_transition_time,
    )
