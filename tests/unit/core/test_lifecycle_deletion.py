"""Every branch of the decision about a server that is to go, as a table: facts in, one step out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.server_facts import (
    FOUND,
    FULL,
    NOT_FOUND,
    NOW,
    SETTLED,
    STEADY,
    TRIED,
    UNASKED,
    Cases,
    S,
    attempt,
    facts,
    failure,
    inventory,
    is_step,
    leaving,
    running,
    server,
    svc,
)

from moorage.core.departure import DELETE_REPEAT, DELETION_OVERDUE, DEPENDENTS_GRACE, OVERDUE
from moorage.core.facts import (
    RELEASED,
    SecretFacts,
)
from moorage.core.lifecycle import decide_server
from moorage.core.steps import (
    Ask,
    AwaitInventory,
    Close,
    Destroy,
    DropFinalizer,
    Release,
    Revoke,
    Settled,
    Wait,
)

OTHERS = replace(FOUND, seen=server(owner="inst/other"))
DELETING: Cases = {
    "not ours to hold": (leaving(has_finalizer=False), Settled()),
    "its agent gets nothing any more": (leaving(secret=replace(TRIED, serves=True), lookup=FOUND), Revoke()),
    "its agent gets nothing any more, wherever the service is": (
        leaving(
            secret=replace(TRIED, serves=True),
            remaining_dependents=("web",),
            service=svc(connected=False),
            lookup=FOUND,
        ),
        Revoke(),
    ),
    "its agent gets nothing any more, whatever was tried": (
        leaving(**UNASKED, secret=SecretFacts(damaged=True, serves=True), service=None),
        Revoke(),
    ),
    "dependents first": (leaving(remaining_dependents=("web",), lookup=FOUND), "DependentsFirst"),
    "dependents first, for a while": (
        leaving(remaining_dependents=("web",), lookup=FOUND, deleting_since=NOW - DEPENDENTS_GRACE),
        Destroy(("s1",)),
    ),
    "never begun: bar it": (leaving(**UNASKED, secret=None), Close()),
    "never begun: barred": (leaving(**UNASKED, secret=SecretFacts(closed=True)), DropFinalizer()),
    "never begun, the service is gone": (leaving(**UNASKED, secret=None, service=None), Close()),
    "refused for good": (leaving(**UNASKED, secret=TRIED, failed=FULL), DropFinalizer()),
    "refused for good after an unknown attempt": (
        leaving(**UNASKED, secret=SecretFacts((attempt(70 * S), attempt(5 * S))), failed=FULL),
        "CreateOutcomeUnknown",
    ),
    "refused, but one of this identity may exist": (
        leaving(**UNASKED, secret=TRIED, failed=replace(FULL, definite=False)),
        "CreateOutcomeUnknown",
    ),
    "unknown outcome": (leaving(**UNASKED, secret=TRIED), "CreateOutcomeUnknown"),
    "unknown outcome, there": (
        leaving(**UNASKED, secret=TRIED, service=svc(latest=inventory(S, server()))),
        Destroy(("s1",)),
    ),
    "unknown outcome, there, retained": (
        leaving(**UNASKED, retain=True, secret=TRIED, service=svc(latest=inventory(S, server()))),
        Release("s1"),
    ),
    "unknown outcome, no inventory": (leaving(**UNASKED, secret=SETTLED), AwaitInventory),
    "unknown outcome, an older inventory": (
        leaving(**UNASKED, secret=SETTLED, service=svc(latest=inventory(30 * S))),
        AwaitInventory,
    ),
    "unknown outcome, absent": (
        leaving(**UNASKED, secret=SETTLED, service=svc(latest=inventory(29 * S))),
        DropFinalizer(),
    ),
    "not found, while too many are missing at once": (
        leaving(lookup=NOT_FOUND, service=svc(frozen="90 of 100")),
        "OvershootFreeze",
    ),
    "not found, while too many are missing at once, and removed by this process": (
        leaving(lookup=NOT_FOUND, service=svc(frozen="90 of 100"), deleted_at=NOW - S),
        DropFinalizer(),
    ),
    "not found, where the account is another's": (
        leaving(lookup=NOT_FOUND, service=svc(trusted=False)),
        "ScopeChanged",
    ),
    "unknown outcome, absent, while too many are missing at once": (
        leaving(**UNASKED, secret=SETTLED, service=svc(latest=inventory(29 * S), frozen="90 of 100")),
        "OvershootFreeze",
    ),
    "found, while too many are missing at once": (
        leaving(lookup=FOUND, service=svc(frozen="90 of 100")),
        Destroy(("s1",)),
    ),
    "damaged: anything may have been tried": (
        leaving(**UNASKED, secret=SecretFacts(damaged=True), service=svc(latest=inventory(S))),
        "CreateOutcomeUnknown",
    ),
    "damaged, there": (
        leaving(**UNASKED, secret=SecretFacts(damaged=True), service=svc(latest=inventory(S, server()))),
        Destroy(("s1",)),
    ),
    "damaged, absent for long enough": (
        leaving(
            **UNASKED,
            secret=SecretFacts(damaged=True),
            attempts_since=STEADY - 72,
            service=svc(latest=inventory(S)),
        ),
        DropFinalizer(),
    ),
    "the service is gone": (leaving(service=None), "ServiceNotFound"),
    "another account": (leaving(service=svc(trusted=False)), "ScopeChanged"),
    "not reachable": (leaving(service=svc(connected=False)), "ServiceUnavailable"),
    "paused": (leaving(failure=failure(retry_at=NOW + S)), "Unavailable"),
    "ask first": (leaving(), Ask("s1")),
    "what was seen before the deletion does not count": (leaving(lookup=replace(FOUND, at=NOW - 61 * S)), Ask("s1")),
    "ours: destroy": (leaving(lookup=FOUND), Destroy(("s1",))),
    "destroyed: asked just now": (leaving(lookup=FOUND, deleted_at=NOW - S), "Deleting"),
    "destroyed, and there for too long": (
        leaving(lookup=FOUND, deleted_at=NOW - S, asked_since=NOW - OVERDUE),
        DELETION_OVERDUE,
    ),
    "destroyed: ask again": (
        leaving(lookup=replace(FOUND, at=NOW - 10 * S), deleted_at=NOW - 20 * S),
        Ask("s1"),
    ),
    "destroyed, and still there": (leaving(lookup=FOUND, deleted_at=NOW - DELETE_REPEAT), Destroy(("s1",))),
    "gone": (leaving(lookup=NOT_FOUND), DropFinalizer()),
    "gone, but another of this identity": (
        leaving(lookup=replace(NOT_FOUND, at=NOW - 12 * S), service=svc(latest=inventory(S, server("s2")))),
        Destroy(("s2",)),
    ),
    "gone, another of this identity by an older inventory": (
        leaving(lookup=NOT_FOUND, service=svc(latest=inventory(S, server("s2")))),
        AwaitInventory,
    ),
    "unknown outcome, destroyed since the inventory": (
        leaving(**UNASKED, deleted_at=NOW - 2 * S, secret=TRIED, service=svc(latest=inventory(S, server()))),
        AwaitInventory,
    ),
    "unknown outcome, still there long after": (
        leaving(**UNASKED, deleted_at=NOW - 20 * S, secret=TRIED, service=svc(latest=inventory(S, server()))),
        Destroy(("s1",)),
    ),
    "unknown outcome, released since the inventory": (
        leaving(
            **{**UNASKED, "lookup": replace(FOUND, seen=server(owner=RELEASED))},
            retain=True,
            secret=TRIED,
            service=svc(latest=inventory(S, server())),
        ),
        AwaitInventory,
    ),
    "gone, another of this identity, retained": (
        leaving(lookup=NOT_FOUND, retain=True, service=svc(latest=inventory(S, server("s2")))),
        DropFinalizer(),
    ),
    "absent, but too young to tell": (leaving(lookup=NOT_FOUND, recorded_at=NOW - S), "Deleting"),
    "absent, too young when asked": (
        leaving(lookup=replace(NOT_FOUND, at=NOW - 30 * S, steady=STEADY - 30), recorded_at=NOW - 35 * S),
        Ask("s1"),
    ),
    "young, gone after our deletion": (
        leaving(lookup=NOT_FOUND, recorded_at=NOW - S, deleted_at=NOW - S),
        DropFinalizer(),
    ),
    "somebody else's": (leaving(lookup=OTHERS, service=svc(latest=inventory(S))), DropFinalizer()),
    "somebody else's, no inventory": (leaving(lookup=OTHERS), AwaitInventory),
    "somebody else's, ours is another": (
        leaving(lookup=OTHERS, service=svc(latest=inventory(S, server("s2")))),
        Destroy(("s2",)),
    ),
    "retain": (leaving(lookup=FOUND, retain=True), Release("s1")),
    "retain, no tags to write": (leaving(lookup=FOUND, retain=True, service=svc(can_retag=False)), "RetainUnsupported"),
    "retain, released": (leaving(lookup=replace(FOUND, seen=server(owner=RELEASED)), retain=True), DropFinalizer()),
    "released, but no longer to be retained": (
        leaving(lookup=replace(FOUND, seen=server(owner=RELEASED)), service=svc(latest=inventory(S))),
        DropFinalizer(),
    ),
    "adopted and claimed, never recorded": (
        leaving(**UNASKED, adopt_id="s1", secret=SecretFacts()),
        Ask("s1"),
    ),
    "adopted, never claimed": (leaving(**UNASKED, adopt_id="s1", secret=None), Close()),
    "adopted, never claimed, barred, and the service is gone": (
        leaving(**UNASKED, adopt_id="s1", secret=SecretFacts(closed=True), service=None),
        DropFinalizer(),
    ),
    "lost": (leaving(lost=True, lookup=NOT_FOUND), DropFinalizer()),
}


@pytest.mark.parametrize("case", DELETING)
def test_deleting(case: str) -> None:
    given, expected = DELETING[case]
    assert is_step(decide_server(given, NOW), expected)


def test_a_deletion_that_is_accepted_and_not_done_tells_since_when_and_what_to_look_for() -> None:
    step = decide_server(leaving(lookup=FOUND, deleted_at=NOW - S, asked_since=NOW - OVERDUE), NOW)
    assert isinstance(step, Wait)
    assert "asked to delete server s1 since 2026-01-01T" in step.message
    assert "protected from deletion" in step.message


def test_for_as_long_as_the_service_was_never_asked_its_deletion_is_not_overdue() -> None:
    """Unreachable for long, or its dependents went first: what it accepted a second ago is not late."""
    late = leaving(lookup=FOUND, deleting_since=NOW - 2 * OVERDUE, deleted_at=NOW - S, asked_since=NOW - S)
    assert is_step(decide_server(late, NOW), "Deleting")
    step = decide_server(replace(late, asked_since=NOW - OVERDUE), NOW)
    assert isinstance(step, Wait)
    assert f"since {NOW - OVERDUE:%Y-%m-%dT%H:%M:%SZ}" in step.message


@pytest.mark.parametrize("successor", [False, True])
def test_a_new_service_of_the_same_name_is_never_proposed_as_a_remedy(successor: bool) -> None:
    for found in (leaving(service=None, successor=successor), running(service=None, successor=successor)):
        step = decide_server(found, NOW)
        assert isinstance(step, Wait)
        assert "another one" in step.message
        assert "restore that object with its uid" in step.message
        assert "create the HostingService" not in step.message


def test_an_object_that_names_its_service_without_uid_is_helped_by_making_it() -> None:
    step = decide_server(facts(service=None, by_name=True), NOW)
    assert isinstance(step, Wait)
    assert step.message == (
        "the HostingService of this server does not exist (any more): create it, or delete this object"
    )
