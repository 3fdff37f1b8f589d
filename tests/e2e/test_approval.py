"""A person's word and the servers' own, through the whole stack: admission policy, command, controller, agents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.cli import moorage
from tests.support.cluster import Kubectl
from tests.support.stack import Api, Obj, Stack, config, group, service

from moorage.api.names import API_VERSION
from moorage.cli.errors import Exit
from moorage.kube.kinds import HOSTING_POLICY, SERVER_GROUP

pytestmark = pytest.mark.timeout(600)


def people(stack: Stack, namespace: str) -> tuple[Path, Path]:
    """The kubeconfigs of two accounts that may change groups; only the first may approve them."""
    kubectl = Kubectl(stack.plane)
    accounts = f"moorage.dev/approving-accounts=system:serviceaccount:{namespace}:chief"
    kubectl("annotate", "namespace", namespace, accounts)
    for name, roles in (("chief", ("moorage-approve",)), ("clerk", ("moorage-edit", "moorage-view"))):
        kubectl("create", "serviceaccount", name, "-n", namespace)
        for role in roles:
            account = f"--serviceaccount={namespace}:{name}"
            kubectl("create", "rolebinding", f"{name}-{role}", f"--clusterrole={role}", account, "-n", namespace)
    return stack.plane.kubeconfig_for("chief", namespace), stack.plane.kubeconfig_for("clerk", namespace)


async def reading(api: Api, reason: str) -> Obj:
    """Wait until the group's own reading has this reason."""

    async def probe() -> Obj | None:
        obj = await api.get(SERVER_GROUP, "web")
        policy = ((obj or {}).get("status") or {}).get("policy") or {}
        return obj if reason in [r["reason"] for r in policy.get("readings") or ()] else None

    return await api.until(f"a reading {reason}", probe)


def scaled(replicas: int) -> dict[str, Any]:
    return {"spec": {"members": [{"name": "m", "configRef": {"name": "web"}, "replicas": replicas}]}}


async def test_a_group_waits_for_a_word_and_then_for_its_servers(stack: Stack, api: Api, tmp_path: Path) -> None:
    chief, clerk = people(stack, api.namespace)
    flag = tmp_path / "busy"
    flag.write_text("true")
    name = api.namespace
    when = {
        "any": [{"name": "asked", "approval": {}}, {"name": "busy", "vote": {"output": "busy", "share": 100}}],
    }
    select = {"services": {"names": [name]}}
    policy = {"when": when, "select": select, "whenUnmet": "Release"}
    busy = {"name": "busy", "command": f"cat {flag}", "refresh": "1s"}
    await api.apply(
        service(name, stack.hosts["anchor"].url),
        {"apiVersion": API_VERSION, "kind": HOSTING_POLICY.kind, "metadata": {"name": "p"}, "spec": policy},
        config("web", outputs=[busy]),
        group("web", "p", ("m", "web", 1)),
    )
    waiting = await api.condition(SERVER_GROUP, "web", "PolicyMet", "False")
    assert f"nobody has approved it: moorage approve web -n {name}" in json.dumps(waiting["status"]["conditions"])
    assert await api.servers("web") == []

    # A person's word.
    refused = await moorage(stack, "approve", "web", "-n", name, kubeconfig=clerk)
    assert refused.returncode == Exit.FORBIDDEN, refused
    assert "may not approve web" in refused.stderr
    forged = ("annotate", "servergroup", "web", "-n", name, "moorage.dev/approval=yes")
    denied = Kubectl(stack.plane, clerk)(*forged, check=False)
    assert "cannot approve resource" in denied.stderr
    given = await moorage(stack, "approve", "web", "-n", name, "--for", "1h", kubeconfig=chief)
    assert given.returncode == Exit.OK, given.stderr
    await api.ready("web")
    explained = await moorage(stack, "explain", "web", "-n", name)
    assert f"approved by system:serviceaccount:{name}:chief" in explained.stdout

    # The servers' own: it grows on their word alone.
    await reading(api, "VotedFor")
    await moorage(stack, "approve", "web", "-n", name, "--revoke", kubeconfig=clerk)
    await reading(api, "NotApproved")
    await api.patch(SERVER_GROUP, "web", scaled(2))
    await api.ready("web")

    # Neither: it does not grow, and since only an approval is missing it keeps what it has.
    flag.write_text("false")
    await reading(api, "VotedAgainst")
    await api.patch(SERVER_GROUP, "web", scaled(3))
    stuck = await api.condition(SERVER_GROUP, "web", "Ready", "False", "PolicyUnmet")
    assert len(await api.servers("web")) == 2
    assert stuck["status"]["placement"]["number"] == 1
    again = await moorage(stack, "approve", "web", "-n", name, kubeconfig=chief)
    assert again.stdout.startswith("web: generation 3 approved by")
    await api.ready("web")
    assert len(await api.servers("web")) == 3
    await api.delete(SERVER_GROUP, "web")
    await api.gone(SERVER_GROUP, "web")
