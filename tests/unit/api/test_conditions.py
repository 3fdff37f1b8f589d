"""Conditions: transition times stay, order is fixed, abnormal types are there only while true."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from moorage.api import conditions
from moorage.api.conditions import condition, find, is_true, merge, replace, set_condition
from moorage.api.meta import Condition

T0 = datetime(2026, 1, 1, tzinfo=UTC)
T1 = T0 + timedelta(hours=1)


def test_transition_time_changes_with_the_status_only() -> None:
    first = set_condition((), conditions.READY, False, "Waiting", "for db", T0, 1)
    same = set_condition(first, conditions.READY, False, "Waiting", "for web", T1, 2)
    other = set_condition(same, conditions.READY, True, "Ready", "", T1, 2)
    assert [c[0].last_transition_time for c in (first, same, other)] == [T0, T0, T1]
    assert (same[0].message, same[0].observed_generation) == ("for web", 2)


def test_abnormal_types_are_absent_when_not_true() -> None:
    stalled = set_condition((), conditions.STALLED, True, "Invalid", "no such policy", T0)
    assert is_true(stalled, conditions.STALLED)
    assert set_condition(stalled, conditions.STALLED, False, "", "", T1) == ()
    assert set_condition(stalled, conditions.STALLED, None, "", "", T1) == ()
    assert set_condition((), conditions.READY, None, "Unknown", "", T1)[0].status == "Unknown"


def test_ready_comes_first_and_abnormal_types_last() -> None:
    types = (conditions.STALLED, "Zebra", conditions.CONFIGURED, conditions.READY, conditions.PLACED)
    merged = merge((), [condition(t, True, "R", "", T0) for t in types])
    assert [c.type for c in merged] == ["Ready", "Placed", "Configured", "Stalled", "Zebra"]


def test_replace_keeps_times_but_not_what_is_not_named() -> None:
    old = merge((), [condition(t, True, "R", "", T0) for t in (conditions.READY, conditions.PLACED)])
    new = replace(old, [condition(conditions.READY, True, "R", "", T1)])
    assert [(c.type, c.last_transition_time) for c in new] == [("Ready", T0)]
    assert find(new, conditions.PLACED) is None
    assert not is_true(new, conditions.PLACED)


STATES = st.builds(
    lambda t, s, m: condition(t, s, "R", m, T1),
    st.sampled_from([conditions.READY, conditions.RECONCILING, conditions.STALLED, conditions.PLACED]),
    st.sampled_from([True, False, None]),
    st.sampled_from(["a", "b"]),
)


@given(st.lists(STATES), st.lists(STATES))
def test_merging_twice_changes_nothing(old: list[Condition], new: list[Condition]) -> None:
    once = merge(merge((), old), new)
    assert merge(once, new) == once
    assert len({c.type for c in once}) == len(once)


def test_times_have_whole_seconds() -> None:
    precise = T0 + timedelta(microseconds=5)
    assert condition(conditions.READY, True, "R", "", precise).last_transition_time == T0


def test_a_long_message_is_cut_rather_than_refused() -> None:
    long = condition(conditions.READY, True, "R", "x" * 40000, T0)
    assert len(long.message) == 32768
    assert long.message.endswith("…")
