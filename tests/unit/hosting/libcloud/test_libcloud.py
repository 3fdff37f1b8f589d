"""The backend libcloud: what is known of drivers, what is asked of them, and what their providers' answers mean."""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from libcloud.compute.base import Node, NodeSize
from libcloud.compute.types import NodeState
from tests.unit.hosting.libcloud.providers import Plain, ec2, exchange, told

from moorage.hosting.abilities import abilities_of
from moorage.hosting.contract import CreateRequest, ServerState
from moorage.hosting.errors import (
    AuthenticationError,
    HostingError,
    Invalid,
    Unavailable,
)
from moorage.hosting.libcloud import FACTORY
from moorage.hosting.libcloud.exchange import exchanging
from moorage.hosting.libcloud.launch import arguments_of, check_allowed
from moorage.hosting.libcloud.profiles import Profile, named
from moorage.hosting.libcloud.records import offerings_of, record, records
from moorage.hosting.libcloud.settings import LibcloudServerSettings
from moorage.testing.service import Spec

EC2 = {"driver": "ec2"}
KEY = "m-" + "a" * 26
REQUEST = CreateRequest(KEY, "db-0", "image", "size", "#!/bin/sh\n", {"moorage-server": "u"})
NO_DRIVER: Any = None
SECRET = {"key": b"k", "secret": b"s"}


class Tagging(Plain):
    """A driver that tags."""

    def create_node(  # type: ignore[override]
        self, name: str, size: Any, image: Any, ex_userdata: str = "", ex_metadata: Any = None, ex_net: Any = None
    ) -> Any:
        raise NotImplementedError


def node(state: Any = NodeState.RUNNING, name: str = "db-0", number: str = "1", **extra: Any) -> Node:
    return Node(number, name, state, ["203.0.113.9"], ["10.0.0.2"], None, extra=extra)


def test_a_tagging_driver_gets_the_identity_with_the_creation_in_a_fixed_order() -> None:
    asked = arguments_of(REQUEST, LibcloudServerSettings(), Profile(Tagging))
    assert asked == {
        "name": "db-0",
        "ex_userdata": "#!/bin/sh\n",
        "ex_metadata": {"moorage-key": KEY, "moorage-request": REQUEST.digest(), "moorage-server": "u"},
    }
    other = arguments_of(replace(REQUEST, tags={"z": "1", "b": "2"}), LibcloudServerSettings(), Profile(Tagging))
    assert list(other["ex_metadata"]) == sorted(other["ex_metadata"])


def test_a_driver_without_tags_gets_the_key_for_a_name() -> None:
    asked = arguments_of(REQUEST, LibcloudServerSettings(), Profile(Plain))
    assert asked == {"name": KEY, "ex_userdata": "#!/bin/sh\n"}


