"""An installation as `deploy/` ships it: its objects, and the programs under the accounts and rules it gives them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import cluster
from tests.support.cluster import ROOT
from tests.support.needs import missing
from tests.support.stack import SYSTEM, Process, Stack

from moorage.controlplane import ControlPlaneError, acquire

BASE = ROOT / "deploy" / "base"
ALL_IN_ONE = ROOT / "deploy" / "overlays" / "all-in-one"
CONTROLLER, CONFIGD = "moorage-controller", "moorage-configd"


@dataclass
class Installation(Stack):
    """Its programs are host processes with the tokens of the shipped service accounts."""

    config_port: int = field(default_factory=lambda: 30000 + os.getpid() % 2000)
    """Below the ephemeral range, and apart from those of the other installations of this process."""

    shipped: Path = BASE

    def prepare(self) -> None:
        """Apply what is shipped."""
        self.apply()

    def apply(self) -> str:
        """As a user does; gives what kubectl said."""
        said = self.plane.run_kubectl("apply", "--server-side", "--kustomize", str(self.shipped), timeout=120).stdout
        definitions = [line.split()[0] for line in said.splitlines() if line.startswith("customresourcedefinition.")]
        self.plane.run_kubectl("wait", "--for=condition=Established", "--timeout=60s", *definitions, timeout=65)
        return said

    def account(self, name: str) -> Path:
        """The kubeconfig of a shipped service account."""
        return self.plane.kubeconfig_for(name, SYSTEM)

    def program(self, name: str, program: str, account: str, *arguments: str, record: Path | None = None) -> Process:
        """Start `moorage run` or `moorage configd` under an account; its log is `<name>.log`."""
        module = ["moorage.cli"] if record is None else ["tests.support.recording", str(record)]
        command = [sys.executable, "-m", *module, program, "--kubeconfig", str(self.account(account))]
        command += ["--config-host", "127.0.0.1", "--config-port", str(self.config_port)]
        command += ["--config-endpoint", f"https://127.0.0.1:{self.config_port}"]
        if program == "run":
            command += ["--health-port", "0"]
        process = Process(name, [*command, *arguments], self.folder / f"{name}.log")
        self.others.append(process)
        return process


@contextlib.contextmanager
def new_installation(folder: Path) -> Iterator[Installation]:
    """On a control plane of its own; everything ends with the context."""
    try:
        plane = acquire(cluster.options(None))
    except ControlPlaneError as error:
        missing(str(error))
    with plane:
        installation = Installation(plane, folder)
        try:
            installation.prepare()
            yield installation
        finally:
            installation.stop()
