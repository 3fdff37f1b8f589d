"""One line to standard error for each thing that happened; callers never pass a value, a token or a key."""

from __future__ import annotations

import sys
import threading
import time

_LOCK = threading.Lock()


def log(message: str) -> None:
    """Write one line; a closed standard error is no reason to stop working."""
    line = "%s moorage-agent: %s\n" % (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), message)
    with _LOCK:
        try:
            sys.stderr.write(line)
            sys.stderr.flush()
        except (OSError, ValueError):
            return
