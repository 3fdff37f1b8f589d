"""The controller, made to die by SIGKILL at random moments while it makes servers: none is doubled, none is forgotten.

What was made is counted by the hosting service's own ledger, not by anything that Moorage says.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import cluster
from tests.support.needs import missing
from tests.support.stack import Api, Obj, Process, Stack, always, group, new_stack

from moorage.controlplane import ControlPlaneError, acquire
from moorage.kube.kinds import SERVER_GROUP
from moorage.testing.promises import PromiseBroken
from moorage.testing.service import Made


@dataclass(frozen=True)
class Place:
    """A hosting service to make servers on. `made`: every server it ever made; `living`: the ids of those that are
    there now; both by its own word. `config`: a VirtualServerConfig for its servers."""

    name: str
    serve: Callable[[Stack, Api], Awaitable[None]]
    config: Callable[[str], Obj]
    made: Callable[[], Awaitable[list[Made]]]
    living: Callable[[], Awaitable[set[str]]]


@dataclass(frozen=True)
class After:
    """When the controller dies: so long after the apply, and once so many servers are made."""

    seconds: float = 0.0
    made: int = 0


@dataclass
class Findings:
    """What came of the rounds."""

    orphans: list[str] = field(default_factory=list)
    doubles: dict[str, int] = field(default_factory=dict)
    kills: list[tuple[int, int]] = field(default_factory=list)
    """For each kill: how many servers the service had made when it happened, and of how many."""
    seconds: list[float] = field(default_factory=list)
    """From the creation of each group to all of it Ready, the death included."""


@contextlib.contextmanager
def mortal_stack(folder: Path) -> Iterator[Stack]:
    """An installation of its own, whose controller dies often."""
    try:
        plane = acquire(cluster.options(None))
    except ControlPlaneError as error:
        missing(str(error))
    with plane, new_stack(plane, folder) as stack:
        stack.config_port += 5500  # apart from those of other stacks in this process
        yield stack


def start_controller(stack: Stack) -> Process:
    """Its configuration channel listens on every address, so that any bed's guests reach it."""
    return stack.run_controller("--config-host", "0.0.0.0")


async def kill_while_creating(
    stack: Stack, api: Api, place: Place, *, servers: int, rounds: int, dice: random.Random, patience: float
) -> Findings:
    """Make a group of so many servers, so many times, and kill the controller once in each round: in turns at a moment
    drawn from the time that creating them takes, and once a drawn number of them is made. Start it again at once.
    Raises AssertionError where a group is not Ready."""
    findings = Findings()
    start_controller(stack)
    await place.serve(stack, api)
    await api.apply(place.config("node"), always("policy", place.name))
    span = await _one_group(stack, api, place, "calm", servers, patience, findings, None)
    for number in range(rounds):
        if findings.doubles or findings.orphans:
            break
        moment = After(dice.uniform(0, span)) if number % 2 == 0 else After(made=dice.randint(1, max(1, servers // 2)))
        await _one_group(stack, api, place, f"round-{number}", servers, patience, findings, moment)
    return findings


async def _one_group(
    stack: Stack,
    api: Api,
    place: Place,
    name: str,
    servers: int,
    patience: float,
    findings: Findings,
    moment: After | None,
) -> float:
    """One life of a group; gives the seconds until all its servers were made."""
    before = len(await place.made())

    async def made_so_many(number: int) -> bool:
        return len(await place.made()) - before >= number

    began = time.monotonic()
    await api.apply(group(name, "policy", ("node", "node", servers)))
    if moment is not None:
        await asyncio.sleep(moment.seconds)
        await api.until(f"{moment.made} servers of {name} to be made", lambda: made_so_many(moment.made), patience)
        assert stack.controller is not None
        stack.controller.kill()
        findings.kills.append((len(await place.made()) - before, servers))
        start_controller(stack)

    await api.until(f"{servers} servers of {name} to be made", lambda: made_so_many(servers), patience)
    span = time.monotonic() - began
    await api.ready(name, patience)
    findings.seconds.append(time.monotonic() - began)
    made = (await place.made())[before:]
    recorded = {(server.get("status") or {}).get("providerID") for server in await api.servers(name)}
    counts = Counter(one.key for one in made)
    findings.doubles |= {str(key): count for key, count in counts.items() if count > 1 or key is None}
    here = await place.living()
    findings.orphans += sorted(here - recorded)
    if not recorded <= here:
        raise PromiseBroken(f"{name} is Ready, and the service has not all of its servers")
    await api.delete(SERVER_GROUP, name)
    await api.gone(SERVER_GROUP, name, patience)
    findings.orphans += sorted(await place.living())
    return span


def assert_none_doubled_none_forgotten(findings: Findings) -> None:
    """What the rounds have to show; raises PromiseBroken. One kill at least fell half-way, or they show nothing."""
    if findings.doubles or findings.orphans:
        raise PromiseBroken(f"doubled: {findings.doubles}; forgotten: {findings.orphans}")
    assert any(0 < made < wanted for made, wanted in findings.kills), f"no kill was half-way: {findings.kills}"


def told(place: Place, findings: Findings) -> dict[str, Any]:
    """The findings for a table."""
    begun = sum(1 for made, wanted in findings.kills if 0 < made < wanted)
    return {
        "service": place.name,
        "rounds": len(findings.kills),
        "killed with some made and some not": begun,
        "doubles": len(findings.doubles),
        "orphans": len(findings.orphans),
        "seconds to Ready, median": sorted(findings.seconds)[len(findings.seconds) // 2],
    }
