"""`python -m moorage.agent`."""

from __future__ import annotations

import sys

from moorage.agent.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
