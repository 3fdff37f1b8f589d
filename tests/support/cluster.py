"""The control plane and the clients that the api and e2e tests use."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.controlplane import ControlPlane, Options, Progress, cache_root
from moorage.controlplane.gobuild import GoModule, built

ROOT = Path(__file__).parents[2]
KSTATUS = GoModule(ROOT / "tests" / "kstatus", {"kstatus": "moorage.dev/tests/kstatus"})


def options(context: str | None) -> Options:
    """What to look for: never the control plane that a developer keeps, which may hold anything."""
    return Options(context=context, use_kept=False)


def crd_files() -> list[Path]:
    """The generated CRDs."""
    return sorted((ROOT / "crds").glob("*.yaml"))


def namespace_name(test: str) -> str:
    """A fresh name that tells which test it belongs to."""
    words = re.sub(r"[^a-z0-9]+", "-", test.lower()).strip("-")
    return f"t-{words[:40].strip('-')}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl as the administrator, or with `kubeconfig` as somebody else."""

    plane: ControlPlane
    kubeconfig: Path | None = None

    def __call__(
        self, *arguments: str, input: str | None = None, check: bool = True, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run it; with `check` a failure raises ControlPlaneError with what kubectl said."""
        return self.plane.run_kubectl(*arguments, input=input, check=check, timeout=timeout, kubeconfig=self.kubeconfig)

    def json(self, *arguments: str, timeout: float = 60.0) -> Any:
        """Run it with `--output=json`; what it printed, parsed."""
        return json.loads(self(*arguments, "--output=json", timeout=timeout).stdout)

    def apply(self, *objects: Mapping[str, Any], check: bool = True) -> subprocess.CompletedProcess[str]:
        """Apply objects server-side."""
        text = "\n---\n".join(json.dumps(thing) for thing in objects)
        return self("apply", "--server-side", "--filename=-", input=text, check=check)

    def as_serviceaccount(self, name: str, namespace: str) -> Kubectl:
        """kubectl with no more rights than the service account's."""
        return Kubectl(self.plane, self.plane.kubeconfig_for(name, namespace))


@dataclass(frozen=True, slots=True)
class KStatus:
    """The status library that Flux, Helm and others wait with."""

    binary: Path

    def __call__(self, thing: Mapping[str, Any] | None) -> tuple[str, str]:
        """Its status (`Current`, `InProgress`, `Failed`, `Terminating`, `NotFound`, `Unknown`) and message."""
        text = "" if thing is None else json.dumps(thing)
        run = subprocess.run([self.binary], input=text, capture_output=True, text=True, check=False, timeout=30)
        if run.returncode != 0:
            raise AssertionError(run.stderr.strip())
        answer = json.loads(run.stdout)
        return answer["status"], answer["message"]


def build_kstatus(progress: Progress | None = None) -> KStatus:
    """Build the program, once for each version of its sources. Raises Unavailable where Go cannot."""
    target = cache_root() / "tools" / f"kstatus-{KSTATUS.key()}"
    return KStatus(built(KSTATUS, target, progress or Progress()) / "kstatus")
