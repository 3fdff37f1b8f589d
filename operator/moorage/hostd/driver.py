"""What turns machines into running servers: real processes, or simulation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from moorage.api.hostd import Console, Image
from moorage.hostd.machine import Machine
from moorage.hostd.refusals import Refusal

Lost = Callable[[Machine, str], None]
"""Called when a running machine went down by itself, with what is known of why."""


class BootFailed(Exception):
    """The machine could not be started; the message says why."""


class Driver(Protocol):
    """Runs machines. A machine is started and halted by one task at a time."""

    def images(self) -> tuple[Image, ...]:
        """All images, with whether this host can boot them."""
        ...

    def check(self, machine: Machine) -> Refusal | None:
        """Why the machine cannot be made here, or None."""
        ...

    def boot_delay(self, machine: Machine) -> float:
        """Seconds from the order to start to the start of the user-data."""
        ...

    async def prepare(self) -> None:
        """Called once before all else."""
        ...

    async def attach(self, machine: Machine, lost: Lost) -> bool | None:
        """Find the machine's processes of an earlier hostd: True when it runs, False when it ran and is down, None
        when its present boot never began."""
        ...

    async def start(self, machine: Machine, lost: Lost) -> None:
        """Begin the boot `machine.boots`; returns when the user-data runs. Raises BootFailed."""
        ...

    async def halt(self, machine: Machine, *, graceful: bool) -> None:
        """End everything that runs in the machine; returns when all of it is gone. Raises OSError or TimeoutError
        when something could not be ended."""
        ...

    async def console(self, machine: Machine) -> Console:
        """The end of what the machine printed."""
        ...

    def link(self, server_id: str, name: str, data: Path | None) -> None:
        """Show the volume's data to the machine under that name; None: show it no more. May be called from any thread
        and wait for a disk."""
        ...

    async def close(self) -> None:
        """hostd stops: let go of the machines."""
        ...
