"""The backend `kubevirt`: virtual machines of a Kubernetes cluster that runs KubeVirt."""

from __future__ import annotations

from moorage.hosting.factory import BackendFactory
from moorage.hosting.kubevirt.backend import KubevirtBackend, open_backend
from moorage.hosting.kubevirt.settings import KubevirtServerSettings, KubevirtSettings

FACTORY = BackendFactory(
    type="kubevirt",
    implementation=KubevirtBackend,
    settings_model=KubevirtSettings,
    server_settings_model=KubevirtServerSettings,
    open=open_backend,
)

__all__ = ["FACTORY", "KubevirtBackend"]
