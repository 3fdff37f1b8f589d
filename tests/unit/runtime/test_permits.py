"""Leave to create: so many at a time, in order, and whoever is next hears of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moorage.runtime.permits import Permits


def test_those_in_line_are_told_in_order_and_nobody_overtakes_them() -> None:
    told: list[str] = []
    permits = Permits(2, told.append)
    assert permits.take("a", 0.0)
    assert permits.take("b", 0.0)
    assert not permits.take("c", 1.0)
    assert not permits.take("d", 2.0)
    assert (permits.since("c"), permits.since("a")) == (1.0, None)
    permits.give_back("a")
    assert told == ["c"]
    assert not permits.take("e", 3.0), "c is before it"
    assert permits.take("c", 3.0)
    assert permits.take("c", 3.0), "it has one"


def test_one_that_needs_none_any_more_lets_the_next_one_have_it() -> None:
    told: list[str] = []
    permits = Permits(1, told.append)
    permits.take("a", 0.0)
    permits.take("b", 0.0)
    permits.take("c", 0.0)
    permits.give_back("a")
    permits.give_back("b")
    assert told == ["b", "c"]
    permits.give_back("b")
    assert told == ["b", "c"]


def test_one_in_four_is_prepared_ahead() -> None:
    permits: Permits[int] = Permits(8, lambda _: None)
    assert [key for key in range(12) if permits.take(key, 0.0)] == list(range(10))
    permits = Permits(3, lambda _: None)
    assert [key for key in range(12) if permits.take(key, 0.0)] == [0, 1, 2]


@given(st.integers(1, 3), st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=60))
def test_never_more_than_so_many_and_never_a_free_one_that_nobody_is_told_of(
    count: int, steps: list[tuple[bool, int]]
) -> None:
    told: set[int] = set()
    permits: Permits[int] = Permits(count, told.add)
    held: set[int] = set()
    waiting: set[int] = set()
    for takes, key in steps:
        if takes:
            told.discard(key)
            (held if permits.take(key, 0.0) else waiting).add(key)
            waiting -= held
        else:
            permits.give_back(key)
            held.discard(key)
            waiting.discard(key)
            told.discard(key)
        assert len(held) <= count
    while waiting:
        if len(held) == count:
            done = held.pop()
            permits.give_back(done)
        free = [key for key in told if key in waiting]
        assert free, "there is room, and nobody in line knows"
        for key in free:
            if permits.take(key, 0.0):
                held.add(key)
                waiting.discard(key)
