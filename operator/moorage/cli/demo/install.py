"""Puts the kinds, the rules and namespaces into a cluster; takes them away where the cluster is not the demo's own."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moorage.api.names import DEFAULT_CONTROLLER_NAMESPACE
from moorage.cli.data import data
from moorage.cli.errors import CliError
from moorage.controlplane import ControlPlane

_ACCOUNT = "moorage-controller"
_RULES = ("namespace", "service-accounts", "rbac-controller", "rbac-configd", "admission")
"""The files of deploy/base that a controller outside the cluster needs."""


def apply(plane: ControlPlane, documents: Sequence[dict[str, Any]], namespace: str) -> None:
    """Apply objects server-side. Raises ControlPlaneError."""
    text = "\n---\n".join(json.dumps(document) for document in documents)
    plane.run_kubectl("apply", "--server-side", f"--namespace={namespace}", "--filename=-", input=text)


def kubeconfig(plane: ControlPlane) -> Path:
    """A kubeconfig of the controller's service account. Raises ControlPlaneError."""
    return plane.kubeconfig_for(_ACCOUNT, DEFAULT_CONTROLLER_NAMESPACE)


@contextmanager
def installed(plane: ControlPlane, namespaces: Sequence[str], services: Collection[str]) -> Iterator[None]:
    """The kinds, the rules, and these namespaces beside the controller's own.

    A cluster that lives on (the user named it) is left as it was; it must have none of this, nor these services.
    Raises CliError where it has, and ControlPlaneError.
    """
    own = plane.directory is not None
    crds, base = data("crds"), data("deploy/base")
    rules = [base / f"{name}.yaml" for name in _RULES]
    known = False if own else _refuse_if_in_use(plane, crds, [*namespaces, DEFAULT_CONTROLLER_NAMESPACE], services)
    try:
        plane.apply(crds, *rules)
        apply(plane, [_namespace(name) for name in namespaces] + [_channel_too()], "default")
        yield
    finally:
        if not own:
            _leave(plane, namespaces, rules, None if known else crds)


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _channel_too() -> dict[str, Any]:
    """The controller serves the configuration channel in its own process, so it needs the rights of both."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "moorage-demo-configd"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "moorage-configd"},
        "subjects": [{"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": DEFAULT_CONTROLLER_NAMESPACE}],
    }


def _refuse_if_in_use(plane: ControlPlane, crds: Path, namespaces: Sequence[str], services: Collection[str]) -> bool:
    """Whether the cluster knows the kinds already."""
    known = bool(plane.run_kubectl("get", "--ignore-not-found", "--output=name", f"--filename={crds}").stdout)
    there = plane.run_kubectl("get", "namespace", *namespaces, "--ignore-not-found", "--output=name").stdout.split()
    if known:
        found = plane.run_kubectl("get", "hostingservices", *services, "--ignore-not-found", "--output=name")
        there += found.stdout.split()
    if there:
        raise CliError(
            f"{plane.server} has {', '.join(there)} already, which the demo would have to share",
            hint="with Moorage installed, follow the README's quickstart from the line that makes $work/token",
        )
    return known


def _leave(plane: ControlPlane, namespaces: Sequence[str], rules: Sequence[Path], crds: Path | None) -> None:
    """Best effort: what one deletion does not find or cannot do must not keep the others from being tried."""
    plane.run_kubectl("delete", "namespace", *namespaces, "--ignore-not-found", check=False)
    plane.run_kubectl("delete", "clusterrolebinding", "moorage-demo-configd", "--ignore-not-found", check=False)
    for path in [*reversed(rules), *([crds] if crds else [])]:
        plane.run_kubectl("delete", "--ignore-not-found", f"--filename={path}", check=False)
