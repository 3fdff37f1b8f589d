"""The backend hetzner: what it asks for, what it reads, what refusals mean, and that lists are whole."""

from __future__ import annotations

import json
import ssl
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import hcloud
import pytest
from hcloud.core.domain import Meta, Pagination
from hcloud.server_types import BoundServerType
from hcloud.servers import BoundServer

from moorage.hosting.contract import AddressType, CreateRequest, ServerState
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    NotFound,
    QuotaError,
    Throttled,
    Unavailable,
    Unknown,
)
from moorage.hosting.hetzner import FACTORY
from moorage.hosting.hetzner.account import account_of
from moorage.hosting.hetzner.answers import Locked, NotUnique, Reply, failure, refusal
from moorage.hosting.hetzner.client import Client
from moorage.hosting.hetzner.launch import asked_of
from moorage.hosting.hetzner.records import offerings_of, record
from moorage.hosting.hetzner.volumes import number_of
from moorage.testbed.hetzner.catalogue import SERVER_TYPES
from moorage.testbed.hetzner.project import Project, id_source
from moorage.testing.service import Spec

API = "https://api.hetzner.cloud/v1"
KEY = "m-" + "a" * 26
REQUEST = CreateRequest(KEY, "db-0", "debian-12", "cpx22", "#!/bin/sh\n", {"moorage-server": "u" * 36})


def sdk(*answers: dict[str, Any]) -> tuple[hcloud.Client, list[tuple[str, str, Any]]]:
    """Hetzner's SDK with these answers, and what was asked of it."""
    asked: list[tuple[str, str, Any]] = []
    left = iter(answers)

    def request(method: str, url: str, params: Any = None, json: Any = None, **_: Any) -> dict[str, Any]:
        asked.append((method, url, params if json is None else json))
        return next(left)

    client = hcloud.Client(token="t")
    client._client.request = request  # type: ignore[method-assign]
    return client, asked


def made(**changes: Any) -> dict[str, Any]:
    """A server as the simulator tells it, with changes."""
    project = Project(id_source())
    server, _, _ = project.create_server(
        {"name": KEY, "server_type": "cpx22", "image": "debian-12", "location": "fsn1", "labels": {"a": "b"}}
    )
    # A copy, as over a network: the SDK changes what it reads.
    found: dict[str, Any] = json.loads(json.dumps({**project.show(server), **changes}))
    return found


def read(**changes: Any) -> Any:
    return record(BoundServer(hcloud.Client(token="t").servers, made(**changes)))


