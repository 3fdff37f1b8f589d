"""The backend `libvirt`: virtual machines of a host that runs libvirtd and QEMU."""

from __future__ import annotations

from moorage.hosting.factory import BackendFactory
from moorage.hosting.libvirt.backend import LibvirtBackend, open_backend
from moorage.hosting.libvirt.settings import LibvirtServerSettings, LibvirtSettings

FACTORY = BackendFactory(
    type="libvirt",
    implementation=LibvirtBackend,
    settings_model=LibvirtSettings,
    server_settings_model=LibvirtServerSettings,
    open=open_backend,
)

__all__ = ["FACTORY", "LibvirtBackend"]
