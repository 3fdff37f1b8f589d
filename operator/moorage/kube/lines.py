"""A stream of lines, as watches are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import aiohttp

from moorage.kube.errors import Unavailable

MAX_LINE: Final = 16 * 1024 * 1024
"""Bytes of the longest line that is taken."""


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
