"""The backend `openstack`: servers of Nova, in a project of a cloud with Keystone and Glance."""

from __future__ import annotations

from moorage.hosting.factory import BackendFactory
from moorage.hosting.openstack.backend import OpenStackBackend, open_backend
from moorage.hosting.openstack.launch import complete
from moorage.hosting.openstack.settings import OpenStackServerSettings, OpenStackSettings

FACTORY = BackendFactory(
    type="openstack",
    implementation=OpenStackBackend,
    settings_model=OpenStackSettings,
    server_settings_model=OpenStackServerSettings,
    open=open_backend,
    complete=complete,
)

__all__ = ["FACTORY", "OpenStackBackend"]
