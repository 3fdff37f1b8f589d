"""What `deploy/` ships: it applies, the programs need every rule of it and no more, and it guards protected groups."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support import life
from tests.support.cluster import Kubectl
from tests.support.installation import CONFIGD, CONTROLLER, Installation
from tests.support.readers import reader
from tests.support.recording import Asked, recorded
from tests.support.stack import SYSTEM, Api, Hostd, always, config, group, service

from moorage.kube.kinds import HOSTING_POLICY, HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER_CONFIG

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One verb on one resource, as a rule gives it."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def allows(self, asked: Asked) -> bool:
        """Whether this grant answers the question."""
        mine = (self.verb, self.group, self.resource)
        return (
            mine == (asked.verb, asked.group, asked.resource)
            and self.namespace in {"", asked.namespace}
            and self.name in {"", asked.name}
        )


OWN = ("hostingservices", "virtualserverconfigs", "hostingpolicies", "servergroups", "virtualservers")
KOPF = "watched by Kopf, whose requests the recorder does not see"
MISSED = "a change that a watch did not report is read after a sweep"
UNUSED: dict[str, dict[Grant, str]] = {
    CONTROLLER: {
        **{Grant("watch", "moorage.dev", plural): KOPF for plural in OWN},
        **{Grant("get", "moorage.dev", plural): MISSED for plural in OWN},
        Grant("get", "apps", "controllerrevisions"): "two reconciles may post the same generation",
        Grant("update", "moorage.dev", "servergroups/finalizers"): "asked by OwnerReferencesPermissionEnforcement",
        Grant("update", "", "secrets", SYSTEM, "moorage-ca"): "the root CA is rotated after years",
        Grant("patch", "", "events"): "an event that comes again is counted",
        Grant("delete", "apps", "controllerrevisions"): "generations that no server uses go after a while",
    },
    CONFIGD: {
        Grant("get", "moorage.dev", "virtualservers"): "read again where its status changed in between",
        Grant("create", "", "events"): "a join token presented again",
        Grant("patch", "", "events"): "a join token presented again and again",
        Grant("update", "", "secrets"): "a sensitive or large output that changes",
    },
}


def grants(installation: Installation, account: str) -> set[Grant]:
    """Of all roles that are bound to the account, as the API server has them."""
    found: set[Grant] = set()
    for kind in ("clusterrolebinding", "rolebinding"):
        bindings = _get(installation, f"{kind}s", "--all-namespaces")["items"]
        for binding in bindings:
            if not any(s["name"] == account and s.get("namespace") == SYSTEM for s in binding.get("subjects") or ()):
                continue
            namespace = binding["metadata"].get("namespace", "")
            ref = binding["roleRef"]
            role = _get(installation, ref["kind"].lower(), ref["name"], *(["-n", namespace] if namespace else []))
            found |= {
                Grant(verb, group, resource, namespace, name)
                for rule in role["rules"]
                for verb in rule["verbs"]
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for name in rule.get("resourceNames") or [""]
            }
    return found


def _get(installation: Installation, *what: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(installation.plane.run_kubectl("get", *what, "--output=json").stdout)
    return found


def _versions(installation: Installation) -> dict[str, str]:
    names = _get(
        installation, "clusterroles,roles,deployments,validatingadmissionpolicies,crds,sa,svc,pdb,netpol", "-A"
    )
    return {
        f"{o['kind']}/{o['metadata']['name']}": o["metadata"].get("generation") or o["metadata"]["resourceVersion"]
        for o in names["items"]
        if "moorage" in o["metadata"]["name"]
    }


def test_applying_it_again_changes_nothing(installation: Installation) -> None:
    before = _versions(installation)
    assert len(before) > 15
    installation.apply()
    assert _versions(installation) == before


def test_the_overlays_render(installation: Installation) -> None:
    for overlay in ("example", "all-in-one"):
        folder = installation.shipped.parent / "overlays" / overlay
        text = installation.plane.run_kubectl("apply", "--dry-run=server", "--server-side", "-k", str(folder)).stdout
        assert "deployment.apps/moorage-controller" in text


async def test_a_group_lives_under_the_shipped_rules_and_every_rule_is_used(
    installation: Installation, shipped_api: Api, tmp_path: Path
) -> None:
    host = installation.hostd("shipped", "--simulate", "--boot-time", "0.2")
    # A controller of an earlier test may have left its lease: this one is to make it.
    installation.plane.run_kubectl("delete", "lease", "--all", "-n", SYSTEM)
    files = {CONTROLLER: tmp_path / "run.calls", CONFIGD: tmp_path / "configd.calls"}
    controller = installation.program("run", "run", CONTROLLER, "--external-configd", record=files[CONTROLLER])
    channel = installation.program("configd", "configd", CONFIGD, record=files[CONFIGD])
    try:
        controller.announcement()
        await _keepers(shipped_api, host)
        await life.live(shipped_api, host, "shipped", {})
        await life.no_objects_left(shipped_api)
        life.assert_nothing_twice_nothing_leaked(host)
    finally:
        controller.stop()
        channel.stop()
    for account, file in files.items():
        asked, refused = recorded(file)
        given = grants(installation, account)
        assert refused == []
        assert {a for a in asked if not any(g.allows(a) for g in given)} == set(), "asked beyond the rules"
        unused = {g for g in given if not any(g.allows(a) for a in asked)}
        assert unused - set(UNUSED[account]) == set(), f"{account} never used these rules"
        assert set(UNUSED[account]) <= given, "a reason is given for what is not granted"
    assert re.search(r"\b403\b", controller.tail(10_000)) is None


async def _keepers(api: Api, host: Hostd) -> None:
    """What the life does not do: an output in a Secret, an item of a ConfigMap, a condition that reads one, a
    configuration that goes."""
    await reader(api, "configmaps")
    policy = always("keepers", "keepers", serviceAccountName="reader")
    fast = {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings", "expression": "object.data.mode == 'fast'"}
    policy["spec"]["when"]["all"].append({"name": "fast", "resource": fast})
    await api.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"mode": "fast"}},
        service("keepers", host.url),
        policy,
        config(
            "keeper",
            configuration=[{"name": "mode", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}}],
            steps=[{"name": "start", "script": "echo ${mode}"}],
            outputs=[{"name": "key", "command": "hostname", "after": ["start"], "sensitive": True}],
        ),
        group("keepers", "keepers", ("keeper", "keeper", 1)),
    )
    await api.ready("keepers")
    for kind, name in (
        (SERVER_GROUP, "keepers"),
        (VIRTUAL_SERVER_CONFIG, "keeper"),
        (HOSTING_POLICY, "keepers"),
        (HOSTING_SERVICE, "keepers"),
    ):
        await api.delete(kind, name)
        await api.gone(kind, name)


@pytest.mark.parametrize("account", [CONTROLLER, CONFIGD])
def test_the_accounts_can_do_nothing_else(installation: Installation, account: str) -> None:
    kubectl = Kubectl(installation.plane, installation.account(account))
    for verb, resource in (
        ("create", "pods"),
        ("delete", "secrets"),
        ("update", "servergroups"),
        ("create", "clusterrolebindings"),
        ("delete", "hostingservices"),
        ("impersonate", "users"),
        ("impersonate", "groups"),
        ("get", "pods"),
    ):
        said = kubectl("auth", "can-i", verb, resource, "--all-namespaces", check=False).stdout.strip()
        assert said.splitlines()[-1] == "no", f"{account} may {verb} {resource}"


async def test_a_protected_group_is_not_deleted(installation: Installation, shipped_api: Api) -> None:
    await shipped_api.apply(
        group("safe", "policy", ("web", "web", 1), deletionProtection=True), group("plain", "policy", ("web", "web", 1))
    )
    kubectl = Kubectl(installation.plane)
    await shipped_api.delete(SERVER_GROUP, "plain")
    await shipped_api.gone(SERVER_GROUP, "plain")

    async def guarded() -> str:
        """A policy takes effect a moment after it was applied; a dry run asks without deleting."""
        refused = kubectl(
            "delete", "sg", "safe", f"--namespace={shipped_api.namespace}", "--dry-run=server", check=False
        )
        return refused.stderr

    said = await shipped_api.until("the policy to be in force", guarded)
    assert "ServerGroup safe is protected from deletion" in said
    remedy = said.split("first run: kubectl ", 1)[1].strip()
    kubectl(*shlex.split(remedy))
    await shipped_api.delete(SERVER_GROUP, "safe")
    await shipped_api.gone(SERVER_GROUP, "safe")


async def test_people_have_what_their_role_says(installation: Installation, shipped_api: Api) -> None:
    kubectl = Kubectl(installation.plane)
    namespace = shipped_api.namespace
    for role in ("view", "edit"):
        kubectl("create", "rolebinding", role, f"--clusterrole=moorage-{role}", f"--user={role}er", "-n", namespace)

    def may(role: str, verb: str, what: str, where: str = namespace) -> bool:
        resource, _, part = what.partition("/")
        arguments = [f"{resource}.moorage.dev", f"--subresource={part}", f"--as={role}er", "-n", where]
        answer = kubectl("auth", "can-i", verb, *arguments, check=False)
        return answer.stdout.strip().splitlines()[-1] == "yes"

    assert may("view", "list", "servergroups")
    assert not may("view", "create", "servergroups")
    assert may("edit", "create", "servergroups")
    assert may("edit", "patch", "servergroups/scale")
    assert not may("edit", "patch", "servergroups/status")
    assert not may("edit", "create", "servergroups", "default")
    for role in ("view", "edit"):
        rules = _get(installation, "clusterrole", f"moorage-{role}")["metadata"]["labels"]
        assert rules[f"rbac.authorization.k8s.io/aggregate-to-{role}"] == "true"


def test_the_pods_are_restricted(installation: Installation) -> None:
    """The namespace enforces Pod Security `restricted`; a pod made of either template passes it."""
    kubectl = Kubectl(installation.plane)
    for name in (CONTROLLER, CONFIGD):
        template = _get(installation, "deployment", name, "-n", SYSTEM)["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"try-{name}", "namespace": SYSTEM}, **template}
        pod["metadata"] = {"name": f"try-{name}", "namespace": SYSTEM}
        kubectl("create", "--dry-run=server", "--filename=-", input=json.dumps(pod))
        spec = template["spec"]
        assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
        assert spec["containers"][0]["readinessProbe"]
        assert spec["containers"][0]["resources"]["limits"]["memory"]
