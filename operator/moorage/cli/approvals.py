"""Approving a group as oneself, and taking it back: the annotation `moorage.dev/approval`."""

from __future__ import annotations

from datetime import datetime

from moorage.api.names import ANNOTATION_APPROVAL, ANNOTATION_REQUIRE_APPROVAL, GROUP
from moorage.api.servergroup import ServerGroup
from moorage.cli.cluster import Cluster, read
from moorage.cli.errors import CliError, Exit, missing_rule
from moorage.core.policy.approval import Approval
from moorage.core.policy.readings import spell
from moorage.kube.errors import Conflict, Forbidden, NotFound
from moorage.kube.kinds import NAMESPACE, SERVER_GROUP, Kind

MANAGER = "moorage-approve"
TRIES = 5
_REVIEW = Kind("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False)
_ACCESS = Kind("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False)


async def approve_group(
    cluster: Cluster,
    name: str,
    now: datetime,
    until: datetime | None,
    reason: str,
    generation: int,
    *,
    ahead: bool = False,
) -> str:
    """Approve the group as it is now; what to tell. ``generation`` is the one that was looked at, 0: any.

    Raises CliError where that is another one by now, where the user may not, or where nothing asks for an approval
    (unless it is given ``ahead``).
    """
    obj = await cluster.one(SERVER_GROUP, name)
    seen = read(ServerGroup, obj)
    if generation not in {0, seen.metadata.generation}:
        raise CliError(
            f"{name} is at generation {seen.metadata.generation} by now, not {generation}: it was changed",
            hint=f"look at it again: kubectl get servergroup {name} -n {cluster.namespace} -o yaml",
        )
    user = await whoami(cluster)
    await _check_permission(cluster, name, user)
    asked, why_not = await _demand(cluster, seen)
    if asked is False and not ahead:
        hint = "where it is about to be asked for: --ahead"
        raise CliError(f"nothing was written, since nothing asks for an approval of {name}: {why_not}", hint=hint)
    approval = Approval(seen.metadata.uid, seen.metadata.generation, user, now, until, reason)
    try:
        text = approval.encode()
    except ValueError as error:
        raise CliError(str(error), Exit.USAGE) from None
    await _write(cluster, name, seen, text)
    end = f" until {spell(until)}" if until is not None else ""
    doubts = f"\n({why_not})" if why_not else ""
    return f"{name}: generation {approval.generation} approved by {user}{end}{doubts}"


async def revoke_approval(cluster: Cluster, name: str) -> str:
    """Take the approval back; what to tell."""
    seen = read(ServerGroup, await cluster.one(SERVER_GROUP, name))
    if ANNOTATION_APPROVAL not in seen.metadata.annotations:
        return f"{name}: there is no approval"
    await _write(cluster, name, seen, None)
    return f"{name}: approval revoked; what runs stays, and nothing is added"


async def _write(cluster: Cluster, name: str, seen: ServerGroup, text: str | None) -> None:
    """Write the annotation into the object that was seen, or nowhere: its status may have changed, its spec only where
    the approval is taken back."""
    version = seen.metadata.resource_version
    for _ in range(TRIES):
        patch = {
            "metadata": {
                "uid": seen.metadata.uid,
                "resourceVersion": version,
                "annotations": {ANNOTATION_APPROVAL: text},
            }
        }
        try:
            await cluster.client.patch(SERVER_GROUP, cluster.namespace, name, patch, manager=MANAGER)
        except Conflict:
            again = read(ServerGroup, await cluster.one(SERVER_GROUP, name)).metadata
            changed = text is not None and again.generation != seen.metadata.generation
            if again.uid != seen.metadata.uid or changed:
                raise CliError(f"{name} was changed meanwhile; look at it again") from None
            version = again.resource_version
        except Forbidden as error:
            raise _refusal(error) from None
        else:
            return
    raise CliError(f"{name} changes all the time: try again")


def _refusal(error: Forbidden) -> CliError:
    """In the words of the admission policy, without its address."""
    said = error.message.rpartition("denied request: ")[2]
    return CliError(said, Exit.FORBIDDEN, hint=missing_rule(said))


async def whoami(cluster: Cluster) -> str:
    """Who the API server says the user is, whatever the kubeconfig calls itself."""
    try:
        answer = await cluster.client.create(_REVIEW, {})
    except NotFound:
        raise CliError("the API server does not say who you are", hint="it takes Kubernetes 1.28 or newer") from None
    return str(answer["status"]["userInfo"]["username"])


async def _check_permission(cluster: Cluster, name: str, user: str) -> None:
    """Ask first: where the admission policy is not installed, nobody else would."""
    asked = {
        "namespace": cluster.namespace,
        "verb": "approve",
        "group": GROUP,
        "resource": SERVER_GROUP.plural,
        "name": name,
    }
    answer = await cluster.client.create(_ACCESS, {"spec": {"resourceAttributes": asked}})
    if not answer["status"]["allowed"]:
        rule = f'{{apiGroups: ["{GROUP}"], resources: [servergroups], verbs: [approve]}}'
        hint = f"{user} needs the rule {rule}; the ClusterRole moorage-approve has it"
        raise CliError(f"{user} may not approve {name} in namespace {cluster.namespace}", Exit.FORBIDDEN, hint=hint)


async def _demand(cluster: Cluster, group: ServerGroup) -> tuple[bool | None, str]:
    """Whether the policy or the namespace asks for an approval, and what to say where none is known to.

    None: neither of those that one may look at does.
    """
    by_namespace = await _namespace_asks(cluster)
    if by_namespace:
        return True, ""
    name = group.spec.policy_ref.name
    try:
        policy = await cluster.policy(name)
    except Forbidden:
        return None, f"whether policy {name} asks for it you may not see"
    if policy is not None and any(c.approval is not None for c in policy.spec.when.conditions):
        return True, ""
    missing = f"there is no policy {name} yet"
    why_not = missing if policy is None else f"policy {name} does not ask for it: it has no condition approval"
    if by_namespace is None:
        return None, f"{why_not}; whether namespace {cluster.namespace} asks for it you may not see"
    return False, f"{why_not}, and namespace {cluster.namespace} does not ask for it either"


async def _namespace_asks(cluster: Cluster) -> bool | None:
    """Whether the namespace asks for approvals; None where one may not look."""
    try:
        found = await cluster.maybe(NAMESPACE, cluster.namespace)
    except Forbidden:
        return None
    annotations = ((found or {}).get("metadata") or {}).get("annotations") or {}
    return bool(annotations.get(ANNOTATION_REQUIRE_APPROVAL, "false") != "false")
