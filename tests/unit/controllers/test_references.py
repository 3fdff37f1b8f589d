"""What a group refers to and cannot use: who has to do something is told, of every reference at once, and once."""

from __future__ import annotations

from typing import Any

from tests.support.controller_bench import Bench, read_policy

from moorage.api.servergroup import ServerGroup
from moorage.controllers.edges import Edges
from moorage.controllers.group import GroupController
from moorage.controllers.group_world import GroupObserver
from moorage.core.obstacles import APPEARS_WITHIN
from moorage.kube.kinds import HOSTING_POLICY, HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER_CONFIG

GRACE = APPEARS_WITHIN.total_seconds()
ALWAYS = {"schedule": {"from": "2000-01-01T00:00:00Z"}}
BAD_CRON = {"schedule": {"cron": "61 * * * *", "duration": "1h"}}
BAD_ZONE = {"schedule": {"cron": "0 8 * * *", "duration": "1h", "timeZone": "Mars/Olympus"}}


async def look(bench: Bench, *, restarted: bool = False) -> dict[str, tuple[str, str, str]]:
    """Let the group be reconciled, by the same process or its successor; status, reason, message of its conditions."""
    if bench.observer is None or restarted:
        bench.observer = GroupObserver(bench.context, bench.tables)
    observer = bench.observer
    await GroupController(bench.context, bench.tables, observer, Edges(bench.tables)).reconcile(("ns", "g"))
    await bench.context.writer.flush()
    return conditions(bench, SERVER_GROUP, "g")


def conditions(bench: Bench, kind: Any, name: str) -> dict[str, tuple[str, str, str]]:
    found = bench.tables.groups if kind is SERVER_GROUP else bench.tables.policies
    obj = found.get("ns", name)
    assert obj is not None
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in obj["status"]["conditions"]}


async def policy(bench: Bench, name: str = "p", **when: dict[str, Any]) -> None:
    """A policy of all these conditions, read."""
    spec = {"when": {"all": [{"name": n, **c} for n, c in when.items()]}}
    await bench.put(HOSTING_POLICY, name, spec)
    await read_policy(bench, name)


def warnings(bench: Bench) -> list[tuple[str, str]]:
    """Reasons and messages of the events of type Warning so far."""
    return [(reason, message) for _, type_, reason, message in bench.context.events._series if type_ == "Warning"]


async def test_what_does_not_exist_is_waited_for_and_then_asked_of_a_person(bench: Bench) -> None:
    await bench.put(HOSTING_POLICY, "polcy", {"when": {"all": [{"name": "a", **ALWAYS}]}})
    await bench.put(VIRTUAL_SERVER_CONFIG, "database", {"images": [{"image": "i"}]})
    await bench.group("g", ("m", "databse"), ("n", "c"), policy="policy")
    found = await look(bench)
    assert "Stalled" not in found
    assert found["Reconciling"][:2] == ("True", "ConfigNotFound")
    assert warnings(bench) == []

    bench.context.clock.advance(GRACE)  # type: ignore[attr-defined]
    found = await look(bench)
    assert "Reconciling" not in found
    assert found["Stalled"][:2] == ("True", "ConfigNotFound")
    message = found["Stalled"][2]
    assert message == found["Ready"][2]
    assert "there is no VirtualServerConfig databse (did you mean database?); create it or change configRef" in message
    assert "member n: there is no VirtualServerConfig c;" in message
    assert "there is no HostingPolicy 'policy' (did you mean polcy?); create it or change policyRef" in message
    assert warnings(bench) == [("ConfigNotFound", message)]
    await look(bench)
    assert (await look(bench, restarted=True))["Stalled"] == found["Stalled"]
    assert len(warnings(bench)) == 1


async def test_what_appears_in_time_is_never_stalled(bench: Bench) -> None:
    await bench.group()
    await look(bench)
    bench.context.clock.advance(GRACE / 2)  # type: ignore[attr-defined]
    await bench.config()
    await policy(bench, a=ALWAYS)
    found = await look(bench)
    assert found["Ready"][1] == "NoFeasibleService"
    bench.context.clock.advance(GRACE)  # type: ignore[attr-defined]
    assert "Stalled" not in await look(bench)
    assert warnings(bench) == []


async def test_a_policy_that_was_there_is_waited_for_as_long(bench: Bench) -> None:
    """As when it is replaced: deleted, and made anew."""
    await bench.config()
    await policy(bench, a=ALWAYS)
    await bench.group()
    await look(bench)
    bench.context.clock.advance(GRACE * 2)  # type: ignore[attr-defined]
    gone = bench.api.remove(HOSTING_POLICY, "ns", "p")
    bench.context.store.ingest(HOSTING_POLICY, gone, deleted=True)
    assert "Stalled" not in await look(bench)
    # It was not ready before, and is not now: how long it is not says nothing.
    assert "Stalled" not in await look(bench)


