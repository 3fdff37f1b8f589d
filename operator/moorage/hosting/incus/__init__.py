"""The backend `incus`: containers and virtual machines of an Incus server or cluster."""

from __future__ import annotations

from moorage.hosting.factory import BackendFactory
from moorage.hosting.incus.backend import IncusBackend
from moorage.hosting.incus.opening import open_backend
from moorage.hosting.incus.settings import IncusServerSettings, IncusSettings

FACTORY = BackendFactory(
    type="incus",
    implementation=IncusBackend,
    settings_model=IncusSettings,
    server_settings_model=IncusServerSettings,
    open=open_backend,
)

__all__ = ["FACTORY", "IncusBackend"]
