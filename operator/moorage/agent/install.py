"""Staying alive in the guest: as a systemd service, in the background, or as the guest's first process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Callable

from .log import log
from .store import write_atomically

UNIT = "moorage-agent.service"
_UNIT_PATH = "/etc/systemd/system/" + UNIT
_PER_BOOT = "/var/lib/cloud/scripts/per-boot"
_TEMPLATE = """[Unit]
Description=Moorage agent
Wants=network-online.target
After=network-online.target

[Service]
Environment=MOORAGE_STATE=%(state)s
ExecStart=%(python)s %(state)s/agent.pyz run
Restart=always
RestartSec=2
KillMode=process

[Install]
WantedBy=multi-user.target
"""


def settle(state: str) -> bool:
    """Hand the agent over to what keeps it running; False where this process has to be the agent itself."""
    if os.environ.get("MOORAGE_ROOT") or os.geteuid() != 0:
        return False
    if os.path.isdir("/run/systemd/system"):
        return _as_service(state)
    if os.environ.get("MOORAGE_BOOT", "").startswith("/var/lib/cloud/"):
        # cloud-init waits for its scripts to end, and runs user-data on the first boot only.
        _each_boot(state)
        return _in_background()
    return False


def _as_service(state: str) -> bool:
    unit = _TEMPLATE % {"python": sys.executable, "state": state}
    write_atomically(_UNIT_PATH, unit.encode(), mode=0o644)
    for arguments in (["daemon-reload"], ["enable", UNIT], ["restart", "--no-block", UNIT]):
        done = subprocess.run(["systemctl", *arguments], stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            log("systemctl %s: exit code %d" % (arguments[0], done.returncode))
            return False
    return True


def _each_boot(state: str) -> None:
    if os.path.isdir(os.path.dirname(_PER_BOOT)):
        os.makedirs(_PER_BOOT, exist_ok=True)
        text = "#!/bin/sh\nMOORAGE_STATE='%s' MOORAGE_BOOT=\"$0\" exec '%s' '%s/agent.pyz' boot\n"
        script = text % (state, sys.executable, state)
        write_atomically(os.path.join(_PER_BOOT, "moorage-agent"), script.encode(), mode=0o755)


def _in_background() -> bool:
    """True in the process that was started, False in the agent that it leaves behind."""
    if os.fork():
        return True
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    return False


def as_init(agent: Callable[[], int]) -> int:
    """Be the guest's first process: run the agent in a child, pass signals on, and reap whatever ends."""
    child = os.fork()
    if child == 0:
        return agent()

    def forward(number: int, _frame: object) -> None:
        try:
            os.kill(child, number)
        except ProcessLookupError:
            return

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
