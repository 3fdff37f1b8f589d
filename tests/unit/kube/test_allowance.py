"""Memory for others' objects: bounded for a namespace and for all, and whoever asks last for too much gives way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.kube import allowance
from moorage.kube.allowance import Allowance, Share
from moorage.kube.wanted import TOO_LARGE, Lacks


class Watches:
    """Shares by name; ``gone`` has gave way, in order."""

    def __init__(self) -> None:
        self.allowance = Allowance()
        self.gone: list[str] = []
        self.shares: dict[str, Share] = {}

    def begin(self, name: str) -> None:
        self.shares[name] = self.allowance.begin(name[0], self.give_way(name))

    def give_way(self, name: str) -> Callable[[Lacks], None]:
        def told(why: Lacks) -> None:
            assert why.lacking.reason == TOO_LARGE
            self.gone.append(name)
            self.shares[name].keep(0)

        return told

    def keep(self, name: str, size: int) -> None:
        try:
            self.shares[name].keep(size)
        except Lacks:
            self.gone.append(name)

    def kept(self) -> dict[str, int]:
        return {name: share.bytes for name, share in self.shares.items() if share.bytes}


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> Watches:
    monkeypatch.setattr(allowance, "NAMESPACE_BYTES", 80)
    monkeypatch.setattr(allowance, "ALL_BYTES", 200)
    return Watches()


def test_the_watch_of_a_namespace_that_was_begun_last_gives_way(watches: Watches) -> None:
    for name in ("a1", "a2", "a3", "b1"):
        watches.begin(name)
        watches.keep(name, 20)
    watches.keep("a1", 50)
    assert watches.gone == ["a3"]
    watches.keep("a3", 20)
    assert watches.gone == ["a3", "a3"], "tried again, it is still the last"
    watches.keep("a1", 20)
    watches.keep("a3", 20)
    assert watches.kept() == {"a1": 20, "a2": 20, "a3": 20, "b1": 20}
    watches.keep("a1", 90)
    assert watches.kept() == {"b1": 20}, "what is too much alone is nothing"


def test_what_is_too_large_by_itself_costs_the_others_their_place_only_once(watches: Watches) -> None:
    for name, size in (("a1", 20), ("a2", 20), ("a3", 20)):
        watches.begin(name)
        watches.keep(name, size)
    for growing in (40, 60, 90):
        watches.keep("a1", growing)
    assert watches.gone == ["a3", "a2", "a1"]
    watches.keep("a2", 20)
    watches.keep("a3", 20)
    for _ in range(3):
        watches.gone.clear()
        for growing in (20, 40, 60, 90):
            if not watches.gone:
                watches.keep("a1", growing)
        assert (watches.gone, watches.kept()) == (["a1"], {"a2": 20, "a3": 20})


def test_where_all_is_too_much_the_namespace_that_has_most_gives(watches: Watches) -> None:
    for name, size in (("a1", 40), ("a2", 40), ("b1", 60), ("c1", 50)):
        watches.begin(name)
        watches.keep(name, size)
    watches.begin("d1")
    watches.keep("d1", 30)
    assert (watches.gone, watches.kept()) == (["a2"], {"a1": 40, "b1": 60, "c1": 50, "d1": 30})


def test_what_ended_is_not_counted_and_counts_no_more(watches: Watches) -> None:
    watches.begin("a1")
    watches.keep("a1", 80)
    watches.allowance.end(watches.shares["a1"])
    watches.keep("a1", 80)
    watches.begin("a2")
    watches.keep("a2", 80)
    assert (watches.gone, watches.kept()) == ([], {"a2": 80})


_STEPS = st.lists(st.tuples(st.sampled_from(["a1", "a2", "b1", "b2", "c1", "d1"]), st.integers(0, 100)), max_size=40)


@given(_STEPS)
def test_no_more_is_ever_kept_than_is_allowed(steps: list[tuple[str, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(allowance, "NAMESPACE_BYTES", 80)
        patch.setattr(allowance, "ALL_BYTES", 200)
        watches = Watches()
        for name in ("a1", "b1", "c1", "d1", "a2", "b2"):
            watches.begin(name)
        for name, size in steps:
            watches.keep(name, size)
            kept = watches.kept()
            assert sum(kept.values()) <= 200
            assert all(sum(s for n, s in kept.items() if n[0] == space) <= 80 for space in "abcd")
