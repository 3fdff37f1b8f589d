"""Time to Ready of a group, divided by its critical path: the times that the simulator was told."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

from bench.harness import Installation
from bench.workloads import POLICY, consumer, names, prepare, provider
from tests.support.stack import Obj, group

BOOT = 2.0
STEP = 0.5
SIMULATE = {"bootTime": BOOT, "stepTime": STEP}


@dataclass(frozen=True, slots=True)
class Converged:
    """Of one run; seconds."""

    shape: str
    seconds: float
    critical: float
    api_server: float

    @property
    def ratio(self) -> float:
        """Time to Ready by critical path."""
        return self.seconds / self.critical


def shape(name: str) -> tuple[list[Obj], Obj, int]:
    """Configurations, group and number of tiers of a shape: `chain-N` or `fan-N`."""
    kind, size = name.split("-")
    if kind == "fan":
        configs = [provider("db", simulate=SIMULATE), consumer("web", "db", simulate=SIMULATE)]
        return configs, group("g", POLICY, ("db", "db", 1), ("web", "web", int(size))), 2
    tiers = [f"tier{number}" for number in range(int(size))]
    configs = [provider(tiers[0], simulate=SIMULATE)]
    configs += [consumer(mine, before, simulate=SIMULATE) for before, mine in itertools.pairwise(tiers)]
    return configs, group("g", POLICY, *((tier, tier, 1) for tier in tiers)), len(tiers)


async def convergence(installed: Installation, name: str, namespace: str) -> Converged:
    """One group of the shape, in a namespace of its own; the installation has to be at rest."""
    configs, obj, tiers = shape(name)
    await prepare(installed, namespace, *configs)
    before = await installed.usage()
    started = time.monotonic()
    await installed.create(namespace, obj)
    ready = await installed.groups.until_ready(namespace, names([obj]), 300)
    used = await installed.usage() - before
    # Servers boot at the same time; their steps follow one another, each as soon as the one before has published.
    return Converged(name, ready["g"] - started, BOOT + tiers * STEP, used.cpu["api server"])
