"""What `moorage plan` foresees, from caches alone: the controllers' decisions, written nowhere."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console
from tests.support.harbour import ALWAYS, IMAGE, NEVER, SINCE, Harbour, Obj, condition

from moorage.api.names import ANNOTATION_MAX_PRICE
from moorage.cli.plan.changes import Action, When
from moorage.cli.plan.gather import _read_beside
from moorage.cli.views.plan import PlanView
from moorage.kube import kinds
from moorage.kube.errors import Forbidden
from moorage.kube.store import Store

NEW = """\
group g (new)
policy p is Met
CONDITION  VALUE  SINCE  WHY
always     Met    {age}  within its schedule
looked at again when a fact changes

would be placed on a: a: cheapest of 2: 0.06/h against 0.12/h (b)
SERVICE  FEASIBLE  SCORE  PRICE  WHY
a        yes       100    100    price 0.06/h
b        yes       50     50     price 0.12/h
what would change the choice
- b would win if its price fell below 0.06/h (now 0.12/h)
- b would win if the price of a rose above 0.12/h (now 0.06/h)

MEMBER  SERVERS  IMAGE      OFFERING  EACH    ALL
m       3        debian-12  small     0.02/h  0.06/h
total   3                                     0.06/h

3 to be created
   SERVER  CHANGE  WHY
