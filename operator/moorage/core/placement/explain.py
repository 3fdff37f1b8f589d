"""The choice in a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from moorage.core.placement.reasons import Reason, Rejection
from moorage.core.placement.score import Ranking, Scored
from moorage.core.placement.views import View, price_text

NAMED: Final = 3
"""How many rejected services are named; the others are counted."""

_ASIDE: Final = frozenset({Reason.NOT_ALLOWED, Reason.NOT_SELECTED})
"""What the user asked for, or cannot change: counted, not named."""


def explain(ranking: Ranking, rejected: Sequence[tuple[str, Rejection]]) -> str:
    """Why the first was chosen: ``a: cheapest of 3: 0.06/h against 0.11/h (b); ...``."""
    parts = [_choice(ranking)]
    if ranking.idle and len(ranking.scored) > 1:
        names = ", ".join(view_name(view) for view in ranking.idle)
        parts.append(f"nothing is known of any of them by {names}, which decided nothing")
    if rejected:
        parts.append(_rejections(rejected))
    return "; ".join(parts)


def explain_none(rejected: Sequence[tuple[str, Rejection]]) -> str:
    """Why no service was chosen."""
    if not rejected:
        return "no service can take the group: there is no HostingService"
    return f"no service can take the group: {_rejections(rejected)}"


def view_name(view: View) -> str:
    """``FailureRate`` -> ``failure rate``."""
    return "".join(f" {c.lower()}" if c.isupper() else c for c in view.name).strip()


def _choice(ranking: Ranking) -> str:
    best, views = ranking.scored[0], ranking.views
    name = best.candidate.service.name
    if len(ranking.scored) == 1:
        price = best.candidate.price
        fact = "price unknown" if price is None else price_text(price)
        return f"{name} is the only service that can take the group ({fact})"
    second = ranking.scored[1]
    other = second.candidate.service.name
    if best.score == second.score:
        facts = ", ".join(view.brief(best.candidate) for view in views) or "nothing to compare them by"
        return f"{name} is as good as {other} ({facts}) and first by name among {len(ranking.scored)}"
    if len(views) == 1:
        view = views[0]
        facts = f"{view.brief(best.candidate)} against {view.brief(second.candidate)} ({other})"
        return f"{name}: {view.superlative} of {len(ranking.scored)}: {facts}"
    by = ", ".join(f"{view_name(view)} {view.weight}" for view in views)
    return (
        f"{name}: best of {len(ranking.scored)} by {by}: score {best.score:.1f} ({_facts(best, views)}) "
        f"against {second.score:.1f} ({other}: {_facts(second, views)})"
    )


def _facts(scored: Scored, views: Sequence[View]) -> str:
    return ", ".join(view.brief(scored.candidate) for view in views)


def _rejections(rejected: Sequence[tuple[str, Rejection]]) -> str:
    telling = [(name, why) for name, why in rejected if why.reason not in _ASIDE]
    named = [f"{name} rejected: {why.word} ({why.detail})" for name, why in telling[:NAMED]]
    rest = Counter(why.word for _, why in telling[NAMED:])
    rest.update(why.word for _, why in rejected if why.reason in _ASIDE)
    if rest:
        counted = ", ".join(f"{count} {word}" for word, count in sorted(rest.items()))
        named.append(f"{sum(rest.values())} {'others' if telling else 'services'} rejected: {counted}")
    return "; ".join(named)