def test_references_become_objects_and_own_arguments_cannot_be_taken() -> None:
    settings = LibcloudServerSettings.model_validate(
        {"references": {"ex_net": "n-1", "ex_nets": ["a", "b"]}, "arguments": {"ex_flag": True}}
    )
    asked = arguments_of(REQUEST, settings, Profile(Tagging))
    assert (asked["ex_net"].id, asked["ex_net"].name, asked["ex_flag"]) == ("n-1", "n-1", True)
    assert [each.id for each in asked["ex_nets"]] == ["a", "b"]
    for field in ("name", "size", "image", "ex_metadata", "ex_userdata"):
        with pytest.raises(Invalid) as caught:
            arguments_of(REQUEST, LibcloudServerSettings.model_validate({"arguments": {field: 1}}), Profile(Tagging))
        assert caught.value.field == f"settings.arguments.{field}"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"image": ""}, "image"),
        ({"offering": ""}, "offering"),
        ({"user_data": "x" * 16_385}, "userData"),
        ({"tags": {"a": "x" * 256}}, "tags.a"),
        ({"tags": {"": "x"}}, "tags."),
    ],
)
def test_what_cannot_be_is_not_sent(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        arguments_of(replace(REQUEST, **changes), LibcloudServerSettings(), ec2())
    assert caught.value.field == field


def test_ec2_is_asked_with_a_client_token() -> None:
    asked = arguments_of(REQUEST, LibcloudServerSettings(), ec2())
    assert asked["ex_clienttoken"] == KEY
    assert asked["ex_metadata"]["moorage-key"] == KEY


def test_a_node_is_read_by_its_tags_or_by_its_name() -> None:
    tags = {"moorage-key": KEY, "moorage-request": "d", "moorage-server": "u"}
    found = record(node(metadata=tags), Profile(Tagging))
    assert found is not None
    assert (found.key, found.tags, found.state) == (KEY, {"moorage-server": "u"}, ServerState.RUNNING)
    assert [(str(a.type), a.address) for a in found.addresses] == [
        ("Internal", "10.0.0.2"),
        ("External", "203.0.113.9"),
    ]
    for name, key in ((KEY, KEY), ("db-0", None), ("m-short", None)):
        found = record(node(name=name, metadata=tags), Profile(Plain))
        assert found is not None
        assert (found.key, found.tags) == (key, {})


def test_every_state_of_libcloud_has_a_meaning() -> None:
    for state in NodeState:
        found = record(node(state), Profile(Plain))
        assert (found is None) == (state == NodeState.TERMINATED)
        assert found is None or state == NodeState.UNKNOWN or found.state is not ServerState.UNKNOWN


def test_ec2s_own_words_for_states_go_first() -> None:
    for word, state in (("shutting-down", ServerState.TERMINATING), ("stopping", ServerState.STOPPED)):
        found = record(node(NodeState.UNKNOWN, status=word, tags={"Name": "x", "a": "b"}), ec2())
        assert found is not None
        assert (found.state, found.tags) == (state, {"a": "b"})
    assert record(node(NodeState.UNKNOWN, status="terminated"), ec2()) is None


def test_a_list_with_one_server_twice_is_refused() -> None:
    with pytest.raises(Unavailable):
        records([node(), node()], Profile(Plain))
    assert len(records([node(), node(number="2"), node(NodeState.TERMINATED, number="3")], Profile(Plain))) == 2


def test_sizes_without_cores_are_left_out_and_prices_are_the_settings() -> None:
    sizes = [
        NodeSize("1", "small", 512, 1, 0, 9.0, NO_DRIVER, extra={"vcpu": "2"}),
        NodeSize("2", "large", 4096, 1, 0, 9.0, NO_DRIVER, extra={"cpus": 4}),
        NodeSize("3", "odd", 4096, 1, 0, 9.0, NO_DRIVER),
    ]
    found = offerings_of(sizes, Profile(Plain), (), {"small": Decimal("0.01")})
    assert [(o.name, o.cpu, o.memory, o.price_per_hour) for o in found] == [
        ("large", Decimal(4), Decimal(4 * 2**30), None),
        ("small", Decimal(2), Decimal(2**29), Decimal("0.01")),
    ]
    assert [o.name for o in offerings_of(sizes, Profile(Plain), ("2",), {})] == ["large"]
    many = [NodeSize(str(n), f"s{n}", 512, 1, 0, 0, NO_DRIVER, extra={"cpu": 1}) for n in range(201)]
    with pytest.raises(Invalid) as caught:
        offerings_of(many, Profile(Plain), (), {})
    assert caught.value.field == "settings.sizes"


def test_names_are_looked_up_by_id_first_and_must_be_clear() -> None:
    items = [SimpleNamespace(id=1, name="a"), SimpleNamespace(id=2, name="b"), SimpleNamespace(id=3, name="b")]
    assert named(items, "1") is items[0]
    assert named(items, "a") is items[0]
    assert named(items, "c") is None
    with pytest.raises(Unavailable):
        named(items, "b")


def pages(*bodies: str) -> tuple[Any, list[dict[str, str]]]:
    """A driver of EC2 that gets these answers, and what it asked."""
    profile = ec2()
    driver: Any = profile.driver(key="k", secret="s", region="eu-central-1")
    asked: list[dict[str, str]] = []
    left = iter(bodies)

    def request(path: str, params: dict[str, str]) -> Any:
        from xml.etree import ElementTree

        asked.append(params)
        space = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'
        return SimpleNamespace(
            object=ElementTree.fromstring(
                f"<DescribeInstancesResponse {space}>{next(left)}</DescribeInstancesResponse>"
            )
        )

    driver.connection.request = request
    return driver, asked


def instance(number: int) -> str:
    state = "<instanceState><name>running</name></instanceState>"
    return f"<item><instancesSet><item><instanceId>i-{number}</instanceId>{state}</item></instancesSet></item>"


def test_ec2_is_asked_for_all_pages() -> None:
    driver, asked = pages(
        f"<reservationSet>{instance(1)}</reservationSet><nextToken>t1</nextToken>",
        f"<reservationSet>{instance(2)}</reservationSet>",
    )
    assert [each.id for each in ec2().nodes(driver, exchange())] == ["i-1", "i-2"]
    assert [each.get("NextToken") for each in asked] == [None, "t1"]


@pytest.mark.parametrize(
    "bodies",
    [
        ("<hello/>",),
        (
            f"<reservationSet>{instance(1)}</reservationSet><nextToken>t</nextToken>",
            f"<reservationSet>{instance(2)}</reservationSet><nextToken>t</nextToken>",
        ),
    ],
    ids=["no list", "the same token again"],
)
def test_a_list_of_ec2_that_is_not_whole_is_none(bodies: tuple[str, ...]) -> None:
    driver, _ = pages(*bodies)
    with pytest.raises(Unavailable):
        ec2().nodes(driver, exchange())


def test_a_console_without_output_is_empty() -> None:
    profile = ec2()
    driver = SimpleNamespace(path="/", connection=SimpleNamespace(request=lambda path, params: None))
    for output, text in (("", ""), (b64encode(b"booted\n").decode(), "booted\n")):
        body = f'<R xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><output>{output}</output></R>'.encode()
        assert profile.read_console(driver, exchange(told(200, body)), "i-1") == text


def test_what_a_driver_sends_outside_of_a_call_is_not_sent() -> None:
    profile = ec2()
    driver = profile.driver(key="k", secret="s", region="eu-central-1", host="127.0.0.1", port=1, secure=False)
    with pytest.raises(Unavailable):
        driver.list_nodes()
    late = exchange()
    late.deadline = time.monotonic() - 1
    with exchanging(late), pytest.raises(HostingError):
        driver.list_nodes()
    assert late.replies == []


@pytest.mark.parametrize(
    ("spec", "credentials", "error", "field"),
    [
        (Spec("https://x", "eu-central-1", settings={}), SECRET, Invalid, "settings.driver"),
        (Spec("https://x", "eu-central-1", settings={"driver": "no-such"}), SECRET, Invalid, "settings.driver"),
        (Spec("https://x", settings={"driver": "vultr"}), SECRET, Invalid, "settings.driver"),
        (
            Spec("https://x", settings={"driver": "rimuhosting", "trustListing": True}),
            SECRET,
            Invalid,
            "settings.driver",
        ),
        (
            Spec("https://x", settings={"driver": "rimuhosting", "trustListing": True, "nameOnly": True}),
            SECRET,
            Invalid,
            "settings.driver",
        ),
        (Spec("https://x", "mars-1", settings=EC2), SECRET, Invalid, "region"),
        (Spec("https://x", "eu-central-1", "p", settings=EC2), SECRET, Invalid, "project"),
        (Spec(None, settings={"driver": "openstack"}), SECRET, Invalid, "endpoint"),
        (Spec("https://x", "eu-central-1", settings=EC2), {}, AuthenticationError, None),
        (Spec("https://x", "eu-central-1", settings=EC2), {"key": b""}, AuthenticationError, None),
        (Spec("https://x", "eu-central-1", settings=EC2), {"a-b": b"c"}, AuthenticationError, None),
    ],
)
async def test_a_wrong_service_is_refused(
    spec: Spec, credentials: dict[str, bytes], error: type[HostingError], field: str | None
) -> None:
    with pytest.raises(error) as caught:
        FACTORY.open(spec, credentials)
    assert getattr(caught.value, "field", None) == field


async def test_abilities_are_the_drivers() -> None:
    by_driver = {
        "ec2": {"Retag", "Power"},
        "openstack": {"Retag", "Power", "Images"},
    }
    for name, abilities in by_driver.items():
        opened = FACTORY.open(Spec("https://x/v3", "eu-central-1", settings={"driver": name}), SECRET)
        assert {str(each) for each in abilities_of(opened)} == abilities
        assert opened.capabilities.idempotent_create is (name == "ec2")
        await opened.close()
    assert FACTORY.abilities == frozenset()


def test_a_server_sets_only_what_its_service_lets_it_set() -> None:
    settings = LibcloudServerSettings.model_validate({"arguments": {"ex_flag": 1}, "references": {"ex_net": "n"}})
    check_allowed(settings, ("ex_net", "ex_flag"))
    for allowed, field in (((), "arguments.ex_flag"), (("ex_flag",), "references.ex_net")):
        with pytest.raises(Invalid, match="serverArguments") as caught:
            check_allowed(settings, allowed)
        assert caught.value.field == f"settings.{field}"
