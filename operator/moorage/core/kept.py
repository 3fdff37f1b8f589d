"""Results of a function of a text, kept as long as the texts together are not too long.

A compiled expression takes some hundred bytes of memory for each character of its text: how many are kept says little
of how much that is, how long their texts are does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, Final, ParamSpec, TypeVar

CHARACTERS: Final = 1 << 17
"""Of all texts together whose results a function keeps."""
_LEAST: Final = 64
"""What a shorter text counts all the same."""

More = ParamSpec("More")
Value = TypeVar("Value")
_Function = Callable[Concatenate[str, More], Value]


def kept_by_length(most: int = CHARACTERS) -> Callable[[_Function[More, Value]], _Function[More, Value]]:
    """Has a pure function, of a text and of what else can be hashed, compute once what it is asked for often."""

    def keeping(function: _Function[More, Value]) -> _Function[More, Value]:
        kept: OrderedDict[tuple[object, ...], tuple[int, Value]] = OrderedDict()
        total = 0

        @wraps(function)
        def ask(text: str, /, *more: More.args, **named: More.kwargs) -> Value:
            nonlocal total
            key = (text, more, tuple(sorted(named.items())))
            if key in kept:
                kept.move_to_end(key)
                return kept[key][1]
            value = function(text, *more, **named)
            kept[key] = max(_LEAST, len(text)), value
            total += kept[key][0]
            while total > most:
                total -= kept.popitem(last=False)[1][0]
            return value

        return ask

    return keeping
