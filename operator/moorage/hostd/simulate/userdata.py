"""What a simulated server reads out of its user-data: where to call home, and as whom."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

_DECODER = json.JSONDecoder()


class UserDataError(Exception):
    """There is no agent in the user-data; the message says what is missing, without what is there."""


@dataclass(frozen=True, slots=True)
class UserData:
    """What the user-data writes to the agent's `boot.json`."""

    urls: tuple[str, ...]
    pin: str
    server: str
    token: str = field(repr=False)


def parse(text: str) -> UserData:
    """Find the agent's settings: the JSON object with `urls`, `pin`, `server` and `token`. Raises UserDataError."""
    start = text.find("{")
    while start >= 0:
        try:
            value, _ = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            value = None
        settings = _settings(value)
        if settings is not None:
            return settings
        start = text.find("{", start + 1)
    raise UserDataError("the user-data holds no settings of an agent")


def _settings(value: Any) -> UserData | None:
    if not isinstance(value, dict):
        return None
    urls, texts = value.get("urls"), [value.get(name) for name in ("pin", "server", "token")]
    if not isinstance(urls, list) or not urls or not all(isinstance(u, str) and u.startswith("https://") for u in urls):
        return None
    if not all(isinstance(text, str) and text for text in texts):
        return None
    pin, server, token = (str(text) for text in texts)
    return UserData(tuple(url.rstrip("/") for url in urls), pin.lower(), server, token)
