"""What lists and watches answer. Objects are plain dicts, as the API server sends them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from moorage.kube.errors import Unavailable

Obj = dict[str, Any]

MAX_LINE: Final = 16 * 1024 * 1024
"""Bytes of the longest line that is taken."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete list: all items as of `resource_version`."""

    items: list[Obj]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Obj = field(repr=False)


async def lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of a stream, however long: aiohttp's own reader refuses lines above its buffer.

    Raises Unavailable above MAX_LINE.
    """
    rest = bytearray()
    async for chunk in response.content.iter_any():
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            rest += chunk[start:end]
            if rest:
                yield bytes(rest)
                rest.clear()
            start = end + 1
        rest += chunk[start:]
        if len(rest) > MAX_LINE:
            raise Unavailable(0, "LineTooLong", "a watch event is longer than any object may be")
