"""`moorage approve` against an API server in memory: what is written, when not, and what is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.memory_api import MemoryApi

from moorage.api.names import ANNOTATION_APPROVAL, ANNOTATION_REQUIRE_APPROVAL
from moorage.cli.approvals import _refusal, approve_group, revoke_approval
from moorage.cli.cluster import Cluster
from moorage.cli.commands.approve import _end
from moorage.cli.errors import CliError, Exit
from moorage.core.policy.approval import Approval
from moorage.kube.errors import Forbidden
from moorage.kube.kinds import HOSTING_POLICY, NAMESPACE, SERVER_GROUP, Kind

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Reviews(MemoryApi):
    """Also says who one is, and whether one may; `meanwhile` happens at the next patch."""

    allowed = True
    meanwhile: dict[str, Any] | None = None

    async def create(self, kind: Any, obj: Any, *, manager: str = "") -> Any:
        if kind.kind == "SelfSubjectReview":
            return {"status": {"userInfo": {"username": "jane"}}}
        if kind.kind == "SelfSubjectAccessReview":
            self.calls.append(str(obj["spec"]["resourceAttributes"]))
            return {"status": {"allowed": self.allowed}}
        return await super().create(kind, obj, manager=manager)

    async def patch(self, kind: Any, namespace: Any, name: str, body: Any, **more: Any) -> Any:
        if self.meanwhile is not None:
            meta = {**self.stored(kind, namespace, name)["metadata"], **self.meanwhile}
            self.meanwhile = None
            self.change(kind, namespace, name, metadata=meta)
        return await super().patch(kind, namespace, name, body, **more)


async def scene(*conditions: dict[str, Any]) -> tuple[Reviews, Cluster]:
    api = Reviews()
    meta = {"name": "web", "namespace": "shop", "generation": 3}
    spec = {"policyRef": {"name": "p"}, "members": [{"name": "m", "configRef": {"name": "c"}}]}
    await api.create(SERVER_GROUP, {"metadata": meta, "spec": spec})
    if conditions:
        policy = {"metadata": {"name": "p", "namespace": "shop"}, "spec": {"when": {"all": list(conditions)}}}
        await api.create(HOSTING_POLICY, policy)
    return api, Cluster(api.client, "shop")


def written(api: Reviews) -> str | None:
    found: str | None = (api.stored(SERVER_GROUP, "shop", "web")["metadata"].get("annotations") or {}).get(
        ANNOTATION_APPROVAL
    )
    return found


ASKED = {"name": "asked", "approval": {}}


async def test_it_approves_what_is_there_in_ones_own_name() -> None:
    api, cluster = await scene(ASKED)
    said = await approve_group(cluster, "web", NOW, NOW + timedelta(hours=1), "why", 3)
    assert said == "web: generation 3 approved by jane until 2026-11-20T13:00:00Z"
    uid = api.stored(SERVER_GROUP, "shop", "web")["metadata"]["uid"]
    assert written(api) == Approval(uid, 3, "jane", NOW, NOW + timedelta(hours=1), "why").encode()


SCHEDULED = {"name": "a", "schedule": {"from": "2026-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("conditions", "says"),
    [((), "there is no policy p yet, and namespace shop"), ((SCHEDULED,), "policy p does not ask for it")],
)
async def test_an_approval_that_nobody_asks_for_is_not_written_unless_it_is_ahead(
    conditions: tuple[dict[str, Any], ...], says: str
) -> None:
    api, cluster = await scene(*conditions)
    with pytest.raises(CliError, match=says) as raised:
        await approve_group(cluster, "web", NOW, None, "", 0)
    assert raised.value.code == Exit.FAILED
    assert "--ahead" in raised.value.hint
    assert written(api) is None
    assert says in await approve_group(cluster, "web", NOW, None, "", 0, ahead=True)
    assert written(api) is not None


async def test_an_approval_that_the_namespace_asks_for_is_written() -> None:
    api, cluster = await scene(SCHEDULED)
    await api.create(NAMESPACE, {"metadata": {"name": "shop", "annotations": {ANNOTATION_REQUIRE_APPROVAL: "true"}}})
    assert await approve_group(cluster, "web", NOW, None, "", 0) == "web: generation 3 approved by jane"


@pytest.mark.parametrize(
    ("hidden", "says"),
    [(NAMESPACE, "whether namespace shop asks for it you may not see"), (HOSTING_POLICY, "whether policy p asks")],
)
async def test_who_may_not_see_what_asks_may_approve_and_is_told(
    hidden: Kind, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, cluster = await scene(SCHEDULED)
    read = cluster.maybe

    async def maybe(kind: Kind, name: str) -> dict[str, Any] | None:
        if kind == hidden:
            raise Forbidden(403, "Forbidden", "no")
        return await read(kind, name)

    monkeypatch.setattr(cluster, "maybe", maybe)
    assert says in await approve_group(cluster, "web", NOW, None, "", 0)
    assert written(api) is not None


async def test_a_status_that_changes_meanwhile_is_no_reason_to_refuse() -> None:
    api, cluster = await scene(ASKED)
    api.meanwhile = {}
    assert "approved by jane" in await approve_group(cluster, "web", NOW, None, "", 0)
    assert written(api) is not None


async def test_a_group_that_changes_meanwhile_is_not_approved_but_can_be_revoked() -> None:
    api, cluster = await scene(ASKED)
    api.meanwhile = {"generation": 4}
    with pytest.raises(CliError, match="was changed meanwhile"):
        await approve_group(cluster, "web", NOW, None, "", 0)
    assert written(api) is None
    await approve_group(cluster, "web", NOW, None, "", 0)
    api.meanwhile = {"generation": 5}
    assert "revoked" in await revoke_approval(cluster, "web")
    assert written(api) is None


async def test_a_successor_of_the_same_name_is_not_approved() -> None:
    api, cluster = await scene(ASKED)
    api.meanwhile = {"uid": "another"}
    with pytest.raises(CliError, match="was changed meanwhile"):
        await approve_group(cluster, "web", NOW, None, "", 0)


async def test_who_may_not_is_told_before_anything_is_written() -> None:
    api, cluster = await scene(ASKED)
    api.allowed = False
    with pytest.raises(CliError) as caught:
        await approve_group(cluster, "web", NOW, None, "", 0)
    assert caught.value.code == Exit.FORBIDDEN
    assert "verbs: [approve]" in caught.value.hint
    assert written(api) is None
    assert any("'verb': 'approve'" in call and "'name': 'web'" in call for call in api.calls)


async def test_a_generation_that_was_not_looked_at_is_not_approved() -> None:
    api, cluster = await scene(ASKED)
    with pytest.raises(CliError, match="at generation 3 by now, not 2"):
        await approve_group(cluster, "web", NOW, None, "", 2)
    assert written(api) is None


def test_the_refusal_of_the_admission_policy_is_told_in_its_words() -> None:
    said = (
        "servergroups.moorage.dev \"web\" is forbidden: ValidatingAdmissionPolicy 'moorage-approval' with binding "
        '\'moorage-approval\' denied request: User "joe" cannot approve resource "servergroups" in API group '
        '"moorage.dev" in the namespace "shop"; the ClusterRole moorage-approve allows it'
    )
    error = _refusal(Forbidden(403, "Forbidden", said))
    assert error.message.startswith('User "joe" cannot approve resource "servergroups"')
    assert error.hint == 'joe needs the rule {apiGroups: ["moorage.dev"], resources: [servergroups], verbs: [approve]}'
    assert error.code == Exit.FORBIDDEN


@pytest.mark.parametrize(
    ("for_", "until", "end"),
    [
        ("", "", None),
        ("4h", "", NOW + timedelta(hours=4)),
        ("", "2026-11-20T14:00:00+01:00", NOW + timedelta(hours=1)),
        ("", "2026-11-20T13:00:00Z", NOW + timedelta(hours=1)),
    ],
)
def test_when_it_ends(for_: str, until: str, end: datetime | None) -> None:
    assert _end(for_, until, NOW) == end


@pytest.mark.parametrize(
    ("for_", "until", "says"),
    [
        ("4h", "2026-11-20T14:00:00Z", "give one of them"),
        ("four hours", "", "is not a duration"),
        ("0s", "", "ended already"),
        ("500ms", "", "ended already"),
        ("", "tomorrow", "not a point in time"),
        ("", "2026-12-24T18:00:00", "names no zone"),
        ("", "2026-11-20T12:00:00Z", "ended already"),
    ],
)
def test_an_end_that_is_none_is_wrong_usage(for_: str, until: str, says: str) -> None:
    with pytest.raises(CliError, match=says) as caught:
        _end(for_, until, NOW)
    assert caught.value.code == Exit.USAGE
