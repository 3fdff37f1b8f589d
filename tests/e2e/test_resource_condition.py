"""The condition `resource`, whole: objects of others decide when servers are made, and nothing of them is shown."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.cluster import Kubectl
from tests.support.readers import account, reader
from tests.support.scene import Watcher
from tests.support.stack import Api, Obj, Stack, config, group, service

from moorage.kube.errors import Forbidden, Invalid
from moorage.kube.kinds import CONFIG_MAP, HOSTING_POLICY, HOSTING_SERVICE, SERVER_GROUP

GO: Obj = {"apiVersion": "v1", "kind": "ConfigMap", "name": "go", "expression": 'object.data.go == "yes"'}


@pytest.fixture
async def place(api: Api, stack: Stack) -> AsyncIterator[str]:
    """A HostingService of the test's own, and a configuration `good`."""
    name = f"reads-{secrets.token_hex(3)}"
    await api.apply(service(name, stack.hosts["anchor"].url), config("good", steps=[{"name": "s", "script": "true"}]))
    yield name
    await api.delete(HOSTING_SERVICE, name)
    assert stack.controller is not None
    assert "Traceback" not in stack.controller.log.read_text()


def policy(name: str, *services: str, account: str | None = "reader", **conditions: Obj) -> Obj:
    """A HostingPolicy of which any condition is enough."""
    when = {"any": [{"name": n.replace("_", "-"), "resource": c} for n, c in conditions.items()]}
    spec: Obj = {"when": when, "select": {"services": {"names": list(services)}}}
    if account is not None:
        spec["serviceAccountName"] = account
    return {"apiVersion": "moorage.dev/v1alpha1", "kind": "HostingPolicy", "metadata": {"name": name}, "spec": spec}


def config_map(name: str, **data: str) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def reading(api: Api, policy: str, reason: str, name: str = "go") -> Obj:
    """Wait until a condition of the policy has this reason."""

    async def probe() -> Obj | None:
        obj = await api.get(HOSTING_POLICY, policy) or {}
        found = [r for r in (obj.get("status") or {}).get("readings") or () if r["name"] == name]
        return found[0] if found and found[0]["reason"] == reason else None

    return await api.until(f"{policy}: {name} {reason}", probe)


async def verdict(api: Api, name: str, value: str) -> Obj:
    async def probe() -> Obj | None:
        obj = await api.get(SERVER_GROUP, name) or {}
        return obj if ((obj.get("status") or {}).get("policy") or {}).get("verdict") == value else None

    return await api.until(f"{name} {value}", probe)


async def test_a_config_map_decides_when_servers_are_made(api: Api, stack: Stack, place: str) -> None:
    await account(api)
    await api.apply(policy("p", place, go=GO), group("g", "p", ("m", "good", 1)))
    refused = await reading(api, "p", "ResourceForbidden")
    assert refused["value"] == "Unknown"
    assert f"ServiceAccount {api.namespace}/reader may not list configmaps go" in refused["message"]
    assert (await verdict(api, "g", "Unknown"))["status"].get("placement") is None
    for command in refused["message"].split("list and watch: ", 1)[1].split(" && "):
        stack.plane.run_kubectl(*shlex.split(command)[1:])

    absent = await reading(api, "p", "ResourceNotFound")
    assert absent["message"] == "there is no ConfigMap go; to count that as unmet, begin with object != null && ..."
    async with Watcher(api, HOSTING_POLICY) as watcher:
        await api.apply(config_map("go", go="no", token="hunter2"))
        await verdict(api, "g", "Unmet")
        # What the condition does not read changes nothing, and what it reads is looked at once.
        await api.patch(CONFIG_MAP, "go", {"data": {"token": "hunter3"}})
        await api.patch(CONFIG_MAP, "go", {"data": {"go": "yes"}})
        ready = await api.ready("g")
        assert ready["status"]["policy"]["verdict"] == "Met"
        told = watcher.told("p", lambda o: [r["reason"] for r in o["status"]["readings"]])
        assert told == [["ExpressionFalse"], ["ExpressionTrue"]]
        assert len(watcher.of("p")) == 2, "nothing is written that says nothing new"

        await api.delete(CONFIG_MAP, "go")
        await verdict(api, "g", "Unknown")
        assert "hunter" not in json.dumps(watcher.versions)
    assert (await api.ready("g"))["status"]["placement"], "unknown decides nothing"
    assert stack.controller is not None
    assert "hunter" not in stack.controller.said()


