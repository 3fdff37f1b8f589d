"""Servers on EC2 (moto behind the proxy of its bed): calls per server, and wall time where RunInstances is slow.

`python bench/ec2.py`; prints tables of Markdown. Calls are counted by the bed's proxy, operation by operation. Guests
are real: they boot, join and become Ready. On a real control plane, with the controller and configd as processes.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, f"{ROOT}")

from bench.harness import Installation, installation, load  # noqa: E402 - the path has to be there first
from tests.support import beds, real  # noqa: E402
from tests.support.places import LIMITS, WORK  # noqa: E402
from tests.support.services.ec2 import Control  # noqa: E402
from tests.support.stack import Api, always, group  # noqa: E402

from moorage import testbed  # noqa: E402
from moorage.kube.kinds import SERVER_GROUP  # noqa: E402
from moorage.testbed import Running  # noqa: E402

SERVICE = "ec2"


class Bench:
    """One installation with EC2's bed as its only service in use."""

    def __init__(self, installed: Installation, api: Api, running: Running) -> None:
        self.installed, self.api, self.running = installed, api, running
        self.control = Control(running)

    async def serve(self, concurrency: int, interval: float) -> None:
        """The HostingService, once it is available, and what a group needs."""
        limits = {**LIMITS, "concurrency": concurrency}
        await real.serve(
            self.installed.stack, self.api, self.running, SERVICE, limits=limits, inventoryInterval=f"{interval:g}s"
        )
        await self.api.apply(real.machine(self.running, "node", **WORK), always("policy", SERVICE))

    async def life(self, servers: int) -> Counter[str]:
        """Calls of a group's life: created, Ready, deleted."""
        name = f"life-{servers}"
        self.control.call("DELETE", "calls")
        await self.api.apply(group(name, "policy", ("node", "node", servers)))
        await self.api.ready(name, 600)
        await self.api.delete(SERVER_GROUP, name)
        await self.api.gone(SERVER_GROUP, name, 600)
        return Counter(self.control.calls())

    def creation(self) -> float:
        """Mean seconds of a creation, as the controller saw them: a busy machine adds to the one that is set."""
        found = {"sum": 0.0, "count": 0.0}
        for name, labels, value in self.installed.metrics():
            if labels.get("operation") == "create" and name.startswith("moorage_service_call_seconds_"):
                found[name.rpartition("_")[2]] = value
        return found["sum"] / found["count"]

    async def idle(self, servers: int, seconds: float) -> Counter[str]:
        """Calls while so many servers are Ready and nothing happens."""
        await self.api.apply(group("idle", "policy", ("node", "node", servers)))
        await self.api.ready("idle", 600)
        # A server that was just made is looked at more often for a while.
        await asyncio.sleep(60)
        self.control.call("DELETE", "calls")
        await asyncio.sleep(seconds)
        found = Counter(self.control.calls())
        await self.api.delete(SERVER_GROUP, "idle")
        await self.api.gone(SERVER_GROUP, "idle", 600)
        return found

    async def wall(self, servers: int) -> tuple[float, dict[str, float]]:
        """Seconds from the creation of a group to the last of its servers being made, RunInstances taking a second; and
        the CPU seconds of each process until then, moto's and the proxy's left out."""
        self.control.guests(enabled=False)
        self.control.faults(latency={"RunInstances": 1.0})
        before, used = len(self.control.ledger()), await self.installed.usage()
        started = time.monotonic()
        await self.api.apply(group("slow", "policy", ("node", "node", servers)))

        async def made() -> bool:
            return len(self.control.ledger()) - before >= servers

        await self.api.until(f"{servers} servers to be made", made, 600)
        found, cpu = time.monotonic() - started, (await self.installed.usage() - used).cpu
        self.control.faults()
        await self.api.condition(SERVER_GROUP, "slow", "Instantiated", seconds=600)
        assert len(self.control.ledger()) - before == servers
        await self.api.delete(SERVER_GROUP, "slow")
        await self.api.gone(SERVER_GROUP, "slow", 600)
        self.control.guests(enabled=True)
        return found, dict(cpu)


async def measure(options: argparse.Namespace, running: Running) -> None:
    """Run everything, and print it."""
    control = Control(running)
    control.faults()
    async with installation() as installed:
        api = Api(installed.client, await installed.namespace("bench"))
        bench = Bench(installed, api, running)
        try:
            if "calls" in options.which:
                control.guests(enabled=True)
                await bench.serve(options.concurrency, options.interval)
                await calls(bench, options)
            elif "wall" in options.which:
                await bench.serve(options.concurrency, options.interval)
            if "wall" in options.which:
                seconds, cpu = await bench.wall(options.slow)
                allowed = math.ceil(options.slow / options.concurrency)
                print(
                    f"\n### {options.slow} servers, RunInstances slowed by 1 s, {options.concurrency} calls at a time\n"
                )
                print("| allowed by the concurrency, s | measured, s | ratio |\n|---|---|---|")
                print(f"| {allowed} | {seconds:.2f} | {seconds / allowed:.2f} |\n")
                real = bench.creation()
                used = options.slow * real / options.concurrency / seconds
                print(f"A creation took {real:.2f} s: with that, {used:.0%} of what the concurrency allows\n")
                told = ", ".join(f"{name} {spent:.1f}" for name, spent in cpu.items())
                print(f"load {load():.1f}; CPU s: {told}")
        finally:
            control.faults()
            control.call("DELETE", "instances")
            control.guests(enabled=False)


async def calls(bench: Bench, options: argparse.Namespace) -> None:
    """The tables of calls."""
    found: dict[str, Counter[str]] = {}
    for servers in options.servers:
        found[f"{servers} servers, a life"] = await bench.life(servers)
    idle = f"{max(options.servers)} Ready, {options.idle:g} s idle, an inventory each {options.interval:g} s"
    found[idle] = await bench.idle(max(options.servers), options.idle)
    names: list[str] = sorted({name for counts in found.values() for name in counts})
    print("\n### Calls to the service\n")
    print("| operation | " + " | ".join(found) + " |\n|---|" + "---|" * len(found))
    for name in names:
        print(f"| {name} | " + " | ".join(f"{counts[name]}" for counts in found.values()) + " |")
    sys.stdout.flush()
    for servers in options.servers:
        counts: Any = found[f"{servers} servers, a life"]
        assert counts["RunInstances"] <= servers, "more than one RunInstances for a server"
        assert counts["TerminateInstances"] <= servers, "more than one TerminateInstances for a server"


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*", default=["calls", "wall"], help="(default: %(default)s)")
    parser.add_argument("--servers", type=int, nargs="*", default=[10, 50], help="of `calls` (default: %(default)s)")
    parser.add_argument("--slow", type=int, default=200, help="servers of `wall` (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=32, help="calls at a time (default: %(default)s)")
    parser.add_argument("--interval", type=float, default=10.0, help="of inventories (default: %(default)s s)")
    parser.add_argument("--idle", type=float, default=120.0, help="seconds of idleness (default: %(default)s)")
    options = parser.parse_args()
    # A test that uses the bed meanwhile would spoil both.
    with beds.alone(["ec2"], "a measurement", beds.say):
        asyncio.run(measure(options, testbed.up(testbed.bed("ec2"), lambda text: print(text, file=sys.stderr))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
