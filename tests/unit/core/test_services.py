"""The view of a HostingService: what is known of it, and that what is not known is not guessed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from moorage.api.hostingservice import HostingService
from moorage.core.services import ServiceView, service_view

AVAILABLE = {"type": "Available", "status": "True", "reason": "Reachable", "lastTransitionTime": "2026-11-22T00:00:00Z"}
SIZE = {"cpu": 1, "memory": "1Gi"}


def service(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **meta: Any) -> HostingService:
    return HostingService.from_dict(
        {
            "metadata": {"name": "a", "uid": "u", **meta},
            "spec": {"type": "local", "endpoint": "http://127.0.0.1:1", **(spec or {})},
            "status": {"conditions": [AVAILABLE], **(status or {})},
        }
    )


def view(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **meta: Any) -> ServiceView:
    return service_view(service(spec, status, **meta))


def test_facts_of_spec_and_status() -> None:
    seen = view({"region": "eu-1", "labels": {"zone": "x"}}, {"images": ["debian-12"], "servers": 3})
    assert (seen.name, seen.uid, seen.type, seen.region, seen.servers) == ("a", "u", "local", "eu-1", 3)
    assert seen.labels == {"zone": "x"}
    assert seen.images == frozenset({"debian-12"})
    assert seen.usable


@pytest.mark.parametrize(("abilities", "retags"), [([], False), (["Power"], False), (["Power", "Retag"], True)])
def test_what_can_be_done_there_is_known_from_status(abilities: list[str], retags: bool) -> None:
    assert view({}, {"abilities": abilities}).retags is retags


def test_declared_offerings_win_over_discovered_ones_by_name() -> None:
    discovered = [{**SIZE, "name": "small", "pricePerHour": "0.05"}, {**SIZE, "name": "large", "pricePerHour": "0.50"}]
    seen = view({"offerings": [{**SIZE, "name": "small", "pricePerHour": "0.03"}]}, {"offerings": discovered})
    assert [(o.name, o.price_per_hour) for o in seen.offerings] == [
        ("large", Decimal("0.50")),
        ("small", Decimal("0.03")),
    ]
    assert seen.min_price == Decimal("0.03")


@pytest.mark.parametrize(
    ("limits", "capacity", "servers", "promised", "room"),
    [
        ({}, None, 0, 0, None),
        ({}, {"used": 7}, 0, 0, None),
        ({}, {"limit": 10, "used": 7}, 0, 0, 3),
        ({}, {"limit": 10, "used": 7, "available": 2}, 0, 0, 2),
        ({"servers": 5}, None, 4, 0, 1),
        ({"servers": 5}, {"limit": 10, "used": 9}, 1, 0, 1),
        ({"servers": 5}, {"limit": 100, "used": 9}, 1, 0, 4),
        ({"servers": 5}, {"limit": 100, "used": 9}, 1, 3, 1),
        ({"servers": 5}, None, 9, 0, 0),
        ({}, {"limit": 10, "used": 7}, 0, 5, 0),
    ],
)
def test_room_is_the_narrowest_bound_less_what_is_promised(
    limits: dict[str, int], capacity: dict[str, int] | None, servers: int, promised: int, room: int | None
) -> None:
    seen = service({"limits": limits}, {"capacity": capacity} if capacity else {})
    assert service_view(seen, servers=servers, promised=promised).room == room


@pytest.mark.parametrize(
    ("status", "meta", "reason"),
    [
        ({"conditions": []}, {}, "NotSeenYet"),
        (
            {"conditions": [{**AVAILABLE, "status": "False", "reason": "AuthenticationFailed"}]},
            {},
            "AuthenticationFailed",
        ),
        ({"conditions": [{**AVAILABLE, "status": "Unknown", "reason": "TimedOut"}]}, {}, "TimedOut"),
        ({"conditions": [AVAILABLE, {**AVAILABLE, "type": "Stalled", "reason": "ScopeChanged"}]}, {}, "ScopeChanged"),
        ({"circuit": {"state": "Open"}}, {}, "CircuitOpen"),
        ({}, {"deletionTimestamp": "2026-11-22T00:00:00Z"}, "Deleting"),
    ],
)
def test_where_no_new_server_may_be_made(status: dict[str, Any], meta: dict[str, Any], reason: str) -> None:
    seen = view({}, status, **meta)
    assert not seen.usable
    assert seen.why_not[0] == reason


def test_a_list_of_images_that_may_be_cut_says_nothing() -> None:
    assert view({}, {"images": [f"i{n}" for n in range(200)]}).images is None
    assert view({}, {}).images is None


def test_what_expressions_see() -> None:
    seen = view(
        {"region": "eu-1", "labels": {"zone": "x"}},
        {
            "servers": 3,
            "capacity": {"limit": 10, "used": 7},
            "offerings": [{"name": "small", "cpu": "500m", "memory": "1Gi", "pricePerHour": "0.03"}],
        },
    )
    assert seen.to_cel() == {
        "name": "a",
        "type": "local",
        "region": "eu-1",
        "labels": {"zone": "x"},
        "available": True,
        "capacity": {"limit": 10, "used": 7, "available": 3},
        "offerings": [
            {"name": "small", "cpu": 0.5, "memory": 2**30, "arch": "amd64", "interruptible": False, "price": 0.03}
        ],
        "minPrice": 0.03,
        "servers": 3,
    }
    unknown = view({}, {"offerings": [{**SIZE, "name": "small"}]}).to_cel()
    assert unknown["capacity"] == {"used": 0}
    assert "minPrice" not in unknown
    assert "price" not in unknown["offerings"][0]
