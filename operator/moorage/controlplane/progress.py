"""Telling a waiting person what is going on: on a terminal in one line that is rewritten, elsewhere now and then."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Writes what happens to `stream` (standard error by default); `quiet` writes nothing at all."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False, every: float = 20.0) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._quiet = quiet
        self._every = every
        self._last = -every
        self._pending = False

    def line(self, text: str) -> None:
        """Say `text` on a line of its own."""
        if self._quiet:
            return
        if self._pending:
            self._stream.write("\r\033[K")
            self._pending = False
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def status(self, text: str) -> None:
        """Say how far a long job is. May be called often: a log gets one line every `every` seconds."""
        if self._quiet:
            return
        if self._stream.isatty():
            self._stream.write(f"\r\033[K{text[:118]}")
            self._stream.flush()
            self._pending = True
        elif time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self.line(text)
