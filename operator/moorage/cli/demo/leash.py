"""`python -m moorage.cli.demo.leash FD COMMAND…`: runs a command that ends when the demo does, however that ends.

The demo holds the other end of the pipe FD. When it is closed (the demo has ended, or was killed) or SIGTERM or SIGINT
comes, the command gets SIGTERM, and SIGKILL if it goes on. It has a session of its own: Ctrl-C on a terminal goes to
the demo alone, which stops things in order.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

GRACE = 8.0
"""Seconds from SIGTERM to SIGKILL."""


def main(pipe: int, command: list[str]) -> int:
    """Run the command; its exit code, or 128 and the signal that ended it."""
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while child.poll() is None:
        readable, _, _ = select.select([pipe, wake], [], [])
        if pipe in readable or {*os.read(wake, 64)} - {signal.SIGCHLD}:
            return _end(child)
    return _code(child.returncode)


def _end(child: subprocess.Popen[bytes]) -> int:
    child.terminate()
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    return _code(child.returncode)


def _code(returncode: int) -> int:
    return 128 - returncode if returncode < 0 else returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