async def test_a_list_is_counted_and_what_an_expression_lacks_is_told(api: Api, place: str) -> None:
    await reader(api, "configmaps", "serviceaccounts")
    maps: Obj = {"apiVersion": "v1", "kind": "ConfigMap", "selector": {"matchLabels": {"job": "render"}}}
    jobs = [
        {**config_map(f"job-{n}", state="waiting"), "metadata": {"name": f"job-{n}", "labels": {"job": "render"}}}
        for n in range(3)
    ]
    await api.apply(*jobs, config_map("other", state="waiting"))
    all_pairs = "objects.all(a, " * 9 + "objects.all(z, a.data.state == z.data.state)" + ")" * 9
    conditions: dict[str, Any] = {
        "queue": {**maps, "expression": 'objects.filter(o, o.data.state == "waiting").size() >= 3'},
        "size": {**maps, "expression": "objects.size() > 3"},
        "field": {**maps, "expression": "objects.exists(o, o.data.stat == 'waiting')"},
        "type": {**maps, "expression": "objects.exists(o, o.data.state > 3)"},
        "costly": {**maps, "expression": all_pairs},
        "wrong": {**maps, "expression": "objects.exists(o, o.data.state == )"},
        "kind": {"apiVersion": "v1", "kind": "Confmap", "expression": "objects.size() > 3"},
        "foreign": {**maps, "namespace": "kube-system", "expression": "objects.size() > 3"},
        "accounts": {"apiVersion": "v1", "kind": "ServiceAccount", "name": "nobody", "expression": "object != null"},
    }
    await api.apply(policy("p", place, **conditions))
    expected = {
        "queue": ("Met", "ExpressionTrue", "the expression is true"),
        "size": ("Unmet", "ExpressionFalse", "the expression is false"),
        "field": ("Unknown", "ExpressionFailed", "'stat' is not there in every object; guard"),
        "type": ("Unknown", "ExpressionFailed", "of another type"),
        "costly": ("Unknown", "ExpressionTooExpensive", "over 3 objects it may take up to"),
        "wrong": ("Unknown", "ExpressionInvalid", "line 1, column"),
        "kind": ("Unknown", "KindNotFound", "no kind Confmap in v1"),
        "foreign": ("Unknown", "ResourceForbidden", "in namespace kube-system"),
        "accounts": ("Unmet", "ExpressionFalse", "the expression is false"),
    }
    for name, (value, reason, words) in expected.items():
        found = await reading(api, "p", reason, name)
        assert found["value"] == value, name
        assert words in found["message"], name
    stalled = await api.condition(HOSTING_POLICY, "p", "Stalled", reason="ExpressionTooExpensive")
    assert stalled
    await api.apply(group("g", "p", ("m", "good", 1)))
    await verdict(api, "g", "Met")
    await api.delete(CONFIG_MAP, "job-1")
    await reading(api, "p", "ExpressionFalse", "queue")


async def test_a_restart_of_the_controller_tells_nothing_that_is_not_so(api: Api, stack: Stack, place: str) -> None:
    await reader(api, "configmaps")
    await api.apply(config_map("go", go="yes"), policy("p", place, go=GO))
    await reading(api, "p", "ExpressionTrue")
    assert stack.controller is not None
    async with Watcher(api, HOSTING_POLICY) as watcher:
        stack.controller.stop()
        stack.run_controller()
        await api.patch(CONFIG_MAP, "go", {"data": {"go": "no"}})
        await reading(api, "p", "ExpressionFalse")
        told = watcher.told("p", lambda o: [r["value"] for r in o["status"]["readings"]])
    assert told[-1] == ["Unmet"]
    assert told[:-1] in ([], [["Unknown"]]), "at most unknown until it is read anew, and never what it was not"


async def test_secrets_and_policies_without_an_account_are_refused(api: Api) -> None:
    with pytest.raises(Invalid, match="never reads Secrets"):
        await api.apply(policy("p", go={**GO, "kind": "Secret"}))
    with pytest.raises(Invalid, match=r"write spec\.serviceAccountName"):
        await api.apply(policy("p", account=None, go=GO))


async def test_who_may_not_act_as_the_account_may_not_have_it_read(api: Api, stack: Stack) -> None:
    await reader(api, "configmaps")
    kubectl = Kubectl(stack.plane)
    where = ("-n", api.namespace)
    for role in ("moorage-view", "moorage-edit"):
        kubectl("create", "rolebinding", f"author-{role}", f"--clusterrole={role}", "--user=author", *where)
    kubectl("create", "rolebinding", "editor", "--clusterrole=edit", "--user=editor", *where)

    def apply(user: str, obj: Obj) -> tuple[int, str]:
        done = kubectl("apply", "-f", "-", f"--as={user}", *where, input=json.dumps(obj), check=False)
        return done.returncode, done.stderr

    async def refused(user: str, obj: Obj) -> str:
        async def probe() -> str | None:
            said = apply(user, obj)[1]
            return said if "you may not use ServiceAccount" in said else None

        return await api.until("the refusal", probe)

    assert f"ServiceAccount {api.namespace}/reader" in await refused("author", policy("p", go=GO))

    async def edited() -> bool:
        return apply("editor", policy("p", go=GO))[0] == 0

    await api.until("the role edit to be aggregated", edited)
    other = {**GO, "expression": 'object.data.token.startsWith("h")'}
    await refused("author", policy("p", go=other))
    labelled: Any = policy("p", go=GO)
    labelled["metadata"]["labels"] = {"team": "a"}
    assert apply("author", labelled)[0] == 0, "what changes nothing of what is read is not asked"
    plain = policy("q", account=None)
    plain["spec"]["when"] = {"all": [{"name": "x", "schedule": {"from": "2026-01-01T00:00:00Z"}}]}
    assert apply("author", plain)[0] == 0
    with pytest.raises(Forbidden):
        await api.client.acting_as(api.namespace, "reader").list(HOSTING_POLICY, api.namespace)
