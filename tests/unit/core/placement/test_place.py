"""Placement: who is rejected and why, how the rest is ranked, and how the choice is explained."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from moorage.api.hostingpolicy import Select
from moorage.api.hostingservice import Offering
from moorage.api.meta import LabelSelector
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.placement import Decision, MemberRequest, PlacementRequest, place
from moorage.core.services import ServiceView

CONFIG = VirtualServerConfigSpec.from_dict({"images": [{"image": "debian-12"}], "size": {"cpu": 1, "memory": "512Mi"}})
BIG = VirtualServerConfigSpec.from_dict({"images": [{"image": "debian-12"}], "size": {"cpu": 4}})
TEAM = {"team": "blue"}


def service(name: str, price: str | None = "0.02", **fields: Any) -> ServiceView:
    known = {} if price is None else {"price_per_hour": Decimal(price)}
    small = Offering(name="small", cpu=Decimal(1), memory=Decimal(2**30), **known)
    large = Offering(name="large", cpu=Decimal(4), memory=Decimal(2**33), **{k: 4 * v for k, v in known.items()})
    return ServiceView(name, uid=f"uid-{name}", **{"offerings": (small, large), **fields})


def request(
    web: int = 2, beside: dict[str, int] | None = None, config: VirtualServerConfigSpec = CONFIG
) -> PlacementRequest:
    members = (MemberRequest("db", 1, config), MemberRequest("web", web, CONFIG))
    return PlacementRequest("team-a", TEAM, members, beside or {})


def select(**fields: Any) -> Select:
    return Select.from_dict(fields)


def chosen(decision: Decision) -> str | None:
    return None if decision.chosen is None else decision.chosen.name


def test_the_cheapest_is_chosen_and_the_sentence_says_why() -> None:
    services = [service("b", "0.04"), service("c", "0.01", room=2), service("a", "0.02")]
    decision = place(request(), select(), services)
    assert chosen(decision) == "a"
    assert decision.price == Decimal("0.06")
    assert decision.message == (
        "a: cheapest of 2: 0.06/h against 0.12/h (b); c rejected: InsufficientCapacity (needs 3, has 2)"
    )
    assert [(c.service, c.feasible, c.score, c.reasons) for c in decision.candidates] == [
        ("a", True, 100.0, ("price 0.06/h",)),
        ("b", True, 50.0, ("price 0.12/h",)),
        ("c", False, None, ("InsufficientCapacity: needs 3, has 2",)),
    ]
    assert decision.rejected == {"InsufficientCapacity": 1}
    assert {name: (m.image, m.offering.name) for name, m in decision.members.items()} == {
        "db": ("debian-12", "small"),
        "web": ("debian-12", "small"),
    }


def test_each_member_has_its_own_offering_and_the_price_counts_all_servers() -> None:
    decision = place(request(web=3, config=BIG), select(), [service("a", "0.02")])
    assert {name: m.offering.name for name, m in decision.members.items()} == {"db": "large", "web": "small"}
    assert decision.price == Decimal("0.14")
    assert decision.message == "a is the only service that can take the group (0.14/h)"


EU: dict[str, Any] = {"labels": {"jurisdiction": "eu"}, "region": "eu-1"}


@pytest.mark.parametrize(
    ("view", "choice", "word", "detail"),
    [
        (
            {"allowed_namespaces": LabelSelector(match_labels={"team": "red"})},
            {},
            "NotAllowedInNamespace",
            "the service does not allow the namespace 'team-a'",
        ),
        ({}, {"services": {"names": ["z"]}}, "NotSelected", "it is not among select.services.names"),
        (
            {},
            {"services": {"selector": {"matchLabels": {"tier": "gold"}}}},
            "NotSelected",
            "its spec.labels do not match select.services.selector",
        ),
        (
            {"labels": {"jurisdiction": "us"}},
            {"requirements": [{"key": "jurisdiction", "operator": "In", "values": ["eu", "ch"]}]},
            "RequirementNotMet(jurisdiction)",
            "jurisdiction is us, must be In [eu, ch]",
        ),
        (
            {},
            {"requirements": [{"key": "jurisdiction", "operator": "Exists"}]},
            "RequirementNotMet(jurisdiction)",
            "jurisdiction is not set, must be Exists",
        ),
        (
            EU,
            {"requirements": [{"key": "region", "operator": "NotIn", "values": ["eu-1"]}]},
            "RequirementNotMet(region)",
            "region is eu-1, must be NotIn [eu-1]",
        ),
        (
            EU,
            {"requirements": [{"key": "jurisdiction", "operator": "DoesNotExist"}]},
            "RequirementNotMet(jurisdiction)",
            "jurisdiction is eu, must be DoesNotExist",
        ),
        (
            {},
            {"requirements": [{"key": "type", "operator": "In", "values": ["ec2"]}]},
            "RequirementNotMet(type)",
            "type is local, must be In [ec2]",
        ),
        (
            {},
            {"requirements": [{"key": "arch", "operator": "In", "values": ["arm64"]}]},
            "RequirementNotMet(arch)",
            "arch is amd64, must be In [arm64]",
        ),
        (
            {"usable": False, "why_not": ("AuthenticationFailed", "the token was refused")},
            {},
            "NotAvailable",
            "AuthenticationFailed: the token was refused",
        ),
        ({"type": "ec2"}, {}, "NoImage", "member db: none of its 1 images is for services of type ec2"),
        ({"images": frozenset({"alpine"})}, {}, "ImageUnknown", "member db: the service has no image 'debian-12'"),
        ({"offerings": ()}, {}, "NoOffering", "member db: none of its 0 offerings has cpu 1, memory 512Mi"),
        ({"room": 2}, {}, "InsufficientCapacity", "needs 3, has 2"),
    ],
)
def test_every_reason_to_reject_a_service(view: dict[str, Any], choice: dict[str, Any], word: str, detail: str) -> None:
    local = VirtualServerConfigSpec.from_dict(
        {"images": [{"image": "debian-12", "serviceType": "local"}], "size": {"memory": "512Mi"}}
    )
    decision = place(request(config=local), select(**choice), [replace(service("a"), **view)])
    assert decision.chosen is None
    assert decision.rejected == {word: 1}
    assert decision.candidates[0].reasons == (f"{word}: {detail}",)
    assert word in decision.message
    assert decision.message.startswith("no service can take the group: ")


@pytest.mark.parametrize(
    "requirement",
    [
        {"key": "jurisdiction", "operator": "In", "values": ["eu"]},
        {"key": "jurisdiction", "operator": "Exists"},
        {"key": "other", "operator": "NotIn", "values": ["eu"]},
        {"key": "other", "operator": "DoesNotExist"},
        {"key": "region", "operator": "In", "values": ["eu-1"]},
        {"key": "arch", "operator": "In", "values": ["amd64", "arm64"]},
        {"key": "arch", "operator": "NotIn", "values": ["arm64"]},
        {"key": "type", "operator": "Exists"},
    ],
)
def test_requirements_that_are_met(requirement: dict[str, Any]) -> None:
    assert chosen(place(request(), select(requirements=[requirement]), [service("a", **EU)])) == "a"


def test_an_unknown_price_is_no_reason_to_reject_but_ranks_last_by_price() -> None:
    decision = place(request(), select(), [service("a", None), service("b", "9.00")])
    assert chosen(decision) == "b"
    assert decision.candidates[1].reasons == ("price unknown",)
    assert chosen(place(request(), select(), [service("a", None)])) == "a"


def test_capacity_prefers_more_room_and_most_of_all_no_bound() -> None:
    by = select(preferences=[{"by": "Capacity"}])
    services = [service("a", room=3), service("b", room=300), service("c", room=30)]
    decision = place(request(), by, services)
    assert [c.service for c in decision.candidates] == ["b", "c", "a"]
    assert [c.scores.capacity for c in decision.candidates if c.scores] == [99.0, 90.0, 0.0]
    assert decision.message == "b: most room of 3: room for 300 against room for 30 (c)"
    assert chosen(place(request(), by, [*services, service("d")])) == "d"


def test_spread_prefers_the_fewest_servers_of_the_policys_other_groups() -> None:
    by = select(preferences=[{"by": "Spread"}])
    decision = place(request(beside={"a": 4, "b": 1}), by, [service("a"), service("b")])
    assert [(c.service, c.score) for c in decision.candidates] == [("b", 100.0), ("a", 40.0)]
    assert decision.message == "b: fewest servers of 2: 1 server there against 4 servers there (a)"


def test_weights_decide_between_views() -> None:
    services = [service("cheap", "0.02", room=3), service("roomy", "0.04", room=300)]

    def by(price: int, capacity: int) -> Decision:
        weighted = [{"by": "Price", "weight": price}, {"by": "Capacity", "weight": capacity}]
        return place(request(), select(preferences=weighted), services)

    assert chosen(by(80, 20)) == "cheap"
    assert chosen(by(20, 80)) == "roomy"
    assert by(20, 80).message == (
        "roomy: best of 2 by price 20, capacity 80: score 89.2 (0.12/h, room for 300) "
        "against 20.0 (cheap: 0.06/h, room for 3)"
    )


def test_ties_go_to_the_first_by_name() -> None:
    decision = place(request(), select(), [service("b"), service("a")])
    assert chosen(decision) == "a"
    assert decision.message == "a is as good as b (0.06/h) and first by name among 2"


def test_without_any_service() -> None:
    decision = place(request(), select(), [])
    assert decision.message == "no service can take the group: there is no HostingService"
    assert decision.candidates == ()


def test_status_gets_twenty_candidates_the_furthest_first_and_counts_for_all() -> None:
    full = [service(f"full-{i:02}", room=1) for i in range(30)]
    hidden = [service(f"a-{i}", allowed_namespaces=LabelSelector(match_labels={"x": "y"})) for i in range(5)]
    decision = place(request(), select(), [*hidden, *full, service("good")])
    assert [c.service for c in decision.candidates] == ["good", *(f"full-{i:02}" for i in range(19))]
    assert decision.rejected == {"InsufficientCapacity": 30, "NotAllowedInNamespace": 5}
    assert decision.message.endswith("32 others rejected: 27 InsufficientCapacity, 5 NotAllowedInNamespace")


def test_servers_that_are_to_outlive_the_group_go_where_they_can_be_let_go() -> None:
    services = [service("cheap", "0.01", retags=False), service("dear", "0.04")]
    assert chosen(place(request(), select(), services)) == "cheap"
    retained = replace(request(), retains=True)
    decision = place(retained, select(), services)
    assert chosen(decision) == "dear"
    assert decision.rejected == {"RetainUnsupported": 1}
    nowhere = place(retained, select(), services[:1])
    assert chosen(nowhere) is None
    assert "RetainUnsupported" in nowhere.message
    assert "deletionPolicy: Retain" in nowhere.message


def test_what_cannot_be_reached_is_told_before_what_it_cannot_do() -> None:
    away = service("a", usable=False, why_not=("CircuitOpen", "left alone"), retags=False)
    imageless = replace(service("b", retags=False), type="none", images=frozenset({"other"}))
    decision = place(replace(request(), retains=True), select(), [away, imageless])
    assert decision.rejected == {"NotAvailable": 1, "RetainUnsupported": 1}


def test_a_member_without_servers_must_be_possible_all_the_same() -> None:
    huge = VirtualServerConfigSpec.from_dict({"images": [{"image": "debian-12"}], "size": {"cpu": 64}})
    none = PlacementRequest("team-a", TEAM, (MemberRequest("web", 0, huge),))
    assert place(none, select(), [service("a")]).rejected == {"NoOffering": 1}
    empty = PlacementRequest("team-a", TEAM, (MemberRequest("web", 0, CONFIG),))
    assert place(empty, select(), [service("a", room=0)]).price == Decimal(0)


def test_a_service_that_the_group_left_is_not_chosen_and_its_expressions_are_not_asked() -> None:
    expressions = [{"name": "none", "expression": "false"}]
    left = replace(request(), avoided={"uid-a": "left for a failover"})
    decision = place(left, select(expressions=expressions), [service("a"), service("b")])
    assert decision.rejected == {"LeftByFailover": 1, "RequirementNotMet(none)": 1}
    assert chosen(place(left, select(), [service("a", "0.01"), service("b")])) == "b"
