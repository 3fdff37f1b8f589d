"""Leave to create: so many at a time, in order, and whoever is next hears of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.runtime.permits import AHEAD, Permits


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


@pytest.mark.parametrize(
    ("count", "took", "given"),
    [
        (8, [], 8),  # nothing is known of its calls
        (8, [0.1, 0.2], 10),
        (8, [0.1, 0.3, 0.1], 8),
        (8, [0.9] + [0.1] * 8, 10),
        (3, [0.1], 3),
    ],
)
def test_one_in_four_is_prepared_ahead_where_no_call_takes_much_of_its_time(
    count: int, took: list[float], given: int
) -> None:
    permits: Permits[int] = Permits(count, lambda _: None)
    for part in took:
        permits.took(part)
    assert [key for key in range(12) if permits.take(key, 0.0)] == list(range(given))


def test_a_slow_call_takes_no_permit_away() -> None:
    told: list[int] = []
    permits = Permits(4, told.append)
    permits.took(0.1)
    assert all(permits.take(key, 0.0) for key in range(5))
    permits.took(0.9)
    assert all(permits.take(key, 0.0) for key in range(5))
    assert not permits.take(5, 0.0)
    permits.give_back(0)
    assert told == []
    permits.give_back(1)
    assert told == [5]


@given(st.integers(1, 9), st.booleans(), st.lists(st.tuples(st.booleans(), st.integers(0, 15)), max_size=90))
def test_never_more_than_so_many_and_never_a_free_one_that_nobody_is_told_of(
    count: int, brisk: bool, steps: list[tuple[bool, int]]
) -> None:
    told: set[int] = set()
    permits: Permits[int] = Permits(count, told.add)
    permits.took(0.1 if brisk else 0.9)
    most = count + count // AHEAD if brisk else count
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
        assert len(held) <= most
    while waiting:
        if len(held) == most:
            done = held.pop()
            permits.give_back(done)
        free = [key for key in told if key in waiting]
        assert free, "there is room, and nobody in line knows"
        for key in free:
            if permits.take(key, 0.0):
                held.add(key)
                waiting.discard(key)
