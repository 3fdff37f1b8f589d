"""The views in which services are compared: each gives a candidate 0 to 100, or nothing where nothing is known.

- price: 100 for the cheapest, else in proportion (twice the price, half the score).
- capacity: the share of room that is left when the group is there, counted against what the group needs: no room left
  is 0, as much again as the group needs is 50, nine times as much is 90, no bound is 100.
- spread: 100 where the fewest servers of the policy's other groups are, else in proportion to that number plus one.
- zone spread: the same, over all services of a zone.
- latency: 100 for the first of the wanted zones, less by equal steps for each next one, 0 for any other.
- boot time: 100 for the fastest, else in proportion.
- failure rate: the share of servers that came into being.
- expression: 100 for the greatest number, else in proportion.
- stickiness: 100 where the group was before.

A candidate of which a view knows nothing gets 0 in it where the view knows something of another one; of boot times and
failures, which nobody can know before the first server, it gets the mean of the others. What is known of no candidate
decides nothing: the view is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import fmean
from typing import Final, Literal

from moorage.api.selection import Preference, Preferred
from moorage.core.ceilings import rate
from moorage.core.expressions import ExpressionError
from moorage.core.placement.expression import Seen
from moorage.core.placement.member import MemberTemplate
from moorage.core.services import ServiceView

ViewName = Preferred | Literal["Stickiness"]
ZONE: Final = "zone"


@dataclass(frozen=True, slots=True)
class Feasible:
    """A service that can take the group, with its members resolved. ``price`` is for all servers and one hour."""

    service: ServiceView
    members: Mapping[str, MemberTemplate]
    price: Decimal | None
    needed: int
    most: int
    """How many servers the group may come to have by being scaled."""
    beside: int
    """Servers of the policy's other groups on it."""

    @property
    def holds_most(self) -> bool:
        """Whether it has room for all that the group may come to have."""
        return self.service.room is None or self.most <= self.service.room


Words = Callable[[Feasible], str]


@dataclass(frozen=True, slots=True)
class View:
    """One view: the scores by service, and how a candidate's is explained, in a sentence and in status."""

    name: ViewName
    weight: int
    superlative: str
    scores: Mapping[str, float]
    brief: Words
    detail: Words

    @property
    def idle(self) -> bool:
        """Whether it decides nothing, since nothing is known of any candidate."""
        return not self.scores


