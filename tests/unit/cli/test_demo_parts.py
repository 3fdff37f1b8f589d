"""The demo's pure parts: what it calls news, and that its checks fail where they must."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import quickstart

from moorage.api.hostd import LedgerEntry, LedgerEvent
from moorage.api.placement import Placement
from moorage.api.virtualserver import VirtualServer
from moorage.cli.demo import checks
from moorage.cli.demo.news import news
from moorage.cli.demo.pages import View, view
from moorage.cli.demo.timeline import Moment, Timeline, spans
from moorage.cli.errors import CliError

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
WAITING = View(13, 1.0, ("database_address",), None, (), "waiting for database_address")
SHOWING = View(13, 1.0, (), "127.0.0.2:1", ("Albatross",), "Albatross 1")


def placement(**changes: Any) -> Placement:
    return Placement.from_dict({**quickstart.GROUP["status"]["placement"], **changes})


def entry(seconds: float, server: str, event: LedgerEvent = LedgerEvent.CREATED) -> LedgerEntry:
    time = NOON + timedelta(seconds=seconds)
    return LedgerEntry(time=time, event=event, id=f"i-{server}", key="m-1", tags={"moorage-server": server})


def test_a_right_placement_is_explained_with_those_not_taken() -> None:
    said = checks.chosen(placement(), "bollard")
    assert "best of 2 feasible" in said
    assert "anchor is out: InsufficientCapacity" in said


def test_servers_asked_for_at_once() -> None:
    ledger = [entry(0, "a"), entry(0.5, "b")]
    assert "within 0.50 s" in checks.parallel(ledger, 2, NOON + timedelta(seconds=1))


def test_what_holds_is_said() -> None:
    assert "before database_address was known" in checks.incomplete_first(
        {"w": [WAITING, SHOWING]}, ["w"], "database_address"
    )
    assert "1 rows" in checks.complete({"w": SHOWING}, ["w"], "127.0.0.2:1")
    assert "process 13 of w" in checks.not_restarted({"w": WAITING}, {"w": SHOWING})
    assert "2 servers created on b" in checks.exactly_once({"a": [], "b": [entry(0, "x"), entry(0, "y")]}, "b", 2)
    assert "gone" in checks.all_gone([entry(0, "x"), entry(1, "x", LedgerEvent.DELETED)])
    assert "none of events" in checks.secret("canary", {"events": "nothing"})


def _replaced(uid: str, provider: str, address: str) -> str:
    before, after = quickstart.servers()[0], deepcopy(quickstart.DATABASE)
    after["metadata"]["uid"], after["status"]["providerID"] = uid, provider
    return checks.replaced(before, VirtualServer.from_dict(after), "127.2.0.1:4711", address)


def test_a_replaced_server_is_another_one() -> None:
    assert "at b instead of 127.2.0.1:4711" in _replaced("v-9", "m-9", "b")


FAILURES: dict[str, Callable[[], str]] = {
    "placed on bollard; by its policy it belongs on capstan": lambda: checks.chosen(placement(), "capstan"),
    "does not say why": lambda: checks.chosen(placement(message=""), "bollard"),
    "not the feasible candidate": lambda: checks.chosen(
        placement(
            candidates=[
                {"service": "bollard", "feasible": True, "score": 1, "reasons": ["x"]},
                {"service": "capstan", "feasible": True, "score": 2, "reasons": ["x"]},
            ]
        ),
        "bollard",
    ),
    "created 1 servers instead of 2": lambda: checks.parallel([entry(0, "a")], 2, NOON),
    "only after another one ran": lambda: checks.parallel([entry(0, "a"), entry(9, "b")], 2, NOON),
    "was not seen with an incomplete": lambda: checks.incomplete_first({"w": [SHOWING]}, ["w"], "database_address"),
    "does not say that it waits": lambda: checks.incomplete_first(
        {"w": [View(1, 1.0, ("database_address",), None, (), "hello")]}, ["w"], "database_address"
    ),
    "does not show the rows": lambda: checks.complete({"w": SHOWING}, ["w"], "elsewhere"),
    "was restarted": lambda: checks.not_restarted({"w": SHOWING}, {"w": View(13, 2.0, (), "a", ("b",))}),
    "still the same server": lambda: _replaced("v-1", "m-9", "b"),
    "has the old address": lambda: _replaced("v-9", "m-9", "127.2.0.1:4711"),
    "created on a too": lambda: checks.exactly_once({"a": [entry(0, "z")], "b": [entry(0, "x")]}, "b", 1),
    "instead of 2: x": lambda: checks.exactly_once({"b": [entry(0, "x"), entry(0, "x")]}, "b", 2),
    "left behind: i-x": lambda: checks.all_gone([entry(0, "x")]),
    "read in events": lambda: checks.secret("canary", {"events": "a canary sings"}),
}


@pytest.mark.parametrize("says", FAILURES)
def test_what_does_not_hold_is_an_error(says: str) -> None:
    with pytest.raises(CliError, match=says):
        FAILURES[says]()


def test_a_failed_check_does_not_tell_the_secret() -> None:
    with pytest.raises(CliError) as error:
        checks.secret("canary", {"events": "a canary sings"})
    assert "canary" not in str(error.value)


def test_news_of_a_server_from_its_creation_to_its_end() -> None:
    new = {"metadata": {"name": "w", "uid": "1"}, "status": {"observedGeneration": -1}}
    known = {**new, "status": {"providerID": "i-1"}}
    full = {**new, "status": deepcopy(quickstart.WEB["status"])}
    full["status"]["providerID"] = "i-1"
    full["status"]["agent"] |= {"joinedAt": quickstart.THEN, "acknowledgedRevision": 2}
    assert news("VirtualServer", None, new) == ["to be created"]
    assert news("VirtualServer", new, known) == ["is i-1 at the service"]
    assert news("VirtualServer", known, full) == [
        "item database_address is Pending",
        "its agent has joined",
        "configuration 2 in force, without database_address",
    ]
    assert news("VirtualServer", full, full) == []
    assert news("VirtualServer", full, None) == ["gone"]


def test_news_of_items_outputs_and_conditions() -> None:
    old, new = deepcopy(quickstart.DATABASE), deepcopy(quickstart.DATABASE)
    new["status"]["agent"]["outputs"][0]["value"] = "b"
    new["status"]["conditions"][0]["status"] = "False"
    new["metadata"]["deletionTimestamp"] = quickstart.THEN
    assert news("VirtualServer", old, new) == [
        "being deleted",
        "publishes address = b",
        "no longer Ready: ready",
    ]


def test_news_of_a_group() -> None:
    group = quickstart.GROUP
    assert news("ServerGroup", None, group) == [
        "policy Met: affordable is met",
        "placed on bollard: the best of 2: price 100, capacity 38",
        "all servers run: configuration begins to flow",
    ]
    assert news("ServerGroup", group, None) == ["gone"]
    assert news("ConfigMap", None, group) == []


def test_a_page_is_read_as_a_visitor_sees_it() -> None:
    facts = {
        "pid": 13,
        "started": 1.5,
        "waitingFor": [{"item": "a", "waitingFor": "b"}],
        "database": None,
        "rows": [],
    }
    seen = view(facts, "<h1>web</h1><ul><li>a: b</ul>")
    assert seen == View(13, 1.5, ("a",), None, (), "web a: b")
    assert seen.describe() == "page says that it waits for a"
    assert seen.whole
    assert not view(facts, "<h1>web</h1>").whole
    assert SHOWING.describe() == "page shows 1 rows from the database at 127.0.0.2:1"
    assert View(1, 1.0, (), None, ()).describe() == "page shows no rows"


def test_times_are_measured_from_the_first_moment() -> None:
    now = iter([100.0, 100.5, 103.0])
    heard: list[Moment] = []
    timeline = Timeline(clock=lambda: next(now), listener=heard.append)
    first, second, third = (timeline.mark("a", str(number)) for number in range(3))
    assert [moment.at for moment in timeline.moments] == [0.0, 0.5, 3.0]
    assert heard == timeline.moments
    assert [span.seconds for span in spans([("x", first, second), ("y", second, third)])] == [0.5, 2.5]
