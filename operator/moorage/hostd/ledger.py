"""The ledger: every server ever created and every end of one, in a file that only grows.

An entry is on the disk before the step after it is taken. Entries that come together share one write and one sync.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from pydantic import ValidationError

from moorage.api.hostd import LedgerEntry, LedgerEvent


class LedgerError(Exception):
    """The ledger's file is damaged."""


class Ledger:
    """An append-only JSON-lines file, and its content in memory."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        """Open and read it. A last line cut off by a crash is dropped. Raises LedgerError and OSError."""
        self.entries: list[LedgerEntry] = []
        self.created: set[str] = set()
        self.ended: set[str] = set()
        self._durable = durable
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        good = self._read(path)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._fd, good)

    def _read(self, path: Path) -> int:
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return 0
        end = raw.rfind(b"\n") + 1
        for number, line in enumerate(raw[:end].splitlines(), 1):
            try:
                self._note(LedgerEntry.model_validate_json(line))
            except ValidationError:
                raise LedgerError(f"{path}: line {number} is not an entry of a ledger") from None
        return end

    def _note(self, entry: LedgerEntry) -> None:
        self.entries.append(entry)
        if entry.event is LedgerEvent.CREATED:
            self.created.add(entry.id)
        else:
            self.ended.add(entry.id)

    async def append(self, entry: LedgerEntry) -> None:
        """Add an entry; returns when it is on the disk. Raises OSError."""
        self._note(entry)
        line = entry.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"
        if not self._durable:
            os.write(self._fd, line)
            return
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((line, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await asyncio.shield(done)

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._sync, b"".join(line for line, _ in batch))
            except OSError as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)

    def _sync(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        os.fsync(self._fd)

    async def close(self) -> None:
        """Write what waits and close the file."""
        if self._writer is not None:
            await asyncio.wait([self._writer])
        os.close(self._fd)
