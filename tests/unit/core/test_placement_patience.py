"""New services are waited for, a bounded time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from moorage.core.placement import awaited
from moorage.core.services import ServiceView

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def view(name: str, age: float, reason: str = "NotSeenYet") -> ServiceView:
    return ServiceView(name, usable=not reason, why_not=(reason, ""), new_since=NOW - timedelta(seconds=age))


def test_only_new_services_that_nobody_has_reached_are_waited_for() -> None:
    views = [view("b", 3), view("a", 1), view("old", 11), view("seen", 1, ""), view("broken", 1, "Unavailable")]
    assert awaited(views, NOW) == (("a", "b"), NOW + timedelta(seconds=9))


def test_nothing_is_waited_for_where_all_are_known() -> None:
    assert awaited([view("seen", 1, "")], NOW) == ((), None)
