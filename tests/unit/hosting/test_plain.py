"""No backend sends a credential by plain http to another machine, unless it was told to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import pytest
from pydantic import BaseModel

from moorage.hosting.errors import Invalid
from moorage.hosting.http import tls_context
from moorage.hosting.libcloud.exchange import Carrier, Exchange, exchanging, pool_of
from moorage.hosting.libcloud.settings import LibcloudSettings
from moorage.hosting.openstack.client import Cloud, login_of
from moorage.hosting.openstack.settings import OpenStackSettings
from moorage.hosting.plain import refuse_plain
from moorage.hosting.registry import BUILT_IN, backend

TOKEN: Mapping[str, bytes] = {"token": b"t0k3n"}
ELSEWHERE = "http://192.0.2.7:8080"


@dataclass
class Spec:
    """A HostingService's spec."""

    endpoint: str
    region: str = ""
    project: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


PLAIN: dict[str, tuple[Spec, Mapping[str, bytes]]] = {
    "ec2": (Spec(ELSEWHERE, "eu-central-1"), {"accessKeyID": b"a", "secretAccessKey": b"s"}),
    "hetzner": (Spec(ELSEWHERE), TOKEN),
    "kubevirt": (Spec(ELSEWHERE, project="vms"), TOKEN),
    "libcloud": (Spec(ELSEWHERE, "eu-central-1", settings={"driver": "ec2"}), {"key": b"a", "secret": b"s"}),
    "local": (Spec(ELSEWHERE), TOKEN),
    "openstack": (Spec(ELSEWHERE, project="p"), {"username": b"u", "password": b"p"}),
}
ENCRYPTED = {"incus", "libvirt"}
"""What speaks no plain http at all."""


def opened(type_: str, **changes: Any) -> Any:
    spec, credentials = PLAIN[type_]
    settings = {**spec.settings, **changes.pop("settings", {})}
    changed = {"endpoint": spec.endpoint, "region": spec.region, "project": spec.project, **changes}
    return backend(type_).open(Spec(**changed, settings=settings), credentials)


def test_every_backend_is_in_one_of_the_two_lists() -> None:
    assert set(PLAIN) | ENCRYPTED == set(BUILT_IN)
    assert not set(PLAIN) & ENCRYPTED


@pytest.mark.parametrize("type_", PLAIN)
async def test_a_credential_does_not_leave_this_machine_in_the_clear(type_: str) -> None:
    with pytest.raises(Invalid, match="write https://, or accept that by the setting allowPlainHttp") as caught:
        opened(type_)
    assert caught.value.field == "endpoint"


@pytest.mark.parametrize("type_", PLAIN)
@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"allowPlainHttp": True}},
        {"endpoint": "http://127.0.0.1:1"},
        {"endpoint": "http://[::1]:1"},
        {"endpoint": "http://localhost:1"},
        {"endpoint": "https://192.0.2.7:8080"},
    ],
    ids=str,
)
async def test_what_was_accepted_or_stays_here_or_is_encrypted_is_opened(type_: str, changes: Any) -> None:
    await opened(type_, **changes).close()


@pytest.mark.parametrize("type_", sorted(ENCRYPTED))
def test_what_speaks_no_plain_http_has_no_such_setting(type_: str) -> None:
    settings = import_module(f"moorage.hosting.{type_}.settings")
    models = [m for m in vars(settings).values() if isinstance(m, type) and issubclass(m, BaseModel)]
    assert len(models) > 1
    assert not any("allow_plain_http" in model.model_fields for model in models)


@pytest.mark.parametrize("host", ["127.0.0.1.example.org", "localhost.example.org", "127.1", "0.0.0.0", "[::2]", "h"])
def test_what_only_looks_like_this_machine_is_another(host: str) -> None:
    with pytest.raises(Invalid):
        refuse_plain(f"http://{host}/", allowed=False)


async def test_ec2s_other_address_is_judged_too() -> None:
    with pytest.raises(Invalid) as caught:
        opened("ec2", endpoint="https://ec2.example.org", settings={"stsEndpoint": ELSEWHERE})
    assert caught.value.field == "settings.stsEndpoint"


@pytest.mark.parametrize("address", ["http://192.0.2.7/v2.1", "http://[oops/"])
async def test_nothing_is_sent_where_a_catalogue_leads_in_the_clear(address: str) -> None:
    """Keystone itself is asked by https, and names a Nova that is not."""
    _, credentials = PLAIN["openstack"]
    settings = OpenStackSettings()
    login = login_of(credentials, "p")
    cloud = Cloud("https://192.0.2.7/v3", "", login, "p", settings, tls_context(""))
    with pytest.raises(Invalid) as caught:
        cloud._transport.send(Asked(address))  # type: ignore[arg-type]
    assert caught.value.field == "settings.allowPlainHttp"
    cloud.close()


@dataclass
class Asked:
    """As much of a request as is looked at before it is sent."""

    url: str


def test_a_driver_that_was_told_otherwise_sends_nothing_in_the_clear() -> None:
    """By its own arguments: {secure: false} beside a host."""
    settings = LibcloudSettings.model_validate({"driver": "ec2"})
    exchange = Exchange(pool_of(tls_context(""), 1), deadline=1e12, plain=settings.allow_plain_http)
    with exchanging(exchange), pytest.raises(Invalid):
        Carrier("http://192.0.2.7", 80).request("GET", "/servers")  # type: ignore[no-untyped-call]
