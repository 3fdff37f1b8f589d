"""The backend `hetzner`: servers of the Hetzner Cloud."""

from __future__ import annotations

from moorage.hosting.factory import BackendFactory
from moorage.hosting.hetzner.backend import HetznerBackend, open_backend
from moorage.hosting.hetzner.settings import HetznerServerSettings, HetznerSettings

FACTORY = BackendFactory(
    type="hetzner",
    implementation=HetznerBackend,
    settings_model=HetznerSettings,
    server_settings_model=HetznerServerSettings,
    open=open_backend,
)

__all__ = ["FACTORY", "HetznerBackend"]
