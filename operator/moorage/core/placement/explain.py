"""The choice in a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from moorage.api.hostingpolicy import Preference, Preferred
from moorage.core.ceilings import rate
from moorage.core.placement.reasons import Reason, Rejection
from moorage.core.placement.score import VIEWS, Scored

NAMED: Final = 3
"""How many rejected services are named; the others are counted."""

_SUPERLATIVES: Final[dict[Preferred, str]] = {"Price": "cheapest", "Capacity": "most room", "Spread": "fewest servers"}
_ASIDE: Final = frozenset({Reason.NOT_ALLOWED, Reason.NOT_SELECTED})
"""What the user asked for, or cannot change: counted, not named."""


def price_text(price: Decimal | None) -> str:
    """``0.06/h``, or ``unknown``."""
    return "unknown" if price is None else rate(price)


def explain(
    ranked: Sequence[Scored], rejected: Sequence[tuple[str, Rejection]], preferences: Sequence[Preference]
) -> str:
    """Why the first of ``ranked`` was chosen: ``a is the cheapest of 3: 0.06/h against 0.11/h (b); ...``."""
    parts = [_choice(ranked, preferences)]
    if rejected:
        parts.append(_rejections(rejected))
    return "; ".join(parts)


def explain_none(rejected: Sequence[tuple[str, Rejection]]) -> str:
    """Why no service was chosen."""
    if not rejected:
        return "no service can take the group: there is no HostingService"
    return f"no service can take the group: {_rejections(rejected)}"


def _choice(ranked: Sequence[Scored], preferences: Sequence[Preference]) -> str:
    best = ranked[0]
    name = best.candidate.service.name
    weights = {view: sum(p.weight for p in preferences if p.by == view) for view in VIEWS}
    used = [view for view in VIEWS if weights[view]]
    if len(ranked) == 1:
        return f"{name} is the only service that can take the group ({_fact(best, 'Price')})"
    second = ranked[1]
    other = second.candidate.service.name
    if best.score == second.score:
        facts = ", ".join(_fact(best, view) for view in used) or "no preference"
        return f"{name} is as good as {other} ({facts}) and first by name among {len(ranked)}"
    if len(used) == 1:
        view = used[0]
        facts = f"{_fact(best, view)} against {_fact(second, view)} ({other})"
        return f"{name}: {_SUPERLATIVES[view]} of {len(ranked)}: {facts}"
    by = ", ".join(f"{view.lower()} {weights[view]}" for view in used)
    facts = ", ".join(_fact(best, view) for view in used)
    others = ", ".join(_fact(second, view) for view in used)
    return (
        f"{name}: best of {len(ranked)} by {by}: score {best.score:.1f} ({facts}) "
        f"against {second.score:.1f} ({other}: {others})"
    )


def _fact(scored: Scored, view: Preferred) -> str:
    candidate = scored.candidate
    match view:
        case "Price":
            return "price unknown" if candidate.price is None else price_text(candidate.price)
        case "Capacity":
            room = candidate.service.room
            return "no bound on room" if room is None else f"room for {room}"
        case "Spread":
            return f"{candidate.beside} server{'' if candidate.beside == 1 else 's'} there"


def _rejections(rejected: Sequence[tuple[str, Rejection]]) -> str:
    telling = [(name, why) for name, why in rejected if why.reason not in _ASIDE]
    named = [f"{name} rejected: {why.word} ({why.detail})" for name, why in telling[:NAMED]]
    rest = Counter(why.word for _, why in telling[NAMED:])
    rest.update(why.word for _, why in rejected if why.reason in _ASIDE)
    if rest:
        counted = ", ".join(f"{count} {word}" for word, count in sorted(rest.items()))
        named.append(f"{sum(rest.values())} {'others' if telling else 'services'} rejected: {counted}")
    return "; ".join(named)
