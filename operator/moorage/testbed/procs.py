"""Processes by id and start time: an id alone may have become another's."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def started(pid: int) -> int:
    """When the process began, in ticks since boot; 0 where there is none."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def alive(pid: int, start: int) -> bool:
    """Whether that very process runs; one that ended and waits for its parent does not."""
    fields = _stat(pid)
    if not fields or int(fields[19]) != start:
        return False
    if fields[0] in {"Z", "X"}:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return False
    return True


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold spaces and parentheses."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []
