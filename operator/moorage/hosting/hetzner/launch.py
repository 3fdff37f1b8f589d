"""What a creation asks for: pure, and refused before it is sent where the API would refuse it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from hcloud.firewalls import Firewall
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.networks import Network
from hcloud.placement_groups import PlacementGroup
from hcloud.server_types import ServerType
from hcloud.servers import ServerCreatePublicNetwork
from hcloud.ssh_keys import SSHKey

from moorage.hosting.contract import CreateRequest
from moorage.hosting.errors import Invalid
from moorage.hosting.factory import parse_settings
from moorage.hosting.hetzner.records import LABEL_KEY, LABEL_NAME, LABEL_REQUEST
from moorage.hosting.hetzner.settings import HetznerServerSettings

MAX_USER_DATA: Final = 32 * 1024
"""Bytes of user-data that the API takes."""
_HOST = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
_LABEL = re.compile(r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
_VALUE = re.compile(r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")


def check_labels(tags: Mapping[str, str]) -> None:
    """Raises Invalid(field="tags.NAME") for what the API would refuse."""
    for name, value in tags.items():
        if not _LABEL.match(name) or not _VALUE.match(value):
            raise Invalid(
                "names and values of labels are at most 63 letters, digits and -_. with a letter or digit at both ends",
                field=f"tags.{name}",
            )


def asked_of(request: CreateRequest, region: str) -> dict[str, Any]:
    """The arguments of the SDK's `servers.create`. Raises Invalid naming the field."""
    settings = parse_settings(HetznerServerSettings, request.settings)
    _check(request, settings)
    asked: dict[str, Any] = {
        "name": request.key,
        "server_type": ServerType(name=request.offering),
        "image": Image(id=int(request.image)) if _is_id(request.image) else Image(name=request.image),
        "labels": _labels(request, settings),
        "public_net": ServerCreatePublicNetwork(enable_ipv4=settings.public_ipv4, enable_ipv6=settings.public_ipv6),
        "start_after_create": True,
    }
    if request.user_data:
        asked["user_data"] = request.user_data
    if region:
        asked["location"] = Location(name=region)
    if settings.ssh_keys:
        asked["ssh_keys"] = [SSHKey(id=k) if isinstance(k, int) else SSHKey(name=k) for k in settings.ssh_keys]
    if settings.networks:
        asked["networks"] = [Network(id=number) for number in settings.networks]
    if settings.firewalls:
        asked["firewalls"] = [Firewall(id=number) for number in settings.firewalls]
    if settings.placement_group is not None:
        asked["placement_group"] = PlacementGroup(id=settings.placement_group)
    return asked


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _check(request: CreateRequest, settings: HetznerServerSettings) -> None:
    if not _HOST.match(request.key):
        raise Invalid("is no host name, as names of servers have to be", field="key")
    if not _NAME.match(request.name):
        raise Invalid("must be letters, digits and -_. with a letter or digit at both ends", field="name")
    if not request.image:
        raise Invalid("a server at Hetzner needs the name or the id of an image", field="image")
    if not request.offering:
        raise Invalid("a server at Hetzner needs a server type, such as cpx22", field="offering")
    size = len(request.user_data.encode())
    if size > MAX_USER_DATA:
        raise Invalid(f"is {size} bytes, and Hetzner takes {MAX_USER_DATA}: make it shorter", field="userData")
    if not settings.public_ipv4 and not settings.public_ipv6 and not settings.networks:
        raise Invalid("a server without a public address needs a private network", field="settings.networks")
    check_labels(request.tags)


def _labels(request: CreateRequest, settings: HetznerServerSettings) -> dict[str, str]:
    # The name is there for people to read, so one that is too long for a label is cut.
    name = request.name[:63].rstrip("-_.")
    own = {LABEL_KEY: request.key, LABEL_REQUEST: request.digest(), LABEL_NAME: name}
    return {**settings.labels, **request.tags, **own}