+  g-m-0   create
+  g-m-1   create
+  g-m-2   create
"""


def told(view: PlanView) -> list[tuple[Action, str, When, tuple[str, ...]]]:
    return [(c.action, c.server, c.when, c.why) for c in view.changes]


async def test_a_new_group_is_placed_priced_and_created() -> None:
    harbour = Harbour()
    await harbour.set_up()
    await harbour.group()
    view = harbour.plan(new=True)
    shown = harbour.text(view)
    age = shown.split("always     Met    ")[1].split("  ")[0]
    assert shown == NEW.replace("{age}", age)
    data = json.loads(json.dumps(view.to_dict()))
    assert (data["new"], data["placement"]["service"], data["pricePerHour"]) == (True, "a", "0.06")
    assert data["members"][0]["pricePerHour"] == "0.02"


async def test_a_group_that_may_be_scaled_goes_where_the_most_of_it_fits() -> None:
    harbour = Harbour()
    await harbour.service("a", "0.02", limits={"servers": 3})
    await harbour.service("b", "0.04", limits={"servers": 5})
    await harbour.put(kinds.HOSTING_POLICY, "p", ALWAYS)
    await harbour.put(kinds.VIRTUAL_SERVER_CONFIG, "c", dict(IMAGE))
    scaled: Obj = {"members": [{"name": "m", "configRef": {"name": "c"}}]}
    await harbour.group(**scaled, scale={"member": "m", "replicas": 2, "maxReplicas": 5})
    view = harbour.plan(new=True)
    assert (view.to_dict()["placement"]["service"], len(view.changes)) == ("b", 2)
    assert "a (0.04/h) would come first, but has room for 3 of the 5 servers" in harbour.text(view)


async def test_servers_without_an_object_do_not_make_a_plan_under_a_ceiling_unknown() -> None:
    harbour = Harbour()
    await harbour.set_up()
    await harbour.put(kinds.NAMESPACE, "ns", {}, None, metadata={"annotations": {ANNOTATION_MAX_PRICE: "1"}})
    status = {"conditions": [condition("Available")], "orphanCount": 1}
    await harbour.put(kinds.HOSTING_SERVICE, "c", {"type": "local", "endpoint": "http://x"}, None, status=status)
    await harbour.group()
    assert harbour.plan(new=True).to_dict()["pricePerHour"] == "0.06"


async def test_nothing_is_written_while_it_is_foreseen() -> None:
    harbour = Harbour()
    await harbour.set_up()
    await harbour.group()
    calls = list(harbour.bench.api.calls)
    harbour.plan(new=True)
    assert harbour.bench.api.calls == calls


async def test_an_unmet_policy_creates_nothing_and_it_says_where_the_group_would_be() -> None:
    harbour = Harbour()
    await harbour.set_up(policy=NEVER)
    await harbour.group()
    view = harbour.plan(new=True)
    assert view.changes == ()
    assert view.to_dict()["ifMet"]["service"] == "a"
    shown = harbour.text(view)
    assert "policy p is Unmet\n" in shown
    assert "not placed; if the policy were met now, it would be on a: " in shown
    assert "nothing to be done\n" in shown


@pytest.mark.parametrize(
    "condition",
    [
        {"name": "c", "approval": {}},
        {"name": "c", "vote": {"member": "m", "output": "o", "share": 50}},
        {"name": "c", "not": {"name": "d", "schedule": {"from": "2020-01-01T00:00:00Z"}}},
    ],
    ids=["an approval", "a vote", "what is not to be"],
)
async def test_where_the_group_would_be_is_told_whatever_it_waits_for(condition: Obj) -> None:
    harbour = Harbour()
    part = {"not": condition["not"]} if "not" in condition else condition
    await harbour.set_up(policy={"when": {"all": [part]}})
    await harbour.group()
    view = harbour.plan(new=True)
    assert view.to_dict()["policy"]["verdict"] != "Met"
    assert (view.to_dict()["ifMet"] or {}).get("service") == "a"


async def test_a_namespace_that_asks_for_an_approval_is_named_with_where_the_group_would_be() -> None:
    harbour = Harbour()
    await harbour.set_up()
    await harbour.namespace({"moorage.dev/require-approval": "true"})
    await harbour.group()
    view = harbour.plan(new=True)
    assert view.changes == ()
    assert view.to_dict()["policy"]["verdict"] == "Unmet"
    assert view.to_dict()["ifMet"]["service"] == "a"
    shown = harbour.text(view)
    asks = "namespace ns asks for an approval (nobody has approved it: moorage approve g -n ns)"
    assert f"policy p is Unmet\nunmet: {asks}\n" in shown
    assert "not placed; if the policy were met now, it would be on a: " in shown


async def test_without_the_approval_that_its_namespace_asks_for_a_group_does_not_grow_and_it_says_so() -> None:
    harbour = Harbour()
    await harbour.set_up()
    await harbour.namespace({"moorage.dev/require-approval": "true"})
    await harbour.group(3, running=2)
    view = harbour.plan()
    assert (view.changes, view.to_dict()["ifMet"]) == ((), None)
    shown = harbour.text(view)
    assert "unmet: namespace ns asks for an approval (" in shown
    assert "stays on a\n" in shown


async def test_who_may_not_see_the_namespace_is_told_what_is_left_out() -> None:
    class Blind:
        async def get(self, *_: Any) -> Obj:
            raise Forbidden(403, "Forbidden", "not allowed")

        async def list(self, *_: Any, **__: Any) -> Any:
            raise Forbidden(403, "Forbidden", "not allowed")

    notes: list[str] = []
    await _read_beside(cast(Any, SimpleNamespace(client=Blind(), namespace="ns")), Store(), notes)
    [note] = notes
    assert "namespace ns may not be seen" in note
    assert "to ask for no approval" in note


async def test_servers_beside_those_of_the_placement_before_have_names_of_their_own_and_the_old_ones_go() -> None:
    harbour = Harbour()
    await harbour.set_up()
    await harbour.group(1, running=1)
    group = harbour.bench.api.stored(kinds.SERVER_GROUP, "ns", "g")
    service = harbour.bench.tables.services.get(None, "b")
    assert service is not None
    there = {"number": 2, "service": "b", "serviceUID": service["metadata"]["uid"], "time": SINCE, "overlapping": True}
    status = {**group["status"], "placement": there, "placements": 2}
    changed = harbour.bench.api.change(kinds.SERVER_GROUP, "ns", "g", status=status)
    harbour.bench.context.store.ingest(kinds.SERVER_GROUP, changed)
    assert [(c.action, c.server) for c in harbour.plan().changes] == [(Action.CREATE, "g-m-0-2")]
    await harbour.succeed()
    assert [(c.action, c.server) for c in harbour.plan().changes] == [(Action.REMOVE, "g-m-0")]


async def test_servers_that_may_be_taken_back_are_priced_as_such() -> None:
    harbour = Harbour()
    await harbour.set_up(policy={**ALWAYS, "select": {"spot": "Allow", "services": {"names": ["lent"]}}})
    offering = {"name": "small", "cpu": 1, "memory": "1Gi", "pricePerHour": "0.02", "spotPricePerHour": "0.005"}
    await harbour.service("lent", "0.02", offerings=[offering])
    await harbour.group()
    shown = harbour.plan(new=True).to_dict()
    assert (shown["members"][0]["pricePerHour"], shown["pricePerHour"]) == ("0.005", "0.015")


async def test_a_group_that_is_as_it_shall_be_has_nothing_to_do() -> None:
    harbour = Harbour()
    await harbour.set_up()
    await harbour.group(2, running=2)
    view = harbour.plan()
    assert told(view) == []
    shown = harbour.text(view)
    assert "stays on a\n" in shown
    assert shown.endswith("nothing to be done\n")
    assert "(now" not in shown


async def test_growing_and_shrinking_name_the_servers_and_both_prices() -> None:
    harbour = Harbour()
    await harbour.set_up()
    await harbour.group(3, running=2)
    assert told(harbour.plan()) == [(Action.CREATE, "g-m-2", When.NOW, ())]
    assert "0.06/h (now 0.04/h)" in harbour.text(harbour.plan())
    smaller = Harbour()
    await smaller.set_up()
    await smaller.group(1, running=2)
    assert told(smaller.plan()) == [(Action.REMOVE, "g-m-1", When.NOW, ("member m: 2 -> 1 servers",))]


async def test_another_image_and_other_settings_replace_in_turn_and_say_which() -> None:
    old = {**IMAGE, "images": [{"image": "debian-11"}], "settings": [{"serviceType": "local", "values": {"disk": 10}}]}
    harbour = Harbour()
    await harbour.set_up(config={**IMAGE, "settings": [{"serviceType": "local", "values": {"disk": 20}}]})
    await harbour.group(2, running=2, old=old)
    why = ("image debian-11 -> debian-12", "settings disk 10 -> 20")
    view = harbour.plan()
    assert told(view) == [
        (Action.REPLACE, "g-m-0", When.LATER, why),
        (Action.REPLACE, "g-m-1", When.NOW, why),
    ]
    assert "servers change in turn: at most 1 of a member not ready at a time\n" in harbour.text(view)


async def test_the_zone_that_was_chosen_for_a_server_is_no_reason_to_replace_it() -> None:
    """Nor is it one among others, nor is that the service has that zone no more."""
    other = {"image": "other", "serviceType": "local"}
    for zones in (("zone-a", "zone-b"), ("zone-a", "gone"), ("zone-b", "zone-b")):
        harbour = Harbour(zones=zones)
        await harbour.set_up(config={**IMAGE, "images": [*IMAGE["images"], other]})
        await harbour.group(2, running=2, old=dict(IMAGE))
        assert [change.action for change in harbour.plan().changes] == [Action.REVISE] * 2
    harbour = Harbour(zones=("zone-a", "zone-b"))
    await harbour.set_up()
    await harbour.group(2, running=2, old={**IMAGE, "images": [{"image": "debian-11"}]})
    assert {change.why for change in harbour.plan().changes} == {("image debian-11 -> debian-12",)}
    held = harbour.bench.api.stored(kinds.HOSTING_SERVICE, None, "a")
    meta = {**held["metadata"], "generation": held["metadata"]["generation"] + 1}
    emptied = {**held["spec"], "settings": {"subnets": {}}}
    changed = harbour.bench.api.change(kinds.HOSTING_SERVICE, None, "a", metadata=meta, spec=emptied)
    harbour.bench.context.store.ingest(kinds.HOSTING_SERVICE, changed)
    assert {change.why for change in harbour.plan().changes} == {("image debian-11 -> debian-12",)}
    named = {**IMAGE, "settings": [{"serviceType": "ec2", "values": {"zone": "zone-b"}}]}
    harbour = Harbour(zones=("zone-a", "zone-b"))
    await harbour.set_up(config=named)
    await harbour.group(2, running=2, old=dict(IMAGE))
    assert {(change.server, change.action, *change.why) for change in harbour.plan().changes} == {
        ("g-m-0", Action.REPLACE, "settings zone zone-a -> zone-b"),
        ("g-m-1", Action.REVISE, "the configuration changed"),
    }


async def test_a_changed_configuration_is_revised_in_place_and_shows_names_but_no_values() -> None:
    old = {**IMAGE, "configuration": [{"name": "port", "value": "canary-old"}]}
    harbour = Harbour()
    new = {**IMAGE, "configuration": [{"name": "port", "value": "canary-new"}], "files": [{"path": "/etc/x"}]}
    await harbour.set_up(config=new)
    await harbour.group(1, running=1, old=old)
    view = harbour.plan()
    assert told(view) == [(Action.REVISE, "g-m-0", When.NOW, ("item port changed", "file /etc/x added"))]
    assert "canary" not in harbour.text(view) + json.dumps(view.to_dict())


async def test_on_delete_waits_for_a_person() -> None:
    old = {**IMAGE, "images": [{"image": "debian-11"}]}
    harbour = Harbour()
    await harbour.set_up()
    await harbour.group(1, running=1, old=old, updateStrategy={"type": "OnDelete"})
    view = harbour.plan()
    assert [(c.action, c.when) for c in view.changes] == [(Action.REPLACE, When.MANUAL)]
    assert "replace, once it is deleted" in harbour.text(view)


async def test_a_policy_that_releases_removes_all_servers() -> None:
    harbour = Harbour()
    await harbour.set_up(policy={**NEVER, "whenUnmet": "Release"})
    await harbour.group(2, running=2)
    view = harbour.plan()
    assert [(c.action, c.server) for c in view.changes] == [(Action.REMOVE, "g-m-0"), (Action.REMOVE, "g-m-1")]
    assert "the policy is no longer met" in view.changes[0].why[0]


async def test_where_no_service_can_take_the_group_each_says_why() -> None:
    harbour = Harbour()
    await harbour.set_up(config={**IMAGE, "size": {"cpu": 64}})
    await harbour.group()
    view = harbour.plan(new=True)
    assert view.changes == ()
    shown = harbour.text(view)
    assert "not placed: no service can take the group" in shown or "NoFeasibleService" in shown
    assert "NoOffering" in shown


async def test_what_is_missing_is_a_problem_with_its_remedy() -> None:
    harbour = Harbour()
    await harbour.service("a", "0.02")
    await harbour.put(kinds.HOSTING_POLICY, "q", ALWAYS)
    await harbour.group()
    reasons = dict(harbour.plan(new=True).problems())
    assert set(reasons) == {"ConfigNotFound", "PolicyNotFound"}
    assert "create it or change policyRef" in reasons["PolicyNotFound"]


async def test_hysteresis_goes_on_from_what_the_status_remembers() -> None:
    harbour = Harbour()
    held = {"when": {"all": [{"name": "always", "schedule": {"from": "2020-01-01T00:00:00Z"}, "for": "10m"}]}}
    await harbour.set_up(policy=held)
    await harbour.group()
    assert harbour.plan(new=True).foreseen.world.policy.verdict == "Met"


async def test_what_only_the_controller_can_read_is_as_it_was_read_last_unless_the_files_change_it() -> None:
    asked: Obj = {"when": {"all": [{"name": "asked", "for": "1m"}]}}
    reading = {"name": "asked", "value": "Met", "reason": "Told", "message": "as told", "since": SINCE}
    harbour = Harbour()
    await harbour.set_up(policy=asked)
    await harbour.group()
    policy = harbour.bench.tables.policies.get("ns", "p")
    assert policy is not None
    meta = {**policy["metadata"], "resourceVersion": "1000"}
    harbour.bench.context.store.ingest(
        kinds.HOSTING_POLICY, {**policy, "metadata": meta, "status": {"readings": [reading]}}
    )
    assert harbour.plan(new=True).foreseen.world.policy.message == "met: asked (as told)"
    changed = {**policy, "spec": {"when": {"all": [{"name": "asked", "for": "2m"}]}}}
    assert harbour.plan(new=True, policy=changed).foreseen.world.policy.verdict == "Unknown"


async def test_a_suspended_group_is_left_as_it_is() -> None:
    harbour = Harbour()
    await harbour.set_up()
    await harbour.group(3, running=1, suspend=True)
    view = harbour.plan()
    assert view.changes == ()
    assert "nothing to be done: suspend is set: no server is made, replaced, moved or removed" in harbour.text(view)


async def test_the_plan_is_ascii_where_the_terminal_is() -> None:
    harbour = Harbour()
    await harbour.set_up()
    await harbour.group(1, running=1, old={**IMAGE, "images": [{"image": "debian-11"}]})
    console = Console(file=io.StringIO(), width=200, color_system=None)
    for part in harbour.plan().show(harbour.bench.context.clock.now() + timedelta(0), ascii_only=True):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().isascii()
