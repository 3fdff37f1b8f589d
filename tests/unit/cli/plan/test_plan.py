"""What `moorage plan` foresees, from caches alone: the controllers' decisions, written nowhere."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console
from tests.support.controller_bench import Bench, new_bench

from moorage.api.names import ANNOTATION_MAX_PRICE
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.cli.commands.plan import plans
from moorage.cli.plan.changes import Action, When
from moorage.cli.plan.gather import Gathered, _read_beside
from moorage.cli.views.plan import PlanView
from moorage.controllers.revisions import revision_name
from moorage.kube import kinds
from moorage.kube.errors import Forbidden
from moorage.kube.kinds import Kind
from moorage.kube.store import Store

Obj = dict[str, Any]

ALWAYS = {"when": {"all": [{"name": "always", "schedule": {"from": "2020-01-01T00:00:00Z"}}]}}
NEVER = {"when": {"all": [{"name": "then", "schedule": {"from": "2999-01-01T00:00:00Z"}}]}}
IMAGE = {"images": [{"image": "debian-12"}], "size": {"cpu": 1}}
SINCE = "2026-01-01T00:00:00Z"
IN_ZONES = {"type": "ec2", "region": "r", "settings": {"subnets": {"zone-a": "subnet-a", "zone-b": "subnet-b"}}}

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


def condition(type_: str, status: str = "True") -> Obj:
    return {"type": type_, "status": status, "reason": type_, "message": "", "lastTransitionTime": SINCE}


@dataclass
class Harbour:
    """Two services, a policy, a configuration and a group of one member."""

    bench: Bench = field(default_factory=new_bench)
    planned: set[tuple[str, str]] = field(default_factory=set)
    before: dict[tuple[str, str], Obj] = field(default_factory=dict)
    hardware: Obj = field(default_factory=lambda: dict(IMAGE))
    zones: tuple[str, ...] = ()
    """Those that the servers are in, where a is EC2."""

    async def put(self, kind: Kind, name: str, spec: Obj, namespace: str | None = "ns", **more: Any) -> Obj:
        return await self.bench.put(kind, name, spec, namespace, **more)

    async def service(self, name: str, price: str, **more: Any) -> None:
        offering = {"name": "small", "cpu": 1, "memory": "1Gi", "arch": "amd64", "pricePerHour": price}
        spec = {"type": "local", "endpoint": "http://x", "offerings": [offering], **more}
        await self.put(kinds.HOSTING_SERVICE, name, spec, None, status={"conditions": [condition("Available")]})

    async def namespace(self, annotations: dict[str, str]) -> None:
        await self.put(kinds.NAMESPACE, "ns", {}, None, metadata={"annotations": annotations})

    async def set_up(self, policy: Obj | None = None, config: Obj | None = None) -> None:
        await self.service("a", "0.02", **(IN_ZONES if self.zones else {}))
        await self.service("b", "0.04")
        await self.put(kinds.HOSTING_POLICY, "p", policy or ALWAYS)
        self.hardware = config or dict(IMAGE)
        await self.put(kinds.VIRTUAL_SERVER_CONFIG, "c", self.hardware)

    async def group(
        self, replicas: int = 3, *, running: int | None = None, old: Obj | None = None, **spec: Any
    ) -> None:
        """A group; with `running` it is placed on a, and has so many ready servers, made from `old`."""
        wanted = {
            "policyRef": {"name": "p"},
            "members": [{"name": "m", "configRef": {"name": "c"}, "replicas": replicas}],
        }
        status: Obj = {}
        if running is not None:
            service = self.bench.tables.services.get(None, "a")
            assert service is not None
            uid = service["metadata"]["uid"]
            status = {
                "placement": {"number": 1, "service": "a", "serviceUID": uid, "time": SINCE, "gateOpened": SINCE},
                "placements": 1,
                "members": [{"name": "m", "config": "c", "desired": running}],
            }
        made = await self.put(kinds.SERVER_GROUP, "g", {**wanted, **spec}, status=status)
        for ordinal in range(running or 0):
            await self._server(made, ordinal, old or self.hardware)

    async def _server(self, group: Obj, ordinal: int, config: Obj) -> None:
        revision = revision_name("c", VirtualServerConfigSpec.from_dict(config))
        if self.bench.tables.revisions.get("ns", revision) is None:
            body = {"metadata": {"name": revision, "namespace": "ns", "labels": {"moorage.dev/config": "c"}}}
            kept = await self.bench.api.create(kinds.CONTROLLER_REVISION, {**body, "data": {"spec": config}})
            self.bench.context.store.ingest(kinds.CONTROLLER_REVISION, kept)
        spec = {
            "serviceRef": {"name": "a", "uid": group["status"]["placement"]["serviceUID"]},
            "group": {"name": "g", "uid": group["metadata"]["uid"]},
            "member": "m",
            "ordinal": ordinal,
            "placement": 1,
            "image": config["images"][0]["image"],
            "offering": "small",
            "settings": {
                **next((s["values"] for s in config.get("settings", [])), {}),
                **({"zone": self.zones[ordinal]} if self.zones else {}),
            },
            "revision": revision,
            "deletionPolicy": "Delete",
        }
        ready = [condition(type_) for type_ in ("Instantiated", "Configured", "Ready")]
        status = {
            "observedGeneration": 1,
            "providerID": f"i-{ordinal}",
            "conditions": ready,
            "agent": {"sequence": 1, "delivered": 1, "acknowledged": 1},
        }
        await self.put(kinds.VIRTUAL_SERVER, f"g-m-{ordinal}", spec, status=status)

    async def succeed(self) -> None:
        """The server of the second placement is there and ready."""
        old = self.bench.api.stored(kinds.VIRTUAL_SERVER, "ns", "g-m-0")
        group = self.bench.api.stored(kinds.SERVER_GROUP, "ns", "g")
        placement = group["status"]["placement"]
        ref = {"name": placement["service"], "uid": placement["serviceUID"]}
        spec = {**old["spec"], "serviceRef": ref, "placement": placement["number"]}
        await self.put(kinds.VIRTUAL_SERVER, "g-m-0-2", spec, status=old["status"])

    def plan(self, *, new: bool = False, policy: Obj | None = None) -> PlanView:
        """With `policy` the files hold one, and that is what the cluster has."""
        key = ("ServerGroup", "g")
        held = self.bench.tables.groups.get("ns", "g")
        assert held is not None
        before = {} if new else {key: held}
        if policy is not None:
            before["HostingPolicy", "p"] = policy
        tables, store = self.bench.tables, self.bench.context.store
        gathered = Gathered("ns", store, tables, ("g",), frozenset({key}), before, ())
        return plans(gathered, self.bench.context.clock.now())[0]

    def text(self, view: PlanView) -> str:
        console = Console(file=io.StringIO(), width=1000, color_system=None)
        for part in view.show(self.bench.context.clock.now()):
            console.print(part)
        assert isinstance(console.file, io.StringIO)
        return "".join(line.rstrip() + "\n" for line in console.file.getvalue().splitlines())


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
