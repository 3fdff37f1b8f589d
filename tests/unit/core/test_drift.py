"""Drift: what counts as such, what is told of it, and what is done about it, as tables: facts in, one answer out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.server_facts import NOW, STEADY, S, inventory, is_step, leaving, running, server, svc

from moorage.core.drift import CALM, FIRST_PAUSE, LAST_PAUSE, find_drifts, handed_down, pause_after, told
from moorage.core.evidence import sight
from moorage.core.facts import (
    RELEASED,
    CallFailure,
    Lookup,
    LookupResult,
    RepairTries,
    SecretFacts,
    Seen,
    SeenState,
    ServerFacts,
)
from moorage.core.lifecycle import decide_server
from moorage.core.rollout import GroupServer
from moorage.core.steps import Ask, DropFinalizer, Fail, Remedy, Repair, Settled, Step

ABLE = {"can_retag": True, "can_power": True, "can_resize": True}


def shown(**changes: Any) -> Seen:
    """The server as it should be, with changes."""
    return replace(server(), **{"namespace": "ns", "service": "svc-uid", "offering": "small", **changes})


def drifted(seen: Seen, service: dict[str, Any] | None = None, **changes: Any) -> ServerFacts:
    """A server that runs, of which the latest inventory shows `seen`, and whose drift is to be undone."""
    base = {"namespace": "ns", "offering": "small", "ran": True, "repairs": True}
    there = svc(latest=inventory(S, seen), **(ABLE if service is None else service))
    return running(**{**base, "service": there, **changes})


def reasons(f: ServerFacts) -> list[str]:
    return [drift.reason for drift in find_drifts(f, sight(f))]


KINDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "as it should be": ({}, []),
    "stopped": ({"state": SeenState.STOPPED}, ["Stopped"]),
    "failed is not stopped": ({"state": SeenState.FAILED}, []),
    "on its way out": ({"state": SeenState.TERMINATING, "offering": "large"}, []),
    "resized": ({"offering": "large"}, ["Resized"]),
    "no offering is told": ({"offering": None}, []),
    "the owner's tag is gone": ({"owner": None}, ["TagsChanged"]),
    "the owner's tag was emptied": ({"owner": "inst/"}, ["TagsChanged"]),
    "the installation's tag is gone": ({"owner": "/uid-me"}, ["TagsChanged"]),
    "the namespace's tag is gone": ({"namespace": None}, ["TagsChanged"]),
    "the service's tag is changed": ({"service": "other"}, ["TagsChanged"]),
    "another owner": ({"owner": "inst/uid-other"}, ["OwnerChanged"]),
    "another installation": ({"owner": "other/uid-me"}, ["OwnerChanged"]),
    "no tag, and the key of another": ({"owner": None, "key": "m-other"}, ["OwnerChanged"]),
    "released": ({"owner": RELEASED}, ["Released"]),
    "several": ({"state": SeenState.STOPPED, "offering": "l", "service": None}, ["TagsChanged", "Stopped", "Resized"]),
}


@pytest.mark.parametrize("case", KINDS)
def test_what_counts_as_drift(case: str) -> None:
    changes, expected = KINDS[case]
    assert reasons(drifted(shown(**changes))) == expected


def test_a_server_that_never_ran_was_not_stopped() -> None:
    assert reasons(drifted(shown(state=SeenState.STOPPED), ran=False)) == []


def test_an_observed_server_has_no_tags_of_ours_and_may_be_stopped_or_resized() -> None:
    seen = shown(owner="x/y", state=SeenState.STOPPED, offering="large")
    f = drifted(seen, provider_id=None, adopt_id="s1", observes=True)
    assert reasons(f) == ["Stopped", "Resized"]
    assert told(f, find_drifts(f, seen)) == (
        "Stopped",
        "it was stopped (only observed); its offering is large instead of small (only observed)",
    )


STOPPED, RESIZED, UNTAGGED = shown(state=SeenState.STOPPED), shown(offering="large"), shown(owner=None)
LONG_AGO = {"Stopped": RepairTries(9, STEADY - CALM)}
JUST_NOW = {"Stopped": RepairTries(1, STEADY - 1)}
DUE = {"Stopped": RepairTries(2, STEADY - 2 * FIRST_PAUSE)}
ASKED = Lookup(NOW - S / 2, STEADY - 0.5, LookupResult.FOUND, STOPPED)
STARTED = Lookup(NOW, STEADY, LookupResult.FOUND, shown())
THROTTLED = CallFailure("Throttled", "slow", False, True, NOW + S)

REPAIRS: dict[str, tuple[ServerFacts, Step | type[Step] | str]] = {
    "start": (drifted(STOPPED), Repair("s1", Remedy.START)),
    "resize": (drifted(RESIZED), Repair("s1", Remedy.RESIZE)),
    "tag": (drifted(UNTAGGED), Repair("s1", Remedy.RETAG)),
    "reported only": (drifted(STOPPED, repairs=False), Settled),
    "reported only, and not ours to see": (drifted(UNTAGGED, repairs=False), "IdentityMismatch"),
    "the group is suspended": (drifted(STOPPED, held="its group is suspended"), Settled),
    "the service cannot": (drifted(STOPPED, {"can_retag": True}), Settled),
    "the service cannot start, but resize": (
        drifted(shown(state=SeenState.STOPPED, offering="large"), {"can_resize": True}),
        Repair("s1", Remedy.RESIZE),
    ),
    "another owner is never overruled": (drifted(shown(owner="inst/uid-other")), "IdentityMismatch"),
    "a released one is never taken back": (drifted(shown(owner=RELEASED)), "IdentityMismatch"),
    "just tried: look": (drifted(STOPPED, tries=JUST_NOW), Ask("s1")),
    "just tried and looked: wait": (drifted(STOPPED, tries=JUST_NOW, lookup=ASKED), "Repairing"),
    "tried, and the pause is over": (drifted(STOPPED, tries=DUE, lookup=ASKED), Repair("s1", Remedy.START)),
    "tried long ago": (drifted(STOPPED, tries=LONG_AGO), Repair("s1", Remedy.START)),
    "tried, and it helped": (drifted(STOPPED, tries=JUST_NOW, lookup=STARTED), Settled),
    "a call failed": (drifted(STOPPED, failure=THROTTLED), "Throttled"),
    "one waits, another is due": (
        drifted(shown(state=SeenState.STOPPED, offering="large"), tries=JUST_NOW),
        Repair("s1", Remedy.RESIZE),
    ),
    "not on the word of another account": (
        drifted(STOPPED, {**ABLE, "trusted": False}),
        "ScopeChanged",
    ),
    "not of one that goes": (
        replace(drifted(STOPPED), deleting_since=NOW, noticed_at=NOW),
        Ask("s1"),
    ),
}


@pytest.mark.parametrize("case", REPAIRS)
def test_what_is_done_about_it(case: str) -> None:
    f, expected = REPAIRS[case]
    assert is_step(decide_server(f, NOW), expected), decide_server(f, NOW)


def test_the_pause_between_repairs_doubles_up_to_a_bound() -> None:
    assert [pause_after(n) for n in (1, 2, 3)] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pause_after(99) == LAST_PAUSE


TREATMENTS: dict[str, tuple[ServerFacts, str]] = {
    "report": (drifted(STOPPED, repairs=False), "(driftPolicy: Report)"),
    "unable": (drifted(STOPPED, {}), "(not repaired: anchor cannot start servers)"),
    "unable to resize": (drifted(RESIZED, {}), "(not repaired: anchor cannot resize servers)"),
    "unable to tag": (drifted(UNTAGGED, {"can_retag": False}), "(not repaired: anchor cannot write tags)"),
    "suspended": (drifted(STOPPED, held="its group is suspended"), "(not repaired: its group is suspended)"),
    "first": (drifted(STOPPED), "(it is being repaired)"),
    "tried": (drifted(STOPPED, tries=JUST_NOW), "(repaired once)"),
    "refused": (
        drifted(STOPPED, tries={"Stopped": RepairTries(3, STEADY - 1, "no room")}),
        "(tried 3 times in a row: no room)",
    ),
}


@pytest.mark.parametrize("case", TREATMENTS)
def test_what_becomes_of_a_drift_is_told(case: str) -> None:
    f, expected = TREATMENTS[case]
    found = told(f, find_drifts(f, sight(f)))
    assert found is not None
    assert found[1].endswith(expected)


def test_the_policy_of_a_group_is_handed_to_servers_that_have_another() -> None:
    servers = [GroupServer(f"g-{n}", f"u{n}", "m", n, 1, None, False, NOW, repairs=n == 1) for n in range(3)]
    servers.append(GroupServer("g-3", "u3", "m", 3, 1, None, False, NOW, deleting=True))
    assert handed_down("Repair", servers) == (("g-0", "u0"), ("g-2", "u2"))
    assert handed_down("Report", servers) == (("g-1", "u1"),)


def watching(**changes: Any) -> ServerFacts:
    """A server that is only observed, and was seen before."""
    base = {"provider_id": None, "recorded_at": None, "adopt_id": "s1", "secret": None, "observes": True}
    return running(**{**base, "observed_before": True, **changes})


GONE = Lookup(NOW, STEADY, LookupResult.NOT_FOUND)
LAG = svc().listing_lag
NOWHERE = {"latest": inventory(S), "previous": inventory(S + LAG + S)}
FOREIGN = shown(owner="other/uid")

OBSERVED: dict[str, tuple[ServerFacts, Step | type[Step] | str]] = {
    "there, and another owner's": (watching(service=svc(latest=inventory(S, FOREIGN))), Settled()),
    "there, on a service that cannot tag": (
        watching(service=svc(latest=inventory(S, FOREIGN), can_retag=False)),
        Settled(),
    ),
    "no inventory yet": (watching(), Settled()),
    "new, and in no inventory": (watching(observed_before=False, service=svc(latest=inventory(S))), Ask("s1")),
    "new, and it does not exist": (
        watching(observed_before=False, service=svc(latest=inventory(S)), lookup=GONE),
        Fail(CallFailure("AdoptNotFound", "anchor has no server s1", terminal=True, definite=True)),
    ),
    "new, and listed late": (
        watching(
            observed_before=False, service=svc(latest=inventory(S)), lookup=Lookup(NOW, STEADY, LookupResult.FOUND)
        ),
        Settled(),
    ),
    "gone: asked": (watching(service=svc(**NOWHERE)), Ask("s1")),
    "gone: confirmed": (watching(service=svc(**NOWHERE), lookup=GONE), "lost"),
    "gone: once is not enough": (watching(service=svc(latest=inventory(S)), lookup=GONE), "Missing"),
    "gone: frozen": (watching(service=svc(**NOWHERE, frozen="many"), lookup=GONE), "OvershootFreeze"),
    "the namespace is not allowed": (watching(refused=("NotAllowedInNamespace", "no")), "NotAllowedInNamespace"),
    "another account": (watching(service=svc(trusted=False)), "ScopeChanged"),
    "its object goes, without our finalizer": (watching(deleting_since=NOW, has_finalizer=False), Settled()),
    "its object goes": (watching(deleting_since=NOW, service=None), DropFinalizer()),
    "drift is not repaired": (
        watching(service=svc(latest=inventory(S, STOPPED), **ABLE), repairs=True, ran=True),
        Settled(),
    ),
}


@pytest.mark.parametrize("case", OBSERVED)
def test_an_observed_server(case: str) -> None:
    f, expected = OBSERVED[case]
    step = decide_server(f, NOW)
    if expected == "lost":
        assert type(step).__name__ == "DeclareLost"
    else:
        assert is_step(step, expected), step


def test_nothing_that_writes_follows_for_an_observed_server() -> None:
    writes = {"Create", "CreateAgain", "Claim", "Record", "Destroy", "Release", "Close", "Repair"}
    assert not {type(decide_server(f, NOW)).__name__ for f, _ in OBSERVED.values()} & writes


def test_a_server_that_was_observed_is_claimed_once_it_is_to_be_managed() -> None:
    f = watching(service=svc(latest=inventory(S, shown(owner=None))), observes=False)
    assert type(decide_server(f, NOW)).__name__ == "Claim"


def test_a_look_at_another_server_says_nothing_about_this_one() -> None:
    stranger = Lookup(NOW, STEADY, LookupResult.FOUND, replace(STOPPED, provider_id="s2"))
    f = drifted(shown(), lookup=stranger, secret=SecretFacts((), revision=1))
    assert sight(f) == shown()
    assert reasons(leaving()) == []
