"""The backend `local`: servers of the embedded hosting service, `hostd`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.api.hostd import ServerSettings
from moorage.hosting.factory import BackendFactory
from moorage.hosting.local.backend import LocalBackend, open_backend
from moorage.hosting.local.settings import LocalSettings


def _fallback(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """At the full price after the spot price."""
    return {**settings, "spot": False} if settings.get("spot") else None


def _spot(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """At the spot price, unless the settings say themselves at which."""
    return None if "spot" in settings else {**settings, "spot": True}


FACTORY = BackendFactory(
    type="local",
    implementation=LocalBackend,
    settings_model=LocalSettings,
    server_settings_model=ServerSettings,
    open=open_backend,
    fallback=_fallback,
    spot=_spot,
)

__all__ = ["FACTORY", "LocalBackend"]