@dataclass(frozen=True, slots=True)
class Field:
    """What candidates are compared over: all of them, and what is known beside them."""

    candidates: Sequence[Feasible]
    seen: Seen
    beside: Mapping[str, int] = field(default_factory=dict)
    zones: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels of every service, by its name."""
    before: str = ""
    """The uid of the service where the group was before."""


def price_text(price: Decimal | None) -> str:
    """``0.06/h``, or ``unknown``."""
    return "unknown" if price is None else rate(price)


def build(preference: Preference, among: Field) -> View:
    """The view of a preference."""
    return _BUILDERS[preference.by](preference, among)


def _known(among: Field, value: Callable[[Feasible], float | None], *, mean: bool = False) -> dict[str, float]:
    """By name; none at all where nothing is known of any candidate."""
    found = {c.service.name: value(c) for c in among.candidates}
    known = sorted(v for v in found.values() if v is not None)
    if not known:
        return {}
    other = fmean(known) if mean else 0.0
    return {name: other if v is None else v for name, v in found.items()}


def _price(preference: Preference, among: Field) -> View:
    cheapest = min((c.price for c in among.candidates if c.price is not None), default=None)

    def score(candidate: Feasible) -> float | None:
        if candidate.price is None or cheapest is None:
            return None
        return 100.0 if candidate.price == cheapest else float(100 * cheapest / candidate.price)

    return View(
        "Price",
        preference.weight,
        "cheapest",
        _known(among, score),
        lambda c: "price unknown" if c.price is None else price_text(c.price),
        lambda c: f"price {price_text(c.price)}",
    )


def _capacity(preference: Preference, among: Field) -> View:
    def score(candidate: Feasible) -> float:
        room = candidate.service.room
        if room is None:
            return 100.0
        left = max(0, room - candidate.needed)
        return 100 * left / (left + max(1, candidate.needed))

    return View(
        "Capacity",
        preference.weight,
        "most room",
        _known(among, score),
        lambda c: "no bound on room" if c.service.room is None else f"room for {c.service.room}",
        lambda c: f"room for {'any number' if c.service.room is None else c.service.room}, needs {c.needed}",
    )


def _fewest(among: Field, count: Callable[[Feasible], int | None]) -> dict[str, float]:
    counts = [n for n in map(count, among.candidates) if n is not None]
    fewest = min(counts, default=0)

    def score(candidate: Feasible) -> float | None:
        number = count(candidate)
        return None if number is None else 100 * (1 + fewest) / (1 + number)

    return _known(among, score)


def _servers(count: int) -> str:
    return f"{count} server{'' if count == 1 else 's'}"


def _spread(preference: Preference, among: Field) -> View:
    return View(
        "Spread",
        preference.weight,
        "fewest servers",
        _fewest(among, lambda c: c.beside),
        lambda c: f"{_servers(c.beside)} there",
        lambda c: f"servers of the policy's other groups: {c.beside}",
    )


def _zone_spread(preference: Preference, among: Field) -> View:
    label = preference.label or ZONE
    counts: dict[str, int] = {}
    for service, count in among.beside.items():
        zone = among.zones.get(service, {}).get(label)
        if zone is not None:
            counts[zone] = counts.get(zone, 0) + count

    def count_of(candidate: Feasible) -> int | None:
        zone = candidate.service.labels.get(label)
        return None if zone is None else counts.get(zone, 0)

    def brief(candidate: Feasible) -> str:
        zone, count = candidate.service.labels.get(label), count_of(candidate)
        return f"no label {label}" if count is None else f"{_servers(count)} in {label} {zone}"

    return View(
        "ZoneSpread",
        preference.weight,
        "emptiest zone",
        _fewest(among, count_of),
        brief,
        lambda c: f"of the policy's other groups: {brief(c)}",
    )


def _latency(preference: Preference, among: Field) -> View:
    label, wanted = preference.label or ZONE, preference.values
    steps = {value: 100 * (len(wanted) - at) / len(wanted) for at, value in reversed(list(enumerate(wanted)))}

    def words(candidate: Feasible) -> str:
        value = candidate.service.labels.get(label)
        if value is None:
            return f"no label {label}"
        return f"{label} {value}" + ("" if value in steps else ", which is not wanted")

    scores = _known(among, lambda c: steps.get(c.service.labels.get(label, "")))
    return View("Latency", preference.weight, "nearest", scores, words, words)


def _boot_time(preference: Preference, among: Field) -> View:
    fastest = min((t for c in among.candidates if (t := c.service.boot_seconds) is not None), default=0.0)

    def score(candidate: Feasible) -> float | None:
        own = candidate.service.boot_seconds
        if own is None:
            return None
        return 100.0 if own <= fastest else 100 * fastest / own

    def words(candidate: Feasible) -> str:
        own = candidate.service.boot_seconds
        return "boot time not measured, counted as the mean" if own is None else f"boots in {own:.0f} s"

    return View("BootTime", preference.weight, "fastest", _known(among, score, mean=True), words, words)


def _failure_rate(preference: Preference, among: Field) -> View:
    def score(candidate: Feasible) -> float | None:
        rate = candidate.service.failure_rate
        return None if rate is None else 100 * (1 - rate)

    def words(candidate: Feasible) -> str:
        rate = candidate.service.failure_rate
        return "failures not measured, counted as the mean" if rate is None else f"{100 * rate:.0f} % failed"

    scores = _known(among, score, mean=True)
    return View("FailureRate", preference.weight, "fewest failures", scores, words, words)


def _expression(preference: Preference, among: Field) -> View:
    expression = among.seen.prepare(preference.expression or "", "number")
    results: dict[str, float] = {}
    problems: dict[str, str] = {}
    for candidate in among.candidates:
        name = candidate.service.name
        try:
            if isinstance(expression, ExpressionError):
                raise expression
            results[name] = among.seen.number(expression, candidate.service)
        except ExpressionError as error:
            problems[name] = f"the expression counts 0: {error.message}"
    greatest = max(results.values(), default=0.0)

    def score(candidate: Feasible) -> float | None:
        own = results.get(candidate.service.name)
        if own is None:
            return None
        return 100.0 if own == greatest else 100 * (own / greatest)

    def words(candidate: Feasible) -> str:
        name = candidate.service.name
        return problems.get(name) or f"the expression gives {results[name]:g}"

    return View("Expression", preference.weight, "greatest result", _known(among, score), words, words)


def stickiness(weight: int, among: Field) -> View:
    """Where the group was before; where that is no candidate any more, it decides nothing."""
    there = any(c.service.uid == among.before for c in among.candidates) if among.before else False
    scores = {c.service.name: 100.0 if c.service.uid == among.before else 0.0 for c in among.candidates if there}

    def words(candidate: Feasible) -> str:
        return "the group was here before" if candidate.service.uid == among.before else "the group was not here before"

    return View("Stickiness", weight, "where the group was before", scores, words, words)


_BUILDERS: Final[dict[Preferred, Callable[[Preference, Field], View]]] = {
    "Price": _price,
    "Capacity": _capacity,
    "Spread": _spread,
    "ZoneSpread": _zone_spread,
    "Latency": _latency,
    "BootTime": _boot_time,
    "FailureRate": _failure_rate,
    "Expression": _expression,
}
ORDER: Final = tuple(_BUILDERS)
