"""Who may write an approval, and what it may say: the admission policy that is shipped, and `moorage approve`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from tests.support.cluster import ROOT, Kubectl
from tests.support.crd_cases import built

from moorage.api.names import ANNOTATION_APPROVAL, ANNOTATION_APPROVING_ACCOUNTS
from moorage.cli.errors import Exit
from moorage.controlplane import ControlPlane
from moorage.core.policy.approval import Approval

pytestmark = pytest.mark.timeout(600)

NOW = datetime.now(UTC).replace(microsecond=0)
PATIENCE = 60.0
RBAC = "rbac.authorization.k8s.io/v1"
UNASKED = [{"op": "remove", "path": "/spec/when/all/1"}]
SHIPPED = ("moorage-approval", "moorage-approve", "moorage-edit")


@pytest.fixture(scope="module")
def guarded(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with the shipped admission policy of approvals in force, and the roles."""
    admin = Kubectl(control_plane)
    documents = [
        document
        for name in ("admission.yaml", "rbac-users.yaml")
        for document in yaml.safe_load_all((ROOT / "deploy" / "base" / name).read_text(encoding="utf-8"))
        if document["metadata"]["name"] in SHIPPED
    ]
    admin.apply(*documents)
    probe = {**built("ServerGroup", {}, "probe")}
    probe["metadata"]["annotations"] = {ANNOTATION_APPROVAL: "x"}
    end = time.monotonic() + PATIENCE
    while True:
        # A policy takes effect a moment after it was applied; a dry run asks without making anything.
        said = admin("create", "--dry-run=server", "--filename=-", input=json.dumps(probe), check=False)
        if "denied request" in said.stderr:
            break
        assert time.monotonic() < end, said
        time.sleep(0.2)
    # It stays: another worker's tests may still need it, and nobody else's objects carry an approval.
    return control_plane


