"""What a member's configuration means on one service."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from moorage.api.hostingpolicy import Requirement
from moorage.api.hostingservice import Offering
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.exhaustion import Attempted, Exhaustion, remembered
from moorage.core.placement import MemberTemplate, Reason, Rejection, first_with_room, resolve_member, resolve_turns
from moorage.core.services import ServiceView


def offering(name: str, cpu: str, memory: str, price: str | None, arch: str = "amd64") -> Offering:
    fields = {"name": name, "cpu": cpu, "memory": memory, "arch": arch}
    return Offering.from_dict(fields if price is None else {**fields, "pricePerHour": price})


SERVICE = ServiceView(
    "a",
    type="local",
    region="eu-1",
    labels={"zone": "x"},
    offerings=(
        offering("tiny", "500m", "512Mi", "0.01"),
        offering("small", "1", "1Gi", "0.03"),
        offering("bulky", "2", "4Gi", "0.03"),
        offering("arm", "2", "4Gi", "0.02", "arm64"),
        offering("large", "8", "32Gi", "0.40"),
        offering("private", "16", "64Gi", None),
    ),
)


def config(images: Any = ({"image": "debian-12"},), **fields: Any) -> VirtualServerConfigSpec:
    return VirtualServerConfigSpec.from_dict({"images": list(images), **fields})


def resolved(
    spec: VirtualServerConfigSpec, service: ServiceView = SERVICE, *requirements: Requirement
) -> MemberTemplate:
    template = resolve_member(spec, service, requirements)
    assert isinstance(template, MemberTemplate), template
    return template


def rejected(spec: VirtualServerConfigSpec, service: ServiceView = SERVICE, *requirements: Requirement) -> Rejection:
    rejection = resolve_member(spec, service, requirements)
    assert isinstance(rejection, Rejection), rejection
    return rejection


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ({}, "arm"),
        ({"arch": "amd64"}, "small"),
        ({"cpu": "500m", "memory": "512Mi", "arch": "amd64"}, "tiny"),
        ({"cpu": 1, "memory": "2Gi", "arch": "amd64"}, "bulky"),
        ({"cpu": 3}, "large"),
        ({"cpu": 9}, "private"),
        ({"offerings": [{"name": "large"}]}, "large"),
        (
            {"offerings": [{"service": "b", "name": "x"}, {"serviceType": "local", "name": "tiny"}, {"name": "arm"}]},
            "tiny",
        ),
        ({"cpu": 2, "offerings": [{"service": "b", "name": "large"}]}, "arm"),
    ],
)
def test_the_cheapest_that_is_large_enough_or_the_one_that_is_named(size: dict[str, Any], name: str) -> None:
    assert resolved(config(size=size)).offering.name == name


def test_at_equal_price_the_smallest_then_the_first_by_name() -> None:
    same = (offering("b", "1", "1Gi", "0.03"), offering("a", "1", "1Gi", "0.03"), offering("c", "2", "1Gi", "0.03"))
    assert resolved(config(), ServiceView("s", offerings=same)).offering.name == "a"


@pytest.mark.parametrize(
    ("size", "detail"),
    [
        ({"cpu": 99}, "none of its 6 offerings has cpu 99, memory 0"),
        ({"memory": "512Gi", "arch": "arm64"}, "none of its 6 offerings has cpu 1, memory 512Gi, arch arm64"),
        ({"offerings": [{"name": "huge"}]}, "the service has no offering 'huge'"),
    ],
)
def test_no_offering_says_what_was_needed(size: dict[str, Any], detail: str) -> None:
    assert rejected(config(size=size)) == Rejection(Reason.NO_OFFERING, detail)


@pytest.mark.parametrize(
    ("size", "names"),
    [
        ({"arch": "amd64"}, ["small", "bulky", "large"]),
        ({}, ["arm"]),
        ({"cpu": 3}, ["large", "private"]),
        (
            {"offerings": [{"name": "large"}, {"service": "b", "name": "bulky"}, {"name": "gone"}, {"name": "tiny"}]},
            ["large", "tiny"],
        ),
        ({"offerings": [{"name": "large"}, {"name": "large"}]}, ["large"]),
    ],
)
def test_offerings_are_tried_in_turn_of_one_architecture_or_as_they_are_listed(
    size: dict[str, Any], names: list[str]
) -> None:
    turns = resolve_turns(config(size=size), SERVICE)
    assert not isinstance(turns, Rejection)
    assert [turn.offering.name for turn in turns] == names


def test_what_has_no_room_is_passed_over_and_that_is_told() -> None:
    turns = resolve_turns(config(size={"arch": "amd64"}), SERVICE)
    assert not isinstance(turns, Rejection)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    full = [Attempted("a", "", name, {}, "InsufficientCapacity", "full", now) for name in ("small", "bulky", "large")]

    def left(count: int) -> MemberTemplate | Rejection:
        return first_with_room(turns, "", "local", Exhaustion(remembered((), full[:count], now), now))

    first, second = left(0), left(1)
    assert isinstance(first, MemberTemplate)
    assert isinstance(second, MemberTemplate)
    assert (first.offering.name, first.instead) == ("small", "")
    assert second.offering.name == "bulky"
    assert second.instead.startswith(
        "offering bulky is taken instead: offering small turned out to have no room (full)"
    )
    none = left(3)
    assert isinstance(none, Rejection)
    assert none.reason == Reason.NO_CAPACITY
    assert none.detail.endswith("nor is there room with bulky, large")


def test_requirements_on_arch_narrow_the_offerings() -> None:
    amd = Requirement(key="arch", operator="In", values=("amd64",))
    no_arm = Requirement(key="arch", operator="NotIn", values=("arm64",))
    assert resolved(config(), SERVICE, amd).offering.name == "small"
    assert resolved(config(), SERVICE, no_arm).offering.name == "small"
    exact = config(size={"offerings": [{"name": "arm"}]})
    assert rejected(exact, SERVICE, amd).reason == Reason.NO_OFFERING


@pytest.mark.parametrize(
    ("images", "image"),
    [
        ([{"image": "any"}], "any"),
        ([{"image": "ami-1", "serviceType": "ec2"}, {"image": "debian-12", "serviceType": "local"}], "debian-12"),
        ([{"image": "us", "region": "us-1"}, {"image": "eu", "region": "eu-1"}], "eu"),
        ([{"image": "y", "serviceSelector": {"matchLabels": {"zone": "y"}}}, {"image": "rest"}], "rest"),
        ([{"image": "first"}, {"image": "second", "region": "eu-1"}], "first"),
    ],
)
def test_the_first_image_that_applies(images: list[dict[str, Any]], image: str) -> None:
    assert resolved(config(images)).image == image


def test_no_image_and_an_image_that_the_service_does_not_have() -> None:
    none = rejected(config([{"image": "ami-1", "serviceType": "ec2"}]))
    assert none == Rejection(Reason.NO_IMAGE, "none of its 1 images is for services of type local in region eu-1")
    listed = ServiceView("b", offerings=SERVICE.offerings, images=frozenset({"alpine"}))
    assert rejected(config(), listed) == Rejection(Reason.IMAGE_UNKNOWN, "the service has no image 'debian-12'")


def test_settings_are_those_of_the_type_of_service() -> None:
    settings = [{"serviceType": "ec2", "values": {"a": 1}}, {"serviceType": "local", "values": {"b": 2}}]
    assert resolved(config(settings=settings)).settings == {"b": 2}
    assert resolved(config()).settings == {}


def test_the_price_of_one_server() -> None:
    assert resolved(config(size={"cpu": 8})).price == Decimal("0.40")
    assert resolved(config(size={"cpu": 9})).price is None
