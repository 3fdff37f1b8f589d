"""Nova's compute service with the driver of this folder: Nova loads drivers out of its own package only.

It begins when the conductor does (see `control.py`): asked too early, it would wait ten seconds for the answer.
"""

from __future__ import annotations

from nova.cmd import compute  # first of all: it patches what others import

import sys  # isort: skip
import time  # isort: skip
from pathlib import Path  # isort: skip

import nova.virt  # isort: skip

PATIENCE = 120.0


def main() -> None:
    """Run until SIGTERM: `compute.py READY-FILE OPTION...`"""
    ready = Path(sys.argv.pop(1))
    nova.virt.__path__.append(str(Path(__file__).parent))
    end = time.monotonic() + PATIENCE
    while not ready.exists() and time.monotonic() < end:
        time.sleep(0.05)
    compute.main()


if __name__ == "__main__":
    main()
