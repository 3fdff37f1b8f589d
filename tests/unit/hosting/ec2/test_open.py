"""Opening a backend: what is refused before anything is asked, and where STS is."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.hosting.abilities import Ability, abilities_of
from moorage.hosting.ec2.backend import Ec2Backend, open_backend
from moorage.hosting.ec2.client import Clients, Credentials, credentials_of
from moorage.hosting.ec2.settings import Ec2Settings
from moorage.hosting.errors import AuthenticationError, Invalid
from moorage.testing.service import Spec

AWS = "https://ec2.eu-central-1.amazonaws.com"
KEYS = {"accessKeyID": b"AKIAEXAMPLE", "secretAccessKey": b"hush-hush-7c41"}


async def opened(endpoint: str = AWS, region: str = "", project: str | None = None, **settings: Any) -> Ec2Backend:
    backend = open_backend(Spec(endpoint, region, project, settings), KEYS)
    await backend.close()
    return backend


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"endpoint": "ec2.eu-central-1.amazonaws.com"}, "endpoint"),
        ({"endpoint": "https://user@host"}, "endpoint"),
        ({"endpoint": "https://cloud.example"}, "region"),
        ({"region": "eu west"}, "region"),
        ({"region": "eu-west-1"}, "region"),
        ({"project": "p"}, "project"),
        ({"subnets": {"eu-central-1a": "vpc-1"}}, "settings.subnets.eu-central-1a"),
        ({"pageSize": 4}, "settings.pageSize"),
        ({"caBundle": "nonsense"}, "settings.caBundle"),
        ({"nonsense": 1}, "settings.nonsense"),
    ],
)
async def test_what_cannot_be_opened_names_its_field(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        await opened(**arguments)
    assert caught.value.field == field


async def test_the_region_may_come_from_the_endpoint() -> None:
    assert (await opened())._clients.region == "eu-central-1"
    assert (await opened(region="eu-central-1"))._clients.region == "eu-central-1"


async def test_images_are_an_ability_only_where_it_is_said_whose() -> None:
    assert Ability.IMAGES not in abilities_of(await opened())
    assert Ability.IMAGES in abilities_of(await opened(imageOwners=["self"]))
    assert Ability.RESIZE not in abilities_of(await opened())


@pytest.mark.parametrize(
    ("endpoint", "settings", "sts"),
    [
        (AWS, {}, "https://sts.eu-central-1.amazonaws.com"),
        ("https://ec2.cn-north-1.amazonaws.com.cn", {}, "https://sts.cn-north-1.amazonaws.com.cn"),
        ("https://ec2.cn-north-1.api.amazonwebservices.com.cn", {}, "https://sts.cn-north-1.amazonaws.com.cn"),
        ("https://ec2.eusc-de-east-1.amazonaws.eu", {}, "https://sts.eusc-de-east-1.amazonaws.eu"),
        ("https://vpce-1.ec2.eu-central-1.vpce.amazonaws.com", {}, "https://sts.eu-central-1.amazonaws.com"),
        ("https://cloud.example:8788", {}, None),
        ("https://cloud.example:8788", {"stsEndpoint": "https://sts.example"}, "https://sts.example"),
    ],
)
async def test_sts_is_the_regions_own_for_aws_alone(endpoint: str, settings: dict[str, Any], sts: str | None) -> None:
    region = next((name for name in ("cn-north-1", "eusc-de-east-1") if name in endpoint), "eu-central-1")
    assert (await opened(endpoint, region, **settings))._clients.sts_endpoint == sts


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"accessKeyID": b"AKIAEXAMPLE"},
        {"secretAccessKey": b"s"},
        {"accessKeyID": b"AKIA EXAMPLE", "secretAccessKey": b"s"},
        {"accessKeyID": b"AKIAEXAMPLE", "secretAccessKey": b""},
        {**KEYS, "sessionToken": b"\xff"},
    ],
)
def test_credentials_that_are_none_are_refused(keys: dict[str, bytes]) -> None:
    with pytest.raises(AuthenticationError) as caught:
        credentials_of(keys, Ec2Settings())
    assert "AKIA" not in caught.value.message


def test_the_machines_own_credentials_are_used_only_where_that_is_said() -> None:
    assert credentials_of({}, Ec2Settings(instance_role=True)).access_key is None
    assert credentials_of(KEYS, Ec2Settings(instance_role=True)).access_key == "AKIAEXAMPLE"


def test_credentials_do_not_show() -> None:
    found = credentials_of({**KEYS, "sessionToken": b"hush-too"}, Ec2Settings())
    assert "hush" not in f"{found!r} {found}"


async def test_nothing_is_read_from_the_users_own_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither another address nor other keys, whatever the environment says."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere.example")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAELSEWHERE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "elsewhere")
    clients = Clients(AWS, "eu-central-1", Ec2Settings(), credentials_of(KEYS, Ec2Settings()))
    ec2 = clients._ec2_client()
    assert ec2.meta.endpoint_url == AWS
    signed = ec2.generate_presigned_url("describe_instances")
    assert "AKIAEXAMPLE" in signed
    assert "AKIAELSEWHERE" not in signed
    clients.close()


async def test_clients_do_not_share_their_credentials() -> None:
    """The SDK's session is one for all."""
    names = ["AKIAONE", "AKIATWO"]
    opened = [Clients(AWS, "eu-central-1", Ec2Settings(), Credentials(name, "hush")) for name in names]
    signed = [clients._ec2_client().generate_presigned_url("describe_instances") for clients in opened]
    assert [[name in url for name in names] for url in signed] == [[True, False], [False, True]]
    for clients in opened:
        clients.close()
