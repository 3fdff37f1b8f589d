"""Properties of placement: deterministic, feasible, no worse than any other, undisturbed by what cannot be."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from moorage.api.hostingservice import Offering
from moorage.api.selection import Select
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.placement import Decision, MemberRequest, MemberTemplate, PlacementRequest, place, resolve_member
from moorage.core.services import ServiceView

CONFIG = VirtualServerConfigSpec.from_dict({"images": [{"image": "debian-12"}], "size": {"cpu": 1, "memory": "512Mi"}})


def service(name: str, price: str | None = "0.02", **fields: Any) -> ServiceView:
    known = {} if price is None else {"price_per_hour": Decimal(price)}
    small = Offering(name="small", cpu=Decimal(1), memory=Decimal(2**30), **known)
    large = Offering(name="large", cpu=Decimal(4), memory=Decimal(2**33), **{k: 4 * v for k, v in known.items()})
    return ServiceView(name, uid=f"uid-{name}", **{"offerings": (small, large), **fields})


def request(web: int = 2, beside: dict[str, int] | None = None, before: str = "") -> PlacementRequest:
    members = (MemberRequest("db", 1, CONFIG), MemberRequest("web", web, CONFIG))
    return PlacementRequest("team-a", {}, members, beside or {}, before=before)


def select(**fields: Any) -> Select:
    return Select.from_dict(fields)


def chosen(decision: Decision) -> str | None:
    return None if decision.chosen is None else decision.chosen.name


_PRICES = st.sampled_from([None, "0", "0.01", "0.02", "0.0200001", "7"])
_SERVICES = st.lists(
    st.builds(
        lambda name, price, room, usable, region, zone, boot, rate: service(
            name,
            price,
            room=room,
            usable=usable,
            region=region,
            labels={} if zone is None else {"zone": zone},
            boot_seconds=boot,
            failure_rate=rate,
        ),
        st.sampled_from([f"s{i}" for i in range(30)]),
        _PRICES,
        st.none() | st.integers(0, 12),
        st.booleans(),
        st.sampled_from(["eu", "us"]),
        st.sampled_from([None, "near", "far"]),
        st.none() | st.floats(0.1, 1e4),
        st.none() | st.floats(0, 1),
    ),
    max_size=12,
    unique_by=lambda s: s.name,
)
_VIEWS: tuple[dict[str, Any], ...] = (
    {"by": "Price"},
    {"by": "Capacity"},
    {"by": "Spread"},
    {"by": "ZoneSpread"},
    {"by": "Latency", "values": ["near", "far"]},
    {"by": "BootTime"},
    {"by": "FailureRate"},
    {"by": "Expression", "expression": "double(service.capacity.available)"},
)


def preferences(weights: tuple[int, ...]) -> list[dict[str, Any]]:
    return [{**view, "weight": weight} for view, weight in zip(_VIEWS, weights, strict=True)]


_WEIGHTS = st.tuples(*[st.integers(0, 25)] * len(_VIEWS)).filter(any)
_SELECTS = st.builds(
    lambda weights, regions, sticky: select(
        preferences=preferences(weights),
        requirements=[{"key": "region", "operator": "In", "values": regions}],
        expressions=[{"name": "roomy", "expression": "!has(service.capacity.available) || true"}],
        stickiness=sticky,
    ),
    _WEIGHTS,
    st.sampled_from([["eu"], ["eu", "us"]]),
    st.integers(0, 25),
)
_REQUESTS = st.builds(
    request,
    st.integers(0, 8),
    st.dictionaries(st.sampled_from(["s1", "s2", "s3"]), st.integers(0, 9)),
    st.sampled_from(["", "uid-s1", "uid-s2"]),
)


@given(_REQUESTS, _SELECTS, _SERVICES, st.randoms(use_true_random=False))
def test_the_order_of_services_does_not_matter(
    req: PlacementRequest, sel: Select, services: list[ServiceView], rnd: Any
) -> None:
    shuffled = list(services)
    rnd.shuffle(shuffled)
    assert place(req, sel, shuffled) == place(req, sel, services)


@given(_REQUESTS, _SELECTS, _SERVICES)
def test_the_choice_is_feasible_and_none_is_better(
    req: PlacementRequest, sel: Select, services: list[ServiceView]
) -> None:
    decision = place(req, sel, services)
    able = [s for s in services if s.usable and (s.room is None or s.room >= req.needed)]
    able = [s for s in able if s.region in sel.requirements[0].values]
    assert (decision.chosen in able) if able else decision.chosen is None
    assert sum(decision.rejected.values()) == len(services) - len(able)
    feasible = [c for c in decision.candidates if c.feasible]
    assert sorted(c.service for c in feasible) == sorted(s.name for s in able)
    scores = [c.score or 0.0 for c in feasible]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= s <= 100 for s in scores)
    assert all(c.feasible for c in decision.candidates[: len(feasible)])
    if decision.chosen is not None:
        assert decision.candidates[0].service == decision.chosen.name


@given(_REQUESTS, _SERVICES, st.sampled_from(["Price", "Capacity", "Spread"]))
def test_by_one_view_the_choice_also_wins_alone_against_any_other(
    req: PlacementRequest, services: list[ServiceView], by: Any
) -> None:
    sel = select(preferences=[{"by": by}])
    decision = place(req, sel, services)
    for other in services:
        if decision.chosen is not None:
            assert chosen(place(req, sel, [decision.chosen, other])) == decision.chosen.name


@given(_REQUESTS, _WEIGHTS, st.integers(2, 4), _SERVICES)
def test_only_the_proportion_of_weights_matters(
    req: PlacementRequest, weights: tuple[int, ...], factor: int, services: list[ServiceView]
) -> None:
    once = place(req, select(preferences=preferences(weights)), services)
    more = place(req, select(preferences=preferences(tuple(factor * w for w in weights))), services)
    assert once.candidates == more.candidates
    assert once.chosen == more.chosen


@given(_REQUESTS, _WEIGHTS, _SERVICES, st.randoms(use_true_random=False))
def test_the_order_of_preferences_does_not_matter(
    req: PlacementRequest, weights: tuple[int, ...], services: list[ServiceView], rnd: Any
) -> None:
    asked = preferences(weights)
    shuffled = list(asked)
    rnd.shuffle(shuffled)
    assert place(req, select(preferences=shuffled), services) == place(req, select(preferences=asked), services)


_QUANTITIES = st.integers(0, 6).map(Decimal)
_OFFERINGS = st.lists(
    st.builds(
        lambda name, cpu, memory, price: Offering(name=name, cpu=cpu, memory=memory, price_per_hour=price),
        st.sampled_from([f"o{i}" for i in range(20)]),
        _QUANTITIES,
        _QUANTITIES,
        st.none() | _QUANTITIES,
    ),
    max_size=10,
    unique_by=lambda o: o.name,
)


@given(_OFFERINGS, st.integers(0, 6), st.integers(0, 6), st.randoms(use_true_random=False))
def test_the_offering_is_the_smallest_of_the_cheapest_that_hold_the_requirement(
    offerings: list[Offering], cpu: int, memory: int, rnd: Any
) -> None:
    config = VirtualServerConfigSpec.from_dict({"images": [{"image": "i"}], "size": {"cpu": cpu, "memory": memory}})
    found = resolve_member(config, ServiceView("a", offerings=tuple(offerings)))
    able = [o for o in offerings if o.cpu >= cpu and o.memory >= memory]
    assert isinstance(found, MemberTemplate) == bool(able)
    if isinstance(found, MemberTemplate):
        best = found.offering
        priced = [o.price_per_hour for o in able if o.price_per_hour is not None]
        assert best in able
        assert best.price_per_hour == min(priced, default=None)
        same = [o for o in able if o.price_per_hour == best.price_per_hour]
        assert (best.cpu, best.memory, best.name) == min((o.cpu, o.memory, o.name) for o in same)
    rnd.shuffle(offerings)
    assert resolve_member(config, ServiceView("a", offerings=tuple(offerings))) == found


@given(_REQUESTS, _SELECTS, _SERVICES, st.integers(0, 12))
def test_a_service_that_cannot_take_the_group_changes_nothing(
    req: PlacementRequest, sel: Select, services: list[ServiceView], at: int
) -> None:
    before = place(req, sel, services)
    useless = service("aaa", "0.000001", usable=False, room=0)
    after = place(req, sel, [*services[:at], useless, *services[at:]])
    assert (after.chosen, after.members, after.score, after.price) == (
        before.chosen,
        before.members,
        before.score,
        before.price,
    )
    assert [c for c in after.candidates if c.feasible] == [c for c in before.candidates if c.feasible]


@given(_REQUESTS, st.tuples(*[st.integers(0, 100)] * 3).filter(any), _SERVICES)
def test_a_cheaper_price_never_hurts(
    req: PlacementRequest, weights: tuple[int, int, int], services: list[ServiceView]
) -> None:
    sel = select(preferences=preferences((*weights, 0, 0, 0, 0, 0)))
    decision = place(req, sel, services)
    if decision.chosen is None or decision.price == 0:
        return
    cut = replace(decision.chosen, offerings=service("x", "0.000001").offerings)
    rest = [s for s in services if s.name != cut.name]
    assert chosen(place(req, sel, [cut, *rest])) == cut.name