def test_a_creation_says_all_at_once() -> None:
    settings = {"networks": [7], "firewalls": [8], "sshKeys": ["ops", 9], "placementGroup": 5, "publicIPv4": False}
    project = Project(id_source())
    project.networks, project.firewalls, project.keys = [7], [8], {"ops": 1, "x": 9}
    project.groups[5] = {"id": 5, "name": "g", "type": "spread", "labels": {}, "created": "2026-11-01T00:00:00+00:00"}
    client, asked = sdk({"server": made(), "action": {"id": 1}, "next_actions": [], "root_password": "p"})
    client.servers.create(**asked_of(replace(REQUEST, settings={**settings, "labels": {"team": "x"}}), "fsn1"))
    ((method, url, body),) = asked
    assert (method, url) == ("POST", "/servers")
    assert body == {
        "name": KEY,
        "server_type": "cpx22",
        "image": "debian-12",
        "location": "fsn1",
        "user_data": "#!/bin/sh\n",
        "start_after_create": True,
        "networks": [7],
        "firewalls": [{"firewall": 8}],
        "ssh_keys": ["ops", 9],
        "placement_group": 5,
        "public_net": {"enable_ipv4": False, "enable_ipv6": True},
        "labels": {
            "team": "x",
            "moorage-server": "u" * 36,
            "moorage-key": KEY,
            "moorage-request": replace(REQUEST, settings={**settings, "labels": {"team": "x"}}).digest(),
            "moorage-name": "db-0",
        },
    }
    server, _, _ = project.create_server(body)
    assert project.show(server)["placement_group"]["id"] == 5


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"user_data": "x" * 32_769}, "userData"),
        ({"user_data": "ü" * 16_385}, "userData"),
        ({"image": ""}, "image"),
        ({"offering": ""}, "offering"),
        ({"name": "not a name"}, "name"),
        ({"key": "m_1"}, "key"),
        ({"tags": {"moorage-namespace": "x" * 64}}, "tags.moorage-namespace"),
        ({"tags": {"a b": ""}}, "tags.a b"),
        ({"settings": {"publicIPv4": False, "publicIPv6": False}}, "settings.networks"),
        ({"settings": {"networks": [0]}}, "settings.networks.0"),
    ],
)
def test_what_the_api_would_refuse_is_not_sent(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        asked_of(replace(REQUEST, **changes), "")
    assert caught.value.field == field


def test_a_name_that_is_too_long_for_a_label_is_cut_and_an_image_may_be_an_id() -> None:
    asked = asked_of(replace(REQUEST, name="a" * 62 + "-b", image="4711"), "")
    assert asked["labels"]["moorage-name"] == "a" * 62
    assert asked["image"].id == 4711
    assert "location" not in asked
    assert asked_of(replace(REQUEST, user_data="x" * 32_768), "")["user_data"]


def test_a_server_is_read_with_its_identity_and_addresses() -> None:
    own = {"moorage-key": KEY, "moorage-request": "d", "moorage-name": "db-0", "moorage-server": "u"}
    private = [{"network": 7, "ip": "10.0.0.2", "alias_ips": [], "mac_address": "86:00:00:00:00:01"}]
    found = read(labels=own, private_net=private, status="running")
    assert (found.key, found.name, found.tags) == (KEY, "db-0", {"moorage-server": "u"})
    assert (found.state, found.image, found.offering, found.zone) == (
        ServerState.RUNNING,
        "debian-12",
        "cpx22",
        "fsn1",
    )
    assert [a.type for a in found.addresses] == [AddressType.INTERNAL, AddressType.EXTERNAL, AddressType.EXTERNAL]
    assert found.addresses[2].address.endswith("::1")
    assert found.created.tzinfo is not None


def test_a_server_without_labels_or_public_addresses_is_a_stranger() -> None:
    bare: dict[str, Any] = {"ipv4": None, "ipv6": None, "floating_ips": [], "firewalls": []}
    found = read(labels={}, public_net=bare, status="brand-new", image=None)
    assert (found.key, found.tags, found.addresses, found.image) == (None, {}, (), None)
    assert found.state is ServerState.UNKNOWN
    assert "brand-new" in found.message


def test_offerings_are_the_locations_own_without_those_being_withdrawn() -> None:
    client = hcloud.Client(token="t")
    types = [BoundServerType(client.server_types, json.loads(json.dumps(each))) for each in SERVER_TYPES.values()]
    here = {each.name: each for each in offerings_of(types, "ash")}
    assert set(here) == {"cpx22", "cpx32", "ccx13"}
    assert (here["cpx22"].price_per_hour, here["cpx22"].memory) == (Decimal("0.012"), Decimal(4 * 2**30))
    anywhere = {each.name: each for each in offerings_of(types, "")}
    assert set(anywhere) == set(SERVER_TYPES) - {"cpx11"}
    assert anywhere["cpx22"].price_per_hour == Decimal("0.012")
    assert anywhere["cax11"].arch == "arm64"


def reply(status: int, code: str = "", details: Any = None, headers: dict[str, str] | None = None) -> Reply:
    body = {"error": {"code": code, "message": "because", "details": details}} if code else {}
    return Reply(status, headers or {}, json.dumps(body).encode() if code else b"<html>")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(401, "unauthorized"), AuthenticationError),
        (reply(403, "forbidden"), AuthenticationError),
        (reply(403, "token_readonly"), AuthenticationError),
        (reply(403, "resource_limit_exceeded"), QuotaError),
        (reply(412, "resource_unavailable"), CapacityError),
        (reply(409, "placement_error"), CapacityError),
        (reply(404, "not_found"), NotFound),
        (reply(409, "uniqueness_error"), NotUnique),
        (reply(409, "conflict"), Unavailable),
        (reply(423, "locked"), Locked),
        (reply(423, "protected"), Invalid),
        (reply(429, "rate_limit_exceeded"), Throttled),
        (reply(503, "maintenance"), Unavailable),
        (reply(500, "service_error"), Unavailable),
        (reply(418, "unheard_of"), Unknown),
        (reply(404), Unavailable),
        (reply(400), Unavailable),
        (reply(401), AuthenticationError),
        (reply(429), Throttled),
        (reply(301), Unavailable),
    ],
)
def test_refusals_are_told_by_their_codes(answer: Reply, error: type[HostingError]) -> None:
    assert type(refusal(answer)) is error


@pytest.mark.parametrize(
    ("name", "field"),
    [("server_type", "offering"), ("user_data", "userData"), ("ssh_keys[0]", "settings.sshKeys"), ("labels.a", "tags")],
)
def test_an_invalid_field_is_named_as_the_user_wrote_it(name: str, field: str) -> None:
    found = refusal(reply(422, "invalid_input", {"fields": [{"name": name, "messages": ["bad"]}]}))
    assert isinstance(found, Invalid)
    assert found.field == field


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"RateLimit-Limit": "3600", "RateLimit-Remaining": "0"}, 1.0),
        ({"ratelimit-limit": "360"}, 10.0),
        ({"Retry-After": "7", "RateLimit-Limit": "3600"}, 7.0),
        ({"RateLimit-Limit": "0"}, None),
        ({"RateLimit-Limit": "many"}, None),
        ({}, None),
    ],
)
def test_the_wait_is_until_the_next_call_comes_back(headers: dict[str, str], wait: float | None) -> None:
    found = refusal(reply(429, "rate_limit_exceeded", headers=headers))
    assert isinstance(found, Throttled)
    assert found.retry_after == wait


