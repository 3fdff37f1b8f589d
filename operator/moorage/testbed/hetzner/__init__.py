"""The Hetzner Cloud API, simulated on the loopback: no guest runs."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from moorage.testbed.bed import Lacking, Running, Say
from moorage.testbed.daemons import Daemons

START = 60.0
"""Seconds within which the simulator has to answer on a busy machine."""


class Hetzner:
    """See the module; `simulator` has the details."""

    name = "hetzner"
    summary = "the Hetzner Cloud API simulated from its reference; no guest runs"

    def lacks(self) -> list[str]:
        """Nothing."""
        return []

    def install(self, cache: Path, say: Say) -> None:
        """Nothing: it is part of this package."""

    def up(self, cache: Path, state: Path, daemons: Daemons, say: Say) -> Running:
        """The simulator, on a free port."""
        daemons.start("simulator", [sys.executable, "-m", "moorage.testbed.hetzner.simulator", state])
        end = time.monotonic() + START
        while not (state / "address.json").exists():
            if daemons.pid("simulator") is None or time.monotonic() > end:
                raise Lacking(f"the simulator did not start: {daemons.tail('simulator')}")
            time.sleep(0.05)
        found = json.loads((state / "address.json").read_text())
        return Running(
            type="hetzner",
            endpoint=f"{found['address']}/v1",
            guests="127.0.0.1",
            region="fsn1",
            credentials={"token": found["tokens"]["main"]},
            image="debian-12",
            offering="cpx22",
            extra={
                "control": f"{found['address']}/control",
                "otherToken": found["tokens"]["other"],
                "readonlyToken": found["tokens"]["readonly"],
                **found["known"],
            },
        )

    def down(self, state: Path, daemons: Daemons, say: Say) -> None:
        """Nothing outlives the simulator."""


BED = Hetzner()
