"""Reading and writing kubeconfig files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from moorage.controlplane.errors import ControlPlaneError

_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


def default_path(environment: Mapping[str, str]) -> Path:
    """The kubeconfig that kubectl would read: the first existing of KUBECONFIG's, else `~/.kube/config`."""
    named = [Path(part).expanduser() for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]
    home = Path(environment.get("HOME") or Path.home()) / ".kube" / "config"
    return next((path for path in named if path.is_file()), named[0] if named else home)


def context_names(path: Path) -> tuple[str, ...]:
    """The names of the contexts in `path`; none without such a file. Raises ControlPlaneError as `load`."""
    return tuple(_entries(load(path), "contexts")) if path.is_file() else ()


def load(path: Path) -> dict[str, Any]:
    """The file's content. Raises ControlPlaneError where it cannot be read or is no kubeconfig."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        # The parser's message may quote a line of the file, which may be a credential.
        raise ControlPlaneError(f"the kubeconfig {path} cannot be read ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise ControlPlaneError(f"{path} is not a kubeconfig: it holds no mapping")
    return content


def only(path: Path, context: str) -> dict[str, Any]:
    """A kubeconfig with nothing but `context` of `path`, made current, with its file names made absolute."""
    content = load(path)
    chosen = _entries(content, "contexts").get(context)
    if chosen is None:
        raise ControlPlaneError(f"there is no context {context!r} in {path}")
    cluster = _entries(content, "clusters").get(str(chosen.get("cluster")))
    user = _entries(content, "users").get(str(chosen.get("user")))
    if cluster is None or user is None:
        raise ControlPlaneError(f"the context {context!r} in {path} names a cluster or a user that is not there")
    for entry in (cluster, user):
        for key in _FILES:
            if entry.get(key):
                entry[key] = f"{(path.parent / str(entry[key])).absolute()}"
    return document(context, cluster, user, namespace=chosen.get("namespace"))


def document(
    name: str, cluster: Mapping[str, Any], user: Mapping[str, Any], *, namespace: str | None = None
) -> dict[str, Any]:
    """A kubeconfig of one context called `name`."""
    context = {"cluster": name, "user": name} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": dict(cluster)}],
        "users": [{"name": name, "user": dict(user)}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }


def write(path: Path, content: Mapping[str, Any]) -> Path:
    """Write `content` to `path` for this user only, in one step."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        yaml.safe_dump(dict(content), file, sort_keys=False)
    fresh.rename(path)
    return path


def _entries(content: Mapping[str, Any], section: str) -> dict[str, dict[str, Any]]:
    singular = section.removesuffix("s")
    found: dict[str, dict[str, Any]] = {}
    for entry in content.get(section) or ():
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            found[entry["name"]] = dict(entry.get(singular) or {})
    return found
