"""The backend `local`: servers of the embedded hosting service, `hostd`."""

from __future__ import annotations

from moorage.api.hostd import ServerSettings
from moorage.hosting.factory import BackendFactory
from moorage.hosting.local.backend import LocalBackend, open_backend
from moorage.hosting.local.settings import LocalSettings

FACTORY = BackendFactory(
    type="local",
    implementation=LocalBackend,
    settings_model=LocalSettings,
    server_settings_model=ServerSettings,
    open=open_backend,
)

__all__ = ["FACTORY", "LocalBackend"]
