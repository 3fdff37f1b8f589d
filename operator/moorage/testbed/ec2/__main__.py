"""`python -m moorage.testbed.ec2 FILE`: run the proxy as the file of JSON says, until SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from moorage.testbed.ec2.app import App
from moorage.testbed.ec2.guests import Guests
from moorage.testbed.ec2.service import Service
from moorage.testbed.ec2.signing import AccessKey
from moorage.testbed.ec2.simulator import Simulator


async def serve(config: dict[str, Any]) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    simulator = Simulator(config["simulator"])
    guests = Guests(Path(config["guests"]), Path(config["root"]) if config["root"] else None)
    service = Service(simulator, config["region"], guests)
    keys = {name: AccessKey.from_json(key) for name, key in config["keys"].items()}
    app = App(service, simulator, keys, config["token"]).build()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, config["host"], config["port"], backlog=1024).start()
        await stop.wait()
    finally:
        await runner.cleanup()
        await simulator.close()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
