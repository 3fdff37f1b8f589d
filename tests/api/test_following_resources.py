"""Following objects as a ServiceAccount on a real API server: its rights decide, whenever they change."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Any

import pytest
from tests.support.cluster import Kubectl

from moorage.controlplane import ControlPlane
from moorage.kube.client import Client
from moorage.kube.errors import Forbidden, TooLarge
from moorage.kube.following import Following
from moorage.kube.kinds import CONFIG_MAP, CUSTOM_RESOURCE_DEFINITION, SECRET, Kind
from moorage.kube.wanted import Found, Lacking, Wanted

NODE = Kind("", "v1", "nodes", "Node", namespaced=False)


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[Client]:
    async with await Client.connect(str(control_plane.kubeconfig)) as client:
        yield client


@pytest.fixture
async def follow(client: Client) -> AsyncIterator[Following]:
    def changed(user: Hashable, count: int) -> None:
        pass

    made = Following(client, changed, controller="moorage-system", recheck=1.0)
    yield made
    await made.stop()


@pytest.fixture
def account(kubectl: Kubectl, namespace: str) -> str:
    kubectl("create", "serviceaccount", "reader", "-n", namespace)
    return "reader"


async def seen(follow: Following, want: Wanted, right: Callable[[Any], bool]) -> Any:
    follow.need(want, [want])
    try:
        async with asyncio.timeout(45):
            while (found := follow.seen(want)) is None or not right(found):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"at last there was {follow.seen(want)}") from None
    return found


async def found(follow: Following, want: Wanted, count: int) -> Found:
    objects: Found = await seen(follow, want, lambda s: isinstance(s, Found) and len(s.objects) == count)
    return objects


async def lacking(follow: Following, want: Wanted, reason: str) -> str:
    lack: Lacking = await seen(follow, want, lambda s: isinstance(s, Lacking) and s.reason == reason)
    return lack.message


def grant(kubectl: Kubectl, message: str) -> None:
    """Do what the message says, word for word."""
    for command in message.split("list and watch: ", 1)[1].split(" && "):
        program, *arguments = shlex.split(command)
        assert program == "kubectl"
        kubectl(*arguments)


async def config_map(client: Client, namespace: str, name: str, **data: str) -> None:
    await client.create(CONFIG_MAP, {"metadata": {"namespace": namespace, "name": name}, "data": data})


async def test_what_is_forbidden_is_told_granted_followed_and_revoked(
    client: Client, follow: Following, kubectl: Kubectl, namespace: str, account: str
) -> None:
    await config_map(client, namespace, "queue", length="3", token="hunter2")
    await config_map(client, namespace, "other", length="4")
    paths = frozenset({("data", "length")})
    queue = Wanted(namespace, account, "v1", "ConfigMap", name="queue", paths=paths)
    everything = Wanted(namespace, account, "v1", "ConfigMap")
    message = await lacking(follow, queue, "ResourceForbidden")
    assert f'may not list configmaps queue (apiGroup "") in namespace {namespace}' in message
    grant(kubectl, message)
    assert (await found(follow, queue, 1)).objects == ({"data": {"length": "3"}},)
    assert "may not list configmaps (" in await lacking(follow, everything, "ResourceForbidden"), (
        "one alone was granted"
    )

    body = {"metadata": {"namespace": namespace}, "data": {"length": "12"}}
    await client.patch(CONFIG_MAP, namespace, "queue", body)
    await seen(follow, queue, lambda s: isinstance(s, Found) and s.objects == ({"data": {"length": "12"}},))
    await client.delete(CONFIG_MAP, namespace, "queue")
    await found(follow, queue, 0)
    await config_map(client, namespace, "queue", length="1")
    await found(follow, queue, 1)

    kubectl("delete", "rolebinding", "reader-reads-configmaps", "-n", namespace)
    message = await lacking(follow, queue, "ResourceForbidden")
    assert "may not" in message
    assert "hunter2" not in message


async def test_an_account_that_goes_takes_its_rights_along(
    client: Client, follow: Following, kubectl: Kubectl, namespace: str, account: str
) -> None:
    await config_map(client, namespace, "queue", length="3")
    queue = Wanted(namespace, account, "v1", "ConfigMap", name="queue")
    grant(kubectl, await lacking(follow, queue, "ResourceForbidden"))
    await found(follow, queue, 1)
    kubectl("delete", "serviceaccount", account, "-n", namespace)
    message = await lacking(follow, queue, "ServiceAccountNotFound")
    kubectl(*shlex.split(message.split("(kubectl ", 1)[1].split(")")[0]))
    await found(follow, queue, 1)


async def test_nodes_are_counted_by_label_and_only_their_names_are_sent(
    client: Client, follow: Following, kubectl: Kubectl, namespace: str, account: str
) -> None:
    names = [f"{namespace}-{n}" for n in range(3)]
    nodes = Wanted(
        namespace,
        account,
        "v1",
        "Node",
        labels=f"test={namespace},!old",
        paths=frozenset({("metadata", "name")}),
    )
    message = await lacking(follow, nodes, "ResourceForbidden")
    assert "may not list nodes" in message
    assert "in the cluster" in message
    try:
        grant(kubectl, message)
        for name in names:
            await client.create(NODE, {"metadata": {"name": name, "labels": {"test": namespace}}})
        listed = await found(follow, nodes, 3)
        assert listed.objects == tuple({"metadata": {"name": name}} for name in names)
        await client.patch(NODE, None, names[0], {"metadata": {"labels": {"old": "yes"}}})
        await found(follow, nodes, 2)
        await lacking(follow, Wanted(namespace, account, "v1", "Node", where=namespace), "InvalidResource")
    finally:
        for name in names:
            kubectl("delete", "node", name, "--ignore-not-found")
        kubectl("delete", "clusterrole,clusterrolebinding", "reader-reads-nodes", "--ignore-not-found")


async def test_another_namespace_is_read_as_far_as_the_account_may(
    client: Client, follow: Following, kubectl: Kubectl, namespace: str, account: str
) -> None:
    other = f"{namespace}-other"
    kubectl("create", "namespace", other)
    try:
        await config_map(client, other, "queue", length="3")
        queue = Wanted(namespace, account, "v1", "ConfigMap", where=other, name="queue")
        message = await lacking(follow, queue, "ResourceForbidden")
        assert f"in namespace {other}" in message
        grant(kubectl, message)
        await found(follow, queue, 1)
    finally:
        kubectl("delete", "namespace", other, "--wait=false")


async def test_a_kind_that_comes_later_is_found_and_one_that_goes_is_missed(
    client: Client, follow: Following, kubectl: Kubectl, namespace: str, account: str
) -> None:
    group = f"{namespace}.example.com"
    crd = {
        "metadata": {"name": f"queues.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "queues", "singular": "queue", "kind": "Queue"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    },
                }
            ],
        },
    }
    queues = Wanted(namespace, account, f"{group}/v1", "Queue", paths=frozenset({("spec", "length")}))
    assert "no kind Queue" in await lacking(follow, queues, "KindNotFound")
    try:
        await client.create(CUSTOM_RESOURCE_DEFINITION, crd)
        message = await lacking(follow, queues, "ResourceForbidden")
        assert f"--resource=queues.{group}" in message
        grant(kubectl, message)
        await found(follow, queues, 0)
        queue = Kind(group, "v1", "queues", "Queue")
        await client.create(queue, {"metadata": {"name": "a", "namespace": namespace}, "spec": {"length": 7, "x": 1}})
        assert (await found(follow, queues, 1)).objects == ({"spec": {"length": 7}},)
    finally:
        kubectl("delete", "crd", f"queues.{group}", "--ignore-not-found")
    await lacking(follow, queues, "KindNotFound")


async def test_secrets_are_not_read_whatever_the_account_may(
    client: Client, follow: Following, kubectl: Kubectl, namespace: str, account: str
) -> None:
    kubectl("create", "role", "all", "-n", namespace, "--verb=*", "--resource=*")
    kubectl("create", "rolebinding", "all", "-n", namespace, "--role=all", f"--serviceaccount={namespace}:{account}")
    secret = Wanted(namespace, account, "v1", "Secret")
    asked: list[str] = []

    class Observer:
        def before(self, call: Any) -> None:
            asked.append(call.kind.plural)

        def after(self, call: Any, outcome: object, seconds: float) -> None:
            pass

    client.observers.append(Observer())
    assert "never reads Secrets" in await lacking(follow, secret, "SecretsRefused")
    assert SECRET.plural not in asked


async def test_nothing_is_written_as_somebody_else(client: Client, namespace: str, account: str) -> None:
    acting = client.acting_as(namespace, account)
    with pytest.raises(ValueError, match="nothing is ever written"):
        await config_map(acting, namespace, "a")
    with pytest.raises(Forbidden):
        await acting.list(CONFIG_MAP, namespace)
    with contextlib.suppress(Forbidden):
        raise AssertionError((await acting.list(CONFIG_MAP)).items)


async def test_no_more_is_read_of_an_answer_than_is_wanted(
    client: Client, kubectl: Kubectl, namespace: str, account: str
) -> None:
    await config_map(client, namespace, "large", data="x" * 100_000)
    kubectl("create", "role", "maps", "-n", namespace, "--verb=list", "--resource=configmaps")
    kubectl("create", "rolebinding", "maps", "-n", namespace, "--role=maps", f"--serviceaccount={namespace}:{account}")

    async def listed() -> int:
        with contextlib.suppress(Forbidden):
            return len((await client.acting_as(namespace, account).list(CONFIG_MAP, namespace)).items)
        return 0

    async with asyncio.timeout(30):
        while not await listed():  # noqa: ASYNC110 - RBAC takes a moment, and tells nobody
            await asyncio.sleep(0.05)
    with pytest.raises(TooLarge):
        await client.acting_as(namespace, account, most=50_000).list(CONFIG_MAP, namespace)
