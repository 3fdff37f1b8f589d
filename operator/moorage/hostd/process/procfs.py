"""What /proc tells about processes. A process is named by its pid *and* its start time, so that a reused pid is
never taken for it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def start_time(pid: int) -> int | None:
    """When the process started, in ticks since the host's start; None where there is none, or only its zombie."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def open_process(pid: int, started: int) -> int | None:
    """A pidfd of exactly this process, or None where it is gone."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if start_time(pid) != started:
        os.close(fd)
        return None
    return fd


def send(pidfd: int, number: signal.Signals) -> None:
    """Send a signal to the process of the pidfd, or to nobody where it is gone."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def marked(variable: str) -> list[tuple[int, int]]:
    """The processes, as (pid, start time), that have this `NAME=value` in the environment they were started with."""
    wanted = variable.encode()
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0"):
            started = start_time(int(entry.name))
            if started is not None:
                found.append((int(entry.name), started))
    return found


def kill_marked(variable: str) -> int:
    """Kill all that `marked` finds; returns how many there were."""
    victims = marked(variable)
    for pid, started in victims:
        fd = open_process(pid, started)
        if fd is not None:
            send(fd, signal.SIGKILL)
            os.close(fd)
    return len(victims)
