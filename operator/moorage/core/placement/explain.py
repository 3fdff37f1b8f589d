"""The choice in a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from moorage.core.placement.reasons import Reason, Rejection
from moorage.core.placement.score import Ranking, Scored
from moorage.core.placement.views import Feasible, View, price_text

NAMED: Final = 3
"""How many rejected services are named; the others are counted."""

_ASIDE: Final = frozenset({Reason.NOT_ALLOWED, Reason.NOT_SELECTED})
"""What the user asked for, or cannot change: counted, not named."""


def explain(ranking: Ranking, rejected: Sequence[tuple[str, Rejection]]) -> str:
    """Why the first was chosen: ``a: cheapest of 3: 0.06/h against 0.11/h (b); ...``."""
    parts = [_choice(ranking), *_growth(ranking)]
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


def lacks_growth(candidate: Feasible) -> str:
    """That a service has no room for all that the group may be scaled to."""
    return f"room for {candidate.service.room} of the {candidate.most} servers that it may be scaled to"


def view_name(view: View) -> str:
    """``FailureRate`` -> ``failure rate``."""
    return "".join(f" {c.lower()}" if c.isupper() else c for c in view.name).strip()


def _choice(ranking: Ranking) -> str:
    best, views = ranking.scored[0], ranking.views
    name = best.candidate.service.name
    # Where one with a better score was passed over, those that were compared are those that were not.
    scored = [s for s in ranking.scored if s.candidate.holds_most] if _passed_over(ranking) else ranking.scored
    if len(scored) == 1:
        price = best.candidate.price
        fact = "price unknown" if price is None else price_text(price)
        can = (
            "can take the group"
            if scored is ranking.scored
            else f"has room for the {best.candidate.most} servers that it may be scaled to"
        )
        return f"{name} is the only service that {can} ({fact})"
    second = scored[1]
    other = second.candidate.service.name
    if best.score == second.score:
        facts = ", ".join(view.brief(best.candidate) for view in views) or "nothing to compare them by"
        return f"{name} is as good as {other} ({facts}) and first by name among {len(scored)}"
    if len(views) == 1:
        view = views[0]
        facts = f"{view.brief(best.candidate)} against {view.brief(second.candidate)} ({other})"
        return f"{name}: {view.superlative} of {len(scored)}: {facts}"
    by = ", ".join(f"{view_name(view)} {view.weight}" for view in views)
    return (
        f"{name}: best of {len(scored)} by {by}: score {best.score:.1f} ({_facts(best, views)}) "
        f"against {second.score:.1f} ({other}: {_facts(second, views)})"
    )


def _passed_over(ranking: Ranking) -> list[Scored]:
    """Those that would come before the first by their scores, and have no room for the group to grow."""
    first = ranking.scored[0]
    return sorted((s for s in ranking.scored[1:] if s.by_score < first.by_score), key=lambda s: s.by_score)


def _growth(ranking: Ranking) -> Iterator[str]:
    """What the most that the group may be scaled to decided, or that nothing has room for it."""
    best = ranking.scored[0].candidate
    if not best.holds_most:
        has = f"{best.service.name}: {best.service.room}"
        yield f"none has room for the {best.most} servers that it may be scaled to ({has})"
    for passed in _passed_over(ranking)[:1]:
        facts, name = _facts(passed, ranking.views), passed.candidate.service.name
        told = f" ({facts})" if facts else ""
        yield f"{name}{told} would come first, but has {lacks_growth(passed.candidate)}"


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
