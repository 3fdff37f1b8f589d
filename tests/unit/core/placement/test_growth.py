"""Room for what a group may be scaled to: it comes before the scores, keeps none from being placed, and is told."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.hostingservice import Offering
from moorage.api.selection import Select
from moorage.api.servergroup import ServerGroupSpec
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.placement import Decision, MemberRequest, PlacementRequest, place, what_would_change
from moorage.core.services import ServiceView

CONFIG = VirtualServerConfigSpec.from_dict({"images": [{"image": "debian-12"}]})


def service(name: str, price: str, room: int | None) -> ServiceView:
    offering = Offering(name="small", cpu=Decimal(1), memory=Decimal(2**30), price_per_hour=Decimal(price))
    return ServiceView(name, uid=f"uid-{name}", offerings=(offering,), room=room)


def request(most: int | None = 9) -> PlacementRequest:
    """One database, two web servers of at most ``most``."""
    members = (MemberRequest("db", 1, CONFIG), MemberRequest("web", 2, CONFIG, most))
    return PlacementRequest("team-a", {}, members)


def placed(services: Sequence[ServiceView], most: int | None = 9, **select: Any) -> Decision:
    return place(request(most), Select.from_dict(select), services)


def names(decision: Decision) -> list[str]:
    return [c.service for c in decision.candidates]


def test_a_dearer_service_with_room_for_the_most_is_chosen_and_the_other_one_is_named() -> None:
    decision = placed([service("a", "0.02", 5), service("b", "0.04", 10)])
    assert names(decision) == ["b", "a"]
    assert decision.message == (
        "b is the only service that has room for the 10 servers that it may be scaled to (0.12/h); "
        "a (0.06/h) would come first, but has room for 5 of the 10 servers that it may be scaled to"
    )
    assert decision.candidates[0].reasons == ("price 0.12/h",)
    assert decision.candidates[1].reasons == (
        "price 0.06/h",
        "room for 5 of the 10 servers that it may be scaled to",
    )


def test_among_those_with_room_the_scores_decide_as_ever() -> None:
    decision = placed([service("a", "0.02", 9), service("b", "0.04", 10), service("c", "0.03", None)])
    assert names(decision) == ["c", "b", "a"]
    assert decision.message.startswith("c: cheapest of 2: 0.09/h against 0.12/h (b); a (0.06/h) would come first, but ")


def test_where_none_has_room_for_the_most_it_is_placed_all_the_same_and_that_is_said() -> None:
    decision = placed([service("a", "0.02", 5), service("b", "0.04", 9)])
    assert names(decision) == ["a", "b"]
    assert decision.message == (
        "a: cheapest of 2: 0.06/h against 0.12/h (b); none has room for the 10 servers that it may be scaled to (a: 5)"
    )


@pytest.mark.parametrize("most", [None, 0, 2])
def test_without_a_most_above_what_it_has_nothing_is_different(most: int | None) -> None:
    decision = placed([service("a", "0.02", 3), service("b", "0.04", None)], most)
    assert decision.message == "a: cheapest of 2: 0.06/h against 0.12/h (b)"
    assert decision.candidates[0].reasons == ("price 0.06/h",)


def test_what_is_passed_over_only_for_its_room_is_no_loss_where_it_is_dearer_anyway() -> None:
    decision = placed([service("a", "0.02", None), service("b", "0.04", 5)])
    assert decision.message == "a: cheapest of 2: 0.06/h against 0.12/h (b)"


def test_with_more_room_the_service_that_was_passed_over_would_win() -> None:
    services, select = [service("a", "0.02", 5), service("b", "0.04", 10)], Select()
    told = what_would_change(request(), select, services, place(request(), select, services))
    assert told == ("a would win with room for 10 (now 5)",)


SERVICES = st.lists(st.tuples(st.integers(1, 5), st.none() | st.integers(3, 12)), min_size=1, max_size=6).map(
    lambda rows: [service("abcdef"[i], f"0.0{price}", room) for i, (price, room) in enumerate(rows)]
)


@given(SERVICES, st.integers(0, 12))
def test_the_choice_has_room_for_the_most_where_any_has(services: list[ServiceView], most: int) -> None:
    decision = placed(services, most, preferences=[{"by": "Price"}, {"by": "Capacity"}])
    needed = max(3, 1 + most)
    roomy = [s.name for s in services if s.room is None or s.room >= needed]
    assert decision.chosen is not None
    assert decision.chosen.name in (roomy or [s.name for s in services])
    assert ("would come first" in decision.message) <= bool(roomy)
    assert ("none has room" in decision.message) == (not roomy)


@pytest.mark.parametrize(
    ("scale", "most"),
    [
        ({"member": "web"}, 1),
        ({"member": "web", "replicas": 4}, 4),
        ({"member": "web", "replicas": 2, "maxReplicas": 8}, 8),
        ({"member": "web", "replicas": 9, "maxReplicas": 8}, 8),
        ({"member": "web", "replicas": 0, "minReplicas": 2}, 2),
    ],
)
def test_what_a_member_may_come_to_have_is_what_its_guards_say(scale: dict[str, Any], most: int) -> None:
    members = [{"name": "db", "configRef": {"name": "c"}, "replicas": 3}, {"name": "web", "configRef": {"name": "c"}}]
    spec = ServerGroupSpec.from_dict({"members": members, "policyRef": {"name": "p"}, "scale": scale})
    assert [spec.most_replicas_of(m) for m in spec.members] == [3, most]
