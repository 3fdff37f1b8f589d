"""Ten Incus containers from apply to Ready, divided by what Incus itself needs for ten that call home.

    python bench/incus.py [--rounds 5] [--servers 10]

Without Moorage: as many containers are asked for at once, over Incus's own socket, and their user-data says that they
are there, once by a shell (`wget`), once by what Moorage's user-data is too, a Python that makes a request over TLS.
With Moorage: a group of as many servers, from the apply to the group's Ready. The bed and the controller run already,
and each round has both, one after the other, so that a busy machine slows them alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.harness import Watched
from tests.support import beds
from tests.support.point import Point
from tests.support.real import machine, real_stack, serve
from tests.support.stack import Api, Stack, always, group

from moorage import testbed
from moorage.kube.client import Client
from moorage.kube.kinds import NAMESPACE, SERVER_GROUP
from moorage.testbed import Running
from moorage.testbed.incus.bed import remove
from moorage.testbed.incus.rest import Rest

PATIENCE = 300.0
SHELL = "#!/bin/sh\nwget -q -O /dev/null {url}/say/home?$(cat /etc/hostname)\n"
PYTHON = """#!/bin/sh
exec python3 - <<'E'
import ssl, http.client, json, hashlib, urllib.request
context = ssl._create_unverified_context()
try:
    urllib.request.urlopen("{tls}/v1/ca.pem", context=context, timeout=20).read()
finally:
    urllib.request.urlopen("{url}/say/home?x").read()
E
"""


def alone(running: Running, servers: int, user_data: str, point: Point) -> float:
    """Seconds until so many containers, asked for at once, have called home."""
    project = Rest(Path(running.extra["socket"]), running.project or "default")
    names = [f"alone-{secrets.token_hex(4)}" for _ in range(servers)]
    before = len(point.said("home"))

    def make(name: str) -> None:
        config = {"limits.cpu": "1", "limits.memory": "128MiB", "cloud-init.user-data": user_data}
        source = {"type": "image", "alias": running.image}
        project.post(
            "/instances", {"name": name, "type": "container", "start": True, "source": source, "config": config}
        )

    with ThreadPoolExecutor(servers) as pool:
        began = time.monotonic()
        for made in [pool.submit(make, name) for name in names]:
            made.result()
        while len(point.said("home")) < before + servers:
            if time.monotonic() - began > PATIENCE:
                raise SystemExit("the containers did not call home")
            time.sleep(0.005)
        took = time.monotonic() - began
        list(pool.map(lambda name: remove(project, name), names))
    return took


async def moorage(api: Api, groups: Watched, servers: int) -> float:
    """Seconds from the apply of a group of so many servers until it is Ready; then they go again."""
    name = f"g{secrets.token_hex(3)}"
    began = time.monotonic()
    await api.apply(group(name, "policy", ("web", "web", servers)))
    ready = await groups.until_ready(api.namespace, [name], PATIENCE)
    await api.delete(SERVER_GROUP, name)
    await groups.until_gone(api.namespace, [name], PATIENCE)
    return ready[name] - began


async def rounds(stack: Stack, running: Running, point: Point, count: int, servers: int) -> list[dict[str, float]]:
    """The figures of each round."""
    found = []
    async with await Client.connect(str(stack.plane.kubeconfig)) as client:
        await client.create(NAMESPACE, {"metadata": {"name": "bench"}})
        api, groups = Api(client, "bench"), Watched()
        watching = asyncio.create_task(groups.run(client))
        await serve(stack, api, running, "containers", inventoryInterval="30s")
        script = [{"name": "start", "script": "true"}]
        await api.apply(machine(running, "web", steps=script), always("policy", "containers"))
        python = PYTHON.format(url=point.url, tls=f"https://{running.guests}:{stack.config_port}")
        await asyncio.to_thread(alone, running, 1, python, point)  # what the first one of all pays
        for _ in range(count):
            shell = await asyncio.to_thread(alone, running, servers, SHELL.format(url=point.url), point)
            with_python = await asyncio.to_thread(alone, running, servers, python, point)
            ready = await moorage(api, groups, servers)
            figures = {"alone": shell, "alone with Python": with_python, "moorage": ready, "load": os.getloadavg()[0]}
            figures |= {"ratio": ready / shell, "ratio with Python": ready / with_python}
            found.append({name: round(value, 2) for name, value in figures.items()})
            print(json.dumps(found[-1]), flush=True)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return found


def main() -> None:
    """Run it and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--servers", type=int, default=10)
    options = parser.parse_args()
    # A test that uses the bed meanwhile would spoil both.
    with beds.alone(["incus"], "a measurement", beds.say):
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Run the rounds and print them."""
    bed = testbed.bed("incus")
    before = testbed.status(bed)
    running = testbed.up(bed, lambda text: print(text, file=sys.stderr))
    try:
        with tempfile.TemporaryDirectory() as folder, real_stack(Path(folder)) as stack, Point(running.guests) as point:
            found = asyncio.run(rounds(stack, running, point, options.rounds, options.servers))
        print(json.dumps({name: round(statistics.median(one[name] for one in found), 2) for name in found[0]}))
    finally:
        if before is None:
            testbed.down(bed, lambda text: print(text, file=sys.stderr))


if __name__ == "__main__":
    main()
