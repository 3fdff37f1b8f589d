"""Stopping a guest in good order: it is asked, looked at now and then, and taken its power in the end.

That takes as long as the guest's shutdown. In between nothing is held: no thread of the few that there are, no lock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

PRESS_AGAIN: Final = 5.0
"""Seconds between two pressings of a guest's power button: one that boots does not notice the first."""
FIRST_LOOK: Final = 0.1
LONGEST_LOOK: Final = 1.0
"""Seconds between two looks, at first and at most."""


async def stop(
    look: Callable[[bool], Awaitable[bool]],
    cut: Callable[[], Awaitable[None]],
    patience: float,
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Ask until nothing is to be waited for any more, or the patience is over; then cut the power.

    `look(press)` tells whether the guest runs and may heed its button, which is pressed first where `press` is true.
    `cut()` takes the power of a guest that still runs.
    """
    began = now()
    pressed, pause = began - 2 * PRESS_AGAIN, FIRST_LOOK
    while (left := began + patience - now()) > 0:
        press = now() - pressed > PRESS_AGAIN
        if press:
            pressed = now()
        if not await look(press):
            break
        await sleep(min(pause, left))
        pause = min(2 * pause, LONGEST_LOOK)
    await cut()