async def test_every_wrong_condition_of_a_policy_is_told_and_its_groups_are_stalled(bench: Bench) -> None:
    await policy(bench, hours=BAD_CRON, mars=BAD_ZONE, fine=ALWAYS)
    found = conditions(bench, HOSTING_POLICY, "p")
    assert found["Stalled"][:2] == ("True", "InvalidSchedule")
    for phrase in ("condition hours: the cron line '61 * * * *' is not valid", "condition mars: there is no time zone"):
        assert phrase in found["Ready"][2]
        assert phrase in found["Stalled"][2]

    await bench.config()
    await bench.group()
    group = await look(bench)
    assert group["Stalled"] == ("True", "PolicyInvalid", f"HostingPolicy p can never be met: {found['Stalled'][2]}")
    assert group["PolicyMet"][:2] == ("Unknown", "PolicyUnknown")
    assert [reason for reason, _ in warnings(bench)] == ["PolicyInvalid"]


async def test_a_wrong_policy_does_not_stall_what_it_allowed_before(bench: Bench) -> None:
    await policy(bench, hours=BAD_CRON)
    await bench.config()
    placement = {"number": 1, "service": "s", "time": "2026-01-01T00:00:00Z"}
    member = {"name": "m", "config": "c", "desired": 1}
    allowed = {"observedGeneration": 1, "placement": placement, "members": [member]}
    obj = await bench.group(status=allowed)
    observer = GroupObserver(bench.context, bench.tables)
    assert list(observer.observe(obj, bench.context.clock.now()).problems) == []

    grown = {**obj, "spec": {**obj["spec"], "members": [{**obj["spec"]["members"][0], "replicas": 2}]}}
    obj = bench.api.change(SERVER_GROUP, "ns", "g", spec=grown["spec"])
    (problem,) = observer.observe(obj, bench.context.clock.now()).problems
    assert problem.reason == "PolicyInvalid"


async def test_a_policy_that_cannot_be_read_is_not_called_absent(bench: Bench) -> None:
    await bench.put(HOSTING_POLICY, "p", {"when": {"all": "always"}})
    await bench.config()
    await bench.group()
    found = await look(bench)
    assert found["Stalled"][:2] == ("True", "PolicyInvalid")
    assert "exists but cannot be read: HostingPolicy ns/p: spec.when.all" in found["Stalled"][2]
    assert found["PolicyMet"][:2] == ("Unknown", "PolicyInvalid")


async def test_services_that_cannot_take_a_group_are_in_its_status(bench: Bench) -> None:
    await bench.config()
    await policy(bench, a=ALWAYS)
    spec = {"type": "local", "endpoint": "http://127.0.0.1:1"}
    available = [{"type": "Available", "status": "True", "reason": "Available", "message": ""}]
    told = [{**c, "lastTransitionTime": "2026-01-01T00:00:00Z"} for c in available]
    await bench.put(HOSTING_SERVICE, "small", spec, namespace=None, status={"conditions": told})
    await bench.group()
    found = await look(bench)
    assert found["Placed"][:2] == ("False", "NoFeasibleService")
    obj = bench.tables.groups.get("ns", "g")
    assert obj is not None
    (candidate,) = ServerGroup.from_dict(obj).status.candidates
    assert (candidate.service, candidate.feasible) == ("small", False)
    assert candidate.reasons[0].startswith("NoOffering: ")


async def test_what_is_being_deleted_is_told_as_that(bench: Bench) -> None:
    leaving = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["somebody/else"]}
    await bench.put(HOSTING_POLICY, "p", {"when": {"all": [{"name": "a", **ALWAYS}]}}, metadata=leaving)
    await bench.put(VIRTUAL_SERVER_CONFIG, "c", {"images": [{"image": "i"}]}, metadata=leaving)
    await bench.group()
    told = (await look(bench))["Ready"][2]
    assert "HostingPolicy 'p' is being deleted" in told
    assert "VirtualServerConfig c is being deleted" in told
    assert "there is no" not in told


async def test_a_group_that_cannot_grow_because_its_service_goes_says_so(bench: Bench) -> None:
    leaving = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["moorage.dev/service"]}
    service = await bench.put(
        HOSTING_SERVICE, "s", {"type": "local", "endpoint": "http://h"}, namespace=None, metadata=leaving
    )
    await policy(bench, a=ALWAYS)
    await bench.config()
    uid = service["metadata"]["uid"]
    there = {"number": 1, "service": "s", "serviceUID": uid, "time": "2026-01-01T00:00:00Z"}
    await bench.group(status={"placement": there, "placements": 1, "observedGeneration": 1})
    told = (await look(bench))["Ready"]
    assert told[1] == "ServiceDeleting"
    assert "HostingService s is being deleted" in told[2]


async def test_a_new_service_of_the_same_name_is_not_the_one_that_a_group_was_placed_on(bench: Bench) -> None:
    await bench.put(HOSTING_SERVICE, "s", {"type": "local", "endpoint": "http://h"}, namespace=None)
    await policy(bench, a=ALWAYS)
    await bench.config()
    there = {"number": 1, "service": "s", "serviceUID": "of-the-lost-one", "time": "2026-01-01T00:00:00Z"}
    await bench.group(status={"placement": there, "placements": 1, "observedGeneration": 1})
    told = (await look(bench))["Ready"]
    assert told[1] == "ServiceNotFound"
    assert "HostingService s is another one (another uid)" in told[2]
