"""What every client of HTTP here has to see to, whomever it asks."""

from __future__ import annotations

import sys

import aiohttp

TLS_LINGERS = sys.version_info < (3, 12, 8)
"""Whether a TLS connection whose answer nobody waits for any more would outlive its session (python/cpython#118960)."""


async def read_bounded(answer: aiohttp.ClientResponse, most: int) -> bytes | None:
    """The whole body; None where it has more than `most` bytes, of which no more are read."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > most:
            answer.close()
            return None
    return bytes(body)
