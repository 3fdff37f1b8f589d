"""What was found by asking something outside: the judgement, before it is dated and becomes a `Sample`."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final

SAID: Final = 200
"""Most characters that are repeated of what somebody outside says."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``holds`` None: unknown. ``value`` is the number found, where it is one.

    ``by_target``: whoever else asks there now would fare alike (it does not answer, say).
    """

    holds: bool | None
    reason: str
    message: str
    value: float | None = None
    by_target: bool = False


def unknown(reason: str, message: str, *, by_target: bool = False) -> Answer:
    """Nothing is known, and why."""
    return Answer(None, reason, message, by_target=by_target)


def readable(text: str) -> str:
    """What somebody outside says, on one line of bounded length and without characters that steer a terminal."""
    shown = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: SAID + 1])
    return " ".join(shown[:SAID].split()) + ("…" if len(text) > SAID else "")
