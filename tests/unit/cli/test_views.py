"""What the commands show, compared as text and as JSON."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from rich.console import Console, RenderableType
from tests.support import quickstart

from moorage.api.conditions import COST_LIMITED, FAILOVER_PENDING, condition
from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserver import VirtualServer
from moorage.cli.views import paint
from moorage.cli.views.explain import Explanation
from moorage.cli.views.node import State, age
from moorage.cli.views.tree import Detail, group_tree, server_tree

HOURS = timedelta(hours=3)
TREE = """\
○ ServerGroup quickstart  1/2 servers ready, 1 items pending  web-0 waits for database_address: output address of \
member db, not published yet
  ✓ HostingPolicy quickstart  Met for 60s  affordable is met
  ✓ HostingService bollard  placement 1 for 60s, score 81.5  the best of 2: price 100, capacity 38
  ✓ Member db  database, 1/1 ready
    ✓ VirtualServer quickstart-db-0  bollard, 127.2.0.1, m-1, revision 1
      ✓ Items all 2  in force
      ✓ Output address  127.2.0.1:4711
  … Member web  web, 0/1 ready
    ○ VirtualServer quickstart-web-0  bollard, m-2, revision 2 (1 in force)  waits for database_address
      ○ Item database_address  Pending for 60s  quickstart-db-0 has not published address
      ✓ Items 1 of 2  in force
      ✗ Step start  Failed, exit code 3, 2 attempts  exited with 3
      ✗ Output url  PatternMismatch  does not match ^http
"""

EXPLANATION = """\
policy quickstart is Met for 60s: affordable is met
CONDITION   VALUE  SINCE  WHY
affordable  Met    60s    the expression is true
looked at again when a fact changes

placed on bollard for 60s (placement 1): the best of 2: price 100, capacity 38
SERVICE  FEASIBLE  SCORE  PRICE  CAPACITY  WHY
bollard  yes       81.5   100    38.25     0.02 an hour; room for 20
capstan  yes       30     0      100       0.045 an hour
anchor   no        -      -      -         InsufficientCapacity: 3 needed, room for 2
rejected: 1 by InsufficientCapacity

what would have changed the choice
- capstan would win if its price fell below 0.02/h (now 0.045/h)

STATUS     VALUE  SINCE  WHY
PolicyMet  True   60s    Met
Placed     True   60s    on bollard
Ready      False  60s    web-0 waits for database_address: output address of member db, not published yet
"""


NOWHERE = """\
policy quickstart is Met for 60s: affordable is met
CONDITION   VALUE  SINCE  WHY
affordable  Met    60s    the expression is true
looked at again when a fact changes

no hosting service can take the group
SERVICE  WHY NOT
anchor   InsufficientCapacity: needs 3, has 2
bollard  NotSelected: it is not among select.services.names

