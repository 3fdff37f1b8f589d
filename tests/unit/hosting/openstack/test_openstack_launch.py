"""What Nova is asked for: boot from volume and Neutron's ports have no counterpart on the test bed, so that here is all
that is known of them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.unit.hosting.openstack.fake import ID, IMAGE, FakeCloud, backend, refused, server

from moorage.hosting.contract import CreateRequest, ServerState
from moorage.hosting.errors import AuthenticationError, Invalid
from moorage.hosting.factory import parse_settings
from moorage.hosting.openstack import FACTORY
from moorage.hosting.openstack.client import login_of
from moorage.hosting.openstack.settings import OpenStackServerSettings, OpenStackSettings

NETWORK = "bbbbbbbb-2222-4333-8444-555555555555"
PORT = "cccccccc-2222-4333-8444-555555555555"
GROUP = "dddddddd-2222-4333-8444-555555555555"


def request(**changes: Any) -> CreateRequest:
    values: dict[str, Any] = {
        "key": "m-1",
        "name": "web",
        "image": IMAGE,
        "offering": "small",
        "user_data": "#!/bin/sh\n",
        "tags": {"moorage-server": "uid"},
        "settings": {},
    }
    return CreateRequest(**{**values, **changes})


async def asked_for(service: dict[str, Any], changes: dict[str, Any], cloud: FakeCloud | None = None) -> dict[str, Any]:
    cloud = cloud or FakeCloud()
    await backend(cloud, **service).create(request(**changes))
    (body,) = cloud.bodies("POST /servers")
    found: dict[str, Any] = body
    return found


async def test_a_plain_server_carries_its_identity_and_nothing_else() -> None:
    assert await asked_for({}, {}) == {
        "server": {
            "name": "web",
            "flavorRef": "1",
            "imageRef": IMAGE,
            "metadata": {"moorage-server": "uid", "moorage-key": "m-1"},
            "tags": ["m-1"],
            "networks": "auto",
            "user_data": base64.b64encode(b"#!/bin/sh\n").decode(),
        }
    }


async def test_the_record_of_a_new_server_is_that_of_its_request() -> None:
    made = await backend(FakeCloud()).create(request())
    assert (made.provider_id, made.key, made.tags) == (ID, "m-1", {"moorage-server": "uid"})
    assert (made.state, made.name, made.offering) == (ServerState.PENDING, "web", "small")


async def test_a_server_boots_from_a_volume_made_of_its_image() -> None:
    volume = {"size": 20, "type": "fast", "keep": True}
    server = (await asked_for({}, {"settings": {"bootVolume": volume}}))["server"]
    assert "imageRef" not in server
    assert server["block_device_mapping_v2"] == [
        {
            "boot_index": 0,
            "uuid": IMAGE,
            "source_type": "image",
            "destination_type": "volume",
            "volume_size": 20,
            "delete_on_termination": False,
            "volume_type": "fast",
        }
    ]
    (mapping,) = (await asked_for({"bootVolume": {"size": 5}}, {}))["server"]["block_device_mapping_v2"]
    assert mapping["delete_on_termination"] is True
    assert "volume_type" not in mapping


async def test_networks_are_named_by_name_or_id_and_ports_by_id() -> None:
    cloud = FakeCloud()
    cloud.on("GET /v2.0/networks", {"networks": [{"id": NETWORK}]})
    networks = [{"network": "lan", "fixedIp": "10.0.0.9"}, {"network": NETWORK}, {"port": PORT}]
    body = await asked_for({"networks": networks}, {}, cloud)
    assert body["server"]["networks"] == [{"uuid": NETWORK, "fixed_ip": "10.0.0.9"}, {"uuid": NETWORK}, {"port": PORT}]
    assert [query for name, query, _ in cloud.asked if "networks" in name] == [{"name": "lan", "fields": "id"}]


@pytest.mark.parametrize(("found", "word"), [([], "no network"), ([{"id": NETWORK}, {"id": PORT}], "2 networks")])
async def test_a_name_of_no_network_or_of_several_is_refused(found: list[dict[str, str]], word: str) -> None:
    cloud = FakeCloud()
    cloud.on("GET /v2.0/networks", {"networks": found})
    with pytest.raises(Invalid, match=word) as caught:
        await backend(cloud, networks=[{"network": "lan"}]).create(request())
    assert caught.value.field == "settings.networks"
    assert cloud.bodies("POST /servers") == []


async def test_a_server_gets_what_its_settings_say() -> None:
    settings = {
        "securityGroups": ["web", "ssh"],
        "keyName": "admin",
        "zone": "az1",
        "serverGroup": GROUP,
        "configDrive": True,
        "metadata": {"team": "shop"},
    }
    body = await asked_for({"zone": "az2", "networks": "none"}, {"settings": settings})
    server = body["server"]
    assert body["os:scheduler_hints"] == {"group": GROUP}
    assert server["security_groups"] == [{"name": "web"}, {"name": "ssh"}]
    assert (server["key_name"], server["availability_zone"], server["config_drive"]) == ("admin", "az1", True)
    assert server["networks"] == "none"
    assert server["metadata"]["team"] == "shop"


@pytest.mark.parametrize(
    ("service", "wanted", "allowed"),
    [
        ({}, "none", True),
        ({}, "auto", True),
        ({"networks": "none"}, "auto", False),
        ({}, [{"network": "lan"}], False),
        ({"networks": [{"network": "lan"}]}, [{"network": "lan"}], True),
        ({"networks": [{"network": "lan"}]}, [{"network": "lan", "fixedIp": "10.0.0.9"}], True),
        ({"serverNetworks": ["lan"]}, [{"network": "lan"}], True),
        ({"serverNetworks": ["lan"]}, [{"network": "lan"}, {"network": "secret"}], False),
        ({}, [{"port": PORT}], False),
        ({"serverPorts": True}, [{"port": PORT}], True),
        ({"networks": [{"port": PORT}]}, [{"port": PORT}], True),
    ],
)
def test_a_server_is_let_into_no_network_that_its_service_does_not_name(
    service: dict[str, Any], wanted: Any, allowed: bool
) -> None:
    if allowed:
        assert FACTORY.complete(service, "m-1", {"networks": wanted})["networks"]
        return
    with pytest.raises(Invalid) as caught:
        FACTORY.complete(service, "m-1", {"networks": wanted})
    assert caught.value.field == "settings.networks"


def test_what_the_service_adds_is_fixed_with_the_request() -> None:
    service = {"zone": "az1", "networks": [{"network": "lan"}]}
    fixed = FACTORY.complete(service, "m-1", {"keyName": "admin"})
    assert (fixed["zone"], fixed["keyName"]) == ("az1", "admin")
    assert FACTORY.complete(service, "m-1", fixed) == fixed
    # What was left to the cloud stays with it, whatever the service says later.
    later = FACTORY.complete({**service, "securityGroups": ["new"], "zone": "az2"}, "m-1", fixed)
    assert later == fixed


async def test_a_flavor_may_be_named_by_its_id_and_is_shown_as_it_was_named() -> None:
    body = await asked_for({}, {"offering": "1"})
    assert body["server"]["flavorRef"] == "1"
    assert body["server"]["metadata"]["moorage-offering"] == "1 small"
    cloud = FakeCloud()
    cloud.on(f"GET /servers/{ID}", {"server": server(metadata={"moorage-offering": "1 small"})})
    assert (await backend(cloud).get(ID)).offering == "1"
    cloud.on(
        f"GET /servers/{ID}",
        {"server": server(metadata={"moorage-offering": "1 small"}, flavor={"original_name": "large"})},
    )
    assert (await backend(cloud).get(ID)).offering == "large"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"user_data": "x" * 49_150}, "userData"),
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"tags": {"a/b": "c"}}, "tags"),
        ({"tags": {"a": "x" * 256}}, "tags"),
        ({"tags": {"moorage-key": "mine"}}, "tags.moorage-key"),
        ({"offering": "none"}, "offering"),
        ({"settings": {"metadata": {"moorage-server": "x"}}}, "settings.metadata.moorage-server.[key]"),
        ({"settings": {"networks": []}}, None),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_asked_for(
    changes: dict[str, Any], field: str | None
) -> None:
    cloud = FakeCloud()
    with pytest.raises(Invalid) as caught:
        await backend(cloud).create(request(**changes))
    assert field is None or caught.value.field == field
    assert cloud.bodies("POST /servers") == []


async def test_the_most_user_data_fits() -> None:
    body = await asked_for({}, {"user_data": "x" * 49_149})
    assert len(body["server"]["user_data"]) <= 65_535


async def test_a_conflict_of_a_creation_is_about_its_networks() -> None:
    cloud = FakeCloud()
    cloud.on("POST /servers", refused(409, "conflictingRequest", "Multiple possible networks found"))
    with pytest.raises(Invalid) as caught:
        await backend(cloud).create(request())
    assert caught.value.field == "settings.networks"


async def test_ids_of_names_are_asked_for_again_after_a_refusal() -> None:
    cloud = FakeCloud()
    opened = backend(cloud)
    for _ in range(2):
        await opened.create(request())
    assert len(cloud.bodies("GET /flavors/detail")) == 1
    cloud.on("POST /servers", refused(400, "badRequest", "Invalid flavorRef provided."))
    with pytest.raises(Invalid):
        await opened.create(request())
    cloud.on("POST /servers", {"server": {"id": ID}})
    await opened.create(request())
    assert len(cloud.bodies("GET /flavors/detail")) == 2


@pytest.mark.parametrize(
    "values",
    [{"networks": [{}]}, {"networks": [{"network": "a", "port": PORT}]}, {"networks": "all"}, {"zone": "a\nb"}],
)
def test_settings_that_mean_nothing_are_refused(values: dict[str, Any]) -> None:
    for model in (OpenStackSettings, OpenStackServerSettings):
        with pytest.raises(Invalid):
            parse_settings(model, values)


def test_credentials_are_one_kind_or_the_other() -> None:
    application = {"applicationCredentialId": b"id", "applicationCredentialSecret": b"secret\n"}
    assert login_of(application, None).secret == "secret"
    assert login_of({"username": b"u", "password": b"p"}, "shop").username == "u"
    for credentials in ({}, {"username": b"u"}, {"username": b"u", "password": b""}, {"applicationCredentialId": b"x"}):
        with pytest.raises(AuthenticationError):
            login_of(credentials, "shop")
    for credentials, project in ((application, "shop"), ({"username": b"u", "password": b"p"}, None)):
        with pytest.raises(Invalid) as caught:
            login_of(credentials, project)
        assert caught.value.field == "project"
    assert "secret" not in repr(login_of(application, None))
