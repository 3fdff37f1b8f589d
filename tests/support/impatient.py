"""The controller, in whose eyes ten minutes of quarantine are over in seconds.

`python -m tests.support.impatient OPTIONS` is `moorage run OPTIONS`, but for that.
"""

from __future__ import annotations

import sys
from datetime import timedelta

from moorage.cli.main import main
from moorage.controllers import orphans

QUARANTINE = 15.0
"""Seconds: longer than from one inventory of a test's service to the next, while that tells its events."""

if __name__ == "__main__":
    orphans.QUARANTINE = timedelta(seconds=QUARANTINE)
    sys.argv.insert(1, "run")
    main()
