"""What `moorage plan` says beside the changes: what is withheld, where a group would go, what nobody declares."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.harbour import ALWAYS, IMAGE, NEVER, Harbour, Obj

from moorage.api.names import ANNOTATION_MAX_PRICE
from moorage.kube import kinds


async def placed(replicas: int, running: int, policy: Obj | None = None, **spec: Any) -> Harbour:
    harbour = Harbour()
    await harbour.set_up(policy=policy)
    await harbour.group(replicas, running=running, **spec)
    return harbour


# Withheld


async def test_what_an_unmet_policy_withholds_is_in_the_table_with_its_reason_and_is_not_paid_for() -> None:
    harbour = await placed(3, 2, NEVER)
    view = harbour.plan()
    shown = harbour.text(view)
    assert "m       2 of 3   debian-12  small     0.02/h  0.04/h\n" in shown
    assert "- PolicyUnmet: member m gets 2 of 3 servers: growth waits for policy p: unmet: then (" in shown
    [told] = view.to_dict()["withheld"]
    assert (told["member"], told["asked"], told["servers"], told["reason"]) == ("m", 3, 2, "PolicyUnmet")
    assert [(m["servers"], m["asked"]) for m in view.to_dict()["members"]] == [(2, 3)]


async def test_a_missing_approval_that_withholds_servers_is_named_with_what_to_do() -> None:
    harbour = await placed(3, 2)
    await harbour.namespace({"moorage.dev/require-approval": "true"})
    [told] = harbour.plan().to_dict()["withheld"]
    assert told["reason"] == "PolicyUnmet"
    assert "moorage approve g -n ns" in told["message"]


@pytest.mark.parametrize("own", [True, False], ids=["the group's", "the namespace's"])
async def test_what_a_ceiling_withholds_is_told_with_the_numbers(own: bool) -> None:
    bounded: Obj = {"maxPricePerHour": "0.06"} if own else {}
    harbour = await placed(5, 2, **bounded)
    if not own:
        await harbour.namespace({ANNOTATION_MAX_PRICE: "0.06"})
    view = harbour.plan()
    assert [change.server for change in view.changes] == ["g-m-2"]
    [told] = view.to_dict()["withheld"]
    assert (told["servers"], told["reason"]) == (3, "PriceAboveCeiling")
    assert "- PriceAboveCeiling: member m gets 3 of 5 servers: member m asks for 5 servers and gets 3" in harbour.text(
        view
    )


async def test_what_suspend_withholds_is_told() -> None:
    harbour = await placed(3, 1, suspend=True)
    assert "- Suspended: member m gets 1 of 3 servers: suspend is set\n" in harbour.text(harbour.plan())


@pytest.mark.parametrize(("replicas", "policy"), [(2, ALWAYS), (1, ALWAYS), (2, {**NEVER, "whenUnmet": "Release"})])
async def test_where_nothing_more_is_asked_for_or_all_is_given_back_nothing_is_withheld(
    replicas: int, policy: Obj
) -> None:
    harbour = await placed(replicas, 2, policy)
    assert harbour.plan().to_dict()["withheld"] == []


# Where it would go


async def test_of_a_group_that_stays_it_names_the_service_to_which_it_would_go_and_why() -> None:
    harbour = await placed(2, 2)
    view = harbour.plan()
    assert view.to_dict()["ifLeft"]["service"] == "b"
    assert view.to_dict()["ifLeftUnknown"] is None
    why = (
        "b is the only service that can take the group (0.08/h); a rejected: LeftByFailover (the group is to leave it)"
    )
    assert f"stays on a\nwere it to leave, it would go to b: {why}\n" in harbour.text(view)


async def test_a_group_that_could_go_nowhere_is_told_what_rules_the_others_out() -> None:
    harbour = await placed(2, 2, {**ALWAYS, "select": {"services": {"names": ["a"]}}})
    view = harbour.plan()
    assert (view.to_dict()["ifLeft"], view.to_dict()["ifLeftUnknown"]["reason"]) == (None, "NoFeasibleService")
    assert "were it to leave: no service can take the group: a rejected: LeftByFailover" in harbour.text(view)


async def test_where_it_would_go_is_unknown_while_a_service_was_not_looked_at() -> None:
    harbour = await placed(2, 2)
    now = harbour.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    await harbour.put(
        kinds.HOSTING_SERVICE,
        "new",
        {"type": "local", "endpoint": "http://x"},
        None,
        metadata={"creationTimestamp": now},
    )
    shown = harbour.text(harbour.plan())
    assert "were it to leave, where it would go is unknown: waiting for the first contact with new\n" in shown


async def test_where_a_group_that_gives_its_servers_back_would_go_is_unknown_and_it_says_why() -> None:
    harbour = await placed(2, 2, {**NEVER, "whenUnmet": "Release"})
    assert "is unknown: its servers are given back first" in harbour.text(harbour.plan())


async def test_without_a_policy_nobody_can_tell_where_it_would_go() -> None:
    harbour = await placed(2, 2, policyRef={"name": "q"})
    assert "is unknown: there is no HostingPolicy 'q'" in harbour.text(harbour.plan())


@pytest.mark.parametrize(
    ("policy", "more", "told"),
    [
        (None, {}, "once the servers of its last placement are gone"),
        (
            NEVER,
            {"deletionProtection": True},
            "if the policy were met now, once the servers of its last placement are gone, "
            "which deletionProtection may keep",
        ),
    ],
    ids=["met", "unmet and protected"],
)
async def test_a_group_whose_last_servers_are_going_says_where_it_goes_next(
    policy: Obj | None, more: Obj, told: str
) -> None:
    harbour = await placed(1, 1, policy, **more)
    group = harbour.bench.api.stored(kinds.SERVER_GROUP, "ns", "g")
    left = {"service": "a", "serviceUID": group["status"]["placement"]["serviceUID"], "placement": 1}
    entry = {**left, "reason": "ServiceUnreachable", "message": "it is away", "until": "2999-01-01T00:00:00Z"}
    status = {**group["status"], "placement": None, "failedOver": [entry]}
    changed = harbour.bench.api.change(kinds.SERVER_GROUP, "ns", "g", status=status)
    harbour.bench.context.store.ingest(kinds.SERVER_GROUP, changed)
    assert f"not placed; {told}, it would be on b: " in harbour.text(harbour.plan())


async def test_a_suspended_group_is_told_where_it_would_be_without_that() -> None:
    harbour = Harbour()
    await harbour.set_up()
    await harbour.group(2, suspend=True)
    assert "not placed; without suspend, it would be on a: " in harbour.text(harbour.plan(new=True))


@pytest.mark.parametrize("policy", [ALWAYS, NEVER], ids=["met", "unmet"])
async def test_where_no_service_can_take_it_the_plan_says_what_would_let_one(policy: Obj) -> None:
    harbour = Harbour()
    await harbour.too_small(policy)
    view = harbour.plan(new=True)
    assert view.to_dict()["wouldChange"] == ["a would be chosen with room for 3 (now 2)"]
    assert "what would let one take it\n- a would be chosen with room for 3 (now 2)\n" in harbour.text(view)


# Items


def needs(member: str, output: str, **more: object) -> Obj:
    return {"name": "item", "valueFrom": {"output": {"member": member, "name": output, **more}}}


@pytest.mark.parametrize(
    ("item", "reason", "message"),
    [
        (needs("m", "adress"), "NoSuchOutput", "member m declares no output adress (did you mean address?)"),
        (
            needs("n", "address"),
            "NoSuchMember",
            "output address: group g has no member n (there is m)",
        ),
        (
            needs("m", "address", group="h"),
            "NoSuchGroup",
            "output address of group h: there is no such group",
        ),
        (
            {**needs("m", "adress"), "default": "none"},
            "NoSuchOutput",
            "default in force; member m declares no output adress (did you mean address?)",
        ),
    ],
)
async def test_an_item_that_refers_to_nothing_is_told_as_the_controller_would(
    item: Obj, reason: str, message: str
) -> None:
    harbour = Harbour()
    outputs = [{"name": "address", "field": "address"}]
    await harbour.set_up(config={**IMAGE, "configuration": [item], "outputs": outputs})
    await harbour.group(2)
    view = harbour.plan(new=True)
    assert (reason, f"member m: item item: {message}") in view.problems()
    assert f"- {reason}: member m: item item: {message}\n" in harbour.text(view)


async def test_an_output_that_is_declared_is_no_problem_though_nobody_has_published_it() -> None:
    harbour = Harbour()
    outputs = [{"name": "address", "field": "address"}]
    await harbour.set_up(config={**IMAGE, "configuration": [needs("m", "address")], "outputs": outputs})
    await harbour.group(2)
    assert harbour.plan(new=True).problems() == []


async def test_a_configuration_of_another_group_that_cannot_be_read_leaves_the_plan_whole() -> None:
    harbour = Harbour()
    await harbour.set_up(config={**IMAGE, "configuration": [needs("m", "address", group="h")]})
    await harbour.put(
        kinds.SERVER_GROUP,
        "h",
        {"policyRef": {"name": "p"}, "members": [{"name": "m", "configRef": {"name": "c"}, "replicas": "many"}]},
        status={},
    )
    await harbour.group(1)
    assert harbour.plan(new=True).to_dict()["placement"]["service"] == "a"
