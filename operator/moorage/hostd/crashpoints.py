"""Places where a test lets hostd be killed: `MOORAGE_HOSTD_CRASH=<point>[:<n>]` kills it at the n-th time it gets
there, as SIGKILL does, with nothing flushed and nothing closed."""

from __future__ import annotations

import os
import signal

VARIABLE = "MOORAGE_HOSTD_CRASH"


def _wanted() -> tuple[str, int]:
    name, _, count = os.environ.get(VARIABLE, "").partition(":")
    return name, int(count or 1)


_NAME, _LEFT = _wanted()
_left = [_LEFT]


def crash_point(name: str) -> None:
    """Die here if a test asked for it."""
    if name == _NAME:
        _left[0] -= 1
        if _left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
