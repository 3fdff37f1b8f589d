"""The controller (or configd), made to die by SIGKILL right before or right after chosen calls.

`python -m tests.support.crashing PLAN (run|configd) OPTIONS`: the plan is a file of lines; each start of the program
dies at the first call that is in the plan and not yet in the file `.done` beside it, and is started again. Without a
plan file it only writes the calls it makes into `.calls`. The parent has imported everything: a start is a fork.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from moorage.cli.commands.daemons import _stop_on_signals
from moorage.configd.server import ConfigdConfig
from moorage.controllers import operator
from moorage.kube.calls import Call
from moorage.kube.client import Client
from moorage.runtime import logs
from moorage.runtime.service import ServiceCall


def signature(call: Call | ServiceCall) -> str:
    """What makes two calls the same kind of call: verb, kind and field set, or the backend's operation."""
    if isinstance(call, ServiceCall):
        return f"service {call.operation}"
    fields = ",".join(sorted(call.fields))
    return " ".join(part for part in (call.verb, call.kind.plural, call.subresource, fields) if part)


class Crasher:
    """Observes API calls and backend calls alike."""

    def __init__(self, plan: Path) -> None:
        self._calls = plan.with_suffix(".calls")
        self._done = plan.with_suffix(".done")
        self._plan = set(plan.read_text().splitlines()) if plan.exists() else None
        self._over = set(self._done.read_text().splitlines()) if self._done.exists() else set()
        self._counts: Counter[str] = Counter()

    def before(self, call: Call | ServiceCall) -> None:
        """Right before the call."""
        sign = signature(call)
        self._counts[sign] += 1
        if self._plan is None:
            _append(self._calls, sign)
        self._at(f"before {sign}", self._counts[sign])

    def after(self, call: Call | ServiceCall, outcome: object, seconds: float) -> None:
        """Right after it was answered."""
        sign = signature(call)
        self._at(f"after {sign}", self._counts[sign])

    def _at(self, point: str, count: int) -> None:
        if self._plan is None:
            return
        for name in (point, f"{point} #{count}"):
            if name in self._plan and name not in self._over:
                _append(self._done, name)
                os.kill(os.getpid(), signal.SIGKILL)


def _append(file: Path, line: str) -> None:
    with file.open("a") as out:
        out.write(line + "\n")
        out.flush()
        os.fsync(out.fileno())


def _option(arguments: list[str], name: str, default: str = "") -> str:
    return arguments[arguments.index(name) + 1] if name in arguments else default


def _controller(plan: Path, arguments: list[str]) -> None:
    crasher = Crasher(plan)
    external = "--external-configd" in arguments
    configd = None if external else ConfigdConfig("127.0.0.1", int(_option(arguments, "--config-port")))
    config = operator.OperatorConfig(
        kubeconfig=_option(arguments, "--kubeconfig"),
        config_endpoint=_option(arguments, "--config-endpoint"),
        configd=configd,
        health_port=None,
        identity="test",
        client_observers=[crasher],
        call_observers=[crasher],
    )

    async def work() -> None:
        await operator.run(config, _stop_on_signals())

    asyncio.run(work())


def _configd(plan: Path, arguments: list[str]) -> None:
    from moorage.configd import run

    crasher = Crasher(plan)
    connect = Client.connect

    async def observed(*args: object, **kwargs: object) -> Client:
        client = await connect(*args, **kwargs)  # type: ignore[arg-type]
        client.observers.append(crasher)
        return client

    Client.connect = observed  # type: ignore[method-assign]
    listening = ConfigdConfig("127.0.0.1", int(_option(arguments, "--config-port")))
    config = run.with_endpoint(listening, _option(arguments, "--config-endpoint"))
    asyncio.run(run.run(config, _option(arguments, "--kubeconfig")))


def main() -> int:
    """Fork a child for each life of the program, until one ends by itself."""
    plan, program, arguments = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    stopping = False
    child = 0

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        if child:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    # Said by the parent: the first child may not live long enough to say anything.
    sys.stdout.write(json.dumps({"ready": True, "ports": {"health": None}}) + "\n")
    sys.stdout.flush()
    while not stopping:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            logs.configure("text", "info")
            {"run": _controller, "configd": _configd}[program](plan, arguments)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return os.waitstatus_to_exitcode(status)
    return 0


if __name__ == "__main__":
    sys.exit(main())
