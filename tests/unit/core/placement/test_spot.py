"""What a service may take back: when it is taken, and what is taken where there is no room for it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from moorage.api.hostingservice import Offering
from moorage.api.placement import Exhausted
from moorage.api.selection import Requirement, Select
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.exhaustion import Exhaustion, settings_mark
from moorage.core.placement import (
    MemberRequest,
    MemberTemplate,
    PlacementRequest,
    Rejection,
    Spot,
    first_with_room,
    place,
    resolve_member,
    resolve_turns,
    tried_in_turn,
    with_room,
)
from moorage.core.services import ServiceView

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def spot_settings(type_: str, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return None if "market" in settings or type_ != "ec2" else {**settings, "market": "Spot"}


def fallback(_type: str, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return {**settings, "market": "OnDemand"} if settings.get("market") == "SpotThenOnDemand" else None


def offering(name: str, price: str, **fields: Any) -> Offering:
    return Offering.from_dict({"name": name, "cpu": 1, "memory": "1Gi", "pricePerHour": price, **fields})


EC2 = ServiceView("a", uid="uid-a", type="ec2", offerings=(offering("m", "0.10", spotPricePerHour="0.03"),))
PREEMPTIBLE = ServiceView(
    "b", uid="uid-b", offerings=(offering("kept", "0.05"), offering("lent", "0.06", interruptible=True))
)


def config(**fields: Any) -> VirtualServerConfigSpec:
    return VirtualServerConfigSpec.from_dict({"images": [{"image": "debian-12"}], "size": {"cpu": 1}, **fields})


def resolved(
    service: ServiceView,
    use: Any,
    *requirements: Requirement,
    spec: VirtualServerConfigSpec = config(),  # noqa: B008
) -> MemberTemplate:
    found = resolve_member(spec, service, requirements, Spot(use, spot_settings))
    assert isinstance(found, MemberTemplate), found
    return found


@pytest.mark.parametrize(
    ("service", "use", "name", "price", "settings"),
    [
        (EC2, "Never", "m", "0.10", {}),
        (EC2, "Allow", "m", "0.03", {"market": "Spot"}),
        (EC2, "Prefer", "m", "0.03", {"market": "Spot"}),
        (PREEMPTIBLE, "Never", "kept", "0.05", {}),
        (PREEMPTIBLE, "Allow", "kept", "0.05", {}),
        (PREEMPTIBLE, "Prefer", "lent", "0.06", {}),
    ],
)
def test_when_what_may_be_taken_back_is_taken(
    service: ServiceView, use: str, name: str, price: str, settings: dict[str, str]
) -> None:
    found = resolved(service, use)
    assert (found.offering.name, found.price, found.settings) == (name, Decimal(price), settings)
    assert found.interruptible == (found.otherwise is not None)


def test_at_one_price_what_stays_is_taken() -> None:
    same = ServiceView("c", offerings=(offering("lent", "0.05", interruptible=True), offering("kept", "0.05")))
    assert resolved(same, "Allow").offering.name == "kept"


def test_settings_that_name_a_market_are_left_as_they_are() -> None:
    own = config(settings=[{"serviceType": "ec2", "values": {"market": "SpotThenOnDemand"}}])
    found = resolved(EC2, "Prefer", spec=own)
    assert (found.price, found.settings, found.interruptible) == (
        Decimal("0.10"),
        {"market": "SpotThenOnDemand"},
        False,
    )
    turns = [t.settings["market"] for t in tried_in_turn(found, "ec2", fallback)]
    assert turns == ["SpotThenOnDemand", "OnDemand"]


def test_an_offering_that_the_configuration_names_is_taken_as_it_is() -> None:
    named = config(size={"offerings": [{"name": "lent"}]})
    assert resolved(PREEMPTIBLE, "Never", spec=named).offering.name == "lent"


def test_without_what_stays_it_is_said_what_is_not_looked_at() -> None:
    lent = ServiceView("c", offerings=(offering("lent", "0.05", interruptible=True),))
    found = resolve_member(config(), lent)
    assert isinstance(found, Rejection)
    assert found.detail == "none of its 1 offerings has cpu 1, memory 0 (1 that may be taken back are not looked at)"
    assert resolved(lent, "Allow").otherwise is None


def exhausted(name: str, settings: Mapping[str, Any], uid: str = "uid-a") -> Exhausted:
    return Exhausted(
        service="a",
        service_uid=uid,
        offering=name,
        settings=settings_mark(settings),
        reason="InsufficientCapacity",
        message="none left",
        until=NOW + timedelta(minutes=10),
    )


def test_without_room_for_it_what_stays_is_taken_at_its_own_price_and_the_other_way_round_after_a_while() -> None:
    found = resolved(EC2, "Prefer")
    full = [exhausted("m", {"market": "Spot"})]
    left = with_room(found, "uid-a", "ec2", Exhaustion(full, NOW, fallback))
    assert isinstance(left, MemberTemplate)
    assert (left.price, left.settings, left.interruptible) == (Decimal("0.10"), {}, False)
    later = with_room(found, "uid-a", "ec2", Exhaustion(full, NOW + timedelta(minutes=10), fallback))
    assert later == found
    none = with_room(found, "uid-a", "ec2", Exhaustion([*full, exhausted("m", {})], NOW, fallback))
    assert isinstance(none, Rejection)
    assert none.word == "InsufficientCapacity"


def test_offerings_in_turn_come_after_what_may_be_taken_back_and_what_stays_instead() -> None:
    arm = offering("arm", "0.01", arch="arm64")
    service = ServiceView("b", uid="uid-b", offerings=(*PREEMPTIBLE.offerings, offering("more", "0.50"), arm))
    amd = Requirement(key="arch", operator="In", values=("amd64",))
    turns = resolve_turns(config(), service, (amd,), Spot("Prefer", spot_settings))
    assert not isinstance(turns, Rejection)
    names = [[t.offering.name for t in tried_in_turn(turn, "", fallback)] for turn in turns]
    assert names == [["lent", "kept"], ["more"]]
    full = [exhausted(name, {}, "uid-b") for name in ("lent", "kept", "more")]

    def left(count: int) -> MemberTemplate | Rejection:
        return first_with_room(turns, "uid-b", "", Exhaustion(full[:count], NOW))

    found = [left(count) for count in range(4)]
    assert [f.offering.name for f in found if isinstance(f, MemberTemplate)] == ["lent", "kept", "more"]
    assert isinstance(found[3], Rejection)
    assert isinstance(found[2], MemberTemplate)
    assert found[2].instead.startswith("offering more is taken instead: offering kept turned out to have no room")


def test_what_is_taken_after_what_may_be_taken_back_runs_the_same_image() -> None:
    mixed = ServiceView(
        "c", offerings=(offering("lent", "0.01", interruptible=True), offering("arm", "0.05", arch="arm64"))
    )
    assert resolved(mixed, "Prefer").otherwise is None


def test_what_stays_is_never_taken_against_a_requirement() -> None:
    cheap = Requirement(key="price", operator="Lt", values=("0.05",))
    found = resolved(EC2, "Prefer", cheap)
    assert (found.price, found.otherwise) == (Decimal("0.03"), None)
    full = Exhaustion([exhausted("m", {"market": "Spot"})], NOW, lambda _t, s: {**s, "market": "OnDemand"})
    assert isinstance(with_room(found, "uid-a", "ec2", full), Rejection)
    assert list(tried_in_turn(found, "ec2", lambda _t, s: {**s, "market": "OnDemand"})) == [found]


def test_servers_of_either_kind_are_known_as_the_members_own() -> None:
    turns = [(t.offering.name, dict(t.settings)) for t in tried_in_turn(resolved(EC2, "Allow"), "ec2", fallback)]
    assert turns == [("m", {"market": "Spot"}), ("m", {})]


def test_the_price_of_the_group_and_its_reasons_tell_of_it() -> None:
    request = PlacementRequest("team-a", {}, (MemberRequest("web", 2, config()),), spot_settings=spot_settings)
    decision = place(request, Select.from_dict({"spot": "Allow"}), [EC2, PREEMPTIBLE])
    assert decision.chosen == EC2
    assert decision.price == Decimal("0.06")
    assert decision.candidates[0].reasons == ("price 0.06/h", "may be taken back: web")