@dataclass(frozen=True)
class Scene:
    """A group in a namespace of the test's own, and people with their roles."""

    admin: Kubectl
    namespace: str
    approver: Kubectl
    editor: Kubectl

    @property
    def group(self) -> dict[str, Any]:
        found: dict[str, Any] = self.admin.json("get", "servergroup", "web", "-n", self.namespace)
        return found

    def approval(self, who: str = "approver", **fields: Any) -> str:
        """What that account may write about the group as it is now."""
        meta = self.group["metadata"]
        by = f"system:serviceaccount:{self.namespace}:{who}"
        whole = {"uid": meta["uid"], "generation": meta["generation"], "by": by, "at": NOW, **fields}
        return Approval(**whole).encode()

    def patch(self, who: Kubectl, body: Mapping[str, Any], *more: str) -> subprocess.CompletedProcess[str]:
        arguments = ("patch", "servergroup", "web", "-n", self.namespace, "--type=merge", "-p", json.dumps(body), *more)
        return who(*arguments, check=False)

    def annotate(self, who: Kubectl, text: str | None, *more: str) -> subprocess.CompletedProcess[str]:
        return self.patch(who, {"metadata": {"annotations": {ANNOTATION_APPROVAL: text}}}, *more)

    def moorage(self, who: Kubectl, *arguments: str) -> subprocess.CompletedProcess[str]:
        where = ["-n", self.namespace, "--kubeconfig", str(who.kubeconfig or who.plane.kubeconfig)]
        return subprocess.run(
            [sys.executable, "-m", "moorage.cli", *arguments, *where],
            env={**os.environ, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )


def binding(account: str, kind: str, role: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": RBAC,
        "kind": "RoleBinding",
        "metadata": {"name": f"{account}-{role}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


@pytest.fixture
def scene(guarded: ControlPlane, kubectl: Kubectl, namespace: str) -> Scene:
    group, policy = built("ServerGroup", {}, "web"), built("HostingPolicy", {}, "cheap")
    policy["spec"]["when"]["all"].append({"name": "asked", "approval": {}})
    reads = {"apiGroups": ["moorage.dev"], "resources": ["servergroups", "hostingpolicies"], "verbs": ["get", "list"]}
    reader = {"apiVersion": RBAC, "kind": "Role", "metadata": {"name": "reader"}, "rules": [reads]}
    accounts = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": n}} for n in ("approver", "editor")]
    bound = [
        binding("approver", "ClusterRole", "moorage-approve", namespace),
        binding("editor", "ClusterRole", "moorage-edit", namespace),
        binding("editor", "Role", "reader", namespace),
    ]
    for thing in (things := [group, policy, reader, *accounts, *bound]):
        thing["metadata"]["namespace"] = namespace
    kubectl.apply(*things)
    people = {name: kubectl.as_serviceaccount(name, namespace) for name in ("approver", "editor")}
    scene = Scene(kubectl, namespace, people["approver"], people["editor"])
    # These accounts stand for people: the namespace names them, which the admission policy sees a moment later.
    named = ",".join(f"system:serviceaccount:{namespace}:{name}" for name in people)
    kubectl("annotate", "namespace", namespace, f"{ANNOTATION_APPROVING_ACCOUNTS}={named}")
    end = time.monotonic() + PATIENCE
    while scene.annotate(scene.approver, scene.approval(), "--dry-run=server").returncode:
        assert time.monotonic() < end, "the annotation of the namespace does not count"
        time.sleep(0.2)
    return scene


def refused(answer: subprocess.CompletedProcess[str], says: str) -> None:
    assert answer.returncode != 0, answer.stdout
    assert "moorage-approval" in answer.stderr
    assert says in answer.stderr, answer.stderr


def test_a_service_account_approves_only_where_the_namespace_names_it(scene: Scene) -> None:
    """Whoever applies manifests has every verb as a rule, and would approve whatever is committed."""
    scene.admin("create", "serviceaccount", "gitops", "-n", scene.namespace)
    every = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    role: dict[str, Any] = {"apiVersion": RBAC, "kind": "Role", "metadata": {"name": "all"}, "rules": [every]}
    for thing in (role, binding("gitops", "Role", "all", scene.namespace)):
        thing["metadata"]["namespace"] = scene.namespace
        scene.admin.apply(thing)
    gitops = scene.admin.as_serviceaccount("gitops", scene.namespace)
    refused(scene.annotate(gitops, scene.approval("gitops")), "approvals are given by people")
    user = f"system:serviceaccount:{scene.namespace}:gitops"
    # Nor by being impersonated under a name of its own kind without the groups of its kind.
    refused(scene.annotate(scene.admin, scene.approval("gitops"), f"--as={user}"), "approvals are given by people")
    # A person with the verb needs nothing of the namespace.
    scene.admin("create", "rolebinding", "jane", "--clusterrole=moorage-approve", "--user=jane", "-n", scene.namespace)
    assert scene.annotate(scene.admin, scene.approval(by="jane"), "--as=jane").returncode == 0


def test_an_approver_writes_what_is_right_and_nothing_else(scene: Scene) -> None:
    right = scene.approval()
    for text in (
        right,
        scene.approval(until=NOW + timedelta(hours=4)),
        scene.approval(reason='a "quoted" \\ reason, ünïcode 🚀 and a/slash'),
        scene.approval(until=NOW + timedelta(days=30), reason="release 7"),
    ):
        answer = scene.annotate(scene.approver, text)
        assert answer.returncode == 0, answer.stderr
        assert scene.group["metadata"]["annotations"][ANNOTATION_APPROVAL] == text
        assert Approval.parse(text).by.endswith(":approver")
    ended = scene.approval(until=NOW + timedelta(hours=4))
    spelled = "is not spelled as it has to be"
    another = "is not for this ServerGroup"
    for text, says in (
        (scene.approval("editor"), "an approval is given in one's own name"),
        (right.replace('"by":"', '"by":"x"by":"'), "an approval is given in one's own name"),
        (scene.approval(uid="another"), another),
        (scene.approval(generation=7), another),
        ("", another),
        ("{}", another),
        (right.replace(",", ", "), another),
        (right.replace("}", ',"more":1}'), spelled),
        (right.replace("}", ',"by":"somebody else"}'), spelled),
        (right.replace(f'"at":"{NOW:%Y}', '"at":"soon'), spelled),
        (right[:-1], spelled),
        (right[: right.index('"at"')], spelled),
        (right + "\n", spelled),
        (ended.replace('Z"}', '+01:00"}'), spelled),
        (right.replace("}", ',"reason":"a"b"}'), spelled),
        (right.replace("}", ',"reason":"a\\u0041"}'), spelled),
        (right.replace("}", ',"reason":"' + "r" * 2048 + '"}'), spelled),
        (ended.replace(ended[ended.index('"until"') :], '"until":"2026-02-31T00:00:00Z"}'), "approval"),
        (right.replace(f'"at":"{NOW:%Y-%m-%d}', '"at":"2026-13-01'), "approval"),
    ):
        refused(scene.annotate(scene.approver, text, "--dry-run=server"), says)


def test_who_has_not_the_verb_may_only_take_an_approval_back(scene: Scene) -> None:
    refused(scene.annotate(scene.editor, scene.approval("editor")), "cannot approve resource")
    refused(scene.annotate(scene.editor, scene.approval("approver")), "cannot approve resource")
    assert scene.annotate(scene.approver, scene.approval()).returncode == 0
    other = scene.patch(scene.editor, {"metadata": {"annotations": {"note": "1"}}, "spec": {"suspend": True}})
    assert other.returncode == 0, other.stderr
    assert ANNOTATION_APPROVAL in scene.group["metadata"]["annotations"]
    refused(scene.annotate(scene.editor, scene.approval("approver")), "cannot approve resource")
    assert scene.annotate(scene.editor, None).returncode == 0
    assert ANNOTATION_APPROVAL not in scene.group["metadata"]["annotations"]


def test_an_approval_comes_alone(scene: Scene) -> None:
    """Not with a change of what it is about, not with a new object, and not by the way of the status."""
    text = scene.approval()
    both = {"metadata": {"annotations": {ANNOTATION_APPROVAL: text}}, "spec": {"suspend": True}}
    refused(scene.patch(scene.approver, both), "change the spec of web first")
    ahead = {**both, "metadata": {"annotations": {ANNOTATION_APPROVAL: scene.approval(generation=2)}}}
    refused(scene.patch(scene.approver, ahead), "change the spec of web first")

    new = built("ServerGroup", {}, "new")
    new["metadata"]["annotations"] = {ANNOTATION_APPROVAL: text}
    made = scene.admin("create", "--filename=-", "-n", scene.namespace, input=json.dumps(new), check=False)
    refused(made, "create new without the annotation")

    by_status = {"metadata": {"annotations": {ANNOTATION_APPROVAL: text}}, "status": {"observedGeneration": 1}}
    answer = scene.patch(scene.admin, by_status, "--subresource=status")
    assert answer.returncode == 0, answer.stderr
    assert ANNOTATION_APPROVAL not in (scene.group["metadata"].get("annotations") or {})


def test_a_name_that_has_to_be_escaped_is_compared_as_what_it_is(scene: Scene) -> None:
    name = 'o"ne \\ two'
    scene.admin(
        "create", "rolebinding", "odd", "--clusterrole=moorage-approve", f"--user={name}", "-n", scene.namespace
    )
    assert scene.annotate(scene.admin, scene.approval(by=name), f"--as={name}").returncode == 0
    refused(scene.annotate(scene.admin, scene.approval(by='o"ne'), f"--as={name}"), "in one's own name")


def test_the_command_approves_as_oneself_and_takes_it_back(scene: Scene) -> None:
    said = scene.moorage(scene.approver, "approve", "web", "--for", "4h", "--reason", "release 7")
    assert said.returncode == Exit.OK, said.stderr
    written = Approval.parse(scene.group["metadata"]["annotations"][ANNOTATION_APPROVAL])
    user = f"system:serviceaccount:{scene.namespace}:approver"
    assert (written.by, written.generation, written.reason) == (user, 1, "release 7")
    assert written.until is not None
    assert written.until - written.at == timedelta(hours=4)
    assert said.stdout == f"web: generation 1 approved by {user} until {written.until:%Y-%m-%dT%H:%M:%SZ}\n"
    back = scene.moorage(scene.approver, "approve", "web", "--revoke")
    assert back.stdout.startswith("web: approval revoked")
    assert scene.moorage(scene.approver, "approve", "web", "--revoke").stdout == "web: there is no approval\n"


def test_the_command_approves_nothing_that_nobody_asks_for(scene: Scene) -> None:
    """Seen by one who may look at all that could: the approver's role shows no Namespace."""
    scene.admin("patch", "hostingpolicy", "cheap", "-n", scene.namespace, "--type=json", "-p", json.dumps(UNASKED))
    rule = ("--verb=get", "--resource=namespaces", f"--resource-name={scene.namespace}")
    said = scene.moorage(scene.approver, "approve", "web")
    assert (said.returncode, "may not see" in said.stdout) == (Exit.OK, True), said
    assert scene.moorage(scene.approver, "approve", "web", "--revoke").returncode == Exit.OK
    scene.admin("create", "role", "looks", "-n", scene.namespace, *rule)
    who = f"--serviceaccount={scene.namespace}:approver"
    scene.admin("create", "rolebinding", "looks", "-n", scene.namespace, "--role=looks", who)
    end = time.monotonic() + PATIENCE
    while scene.approver("get", "namespace", scene.namespace, check=False).returncode:
        assert time.monotonic() < end, "the role does not count"
        time.sleep(0.2)
    said = scene.moorage(scene.approver, "approve", "web")
    assert said.returncode == Exit.FAILED
    assert "error: nothing was written, since nothing asks for an approval of web: policy cheap" in said.stderr
    assert ANNOTATION_APPROVAL not in scene.group["metadata"].get("annotations", {})


def test_the_command_says_who_may_not_and_what_is_not_there(scene: Scene) -> None:
    said = scene.moorage(scene.editor, "approve", "web")
    assert said.returncode == Exit.FORBIDDEN
    user = f"system:serviceaccount:{scene.namespace}:editor"
    assert f"error: {user} may not approve web in namespace {scene.namespace}" in said.stderr
    assert "verbs: [approve]" in said.stderr
    assert scene.moorage(scene.approver, "approve", "wbe").returncode == Exit.NOT_FOUND
    scene.patch(scene.admin, {"spec": {"suspend": True}})
    stale = scene.moorage(scene.approver, "approve", "web", "--generation", "1")
    assert "web is at generation 2 by now, not 1" in stale.stderr
    assert scene.moorage(scene.approver, "approve", "web", "--generation", "2").returncode == Exit.OK
