"""The backend `libcloud`: servers by any compute driver of Apache Libcloud."""

from __future__ import annotations

from moorage.hosting.abilities import Ability
from moorage.hosting.factory import BackendFactory
from moorage.hosting.libcloud.backend import LibcloudBackend, open_backend
from moorage.hosting.libcloud.settings import LibcloudServerSettings, LibcloudSettings

FACTORY = BackendFactory(
    type="libcloud",
    implementation=LibcloudBackend,
    settings_model=LibcloudSettings,
    server_settings_model=LibcloudServerSettings,
    open=open_backend,
    conditional=dict.fromkeys((Ability.RETAG, Ability.IMAGES, Ability.POWER), "driver"),
)

__all__ = ["FACTORY", "LibcloudBackend"]
