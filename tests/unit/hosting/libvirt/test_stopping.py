"""A guest is asked to stop, looked at now and then, and taken its power in the end; nothing is held meanwhile."""

from __future__ import annotations

import pytest

from moorage.hosting.libvirt.stopping import LONGEST_LOOK, PRESS_AGAIN, stop


class Guest:
    """Shuts down `takes` seconds after the first pressing that it notices: those before `deaf_until` it does not."""

    def __init__(self, takes: float, deaf_until: float = 0.0) -> None:
        self.takes, self.deaf_until = takes, deaf_until
        self.time, self.heard = 0.0, float("inf")
        self.pressed: list[float] = []
        self.looks = 0
        self.cut_at: float | None = None

    @property
    def runs(self) -> bool:
        return self.time < self.heard + self.takes

    async def look(self, press: bool) -> bool:
        self.looks += 1
        if press and self.runs:
            self.pressed.append(self.time)
            if self.time >= self.deaf_until:
                self.heard = min(self.heard, self.time)
        return self.runs

    async def cut(self) -> None:
        if self.runs:
            self.cut_at = self.time

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds

    async def stop(self, patience: float) -> None:
        await stop(self.look, self.cut, patience, now=lambda: self.time, sleep=self.sleep)


async def test_a_guest_that_heeds_is_not_cut_off_and_not_waited_for_longer() -> None:
    guest = Guest(takes=3.0)
    await guest.stop(30.0)
    assert (guest.pressed, guest.cut_at) == ([0.0], None)
    assert 3.0 <= guest.time <= 3.0 + LONGEST_LOOK


async def test_a_guest_that_boots_is_asked_again() -> None:
    guest = Guest(takes=1.0, deaf_until=7.0)
    await guest.stop(30.0)
    assert guest.cut_at is None
    assert len(guest.pressed) == 3
    assert all(later - sooner > PRESS_AGAIN for sooner, later in zip(guest.pressed, guest.pressed[1:], strict=False))


async def test_a_guest_that_never_heeds_is_cut_off_when_its_time_is_over() -> None:
    guest = Guest(takes=float("inf"))
    await guest.stop(30.0)
    assert guest.cut_at == pytest.approx(30.0)
    assert guest.looks < 40, "each look takes a thread"


@pytest.mark.parametrize("patience", [0.0, 0.05])
async def test_without_time_the_power_goes_at_once(patience: float) -> None:
    guest = Guest(takes=float("inf"))
    await guest.stop(patience)
    assert guest.cut_at == pytest.approx(patience)


async def test_what_does_not_run_is_left_as_it_is() -> None:
    guest = Guest(takes=0.0)
    guest.heard = -1.0
    await guest.stop(30.0)
    assert (guest.looks, guest.cut_at, guest.time) == (1, None, 0.0)
