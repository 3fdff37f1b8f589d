"""Following others' objects: shared, bounded, ended with the last who needs it, and open about what it lacks."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from dataclasses import replace
from sys import getsizeof
from typing import Any

import pytest
from tests.support.memory_cluster import Cluster

from moorage.kube import allowance, follower, following, wanted
from moorage.kube.discovery import Discovery
from moorage.kube.errors import BadRequest, Forbidden, Gone, NotFound, TooLarge, Unavailable
from moorage.kube.follower import Lists
from moorage.kube.following import Following
from moorage.kube.kinds import CONFIG_MAP, SERVICE_ACCOUNT, Kind
from moorage.kube.projection import MAX_DEPTH, Projection, TooDeep, size_of
from moorage.kube.wanted import Found, Lacking, Wanted, forbidden, too_large

MAPS = Wanted("ns", "reader", "v1", "ConfigMap", paths=frozenset({("data", "go")}))
NODE = Kind("", "v1", "nodes", "Node", namespaced=False)
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")


class Heard(list[tuple[Hashable, int]]):
    """Who was told, and of how many bytes."""

    def __call__(self, user: Hashable, size: int) -> None:
        self.append((user, size))


@pytest.fixture
async def cluster() -> Cluster:
    made = Cluster()
    await made.create(SERVICE_ACCOUNT, {"metadata": {"namespace": "ns", "name": "reader"}})
    return made


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def follow(cluster: Cluster, heard: Heard) -> AsyncIterator[Following]:
    made = Following(cluster.client, heard, controller="moorage-system")
    yield made
    await made.stop()


async def until(condition: Any) -> Any:
    async with asyncio.timeout(5):
        while not (found := condition()):  # noqa: ASYNC110 - the condition has no event
            await asyncio.sleep(0.002)
    return found


async def config_map(cluster: Cluster, name: str, **data: str) -> None:
    await cluster.create(CONFIG_MAP, {"metadata": {"namespace": "ns", "name": name}, "data": data})


async def test_one_watch_serves_all_who_want_the_same_and_ends_with_the_last(
    cluster: Cluster, follow: Following, heard: Heard
) -> None:
    await config_map(cluster, "b", go="no", other="x")
    await config_map(cluster, "a", go="yes")
    cluster.events.clear()
    follow.need("first", [MAPS])
    follow.need("second", [MAPS])
    assert follow.seen(MAPS) is None, "not answered yet"
    found = await until(lambda: follow.seen(MAPS))
    assert isinstance(found, Found)
    assert found.objects == ({"data": {"go": "yes"}}, {"data": {"go": "no"}}), "by name, and only what is read"
    size = sum(size_of(kept) for kept in found.objects)
    assert sorted(heard) == [("first", size), ("second", size)]
    assert cluster.calls.count("list ConfigMap") == 1

    heard.clear()
    cluster.change(CONFIG_MAP, "ns", "b", data={"go": "no", "other": "y"})
    cluster.change(CONFIG_MAP, "ns", "b", data={"go": "now", "other": "y"})
    await until(lambda: len(heard) == 2)
    assert {user for user, _ in heard} == {"first", "second"}, "told of what is read, once"
    cluster.remove(CONFIG_MAP, "ns", "a")
    later = await until(lambda: isinstance(s := follow.seen(MAPS), Found) and len(s.objects) == 1 and s)
    assert later.revision > found.revision

    follow.need("first", ())
    assert len(follow) == 1
    follow.need("second", ())
    assert len(follow) == 0
    assert MAPS not in follow


async def lacking(follow: Following, want: Wanted) -> Lacking:
    follow.need("user", [want])
    found: Lacking = await until(lambda: isinstance(s := follow.seen(want), Lacking) and s)
    return found


@pytest.mark.parametrize(
    ("want", "reason", "words"),
    [
        (Wanted("ns", "reader", "v1", "Hidden"), "SecretsRefused", "never reads Secrets"),
        (Wanted("ns", "reader", "v1", "Nothing"), "KindNotFound", "no kind Nothing in v1"),
        (Wanted("ns", "reader", "v1", "MapStatus"), "KindNotFound", "no kind MapStatus"),
        (Wanted("ns", "reader", "example.com/v1", "ConfigMap"), "KindNotFound", "in example.com/v1"),
        (Wanted("ns", "reader", "v1", "Binding"), "KindNotWatchable", "cannot be listed and watched"),
        (Wanted("ns", "reader", "v1", "Node", where="ns"), "InvalidResource", "leave `namespace` out"),
        (Wanted("ns", "other", "v1", "ConfigMap"), "ServiceAccountNotFound", "create serviceaccount other -n ns"),
    ],
)
async def test_it_says_what_it_lacks(follow: Following, want: Wanted, reason: str, words: str) -> None:
    found = await lacking(follow, want)
    assert found.reason == reason
    assert words in found.message


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (Forbidden(403, "Forbidden", "hunter2"), "ResourceForbidden"),
        (BadRequest(400, "BadRequest", "hunter2"), "InvalidResource"),
        (TooLarge(413, "AnswerTooLarge", "hunter2"), "ResourceTooLarge"),
        (NotFound(404, "NotFound", "hunter2"), "KindNotFound"),
    ],
)
async def test_a_refused_list_is_told_in_our_words(
    cluster: Cluster, follow: Following, refusal: BaseException, reason: str
) -> None:
    cluster.refuse = refusal
    found = await lacking(follow, MAPS)
    assert found.reason == reason
    assert "hunter2" not in found.message
    cluster.refuse = None
    assert isinstance(await until(lambda: isinstance(s := follow.seen(MAPS), Found) and s), Found), "asked again"


async def test_what_was_known_is_forgotten_once_it_is_refused(
    cluster: Cluster, follow: Following, heard: Heard
) -> None:
    await config_map(cluster, "a", go="yes")
    cluster.events.clear()
    follow.need("user", [MAPS])
    await until(lambda: isinstance(follow.seen(MAPS), Found))
    cluster.refuse = Forbidden(403, "Forbidden", "no")
    cluster.interrupt(Gone(410, "Expired", "too old"))
    assert (await until(lambda: isinstance(s := follow.seen(MAPS), Lacking) and s)).reason == "ResourceForbidden"
    assert heard[-1] == ("user", 0)


async def test_the_controller_may_be_kept_from_acting_as_accounts(cluster: Cluster, follow: Following) -> None:
    cluster.failures = [Forbidden(403, "Forbidden", "may not get serviceaccounts")]
    found = await lacking(follow, MAPS)
    assert found.reason == "ImpersonationForbidden"
    assert "kubectl create rolebinding moorage-impersonator -n ns --clusterrole=moorage-impersonator" in found.message


async def test_silence_changes_nothing_for_a_while(
    cluster: Cluster, follow: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    await config_map(cluster, "a", go="yes")
    cluster.events.clear()
    follow.need("user", [MAPS])
    await until(lambda: isinstance(follow.seen(MAPS), Found))
    cluster.interrupt(Unavailable(0, "ConnectionError", "hunter2"))
    await until(lambda: not cluster.failures)
    await until(lambda: cluster.calls.count("watch ConfigMap") == 2)
    assert isinstance(follow.seen(MAPS), Found)
    assert cluster.calls.count("list ConfigMap") == 1, "it goes on where it was"
    monkeypatch.setattr(follower, "PATIENCE", 0.0)
    cluster.interrupt(Unavailable(0, "ConnectionError", "hunter2"))
    found = await until(lambda: isinstance(s := follow.seen(MAPS), Lacking) and s)
    assert found.reason == "ResourceUnavailable"
    assert "hunter2" not in found.message
    assert isinstance(await until(lambda: isinstance(s := follow.seen(MAPS), Found) and s), Found)


@pytest.mark.parametrize(
    ("module", "bound", "most", "words"),
    [
        (follower, "MAX_OBJECTS", 1, "objects"),
        (allowance, "NAMESPACE_BYTES", 1500, "of namespace ns has more than"),
        (allowance, "ALL_BYTES", 1500, "most of it for namespace ns"),
    ],
)
async def test_too_much_is_refused_in_a_list_and_in_a_watch(
    cluster: Cluster, follow: Following, monkeypatch: pytest.MonkeyPatch, module: Any, bound: str, most: int, words: str
) -> None:
    monkeypatch.setattr(module, bound, most)
    await config_map(cluster, "a", go="yes")
    cluster.events.clear()
    follow.need("user", [MAPS])
    await until(lambda: isinstance(follow.seen(MAPS), Found))
    await config_map(cluster, "b", go="x" * 800)
    found = await until(lambda: isinstance(s := follow.seen(MAPS), Lacking) and s)
    assert found.reason == "ResourceTooLarge"
    assert words in found.message
    assert "select fewer" in found.message
    assert isinstance(follow.seen(MAPS), Lacking)
    cluster.remove(CONFIG_MAP, "ns", "b")
    await until(lambda: isinstance(follow.seen(MAPS), Found))


async def test_the_watch_that_was_begun_last_gives_way_and_gets_its_turn_when_there_is_room(
    cluster: Cluster, follow: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowance, "NAMESPACE_BYTES", 1500)
    await config_map(cluster, "a", go="x" * 500)
    older, newer = MAPS, replace(MAPS, labels="team=blue")
    cluster.events.clear()
    follow.need("user", [older, newer])
    refused = await until(lambda: isinstance(s := follow.seen(newer), Lacking) and s)
    assert refused.reason == "ResourceTooLarge"
    await until(lambda: isinstance(follow.seen(older), Found))
    cluster.change(CONFIG_MAP, "ns", "a", data={"go": "short"})
    await until(lambda: isinstance(follow.seen(newer), Found))
    assert isinstance(follow.seen(older), Found)
    follow.need("user", ())
    assert not follow._allowance._by_namespace, "what is not followed is not counted"


async def test_a_watch_that_has_to_give_way_forgets_at_once_and_begins_anew(
    cluster: Cluster, follow: Following, heard: Heard
) -> None:
    await config_map(cluster, "a", go="x")
    cluster.events.clear()
    follow.need("user", [MAPS])
    await until(lambda: isinstance(follow.seen(MAPS), Found))
    watching, _ = follow._followers[MAPS]
    watching._give_way(too_large("it is too much"))
    assert isinstance(follow.seen(MAPS), Lacking)
    assert heard[-1] == ("user", 0)
    await config_map(cluster, "b", go="y")
    found = await until(lambda: isinstance(s := follow.seen(MAPS), Found) and s)
    assert len(found.objects) == 2
    assert cluster.calls.count("list ConfigMap") == 2


async def test_one_list_at_a_time_of_each_namespace() -> None:
    lists, running, most = Lists(), Counter[str](), Counter[str]()

    async def listing(namespace: str) -> None:
        async with lists.turn(namespace):
            running[namespace] += 1
            most[namespace] = max(most[namespace], running[namespace])
            most["all"] = max(most["all"], running.total())
            await asyncio.sleep(0)
            running[namespace] -= 1

    await asyncio.gather(*(listing(f"n{n % 9}") for n in range(90)))
    assert most == {"all": follower.LISTS_AT_ONCE, **{f"n{n}": 1 for n in range(9)}}


async def test_a_fault_of_ours_ends_nothing_and_quotes_nothing(
    cluster: Cluster, follow: Following, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.refuse = ValueError("hunter2")
    follow.need("user", [MAPS])
    await until(lambda: "ValueError" in caplog.text)
    cluster.refuse = None
    await until(lambda: isinstance(follow.seen(MAPS), Found))
    assert "hunter2" not in caplog.text


async def test_a_namespace_has_so_many_watches_and_the_next_waits_for_room(
    follow: Following, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "NAMESPACE_WATCHES", 2)
    wants = [Wanted("ns", "reader", "v1", "ConfigMap", labels=f"n={n}") for n in range(3)]
    for n, want in enumerate(wants):
        follow.need(n, [want])
    refused = follow.seen(wants[2])
    assert isinstance(refused, Lacking)
    assert refused.reason == "TooManyWatches"
    elsewhere = Wanted("other", "reader", "v1", "ConfigMap")
    follow.need("elsewhere", [elsewhere])
    assert elsewhere in follow
    follow.need(0, ())
    assert wants[2] in follow
    monkeypatch.setattr(following, "ALL_WATCHES", 3)
    heard.clear()
    third = Wanted("third", "reader", "v1", "ConfigMap")
    follow.need("third", [third])
    assert third in follow, "the namespace that has most gives its newest"
    assert (wants[1] in follow, wants[2] in follow, heard) == (True, False, [(2, 0)])
    fourth = Wanted("fourth", "reader", "v1", "ConfigMap")
    follow.need("fourth", [fourth])
    assert fourth not in follow, "all have one"
    follow.need("third", ())
    assert len(follow) == 3
    assert wants[2] in follow or fourth in follow


async def test_a_kind_is_asked_for_again_only_after_a_while() -> None:
    cluster, now = Cluster(), 0.0
    discovery = Discovery(cluster.client, steady=lambda: now)
    found = await discovery.find("v1", "ConfigMap")
    assert found is not None
    assert found.kind == CONFIG_MAP
    assert found.watchable
    assert await discovery.find("v1", "Late") is None
    cluster.offered.append({"name": "lates", "kind": "Late", "namespaced": True, "verbs": ["list", "watch"]})
    assert await discovery.find("v1", "Late") is None
    assert cluster.calls.count("resources v1") == 1
    now += 6
    assert await discovery.find("v1", "Late") is not None
    now += 299
    await discovery.find("v1", "Late")
    assert cluster.calls.count("resources v1") == 2
    discovery.forget("v1")
    await discovery.find("v1", "Late")
    assert cluster.calls.count("resources v1") == 3


@pytest.mark.parametrize(
    ("want", "kind", "namespace", "parts"),
    [
        (
            Wanted("shop", "reader", "v1", "ConfigMap", name="queue"),
            CONFIG_MAP,
            "shop",
            (
                'ServiceAccount shop/reader may not watch configmaps queue (apiGroup "") in namespace shop;',
                "kubectl create role reader-reads-configmaps -n shop --verb=list,watch --resource=configmaps"
                " --resource-name=queue && kubectl create rolebinding reader-reads-configmaps -n shop"
                " --role=reader-reads-configmaps --serviceaccount=shop:reader",
            ),
        ),
        (
            Wanted("shop", "reader", "apps/v1", "Deployment", where="web"),
            DEPLOYMENT,
            "web",
            (
                'may not watch deployments (apiGroup "apps") in namespace web',
                "--resource=deployments.apps &&",
                "-n web",
            ),
        ),
        (
            Wanted("shop", "reader", "v1", "Node"),
            NODE,
            None,
            ("in the cluster", "create clusterrole reader-reads-nodes --verb=list,watch --resource=nodes &&"),
        ),
    ],
)
def test_what_an_account_lacks_is_told_with_the_line_that_grants_it(
    want: Wanted, kind: Kind, namespace: str | None, parts: tuple[str, ...]
) -> None:
    found = forbidden(want, kind, namespace, "watch").lacking
    assert found.reason == wanted.FORBIDDEN
    for part in parts:
        assert part in found.message


def test_a_projection_keeps_what_is_named_and_what_is_not_an_object_on_the_way() -> None:
    obj = {"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {"a": {"b": 1, "c": 2}, "d": [1]}, "status": "odd"}
    project = Projection({("metadata", "labels"), ("spec", "a", "b"), ("spec", "none"), ("status", "phase")})
    kept, size = project(obj)
    assert kept == {"metadata": {"labels": {"x": "y"}}, "spec": {"a": {"b": 1}}, "status": "odd"}
    assert size > 0
    assert not project.metadata_only
    assert Projection({("metadata", "labels")}).metadata_only
    assert Projection(()).metadata_only
    assert Projection(())(obj)[0] == {}


@pytest.mark.parametrize(
    "value",
    [
        {"labels": {f"k{n}": f"v{n}" for n in range(20)}},
        {"list": [{} for _ in range(100)]},
        {"text": "x" * 1000},
        {"text": "x" * 1000 + "\N{GRINNING FACE}", "\N{GRINNING FACE}" * 50: None},
        {"numbers": [n + 0.5 for n in range(100)]},
        [{"type": "Ready", "status": "True"} for _ in range(50)],
    ],
)
def test_what_is_counted_is_no_less_than_the_memory_that_it_takes(value: Any) -> None:
    def memory(value: Any) -> int:
        inner: list[Any] = list(value) if isinstance(value, list) else []
        if isinstance(value, dict):
            inner = [*value.keys(), *value.values()]
        return getsizeof(value) + sum(map(memory, inner))

    taken = memory(json.loads(json.dumps(value)))
    assert taken <= size_of(value) <= 3 * taken


def test_a_whole_object_is_kept_without_the_books_of_the_api_server() -> None:
    last = "kubectl.kubernetes.io/last-applied-configuration"
    meta = {"name": "a", "managedFields": [1], "annotations": {last: "{}", "mine": "x"}}
    whole = Projection({()})
    assert whole({"metadata": meta, "data": {}})[0] == {
        "metadata": {"name": "a", "annotations": {"mine": "x"}},
        "data": {},
    }
    deep: Any = "x"
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    with pytest.raises(TooDeep):
        whole({"metadata": meta, "spec": deep})
