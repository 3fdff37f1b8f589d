"""All benchmarks: `make bench`, or `make bench BENCH=run ARGS="throughput --rounds 1"`. Prints tables of Markdown.

Every round has a control plane and programs of its own, so that rounds do not warm each other up; but those of
`SHARED`, which first make thousands of servers, measure again and again among the same ones.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, f"{ROOT}")

from bench.convergence import convergence  # noqa: E402 - the path has to be there first
from bench.harness import Installation, installation, load, machine_speed  # noqa: E402
from bench.restart import restart  # noqa: E402
from bench.throughput import Throughput, throughput, without_user  # noqa: E402
from bench.unblocking import pair, unblocking  # noqa: E402
from bench.workloads import POLICY, SERVICE, names, prepare, provider, tens  # noqa: E402

Record = Callable[[str, float], None]
SHAPES = ("chain-2", "chain-5", "fan-10", "fan-50")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*", help=f"of {', '.join(BENCHMARKS)}; none: all")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each (default: %(default)s)")
    parser.add_argument("--servers", type=int, default=1000, help="of throughput and unblocking (default: %(default)s)")
    parser.add_argument("--ready", type=int, default=5000, help="Ready servers of restart (default: %(default)s)")
    parser.add_argument("--idle", type=int, default=300, help="seconds of idleness (default: %(default)s)")
    options = parser.parse_args()
    unknown = [name for name in options.which if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}: {', '.join(BENCHMARKS)}")
    for name in options.which or BENCHMARKS:
        asyncio.run(rounds(name, options))


async def rounds(name: str, options: argparse.Namespace) -> None:
    """Run one benchmark some times, and print its medians."""
    found: dict[str, list[float]] = defaultdict(list)
    loads: list[float] = []
    speeds: list[float] = []
    failed = 0
    for _ in range(1 if name in SHARED else options.rounds):
        speeds.append(machine_speed())
        try:
            async with installation() as installed:
                await BENCHMARKS[name](installed, options, lambda what, value: found[what].append(value))
        except (TimeoutError, AssertionError) as error:
            failed += 1
            sys.stderr.write(f"{name}: a round failed: {error}\n")
        loads.append(load())
    print(f"\n### {name}: {options.rounds} rounds ({failed} failed), {os.cpu_count()} CPUs, "
          f"load {min(loads):.1f} to {max(loads):.1f}, fixed work {statistics.median(speeds):.0f} ms\n")  # fmt: skip
    print("| figure | median | least | most | rounds |\n|---|---|---|---|---|")
    for what, values in found.items():
        print(f"| {what} | {statistics.median(values):.4g} | {min(values):.4g} | {max(values):.4g} | {len(values)} |")
    sys.stdout.flush()


# What each measures


async def _convergence(installed: Installation, options: argparse.Namespace, record: Record) -> None:
    await _warm(installed)
    for shape in SHAPES:
        found = await convergence(installed, shape, shape)
        record(f"{shape}: time to Ready / critical path", found.ratio)
        record(f"{shape}: API server, CPU s", found.api_server)


async def _unblocking(installed: Installation, options: argparse.Namespace, record: Record) -> None:
    if options.servers:
        await throughput(installed, "idle", options.servers // 10, delete=False)
    for number in range(options.rounds):
        async with pair(installed, f"pair{number}") as (producer, consumer):
            await unblocking(producer, consumer, 5)
            _percentiles(f"{options.servers} idle servers", await unblocking(producer, consumer, 200), record)
    for number in range(options.rounds):
        async with pair(installed, f"busy-pair{number}") as (producer, consumer):
            creating = asyncio.create_task(throughput(installed, f"busy{number}", options.servers // 10, delete=False))
            busy: list[float] = []
            while not creating.done():
                busy += await unblocking(producer, consumer, 1)
            await creating
            _percentiles(f"while {options.servers} are created", busy, record)


def _percentiles(what: str, values: list[float], record: Record) -> None:
    values = sorted(values)
    record(f"{what}: p50, ms", statistics.median(values))
    record(f"{what}: p99, ms", values[max(0, int(len(values) * 0.99) - 1)])


async def _throughput(installed: Installation, options: argparse.Namespace, record: Record) -> None:
    await _warm(installed)
    found = await throughput(installed, "measured", options.servers // 10)
    record("wall to Ready, s", found.wall)
    record("wall of the deletion, s", found.delete_wall)
    for process in ("controller", "configd", "api server", "etcd", f"hostd {SERVICE}"):
        record(f"{process}: CPU ms per server to Ready", found.cpu(process))
    record("controller and configd: CPU ms per server to Ready", found.cpu("controller") + found.cpu("configd"))
    for process in ("controller", "configd", "api server"):
        record(f"{process}: CPU ms per server deleted", found.delete_cpu(process))
    record(
        "controller and configd: CPU ms per server deleted",
        found.delete_cpu("controller") + found.delete_cpu("configd"),
    )
    for process, megabytes in found.memory.items():
        record(f"{process}: MB at {options.servers} servers", megabytes)
    _writes(found, record)


def _writes(found: Throughput, record: Record) -> None:
    record("writes per server to Ready, all writers", found.writes())
    by_kind: dict[str, int] = defaultdict(int)
    for (verb, resource, subresource), count in without_user(found.created).items():
        by_kind[f"{verb} {resource}{'/' if subresource else ''}{subresource}"] += count
    for what, count in sorted(by_kind.items(), key=lambda pair: -pair[1]):
        if count >= found.servers / 100:
            record(f"of these {what}", count / found.servers)
    record("of all writes, refused for a conflict", sum(found.created.conflicts.values()) / found.servers)


async def _idle(installed: Installation, options: argparse.Namespace, record: Record) -> None:
    await throughput(installed, "idle", min(options.servers, 200) // 10, delete=False)
    await asyncio.sleep(30)
    before = await installed.usage()
    await asyncio.sleep(options.idle)
    used = await installed.usage() - before
    record(f"writes in {options.idle} s but the lease", sum(used.writes().values()))
    record("inventories, one each 30 s", used.calls.get("inventory", 0))
    record("other calls to the hosting service", sum(n for name, n in used.calls.items() if name != "inventory"))
    record("controller and configd: CPU s", used.cpu["controller"] + used.cpu["configd"])


async def _restart(installed: Installation, options: argparse.Namespace, record: Record) -> None:
    left, number = options.ready // 10, 0
    while left > 0:  # in portions: 5,000 at once would only wait longer
        await throughput(installed, f"ready{number}", min(left, 100), delete=False)
        left, number = left - 100, number + 1
    record(f"controller: MB at {options.ready} servers, after creating them", installed.memory()["controller"])
    for _ in range(options.rounds):
        found = await restart(installed)
        record(f"{options.ready} Ready: s until there is nothing to do", found.seconds)
        record(f"{options.ready} Ready: CPU s until then", found.cpu)
        record(f"{options.ready} Ready: MB then", found.memory)
        record("writes but the lease", sum(found.writes.values()))
        record("pages of lists (500 objects each)", sum(found.lists.values()))


async def _warm(installed: Installation) -> None:
    """What is made once (the connection, the first revision) is not part of any figure."""
    await prepare(installed, "warm", provider("db"))
    objects = tens(1, 1)
    objects[0]["spec"]["members"] = [{"name": "db", "configRef": {"name": "db"}, "replicas": 1}]
    objects[0]["spec"]["policyRef"] = {"name": POLICY}
    await installed.create("warm", *objects)
    await installed.groups.until_ready("warm", names(objects), 120)


Benchmark = Callable[[Installation, argparse.Namespace, Record], Awaitable[None]]
BENCHMARKS: dict[str, Benchmark] = {
    "convergence": _convergence,
    "unblocking": _unblocking,
    "throughput": _throughput,
    "idle": _idle,
    "restart": _restart,
}

SHARED = frozenset({"unblocking", "idle", "restart"})

if __name__ == "__main__":
    main()
