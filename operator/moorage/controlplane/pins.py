"""The pinned versions, and where their Go modules are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from moorage.controlplane.gobuild import GoModule

KUBERNETES: Final = "v1.37.2"
ETCD: Final = "v3.7.3"
GO: Final = (1, 26)
"""The oldest Go that builds the pinned modules."""

SERVERS: Final = ("etcd", "kube-apiserver")
"""The binaries without which there is no control plane."""
CONTROLLER_MANAGER: Final = "kube-controller-manager"
KUBECTL: Final = "kubectl"

_PINS: Final = Path(__file__).parent / "pins"
_MAJOR, _MINOR = KUBERNETES.removeprefix("v").split(".")[:2]
# Without these flags every client sees v0.0.0, and some refuse to talk to it.
_VERSION = {"gitVersion": KUBERNETES, "gitMajor": _MAJOR, "gitMinor": _MINOR, "gitTreeState": "clean"}
_VERSION_FLAGS = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in _VERSION.items())

MODULES: Final = (
    GoModule(_PINS / "etcd", {"etcd": "go.etcd.io/etcd/server/v3"}),
    GoModule(
        _PINS / "kubernetes",
        {name: f"k8s.io/kubernetes/cmd/{name}" for name in ("kube-apiserver", CONTROLLER_MANAGER, KUBECTL)},
        ldflags=_VERSION_FLAGS,
    ),
)
