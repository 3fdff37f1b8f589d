"""What Nova is asked for when a server is created."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from moorage.hosting.contract import CreateRequest
from moorage.hosting.errors import Invalid
from moorage.hosting.factory import parse_settings
from moorage.hosting.openstack.records import KEY, OFFERING, OWN, Flavor
from moorage.hosting.openstack.settings import Network, Networks, OpenStackServerSettings, OpenStackSettings

MAX_USER_DATA: Final = 65_535
"""Most characters of user-data, in base64."""
_MERGED: Final = (
    "networks",
    "security_groups",
    "key_name",
    "zone",
    "server_group",
    "boot_volume",
    "config_drive",
)
_TAG: Final = re.compile(r"[A-Za-z0-9_:. -]{1,255}")


def complete(service: Mapping[str, Any], key: str, server: Mapping[str, Any]) -> Mapping[str, Any]:
    """See `BackendFactory.complete`: what neither says is written down as null, and stays so."""
    both = merged(parse_settings(OpenStackSettings, service), parse_settings(OpenStackServerSettings, server))
    return both.model_dump(mode="json", by_alias=True)


def merged(service: OpenStackSettings, server: OpenStackServerSettings) -> OpenStackServerSettings:
    """The settings of a server, with the service's where it says nothing."""
    if server.networks is not None and "networks" in server.model_fields_set:
        _check_networks(service, server.networks)
    own = {name: getattr(service, name) for name in _MERGED if name not in server.model_fields_set}
    return server.model_copy(update=own)


def _check_networks(service: OpenStackSettings, wanted: Networks) -> None:
    """A server may be in what its service names: whoever writes its settings need not be let into every network of the
    project. Raises Invalid."""
    offered = service.networks if service.networks is not None else "auto"
    if wanted in ("none", offered):
        return
    entries = () if isinstance(offered, str) else offered
    names = {*service.server_networks, *(entry.network for entry in entries)}
    if not isinstance(wanted, str) and all(
        one.network in names if one.port is None else service.server_ports or one in entries for one in wanted
    ):
        return
    raise Invalid(
        "names a network that the HostingService's `networks` and `serverNetworks` do not, or a port without "
        "`serverPorts`",
        field="settings.networks",
    )


def check(request: CreateRequest) -> str:
    """The user-data in base64. Raises Invalid for what Nova would refuse, without asking it."""
    if not request.name or len(request.name) > 255 or not request.name.isprintable():
        raise Invalid("a name has 1 to 255 printable characters", field="name")
    for name, value in request.tags.items():
        if name in OWN:
            raise Invalid("is the backend's own", field=f"tags.{name}")
        if not _TAG.fullmatch(name) or len(value) > 255:
            raise Invalid("metadata has names of letters, digits, _:. - and values of at most 255", field="tags")
    encoded = base64.b64encode(request.user_data.encode()).decode()
    if len(encoded) > MAX_USER_DATA:
        raise Invalid(f"user-data is at most {MAX_USER_DATA} characters in base64, 49,149 bytes", field="userData")
    return encoded


def parameters(
    request: CreateRequest,
    settings: OpenStackServerSettings,
    user_data: str,
    image: str,
    flavor: Flavor,
    networks: str | Sequence[dict[str, str]],
) -> dict[str, Any]:
    """The body of the creation."""
    metadata = {**settings.metadata, **request.tags, KEY: request.key}
    if request.offering != flavor.name:
        metadata[OFFERING] = f"{request.offering} {flavor.name}"
    server: dict[str, Any] = {
        "name": request.name,
        "flavorRef": flavor.id,
        "metadata": metadata,
        # By a tag Nova can find it; by its metadata it cannot.
        "tags": [request.key],
        "networks": networks,
    }
    if user_data:
        server["user_data"] = user_data
    if settings.boot_volume is None:
        server["imageRef"] = image
    else:
        server["block_device_mapping_v2"] = [_boot_volume(settings, image)]
    if settings.security_groups:
        server["security_groups"] = [{"name": name} for name in settings.security_groups]
    optional = {
        "key_name": settings.key_name,
        "availability_zone": settings.zone,
        "config_drive": settings.config_drive,
    }
    server |= {name: value for name, value in optional.items() if value is not None}
    body: dict[str, Any] = {"server": server}
    if settings.server_group is not None:
        body["os:scheduler_hints"] = {"group": settings.server_group}
    return body


def interface(network: Network, network_id: str | None) -> dict[str, str]:
    """One entry of a server's networks."""
    if network.port is not None:
        return {"port": network.port}
    entry = {"uuid": network_id or ""}
    return {**entry, "fixed_ip": network.fixed_ip} if network.fixed_ip is not None else entry


def _boot_volume(settings: OpenStackServerSettings, image: str) -> dict[str, Any]:
    volume = settings.boot_volume
    assert volume is not None  # noqa: S101 - the caller has looked
    mapping: dict[str, Any] = {
        "boot_index": 0,
        "uuid": image,
        "source_type": "image",
        "destination_type": "volume",
        "volume_size": volume.size,
        "delete_on_termination": not volume.keep,
    }
    return {**mapping, "volume_type": volume.type} if volume.type is not None else mapping
