"""A kind cluster of our own name. Used only where a container engine answers; no other cluster is ever touched."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from moorage.controlplane.errors import Unavailable
from moorage.controlplane.progress import Progress

NAME: Final = "moorage"


def ensure(kind: Path, kubeconfig: Path, progress: Progress) -> None:
    """Make the cluster, or take the one made earlier, and write its kubeconfig. Raises Unavailable where that fails."""
    existing = _run([f"{kind}", "get", "clusters"], 60).split()
    if NAME in existing:
        _run([f"{kind}", "export", "kubeconfig", f"--name={NAME}", f"--kubeconfig={kubeconfig}"], 60)
        return
    progress.line(f"creating the kind cluster {NAME!r}; its image is pulled where it is not there yet")
    try:
        _run([f"{kind}", "create", "cluster", f"--name={NAME}", f"--kubeconfig={kubeconfig}", "--wait=180s"], 900)
    except Unavailable:
        delete(kind)
        raise


def delete(kind: Path) -> None:
    """Delete the cluster of our own name."""
    subprocess.run([kind, "delete", "cluster", f"--name={NAME}"], capture_output=True, check=False, timeout=300)


def _run(argv: list[str], seconds: float) -> str:
    try:
        run = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{' '.join(argv[:3])}: {error}") from error
    if run.returncode != 0:
        said = [line.strip() for line in run.stderr.splitlines() if line.strip()]
        raise Unavailable(f"{' '.join(argv[:3])}: {' / '.join(said[-3:])}")
    return run.stdout
