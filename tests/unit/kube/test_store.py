"""The cache: newest version per uid, whatever the order of arrival."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from moorage.kube.errors import InvalidObject
from moorage.kube.kinds import NAMESPACE, SECRET, VIRTUAL_SERVER
from moorage.kube.store import Ingested, Obj, Store, Table, as_is, metadata_of


def obj(uid: str, version: int, name: str = "a", **meta: Any) -> Obj:
    return {"metadata": {"uid": uid, "resourceVersion": str(version), "namespace": "ns", "name": name, **meta}}


def by_label(o: Obj) -> list[str]:
    label = o["metadata"].get("labels", {}).get("group")
    return [label] if label else []


@pytest.fixture
def table() -> Table[Obj]:
    return Table(VIRTUAL_SERVER, as_is, indexes={"group": by_label})


def test_the_newest_version_wins_in_any_order(table: Table[Obj]) -> None:
    assert table.ingest(obj("u", 10)) is Ingested.ADDED
    assert table.ingest(obj("u", 9)) is Ingested.STALE
    assert table.ingest(obj("u", 100)) is Ingested.UPDATED, "versions are numbers, not text"
    held = table.get("ns", "a")
    assert held is not None
    assert held["metadata"]["resourceVersion"] == "100"


def test_an_equal_version_is_an_echo_and_tells_nobody(table: Table[Obj]) -> None:
    changes: list[Any] = []
    table.subscribe(lambda old, new: changes.append((old, new)))
    table.ingest(obj("u", 10))
    assert table.ingest(obj("u", 10)) is Ingested.ECHO
    assert len(changes) == 1


def test_a_deleted_event_before_the_answer_of_our_last_write(table: Table[Obj]) -> None:
    table.ingest(obj("u", 10))
    assert table.ingest(obj("u", 12), deleted=True) is Ingested.REMOVED
    assert table.ingest(obj("u", 11)) is Ingested.STALE
    assert table.get("ns", "a") is None


def test_the_answer_to_the_removal_of_the_last_finalizer_means_gone(table: Table[Obj]) -> None:
    deleting = obj("u", 10, deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["f"])
    table.ingest(deleting)
    assert table.ingest(obj("u", 10, deletionTimestamp="2026-01-01T00:00:00Z")) is Ingested.REMOVED
    assert len(table) == 0
    assert table.ingest(deleting) is Ingested.STALE


def test_a_namespace_without_metadata_finalizers_is_still_there() -> None:
    table = Table(NAMESPACE, as_is)
    assert table.ingest(obj("u", 10, deletionTimestamp="2026-01-01T00:00:00Z")) is Ingested.ADDED


def test_a_successor_of_the_same_name_replaces_its_predecessor(table: Table[Obj]) -> None:
    changes: list[tuple[str | None, str | None]] = []
    table.subscribe(
        lambda old, new: changes.append(
            (old and old["metadata"]["uid"], new and new["metadata"]["uid"])  # type: ignore[arg-type]
        )
    )
    table.ingest(obj("old", 10))
    assert table.ingest(obj("new", 20)) is Ingested.ADDED
    assert changes == [(None, "old"), ("old", None), (None, "new")]
    assert table.ingest(obj("old", 15)) is Ingested.STALE
    assert table.ingest(obj("old", 16), deleted=True) is Ingested.STALE, "the late DELETED is not the successor's"
    held = table.get("ns", "a")
    assert held is not None
    assert held["metadata"]["uid"] == "new"


def test_an_object_that_leaves_a_selector_may_come_back(table: Table[Obj]) -> None:
    table.ingest(obj("u", 10))
    table.ingest(obj("u", 11), deleted=True)  # so a watch with a selector reports a change of labels
    assert table.ingest(obj("u", 12)) is Ingested.ADDED


def test_removed_is_final(table: Table[Obj]) -> None:
    table.ingest(obj("u", 10))
    assert table.removed("u")
    assert not table.removed("u")
    assert table.ingest(obj("u", 99)) is Ingested.STALE


def test_tombstones_are_bounded() -> None:
    table = Table(VIRTUAL_SERVER, as_is, tombstones=2)
    for uid in ("a", "b", "c"):
        table.removed(uid)
    assert table.ingest(obj("a", 1)) is Ingested.ADDED
    assert table.ingest(obj("c", 1, name="c")) is Ingested.STALE


def test_indexes_follow_changes_and_are_sorted(table: Table[Obj]) -> None:
    table.ingest(obj("1", 1, "b", labels={"group": "x"}))
    table.ingest(obj("2", 2, "a", labels={"group": "x"}))
    assert [o["metadata"]["name"] for o in table.by_index("group", "x")] == ["a", "b"]
    table.ingest(obj("2", 3, "a", labels={"group": "y"}))
    assert [o["metadata"]["name"] for o in table.by_index("group", "x")] == ["b"]
    table.removed("1")
    assert table.by_index("group", "x") == []
    assert set(table.index_values("group")) == {"y"}
    with pytest.raises(KeyError):
        table.by_index("unknown", "x")


def test_a_sweep_drops_what_is_gone_and_names_what_is_newer(table: Table[Obj]) -> None:
    table.ingest(obj("gone", 1, "gone"))
    table.ingest(obj("same", 2, "same"))
    table.ingest(obj("old", 3, "old"))
    table.ingest(obj("young", 99, "young"))
    sweep = table.sweep([obj("same", 2, "same"), obj("old", 50, "old"), obj("unknown", 51, "unknown")], "60")
    assert sweep.gone == (("ns", "gone"),)
    assert sweep.newer == (("ns", "old"), ("ns", "unknown"))
    assert table.get("ns", "young") is not None, "created after the list was taken"


def test_a_sweep_among_some_leaves_the_others(table: Table[Obj]) -> None:
    table.ingest(obj("mine", 1, "mine"))
    table.ingest(obj("theirs", 2, "theirs"))
    assert table.sweep([], "10", among={"mine"}).gone == (("ns", "mine"),)
    assert table.by_uid("theirs") is not None


def test_what_nobody_reads_is_not_kept() -> None:
    table = Table(SECRET, as_is, trim=metadata_of)
    original = obj(
        "u",
        1,
        managedFields=[{"manager": "x"}],
        annotations={"kubectl.kubernetes.io/last-applied-configuration": "{}", "keep": "1"},
    ) | {"data": {"password": "cGFzcw=="}}
    table.ingest(original)
    assert table.get("ns", "a") == obj("u", 1, annotations={"keep": "1"})
    assert "managedFields" in original["metadata"], "the caller's object is not changed"


class _Model(BaseModel):
    metadata: dict[str, str]


def test_parsed_is_cached_per_version_and_bounded() -> None:
    calls: list[str] = []

    def parse(o: Obj) -> _Model:
        calls.append(o["metadata"]["name"])
        return _Model.model_validate(o)

    table = Table(VIRTUAL_SERVER, parse, parsed_limit=1)
    table.ingest(obj("1", 1, "a"))
    table.ingest(obj("2", 2, "b"))
    assert table.parsed("ns", "a") is table.parsed("ns", "a")
    table.ingest(obj("1", 3, "a"))
    again = table.parsed("ns", "a")
    assert again is not None
    assert again.metadata["resourceVersion"] == "3"
    table.parsed("ns", "b")
    table.parsed("ns", "a")
    assert calls == ["a", "a", "b", "a"]
    assert table.parsed("ns", "none") is None


def test_an_object_that_does_not_fit_is_named_without_its_values() -> None:
    class Strict(BaseModel):
        spec: int

    table = Table(VIRTUAL_SERVER, Strict.model_validate)
    table.ingest(obj("1", 1) | {"spec": "hunter2"})
    with pytest.raises(InvalidObject, match=r"VirtualServer ns/a: spec: ") as caught:
        table.parsed("ns", "a")
    assert "hunter2" not in str(caught.value)


def test_a_failing_subscriber_does_not_keep_the_change_from_others(
    table: Table[Obj], caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    def broken(_old: Any, _new: Any) -> None:
        raise RuntimeError("broken")

    table.subscribe(broken)
    table.subscribe(lambda old, new: seen.append(new))
    table.ingest(obj("u", 1))
    assert len(seen) == 1
    assert "a subscriber of virtualservers failed" in caplog.text


def test_store_registers_a_kind_once() -> None:
    store = Store()
    table = store.register(VIRTUAL_SERVER, as_is)
    assert store.table(VIRTUAL_SERVER) is table
    assert VIRTUAL_SERVER in store
    assert SECRET not in store
    assert store.kinds() == (VIRTUAL_SERVER,)
    assert store.ingest(VIRTUAL_SERVER, obj("u", 1)) is Ingested.ADDED
    with pytest.raises(ValueError, match="registered already"):
        store.register(VIRTUAL_SERVER, as_is)


# A small API server: operations make versions; events arrive in order, answers and lists whenever.


class History:
    """What an API server did, as messages that may be delivered in any allowed order."""

    def __init__(self) -> None:
        self.version = 0
        self.uids = 0
        self.live: dict[str, Obj] = {}
        self.events: list[tuple[Obj, bool]] = []
        self.answers: list[Obj] = []
        self.lists: list[tuple[list[Obj], int]] = []

    def _next(self) -> int:
        self.version += 1
        return self.version

    def write(self, name: str) -> None:
        held = self.live.get(name)
        self.uids += held is None
        uid = held["metadata"]["uid"] if held else f"u{self.uids}"
        version = self._next()
        new = obj(uid, version, name, labels={"group": f"g{version % 3}"})
        self.live[name] = new
        self.events.append((new, False))
        self.answers.append(new)

    def delete(self, name: str) -> None:
        held = self.live.pop(name, None)
        if held is not None:
            meta = {**held["metadata"], "resourceVersion": str(self._next())}
            self.events.append(({"metadata": meta}, True))

    def finalize(self, name: str) -> None:
        """Deletion with a finalizer, which we then remove: the answer has an unchanged version."""
        held = self.live.pop(name, None)
        if held is not None:
            stamp = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
            marked = {"metadata": {**held["metadata"], **stamp, "resourceVersion": str(self._next())}}
            self.events.append(({"metadata": {**marked["metadata"], "finalizers": ["f"]}}, False))
            self.answers.append(marked)
            self.events.append(({"metadata": {**marked["metadata"], "resourceVersion": str(self._next())}}, True))

    def snapshot(self) -> None:
        self.lists.append((list(self.live.values()), self.version))


operations = st.lists(
    st.tuples(st.sampled_from(["write", "write", "delete", "finalize", "snapshot"]), st.sampled_from("abc")),
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(operations, st.randoms(use_true_random=False))
def test_whatever_the_order_the_store_ends_equal_to_the_api_server(script: list[tuple[str, str]], rng: Any) -> None:
    history = History()
    for action, name in script:
        if action == "snapshot":
            history.snapshot()
        else:
            getattr(history, action)(name)
    table = Table(VIRTUAL_SERVER, as_is, indexes={"group": by_label})
    mirror: dict[str, Obj] = {}

    def follow(old: Obj | None, new: Obj | None) -> None:
        if old is not None:
            assert mirror.pop(old["metadata"]["uid"]) is old
        if new is not None:
            mirror[new["metadata"]["uid"]] = new

    table.subscribe(follow)
    events = list(history.events)
    others: list[Any] = [*history.answers, *history.lists]
    rng.shuffle(others)
    while events or others:
        if events and (not others or rng.random() < 0.5):
            event, deleted = events.pop(0)
            table.ingest(event, deleted=deleted)
        else:
            other = others.pop()
            if isinstance(other, tuple):
                table.sweep(other[0], str(other[1]))
            else:
                table.ingest(other)
    assert {o["metadata"]["name"]: o for o in table} == history.live
    assert {o["metadata"]["name"]: o for o in mirror.values()} == history.live
    for group in ("g0", "g1", "g2"):
        expected = sorted(n for n, o in history.live.items() if by_label(o) == [group])
        assert [o["metadata"]["name"] for o in table.by_index("group", group)] == expected


@settings(max_examples=200, deadline=None)
@given(operations, st.data())
def test_lost_events_are_made_good_by_a_sweep(script: list[tuple[str, str]], data: st.DataObject) -> None:
    history = History()
    for action, name in script:
        if action != "snapshot":
            getattr(history, action)(name)
    table = Table(VIRTUAL_SERVER, as_is)
    for event, deleted in history.events:
        if data.draw(st.booleans()):
            table.ingest(event, deleted=deleted)
    listing = list(history.live.values())
    sweep = table.sweep(listing, str(history.version))
    for _, name in sweep.newer:
        table.ingest(history.live[name])
    assert {o["metadata"]["name"]: o for o in table} == history.live
