"""The time zones that a CEL expression may name: the library opens whatever it is given as a file.

A name with a slash in front, or with dots, is a path to it. Opening the wrong one may wait for ever, and while the
library waits nothing else of the process runs. So only what is known to be a zone reaches it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final
from zoneinfo import available_timezones

from moorage.core.cel_ast import Call, Const

TAKES_ZONE: Final = frozenset(
    {
        "getFullYear",
        "getMonth",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
    }
)
"""The functions whose second argument is a time zone."""
_OFFSET: Final = re.compile(r"[+-]?[0-9]{2}:[0-9]{2}")
_EXAMPLES: Final = "write a name such as 'Europe/Zurich' or an offset such as '+02:00'"


def zone_problem(call: Call) -> str:
    """What is wrong with the zone of a call; empty where nothing is, or it has none."""
    if call.function not in TAKES_ZONE or len(call.args) < 2:
        return ""
    zone = call.args[1]
    if len(call.args) > 2 or not isinstance(zone, Const) or zone.text is None:
        return f"the time zone of {call.function}() must be a literal text; {_EXAMPLES}"
    if _OFFSET.fullmatch(zone.text) or zone.text in _known():
        return ""
    return f"there is no time zone {zone.text[:64]!r}; {_EXAMPLES}"


@cache
def _known() -> frozenset[str]:
    """Looking for them reads a directory of some hundred files: once."""
    return frozenset(available_timezones()) | {"UTC"}
