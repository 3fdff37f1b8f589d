"""The circuit: open after repeated failures, tried again by one call alone, longer closed out each time."""

from __future__ import annotations

from moorage.runtime.circuit import PAUSE, PAUSE_MAX, THRESHOLD, Circuit


def opened(now: float = 0.0) -> Circuit:
    circuit = Circuit()
    for _ in range(THRESHOLD):
        circuit.failed(now)
    return circuit


def test_few_failures_change_nothing() -> None:
    circuit = Circuit()
    for _ in range(THRESHOLD - 1):
        circuit.failed(0.0)
    circuit.succeeded()
    circuit.failed(0.0)
    assert (circuit.state, circuit.failures, circuit.may_try(0.0)) == ("Closed", 1, True)


def test_it_opens_and_lets_one_call_try_after_the_pause() -> None:
    circuit = opened()
    assert (circuit.state, circuit.is_open(0.0), circuit.may_try(PAUSE - 0.1)) == ("Open", True, False)
    assert (circuit.refuses(PAUSE - 0.1), circuit.refuses(PAUSE)) == (True, False)
    assert circuit.left(0.5) == PAUSE - 0.5
    assert not circuit.is_open(PAUSE)
    assert circuit.may_try(PAUSE)
    assert (circuit.state, circuit.may_try(PAUSE), circuit.refuses(PAUSE)) == ("HalfOpen", False, True)


def test_a_success_closes_it_and_a_failure_opens_it_for_longer() -> None:
    circuit = opened()
    assert circuit.may_try(PAUSE)
    circuit.failed(PAUSE)
    assert (circuit.state, circuit.left(PAUSE)) == ("Open", 2 * PAUSE)
    assert circuit.may_try(3 * PAUSE)
    circuit.succeeded()
    assert (circuit.state, circuit.failures, circuit.opened) == ("Closed", 0, 0)


def test_the_pause_has_a_bound() -> None:
    circuit, now = opened(), 0.0
    for _ in range(20):
        now = circuit.until
        assert circuit.may_try(now)
        circuit.failed(now)
    assert circuit.left(now) == PAUSE_MAX


def test_a_cancelled_try_lets_the_next_one_go() -> None:
    circuit = opened()
    assert circuit.may_try(PAUSE)
    circuit.abandoned(PAUSE)
    assert circuit.may_try(PAUSE)
    closed = Circuit()
    closed.abandoned(0.0)
    assert closed.state == "Closed"
