"""KubeVirt's API on a real API server, with what its controllers do simulated: no guest runs."""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path

from moorage.controlplane import ControlPlaneError, prepare
from moorage.testbed.bed import Lacking, Running, Say
from moorage.testbed.daemons import Daemons

START = 120.0
"""Seconds within which the API server has to answer on a busy machine."""


class Kubevirt:
    """See the module; `simulator` has the details."""

    name = "kubevirt"
    summary = "KubeVirt's API on a real kube-apiserver; its controllers are simulated and no guest runs"

    def lacks(self) -> list[str]:
        """Nothing: where there is no control plane, installing says so."""
        return []

    def install(self, cache: Path, say: Say) -> None:
        """A control plane, downloaded or built."""
        try:
            prepare()
        except ControlPlaneError as error:
            raise Lacking(f"no control plane: {error}") from None

    def up(self, cache: Path, state: Path, daemons: Daemons, say: Say) -> Running:
        """The API server and the simulator."""
        daemons.start("simulator", [sys.executable, "-m", "moorage.testbed.kubevirt.simulator", state])
        end = time.monotonic() + START
        while not (state / "address.json").exists():
            if daemons.pid("simulator") is None or time.monotonic() > end:
                raise Lacking(f"the simulator did not start: {daemons.tail('simulator')}")
            time.sleep(0.1)
        address = json.loads((state / "address.json").read_text())
        secret = {name: base64.b64decode(value).decode() for name, value in address["secret"].items()}
        return Running(
            type="kubevirt",
            endpoint=address["server"],
            guests="127.0.0.1",
            project="machines",
            credentials={name: secret[name] for name in ("token", "ca.crt")},
            image="registry.example/debian:12",
            offering="u1.small",
            extra={
                "kubeconfig": address["kubeconfig"],
                "kubectl": address["kubectl"],
                "ledger": str(state / "ledger.jsonl"),
            },
        )

    def down(self, state: Path, daemons: Daemons, say: Say) -> None:
        """Nothing that would outlive the simulator: its control plane ends with it."""


BED = Kubevirt()
