"""Texts of others on a terminal: what a guest publishes must not move the cursor, retitle the window or hide a line."""

from __future__ import annotations

import unicodedata

from rich.text import Text

_ESCAPED = frozenset({"Cc", "Cf", "Zl", "Zp"})
"""Control characters, marks that change the direction of the text, and separators of lines."""


def safe(text: str) -> str:
    """The text with such characters spelled out, as `\\x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelled(char) if unicodedata.category(char) in _ESCAPED else char for char in text)


def safe_lines(text: str) -> str:
    """The same for a text that may have several lines."""
    return "\n".join(safe(line) for line in text.split("\n"))


def cell(text: str) -> Text:
    """The same for a table, where a plain string would be read as rich's markup."""
    return Text(safe(text))


def _spelled(char: str) -> str:
    return char.encode("unicode_escape").decode()