STATUS       VALUE  SINCE  WHY
Ready        False  60s    NoFeasibleService, as above
PolicyMet    True   60s    PolicyMet, as above
Placed       False  60s    NoFeasibleService, as above
Configured   False  60s    no hosting service is chosen yet
Reconciling  True   60s    NoFeasibleService, as above
"""


def text(*shown: RenderableType, width: int = 1000) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for part in shown:
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return "".join(line.rstrip() + "\n" for line in console.file.getvalue().splitlines())


def tree(everything: bool = False) -> str:
    node = group_tree(quickstart.group(), quickstart.servers(), Detail(quickstart.NOW, everything))
    return "".join(line + "\n" for line in paint.plain(node))


def test_the_tree_shows_each_wait_and_hides_what_is_settled() -> None:
    assert tree() == TREE


def test_the_tree_shows_what_keeps_a_group_on_a_service_that_fails_it_and_what_bounds_it() -> None:
    group = quickstart.group()
    told = [
        condition(FAILOVER_PENDING, True, "FailoverNotApproved", "run moorage failover quickstart", quickstart.NOW, 1),
        condition(COST_LIMITED, True, "PriceAboveCeiling", "too much", quickstart.NOW, 1),
    ]
    conditions = (*group.status.conditions, *told)
    group = group.model_copy(update={"status": group.status.model_copy(update={"conditions": conditions})})
    shown = "".join(
        line + "\n" for line in paint.plain(group_tree(group, quickstart.servers(), Detail(quickstart.NOW)))
    )
    assert "servers ready, 1 items pending, CostLimited, FailoverPending" in shown
    assert "○ HostingService bollard" in shown
    assert "FailoverNotApproved: run moorage failover quickstart" in shown


def test_the_whole_tree_shows_settled_items_and_steps_but_no_sensitive_value() -> None:
    shown = tree(everything=True)
    assert "✓ Item password  Acknowledged for 60s, sensitive" in shown
    assert "✓ Step start  Succeeded" in shown
    assert "Items" not in shown


def test_the_tree_on_a_terminal_has_the_same_lines_with_guides() -> None:
    node = group_tree(quickstart.group(), quickstart.servers(), Detail(quickstart.NOW))
    painted = text(paint.tree(node)).splitlines()
    assert [line.lstrip("│├└─ ") for line in painted] == [line.lstrip() for line in paint.plain(node)]


def test_the_tree_is_ascii_where_the_terminal_is() -> None:
    node = group_tree(quickstart.group(), quickstart.servers(), Detail(quickstart.NOW))
    assert "".join(paint.plain(node, ascii_only=True)).isascii()


def test_the_tree_as_json_has_the_same_nodes() -> None:
    node = group_tree(quickstart.group(), quickstart.servers(), Detail(quickstart.NOW))
    data = json.loads(json.dumps(node.to_dict()))
    assert (data["kind"], data["name"], data["state"]) == ("ServerGroup", "quickstart", "Waiting")
    web = data["children"][3]["children"][0]
    assert web["children"][0] == {
        "kind": "Item",
        "name": "database_address",
        "state": "Waiting",
        "summary": "Pending for 60s",
        "message": "quickstart-db-0 has not published address",
    }


def test_a_group_that_was_never_looked_at_is_in_progress_not_ready() -> None:
    new = ServerGroup.from_dict({**quickstart.GROUP, "status": {"observedGeneration": -1}})
    node = group_tree(new, (), Detail(quickstart.NOW))
    assert node.state is State.PROGRESSING
    assert "has not seen this generation" in node.message
    assert [child.state for child in node.children] == [
        State.UNKNOWN,
        State.WAITING,
        State.PROGRESSING,
        State.PROGRESSING,
    ]


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ([("Ready", "True")], State.READY),
        ([("Ready", "False")], State.WAITING),
        ([("Ready", "False"), ("Stalled", "True")], State.FAILED),
        ([("Ready", "False"), ("Reconciling", "True")], State.PROGRESSING),
        ([], State.UNKNOWN),
    ],
)
def test_the_state_is_what_kstatus_says(conditions: list[tuple[str, str]], state: State) -> None:
    told = [quickstart.condition(type_, status, "Why", "why") for type_, status in conditions]
    node = group_tree(quickstart.group(conditions=told), (), Detail(quickstart.NOW))
    assert node.state is state


def test_a_lost_server_has_failed_and_one_being_deleted_terminates() -> None:
    database = quickstart.DATABASE
    lost = VirtualServer.from_dict({**database, "status": {**database["status"], "lost": True}})
    assert server_tree(lost, Detail(quickstart.NOW)).state is State.FAILED
    metadata = {**database["metadata"], "deletionTimestamp": quickstart.THEN}
    going = VirtualServer.from_dict({**database, "metadata": metadata})
    assert server_tree(going, Detail(quickstart.NOW)).state is State.TERMINATING


def test_servers_of_a_member_that_is_gone_are_still_shown() -> None:
    stray = VirtualServer.from_dict({**quickstart.WEB, "spec": {**quickstart.WEB["spec"], "member": "old"}})
    node = group_tree(quickstart.group(), (stray,), Detail(quickstart.NOW))
    assert node.children[-1].name == "quickstart-web-0"


def test_the_explanation_shows_readings_candidates_and_why() -> None:
    explanation = Explanation(quickstart.group(), quickstart.policy())
    assert text(*explanation.show(quickstart.NOW)) == EXPLANATION


def test_what_only_the_group_decides_is_shown_beside_what_is_shared() -> None:
    policy = quickstart.policy().to_dict()
    policy["spec"]["when"] = {"all": [{"name": "asked", "approval": {}}, *policy["spec"]["when"]["all"]]}
    why = "nobody has approved it: moorage approve quickstart -n default"
    own = {"name": "asked", "value": "Unmet", "reason": "NotApproved", "message": why, "since": quickstart.THEN}
    verdict = {"name": "quickstart", "verdict": "Unmet", "since": quickstart.THEN, "message": f"unmet: asked ({why})"}
    group = quickstart.group(policy={**verdict, "readings": [own]})
    explanation = Explanation(group, HostingPolicy.from_dict(policy))
    shown = text(*explanation.show(quickstart.NOW)).splitlines()
    assert shown[1:4] == [
        "CONDITION   VALUE  SINCE  WHY",
        f"asked       Unmet  60s    {why}",
        "affordable  Met    60s    the expression is true",
    ]
    assert [r["name"] for r in explanation.to_dict()["readings"]] == ["asked", "affordable"]
    node = group_tree(group, (), Detail(quickstart.NOW))
    assert f"    ○ Condition asked  Unmet for 60s  {why}" in list(paint.plain(node))
    other = quickstart.group(policy={**verdict, "name": "earlier", "readings": [own]})
    assert [r["name"] for r in Explanation(other, HostingPolicy.from_dict(policy)).to_dict()["readings"]] == [
        "affordable"
    ]


def test_the_explanation_says_when_the_policy_is_looked_at_next() -> None:
    timed = quickstart.policy().model_copy(
        update={"status": quickstart.policy().status.model_copy(update={"next_check_time": quickstart.NOW + HOURS})}
    )
    explanation = Explanation(quickstart.group(), timed)
    assert "looked at again at 2026-11-22T15:01:00Z, in 3h, and when a fact changes\n" in text(
        *explanation.show(quickstart.NOW)
    )
    assert explanation.to_dict()["nextCheckTime"] == "2026-11-22T15:01:00Z"


def test_a_group_that_no_service_can_take_shows_each_service_and_nothing_twice() -> None:
    why = "no service can take the group: anchor rejected: InsufficientCapacity (needs 3, has 2); and others"
    rejected = {
        "anchor": "InsufficientCapacity: needs 3, has 2",
        "bollard": "NotSelected: it is not among select.services.names",
    }
    group = quickstart.group(
        placement=None,
        candidates=[{"service": name, "feasible": False, "reasons": [reason]} for name, reason in rejected.items()],
        conditions=[
            quickstart.condition("Ready", "False", "NoFeasibleService", why),
            quickstart.condition("PolicyMet", "True", "PolicyMet", "affordable is met"),
            quickstart.condition("Placed", "False", "NoFeasibleService", why),
            quickstart.condition("Configured", "False", "NotPlaced", "no hosting service is chosen yet"),
            quickstart.condition("Reconciling", "True", "NoFeasibleService", why),
        ],
    )
    explanation = Explanation(group, quickstart.policy())
    assert text(*explanation.show(quickstart.NOW)) == NOWHERE
    assert [c["service"] for c in explanation.to_dict()["candidates"]] == ["anchor", "bollard"]


def test_a_message_is_shown_in_full_at_its_first_condition() -> None:
    same = [quickstart.condition(type_, "False", "PolicyNotFound", "create it") for type_ in ("Ready", "Placed")]
    shown = text(*Explanation(quickstart.group(placement=None, conditions=same), None).show(quickstart.NOW))
    assert shown.endswith("Ready   False  60s    create it\nPlaced  False  60s    PolicyNotFound, as above\n")


def test_the_explanation_as_json() -> None:
    data = Explanation(quickstart.group(), quickstart.policy()).to_dict()
    assert data["placement"]["service"] == "bollard"
    assert data["readings"][0]["value"] == "Met"
    json.dumps(data)


def test_an_explanation_before_anything_happened_says_so() -> None:
    new = quickstart.group(policy=None, placement=None, conditions=[])
    assert text(*Explanation(new, None).show(quickstart.NOW)) == (
        "policy quickstart does not exist\n\nno hosting service is chosen yet\n"
    )
    assert "not evaluated" in text(*Explanation(new, quickstart.policy()).show(quickstart.NOW))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (86400, "1d"), (200000, "2d")],
)
def test_ages_are_short(seconds: int, shown: str) -> None:
    assert age(quickstart.NOW - timedelta(seconds=seconds), quickstart.NOW) == shown
