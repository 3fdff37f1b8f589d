"""The controller, killed by SIGKILL at a random moment while it makes 50 servers, 20 times, on each of some services.

`python bench/kill.py [hostd] [ec2] [incus]`; prints a table of Markdown and ends with 1 where a server was doubled or
forgotten, or a group did not become Ready. What was made is counted by each service's own ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, f"{ROOT}")

from tests.support import beds, killing, places  # noqa: E402 - the path has to be there first
from tests.support.killing import Place  # noqa: E402
from tests.support.stack import Api, Stack  # noqa: E402

from moorage import testbed  # noqa: E402
from moorage.kube.client import Client  # noqa: E402
from moorage.kube.kinds import NAMESPACE  # noqa: E402
from moorage.testbed import Running  # noqa: E402

PATIENCE = 600.0
BEDS: dict[str, Callable[[Running], AbstractAsyncContextManager[Place]]] = {"ec2": places.ec2, "incus": places.incus}


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*", default=["hostd", *BEDS], help="services (default: %(default)s)")
    parser.add_argument("--servers", type=int, default=50, help="of each group (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="kills (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the moments (default: another)")
    options = parser.parse_args()
    rows = []
    for name in options.which:
        # A test that uses the bed meanwhile would spoil both.
        with beds.alone({name} & set(BEDS), "a measurement", beds.say):
            rows.append(asyncio.run(one(name, options)))
    print(f"\n### Killed while creating {options.servers} servers, {options.rounds} times; seed {options.seed}\n")
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print(
            "| "
            + " | ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values())
            + " |"
        )
    return int(any(row["doubles"] or row["orphans"] for row in rows))


async def one(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """All rounds on one service."""
    with tempfile.TemporaryDirectory(prefix="moorage-kill-") as folder, killing.mortal_stack(Path(folder)) as stack:
        async with await Client.connect(str(stack.plane.kubeconfig)) as client, _place(name, stack) as place:
            await client.create(NAMESPACE, {"metadata": {"name": "killed"}})
            found = await killing.kill_while_creating(
                stack,
                Api(client, "killed"),
                place,
                servers=options.servers,
                rounds=options.rounds,
                dice=random.Random(options.seed),
                patience=PATIENCE,
            )
    return killing.told(place, found)


def _place(name: str, stack: Stack) -> AbstractAsyncContextManager[Place]:
    if name == "hostd":
        return places.hostd(stack)
    return BEDS[name](testbed.up(testbed.bed(name), lambda text: print(text, file=sys.stderr)))


if __name__ == "__main__":
    sys.exit(main())
