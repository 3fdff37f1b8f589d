"""The driver of simulated servers: a boot is a timer, a server is an agent in this process."""

from __future__ import annotations

import logging
import resource
from dataclasses import dataclass, field
from pathlib import Path

from moorage.api.hostd import Console, Image, SimulateSettings
from moorage.hostd.config import Config, SimulateConfig
from moorage.hostd.driver import Lost
from moorage.hostd.machine import Machine
from moorage.hostd.refusals import Refusal
from moorage.hostd.simulate.agent import Agent
from moorage.hostd.simulate.guest import Facts
from moorage.hostd.simulate.memory import Memory
from moorage.hostd.simulate.network import Network
from moorage.hostd.simulate.userdata import UserDataError, parse

log = logging.getLogger(__name__)
DEFAULT = SimulateSettings()


@dataclass(slots=True)
class Place:
    """What a simulated server has: a disk that outlives a stop, and an agent while it runs."""

    memory: Memory = field(default_factory=Memory)
    agent: Agent | None = None
    console: str = ""


class SimulateDriver:
    """Runs machines as timers and agents. Satisfies `moorage.hostd.driver.Driver`."""

    def __init__(self, config: Config, settings: SimulateConfig) -> None:
        self._config = config
        self._settings = settings
        self._network = Network()
        self._places: dict[str, Place] = {}

    def images(self) -> tuple[Image, ...]:
        """See `Driver.images`."""
        return tuple(Image(name=name) for name in self._config.images)

    def check(self, machine: Machine) -> Refusal | None:
        """See `Driver.check`. Whatever a real server could try to boot is taken."""
        return None

    def boot_delay(self, machine: Machine) -> float:
        """See `Driver.boot_delay`: the server's own boot time, its image's, or the service's, and its delay."""
        settings = machine.request.settings
        time = settings.simulate.boot_time if settings.simulate is not None else None
        if time is None:
            time = self._settings.image_boot_times.get(machine.request.image, self._settings.boot_time)
        return settings.boot_delay + time

    async def prepare(self) -> None:
        """See `Driver.prepare`. Every agent has up to two connections: as many files may be open as the system lets."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    async def attach(self, machine: Machine, lost: Lost) -> bool | None:
        """See `Driver.attach`: no simulated server outlives its hostd."""
        return None

    async def start(self, machine: Machine, lost: Lost) -> None:
        """See `Driver.start`. User-data without an agent in it gives a server that runs and says nothing."""
        place = self._places.setdefault(machine.id, Place())
        try:
            user_data = parse(machine.request.user_data)
        except UserDataError as error:
            place.console = f"no agent started: {error}\n"
            return
        facts = Facts(name=machine.request.name, address=machine.address, id=machine.id)
        settings = machine.request.settings.simulate or DEFAULT
        place.agent = Agent(user_data, facts, settings, place.memory, self._network)
        place.agent.start()
        place.console = "agent started\n"

    async def halt(self, machine: Machine, *, graceful: bool) -> None:
        """See `Driver.halt`. The server's disk goes with the server."""
        place = self._places.get(machine.id)
        if place is None:
            return
        agent, place.agent = place.agent, None
        if agent is not None:
            await agent.stop()
        if not graceful:
            del self._places[machine.id]

    async def console(self, machine: Machine) -> Console:
        """See `Driver.console`."""
        place = self._places.get(machine.id)
        return Console(text=place.console if place else "")

    def link(self, server_id: str, name: str, data: Path | None) -> None:
        """See `Driver.link`: there is no disk to show."""

    async def close(self) -> None:
        """See `Driver.close`."""
        agents = [place.agent for place in self._places.values() if place.agent is not None]
        self._places.clear()
        for agent in agents:
            await agent.stop()
