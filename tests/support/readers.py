"""ServiceAccounts that may read something, for the condition `resource`."""

from __future__ import annotations

import contextlib

from tests.support.stack import Api

from moorage.kube.errors import AlreadyExists
from moorage.kube.kinds import SERVICE_ACCOUNT, Kind

ROLE = Kind("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")


async def account(api: Api, name: str = "reader") -> None:
    """A ServiceAccount without any rights."""
    await api.client.create(SERVICE_ACCOUNT, {"metadata": {"name": name, "namespace": api.namespace}})


async def reader(api: Api, *resources: str, name: str = "reader") -> None:
    """A ServiceAccount that may list and watch resources of the core group in the test's namespace."""
    with contextlib.suppress(AlreadyExists):
        await account(api, name)
    meta = {"name": f"{name}-reads", "namespace": api.namespace}
    rules = [{"apiGroups": [""], "resources": list(resources), "verbs": ["list", "watch"]}]
    await api.client.create(ROLE, {"metadata": meta, "rules": rules})
    await api.client.create(
        ROLE_BINDING,
        {
            "metadata": meta,
            "roleRef": {"apiGroup": ROLE.group, "kind": "Role", "name": meta["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": api.namespace}],
        },
    )
