"""A backend of Moorage for Toycloud, a hosting service that exists in this example's tests."""

from __future__ import annotations

from moorage.hosting.factory import BackendFactory
from moorage_toycloud.backend import ToycloudBackend, open_backend
from moorage_toycloud.settings import ServerSettings, ServiceSettings

FACTORY = BackendFactory(
    type="toycloud",
    implementation=ToycloudBackend,
    settings_model=ServiceSettings,
    server_settings_model=ServerSettings,
    open=open_backend,
)
"""What the entry point names."""

__all__ = ["FACTORY"]
