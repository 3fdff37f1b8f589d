"""The cases of what a HostingPolicy says of other objects that it reads."""

from __future__ import annotations

from typing import Any

from tests.support.crd_cases import Case


def _policy(says: str, at: str, rejected: Any, accepted: Any) -> Case:
    return Case("HostingPolicy", says, at, rejected, accepted)


def _read(account: str | None = "reader", **resource: Any) -> dict[str, Any]:
    spec = {"apiVersion": "v1", "kind": "ConfigMap", "expression": "true", **resource}
    when = {"when": {"all": [{"name": "go", "resource": spec}]}}
    return when if account is None else {**when, "serviceAccountName": account}


_FIRST = "spec.when.all[0]"
RESOURCES = (
    _policy("needs an account to read as", "spec", _read(None), _read()),
    _policy(
        "needs an account to read as",
        "spec",
        {"when": {"any": _read(None)["when"]["all"]}},
        {"when": {"any": _read(None)["when"]["all"]}, "serviceAccountName": "reader"},
    ),
    _policy("never reads Secrets", f"{_FIRST}.resource.kind", _read(kind="Secret"), _read(kind="SealedSecret")),
    _policy("not a kind", f"{_FIRST}.resource.kind", _read(kind="config-map"), _read(kind="ConfigMap")),
    _policy("not an API version", f"{_FIRST}.resource.apiVersion", _read(apiVersion="apps"), _read(apiVersion="a/v1")),
    _policy("not an API version", f"{_FIRST}.resource.apiVersion", _read(apiVersion="a/../v1"), _read(apiVersion="v1")),
    _policy("not a name to look for", f"{_FIRST}.resource.name", _read(name="a/b"), _read(name="system:node")),
    _policy("not a name to look for", f"{_FIRST}.resource.name", _read(name="a,b"), _read(name="a.b")),
    _policy(
        "name and selector exclude each other",
        f"{_FIRST}.resource.selector",
        _read(name="a", selector={"matchLabels": {"a": "b"}}),
        _read(name="a", selector={}),
    ),
    _policy(
        "name and selector exclude each other",
        f"{_FIRST}.resource.selector",
        _read(name="a", selector={"matchExpressions": [{"key": "a", "operator": "Exists"}]}),
        _read(selector={"matchExpressions": [{"key": "a", "operator": "Exists"}]}),
    ),
)
