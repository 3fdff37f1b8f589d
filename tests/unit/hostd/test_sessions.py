"""Sessions of hostd: each its own, over after its time, at once when told so, and never grown without end."""

from __future__ import annotations

from moorage.hostd.sessions import PREFIX, Sessions


def test_a_session_is_good_for_its_time() -> None:
    now = [100.0]
    sessions = Sessions(60.0, clock=lambda: now[0])
    first, second = sessions.begin(), sessions.begin()
    assert first != second
    assert first.startswith(PREFIX)
    assert sessions.is_good(first)
    assert not sessions.is_good(PREFIX)
    assert not sessions.is_good("")
    now[0] += 59.9
    third = sessions.begin()
    assert sessions.is_good(first)
    now[0] += 0.2
    assert not sessions.is_good(first)
    assert sessions.is_good(third)
    sessions.expire()
    assert not sessions.is_good(third)
    assert sessions.is_good(sessions.begin())


def test_sessions_that_are_over_are_forgotten() -> None:
    now = [0.0]
    sessions = Sessions(1.0, clock=lambda: now[0])
    for _ in range(100):
        sessions.begin()
        now[0] += 0.5
    assert len(sessions._ends) <= 3
