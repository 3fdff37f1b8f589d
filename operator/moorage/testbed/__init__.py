"""Real hosting services on this machine, to try Moorage on: `moorage testbed install|up|down NAME`.

A bed is one service with everything it needs. `install` brings its programs (once; into the system's package manager
and the cache), `up` starts it, `down` stops it and removes what ran on it. All three can be repeated at any time.
"""

from moorage.testbed.bed import Bed, Lacking, Running, down, install, mutex, status, up
from moorage.testbed.registry import bed, names

__all__ = ["Bed", "Lacking", "Running", "bed", "down", "install", "mutex", "names", "status", "up"]
