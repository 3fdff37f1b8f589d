"""What would change the choice: each sentence is true of `place` itself, just below and just above what it names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.hostingpolicy import Select
from moorage.api.hostingservice import Offering
from moorage.api.meta import LabelSelector
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.placement import MemberRequest, PlacementRequest, place, what_would_change
from moorage.core.services import ServiceView

CONFIG = VirtualServerConfigSpec.from_dict({"images": [{"image": "debian-12"}]})
REQUEST = PlacementRequest(
    "team-a", {}, (MemberRequest("web", 2, CONFIG),), spot_settings=lambda _type, settings: {**settings, "spot": True}
)
BY_ROOM = Select.from_dict({"preferences": [{"by": "Price", "weight": 50}, {"by": "Capacity", "weight": 50}]})


def service(name: str, price: str | None, spot: str | None = None, **fields: Any) -> ServiceView:
    told = {"price_per_hour": price, "spot_price_per_hour": spot}
    known: dict[str, Any] = {key: Decimal(value) for key, value in told.items() if value is not None}
    offering = Offering(name="small", cpu=Decimal(1), memory=Decimal(2**30), **known)
    return ServiceView(name, uid=f"uid-{name}", **{"offerings": (offering,), **fields})


def told(services: Sequence[ServiceView], select: Select | None = None) -> tuple[str, ...]:
    select = select or Select()
    return what_would_change(REQUEST, select, services, place(REQUEST, select, services))


def test_by_price_alone_both_limits_are_the_other_ones_price() -> None:
    assert told([service("a", "0.03"), service("b", "0.06")]) == (
        "b would win if its price fell below 0.06/h (now 0.12/h)",
        "b would win if the price of a rose above 0.12/h (now 0.06/h)",
    )


def test_where_equal_prices_are_decided_by_name_the_limit_itself_is_enough() -> None:
    assert told([service("b", "0.03"), service("a", "0.06")])[0] == (
        "a would win if its price fell to 0.06/h (now 0.12/h)"
    )


def test_a_price_at_which_servers_may_be_taken_back_is_moved_with_the_others() -> None:
    services = [service("a", "0.10", "0.03"), service("b", "0.10", "0.06")]
    assert told(services, Select.from_dict({"spot": "Allow"})) == (
        "b would win if its price fell below 0.06/h (now 0.12/h)",
        "b would win if the price of a rose above 0.12/h (now 0.06/h)",
    )


def test_room_would_win_where_room_counts() -> None:
    services = [service("a", "0.03", room=20), service("b", "0.03", room=10)]
    assert "b would win with room for 21 (now 10)" in told(services, BY_ROOM)


def test_nothing_is_said_of_what_no_price_and_no_room_could_change() -> None:
    assert told([service("a", "0.03")]) == ()
    assert told([service("a", "0.03"), service("b", None)]) == ()
    assert told([service("a", "0"), service("b", "0.03")]) == ()


@pytest.mark.parametrize(
    ("fields", "select", "sentence"),
    [
        ({"room": 1}, {}, "b would be chosen with room for 2 (now 1)"),
        (
            {"usable": False, "why_not": ("CircuitOpen", "it failed")},
            {},
            "b would be chosen once it is available (CircuitOpen: it failed)",
        ),
        (
            {"allowed_namespaces": LabelSelector(match_labels={"team": "red"})},
            {},
            "b would be chosen if it allowed the namespace",
        ),
        (
            {"labels": {"jurisdiction": "us"}},
            {"requirements": [{"key": "jurisdiction", "operator": "NotIn", "values": ["us"]}]},
            "b would be chosen without the requirement on jurisdiction (jurisdiction is us, must be NotIn [us])",
        ),
    ],
)
def test_a_cheaper_service_that_is_rejected_would_be_chosen(
    fields: dict[str, Any], select: dict[str, Any], sentence: str
) -> None:
    services = [service("a", "0.03"), service("b", "0.01", **fields)]
    assert told(services, Select.from_dict(select)) == (sentence,)


def test_a_dearer_service_that_is_rejected_could_only_take_the_group() -> None:
    assert told([service("a", "0.03"), service("b", "0.06", room=1)]) == (
        "b could take the group with room for 2 (now 1), and a would still win",
    )


def test_where_none_can_take_the_group_it_says_what_would_do() -> None:
    assert told([service("a", "0.03", room=1), service("b", None, offerings=())]) == (
        "a would be chosen with room for 2 (now 1)",
    )


def test_a_limit_is_rounded_to_the_side_on_which_it_holds() -> None:
    assert told([service("a", "0.12348"), service("b", "0.2")]) == (
        "b would win if its price fell to 0.2469/h (now 0.4/h)",
        "b would win if the price of a rose above 0.4/h (now 0.24696/h)",
    )


def test_it_is_short_and_in_bounds_among_many_services() -> None:
    services = [service(f"s{n:04}", f"{n + 1}", room=n % 7) for n in range(1000)]
    sentences = told(services, BY_ROOM)
    assert 0 < len(sentences) <= 5
    assert all(len(sentence) <= 256 for sentence in sentences)


PRICE = st.integers(1, 50).map(lambda cents: f"0.{cents:02}")
SERVICES = st.lists(
    st.tuples(PRICE, st.none() | PRICE, st.one_of(st.none(), st.integers(0, 12))), min_size=2, max_size=5
).map(lambda rows: [service("abcde"[i], price, spot, room=room) for i, (price, spot, room) in enumerate(rows)])
SELECTS = [
    base.model_copy(update={"spot": use}) for base in (Select(), BY_ROOM) for use in ("Never", "Allow", "Prefer")
]
FELL = re.compile(r"(\w+) would win if its price fell (?:below|to) ([\d.]+)/h \(now ([\d.]+)/h\)")
ROSE = re.compile(r"(\w+) would win if the price of (\w+) rose above ([\d.]+)/h \(now ([\d.]+)/h\)")
ROOM = re.compile(r"(\w+) would win with room for (\d+) \(now \d+\)")


@given(SERVICES, st.sampled_from(SELECTS))
def test_each_sentence_holds_on_its_own_side_of_the_limit_and_not_on_the_other(
    services: list[ServiceView], select: Select
) -> None:
    by_name = {s.name: s for s in services}

    def winner(changed: ServiceView) -> str | None:
        decision = place(REQUEST, select, {**by_name, changed.name: changed}.values())
        return None if decision.chosen is None else decision.chosen.name

    def at(name: str, price: Decimal, now: str) -> ServiceView:
        """The service where the group costs that much; all its prices move together."""
        own, factor = by_name[name], price / Decimal(now)
        (offering,) = own.offerings
        prices = [offering.price_per_hour, offering.spot_price_per_hour]
        moved = [None if p is None else f"{p * factor:f}" for p in prices]
        return service(name, *moved, room=own.room)

    for sentence in told(services, select):
        if fell := FELL.fullmatch(sentence):
            name, limit = fell[1], Decimal(fell[2])
            assert winner(at(name, limit * Decimal("0.99"), fell[3])) == name, sentence
            assert winner(at(name, limit * Decimal("1.01"), fell[3])) != name, sentence
        elif rose := ROSE.fullmatch(sentence):
            name, limit = rose[2], Decimal(rose[3])
            assert winner(at(name, limit * Decimal("1.001"), rose[4])) == rose[1], sentence
            assert winner(at(name, limit * Decimal("0.999"), rose[4])) == name, sentence
        elif room := ROOM.fullmatch(sentence):
            name, least = room[1], int(room[2])
            assert winner(replace(by_name[name], room=least)) == name, sentence
            assert winner(replace(by_name[name], room=least - 1)) != name, sentence
        else:
            assert "with room for" in sentence
