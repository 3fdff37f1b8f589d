"""The kinds this project reads or writes, as they are addressed on the API server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from moorage.api.names import GROUP, VERSION


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource type. `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`group/version`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of a collection (no name), an object, or a subresource of one.

        Names may come from others' objects, so they stay one segment of the path each, whatever is in them. Raises
        ValueError for `.` and `..`, where a namespace is given to a cluster-scoped kind, or where it is missing for
        one object of a namespaced kind.
        """
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if namespace and not self.namespaced:
            raise ValueError(f"{self.kind} is cluster-scoped, but a namespace was given: {namespace}")
        if name and self.namespaced and not namespace:
            raise ValueError(f"{self.kind} {name} needs a namespace")
        parts = [root]
        if namespace:
            parts.append(f"/namespaces/{_segment(namespace)}")
        parts.append(f"/{self.plural}")
        if name:
            parts.append(f"/{_segment(name)}")
            if subresource:
                parts.append(f"/{subresource}")
        return "".join(parts)

    def __str__(self) -> str:
        return self.kind


def _segment(name: str) -> str:
    """A name as one segment of a path: a slash in it would lead to another object, in another namespace."""
    if name in {".", ".."}:
        raise ValueError(f"{name} is not the name of an object")
    return quote(name, safe="")


HOSTING_SERVICE: Final = Kind(GROUP, VERSION, "hostingservices", "HostingService", namespaced=False)
VIRTUAL_SERVER_CONFIG: Final = Kind(GROUP, VERSION, "virtualserverconfigs", "VirtualServerConfig")
HOSTING_POLICY: Final = Kind(GROUP, VERSION, "hostingpolicies", "HostingPolicy")
SERVER_GROUP: Final = Kind(GROUP, VERSION, "servergroups", "ServerGroup")
VIRTUAL_SERVER: Final = Kind(GROUP, VERSION, "virtualservers", "VirtualServer")

SECRET: Final = Kind("", "v1", "secrets", "Secret")
CONFIG_MAP: Final = Kind("", "v1", "configmaps", "ConfigMap")
EVENT: Final = Kind("", "v1", "events", "Event")
NAMESPACE: Final = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
SERVICE_ACCOUNT: Final = Kind("", "v1", "serviceaccounts", "ServiceAccount")
CONTROLLER_REVISION: Final = Kind("apps", "v1", "controllerrevisions", "ControllerRevision")
LEASE: Final = Kind("coordination.k8s.io", "v1", "leases", "Lease")
CUSTOM_RESOURCE_DEFINITION: Final = Kind(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)

DISCOVERY: Final = Kind("", "", "discovery", "APIResourceList", namespaced=False)
"""No kind of objects: what the API server tells of its kinds, which everybody who is authenticated may ask."""

OWN: Final = (HOSTING_SERVICE, VIRTUAL_SERVER_CONFIG, HOSTING_POLICY, SERVER_GROUP, VIRTUAL_SERVER)
"""The five kinds of this project."""
