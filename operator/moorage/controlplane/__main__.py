"""`python -m moorage.controlplane`: a control plane kept between runs, and the pinned build."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from moorage.controlplane.acquisition import acquire, build_pinned, kept, prepare
from moorage.controlplane.choice import choose
from moorage.controlplane.errors import ControlPlaneError
from moorage.controlplane.instance import stop_kept
from moorage.controlplane.probe import Options, kept_pointer, probe
from moorage.controlplane.progress import Progress


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 where it failed, 2 on a wrong command line, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m moorage.controlplane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start a control plane and keep it running; prints its kubeconfig")
    commands.add_parser("down", help="stop the control plane that was kept running")
    status = commands.add_parser("status", help="which control plane would be taken, and what is kept running")
    commands.add_parser("build", help="build the pinned control plane into the cache")
    ready = commands.add_parser("prepare", help="download or build what `up` would, and start nothing")
    for command in (commands.choices["up"], status, ready):
        command.add_argument("--context", help="a context of your kubeconfig, taken instead of anything else")
        command.add_argument("--kubeconfig", type=Path, help="the kubeconfig of --context (default: kubectl's)")
    parsed = parser.parse_args(arguments)
    options = Options(context=getattr(parsed, "context", None), kubeconfig=getattr(parsed, "kubeconfig", None))
    try:
        return {"up": _up, "down": _down, "status": _status, "build": _build, "prepare": _prepare}[parsed.command](
            options
        )
    except ControlPlaneError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _up(options: Options) -> int:
    plane = acquire(options, Progress(), keep=True)
    if plane.directory is None:
        sys.stderr.write(f"{plane.server} answers; there is nothing to keep running\n")
        return 0
    sys.stderr.write(f"{plane.server} is up; stop it with: python -m moorage.controlplane down\n")
    sys.stdout.write(f"export KUBECONFIG={plane.kubeconfig}\n")
    sys.stdout.flush()
    # It outlives this process: nothing is stopped and nothing is removed.
    os._exit(0)


def _down(options: Options) -> int:
    pointer = kept_pointer(options)
    if not stop_kept(pointer):
        sys.stderr.write("no control plane is kept running\n")
        return 0
    pointer.unlink(missing_ok=True)
    sys.stderr.write("stopped\n")
    return 0


def _status(options: Options) -> int:
    running = kept(options)
    if running is not None:
        state = json.loads((running / "state.json").read_text())
        sys.stdout.write(f"kept running: {state['server']} KUBECONFIG={running / 'admin.kubeconfig'}\n")
    decision = choose(probe(options))
    for source, problem in decision.closed.items():
        sys.stdout.write(f"{source.value:<9} no: {problem}\n")
    for choice in decision.candidates:
        sys.stdout.write(f"{choice.source.value:<9} yes: {choice.reason}\n")
    return 0 if decision.candidates else 1


def _build(options: Options) -> int:
    sys.stdout.write(f"{build_pinned(options, Progress())}\n")
    return 0


def _prepare(options: Options) -> int:
    prepare(options, Progress())
    return 0


if __name__ == "__main__":
    sys.exit(main())
