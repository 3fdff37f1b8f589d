"""Guests of running instances: process trees with a root folder of their own, that run the instance's user-data."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

from moorage.testbed.openstack.inside.guests import Guest

GZIP = b"\x1f\x8b"


class Guests:
    """Starts and stops them. They outlive the proxy: `end_all(folder)` ends them."""

    def __init__(self, folder: Path, root: Path | None) -> None:
        self._folder = folder
        self._root = root
        self._changing: dict[str, asyncio.Lock] = {}

    @property
    def possible(self) -> bool:
        """Whether this machine has what guests need."""
        return self._root is not None

    async def start(self, instance_id: str, user_data: bytes) -> None:
        """Boot a guest, or leave it as it is where it runs. Its files are kept over boots."""
        root, guest = self._root, Guest(self._folder / instance_id)
        if root is None:
            return
        async with self._changing.setdefault(instance_id, asyncio.Lock()):
            if not guest.exists:
                plain = gzip.decompress(user_data) if user_data.startswith(GZIP) else user_data
                await asyncio.to_thread(guest.make, root, plain)
            await asyncio.to_thread(guest.start, root, instance_id)

    async def stop(self, instance_id: str) -> None:
        """End a guest at once, as a power cut does."""
        guest = Guest(self._folder / instance_id)
        if guest.exists:
            async with self._changing.setdefault(instance_id, asyncio.Lock()):
                await asyncio.to_thread(guest.stop)

    async def remove(self, instance_id: str) -> None:
        """End it, and its disk goes with it."""
        guest = Guest(self._folder / instance_id)
        if guest.exists:
            async with self._changing.setdefault(instance_id, asyncio.Lock()):
                await asyncio.to_thread(guest.remove)
        self._changing.pop(instance_id, None)

    def console(self, instance_id: str) -> bytes | None:
        """The end of what it wrote; None where it never booted."""
        guest = Guest(self._folder / instance_id)
        return guest.console() if guest.exists else None
