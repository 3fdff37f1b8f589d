"""Places where a test lets hostd be killed: `MOORAGE_HOSTD_CRASH=<point>[:<n>]` kills it at the n-th time it gets
there, as SIGKILL does, with nothing flushed and nothing closed."""

from __future__ import annotations

import os
import signal

VARIABLE = "MOORAGE_HOSTD_CRASH"


class _Trap:
    name = ""
    left = 0


def arm(wanted: str) -> None:
    """Die at the n-th passing of a point, given as `<point>[:<n>]`; nowhere where it is empty."""
    _Trap.name, _, count = wanted.partition(":")
    _Trap.left = int(count or 1)


def crash_point(name: str) -> None:
    """Die here if a test asked for it."""
    if name == _Trap.name:
        _Trap.left -= 1
        if _Trap.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get(VARIABLE, ""))
