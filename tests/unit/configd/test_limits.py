"""Token buckets."""

from __future__ import annotations

from moorage.configd.limits import Buckets


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_a_rate() -> None:
    clock = Clock()
    buckets = Buckets(burst=3, per_second=2, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]
    assert not buckets.has("a")
    clock.now += 0.5
    assert buckets.has("a")
    assert [buckets.take("a") for _ in range(2)] == [True, False]
    clock.now += 60
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]


def test_keys_do_not_share() -> None:
    buckets = Buckets(burst=1, per_second=0, clock=Clock())
    assert buckets.take("a")
    assert buckets.take("b")
    assert not buckets.take("a")


def test_strangers_do_not_fill_the_memory() -> None:
    buckets = Buckets(burst=1, per_second=0, clock=Clock(), keys=10)
    for key in range(1000):
        assert buckets.take(key)
    assert len(buckets._buckets) == 10