def test_not_found_is_believed_of_one_object_alone_and_no_own_error_leaves() -> None:
    assert type(failure("get", NotFound("x"), one=True)) is NotFound
    assert type(failure("inventory", NotFound("x"), one=False)) is Unavailable
    assert type(failure("create", NotUnique("x"), one=False)) is Invalid
    assert type(failure("delete", Locked("x"), one=True)) is Unavailable
    assert type(failure("get", KeyError("server"), one=True)) is Unavailable


@pytest.fixture
async def client() -> Any:
    opened = Client(API, "t", ssl.create_default_context(), 2)
    yield opened
    opened.close()


class Listing:
    """A list of ids in pages, from which the lowest goes after each page that was read."""

    def __init__(self, ids: list[int], *, losing: bool = False, **wrong: Any) -> None:
        self.ids, self.losing, self.wrong = ids, losing, wrong
        self.asked: list[int] = []

    def __call__(self, page: int, per_page: int) -> tuple[list[Any], Meta]:
        self.asked.append(page)
        last = max(1, -(-len(self.ids) // per_page))
        items = [SimpleNamespace(id=number) for number in self.ids[(page - 1) * per_page : page * per_page]]
        told = {"page": page, "next_page": page + 1 if page < last else None, "last_page": last, **self.wrong}
        if self.losing and len(self.asked) > 1:
            self.ids = self.ids[1:]
        return items, Meta(Pagination(per_page=per_page, **told))


async def test_a_server_deleted_between_pages_hides_no_other(client: Client) -> None:
    listing = Listing([1, 2, 3, 4, 5, 6, 7], losing=True)
    found = [each.id for each in client.pages(listing)]
    assert listing.asked == [1, 4, 3, 2, 1]
    # Those that stayed are all there; those that went may be.
    assert set(listing.ids) <= set(found)
    assert found == sorted(set(found))


async def test_one_page_is_read_once(client: Client) -> None:
    listing = Listing([1, 2])
    assert [each.id for each in client.pages(listing)] == [1, 2]
    assert listing.asked == [1]


@pytest.mark.parametrize(
    "wrong", [{"page": 7}, {"last_page": None}, {"last_page": 1}, {"last_page": 10**9}, {"last_page": "x"}]
)
async def test_a_list_that_is_not_whole_is_none(client: Client, wrong: dict[str, Any]) -> None:
    with pytest.raises(Unavailable):
        client.pages(Listing([1, 2, 3, 4, 5], **wrong))


async def test_an_object_that_comes_twice_in_one_page_is_refused(client: Client) -> None:
    with pytest.raises(Unavailable):
        client.pages(Listing([1, 1]))


GROUP = {"id": 9, "name": "moorage-account", "type": "spread", "labels": {}, "created": "2026-11-01T10:00:00+00:00"}


def test_the_account_is_the_marker_which_is_made_where_there_is_none() -> None:
    there, asked = sdk({"placement_groups": [{**GROUP, "servers": []}]})
    first = account_of(there, "moorage-account")
    assert [method for method, _, _ in asked] == ["GET"]
    fresh, asked = sdk(
        {"placement_groups": []}, {"placement_group": GROUP, "action": None}, {"placement_groups": [GROUP]}
    )
    assert account_of(fresh, "moorage-account") == first
    assert [method for method, _, _ in asked] == ["GET", "POST", "GET"]
    other, _ = sdk({"placement_groups": [{**GROUP, "id": 10}]})
    assert account_of(other, "moorage-account") != first


def test_a_marker_that_does_not_show_is_no_account() -> None:
    client, _ = sdk({"placement_groups": []}, {"placement_group": GROUP, "action": None}, {"placement_groups": []})
    with pytest.raises(Unavailable):
        account_of(client, "moorage-account")


@pytest.mark.parametrize(
    ("spec", "credentials", "error", "field"),
    [
        (Spec(None), {"token": b"t"}, Invalid, "endpoint"),
        (Spec("ftp://x"), {"token": b"t"}, Invalid, "endpoint"),
        (Spec(API, project="p"), {"token": b"t"}, Invalid, "project"),
        (Spec(API, settings={"pageSize": 51}), {"token": b"t"}, Invalid, "settings.pageSize"),
        (Spec(API, settings={"accountMarker": "a b"}), {"token": b"t"}, Invalid, "settings.accountMarker"),
        (Spec(API), {}, AuthenticationError, None),
        (Spec(API), {"token": b"two words"}, AuthenticationError, None),
    ],
)
async def test_a_wrong_service_is_refused(
    spec: Spec, credentials: dict[str, bytes], error: type[HostingError], field: str | None
) -> None:
    with pytest.raises(error) as caught:
        FACTORY.open(spec, credentials)
    assert getattr(caught.value, "field", None) == field


def test_abilities_are_what_the_page_says() -> None:
    assert {str(each) for each in FACTORY.abilities} == {"Retag", "Power", "Images", "Volumes"}


def test_a_server_has_one_id_alone() -> None:
    assert number_of("4711") == 4711
    for other in ("04711", "0", "+4711", "4711 ", "web"):
        with pytest.raises(NotFound):
            number_of(other)
