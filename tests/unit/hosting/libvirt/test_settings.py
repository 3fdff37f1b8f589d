"""What a service of type libvirt leaves to whoever writes a server's settings."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.hosting.errors import Invalid
from moorage.hosting.libvirt.settings import LibvirtServerSettings, LibvirtSettings

SIZES = [{"name": "small", "cpu": 1, "memory": "1Gi", "disk": "10Gi"}, {"name": "bare", "cpu": 1, "memory": "1Gi"}]


def check(service: dict[str, Any], server: dict[str, Any], size: str = "small") -> None:
    settings = LibvirtSettings.model_validate({"sizes": SIZES, **service})
    found = settings.size(size)
    assert found is not None
    settings.check(LibvirtServerSettings.model_validate(server), found)


@pytest.mark.parametrize(
    ("service", "server", "size", "field"),
    [
        ({}, {"nic": {"type": "bridge", "name": "br0"}}, "small", "settings.nic"),
        ({}, {"nic": {"type": "user"}}, "small", "settings.nic"),
        ({"nics": [{"name": "lan"}]}, {"nic": {"type": "bridge", "name": "lan"}}, "small", "settings.nic"),
        ({}, {"disk": "11Gi"}, "small", "settings.disk"),
        ({}, {"disk": "1Gi"}, "bare", "settings.disk"),
        ({"maxDisk": "20Gi"}, {"disk": "21Gi"}, "bare", "settings.disk"),
    ],
)
def test_a_server_gets_no_network_and_no_room_that_the_service_does_not_name(
    service: dict[str, Any], server: dict[str, Any], size: str, field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        check(service, server, size)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("service", "server"),
    [
        ({}, {}),
        ({}, {"nic": {"type": "network", "name": "default"}, "disk": "10Gi"}),
        ({"nic": {"type": "bridge", "name": "br0"}}, {"nic": {"type": "bridge", "name": "br0"}}),
        ({"nics": [{"name": "lan"}]}, {"nic": {"name": "lan"}}),
        ({"maxDisk": "20Gi"}, {"disk": "20Gi"}),
    ],
)
def test_what_the_service_names_is_left_to_its_servers(service: dict[str, Any], server: dict[str, Any]) -> None:
    check(service, server)
