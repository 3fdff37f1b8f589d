"""Every branch of the decision about one server, as tables: facts in, one step out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from moorage.core.facts import (
    RELEASED,
    Attempt,
    CallFailure,
    Identity,
    Inventory,
    Lookup,
    LookupResult,
    SecretFacts,
    Seen,
    SeenState,
    ServerFacts,
    ServiceFacts,
)
from moorage.core.lifecycle import DELETE_REPEAT, DEPENDENTS_GRACE, decide_server, overshoot
from moorage.core.steps import (
    Ask,
    AwaitInventory,
    Claim,
    Close,
    Create,
    CreateAgain,
    DeclareLost,
    Destroy,
    DropFinalizer,
    Fail,
    Record,
    Release,
    Settled,
    Step,
    Wait,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
S = timedelta(seconds=1)
LAG = 10 * S
STEADY = 100_000.0
"""Now, on the clock that nobody sets."""
ME = Identity("m-me", "inst/uid-me")


def server(id_: str = "s1", *, owner: str | None = ME.owner, state: SeenState = SeenState.RUNNING) -> Seen:
    return Seen(id_, ME.key, owner, state, (("Internal", "10.0.0.1"),))


def steady(moment: datetime) -> float:
    """The same moment on that clock, where the other was never set."""
    return STEADY + (moment - NOW) / S


def inventory(ago: timedelta, *seen: Seen) -> Inventory:
    """A complete inventory that was started that long ago."""
    keys: dict[str, tuple[Seen, ...]] = {}
    for one in seen:
        if one.key is not None:
            keys[one.key] = (*keys.get(one.key, ()), one)
    return Inventory(NOW - ago, steady(NOW - ago), {one.provider_id: one for one in seen}, keys)


def svc(**changes: Any) -> ServiceFacts:
    return replace(ServiceFacts("anchor", "svc-uid", connected=True, listing_lag=LAG), **changes)


def attempt(ago: timedelta, length: timedelta = 60 * S) -> Attempt:
    return Attempt(NOW - ago, NOW - ago + length)


def facts(**changes: Any) -> ServerFacts:
    """Of a process that was there all the time, and whose clock was never set."""
    secret, recorded = changes.get("secret"), changes.get("recorded_at")
    newest = max((one.time for one in secret.attempts), default=NOW) if secret is not None else NOW
    changes.setdefault("attempts_since", steady(newest))
    changes.setdefault("recorded_since", steady(recorded or NOW - 3600 * S))
    base = ServerFacts(
        name="g-m-0",
        uid="uid-me",
        identity=ME,
        created=NOW - 3600 * S,
        deleting_since=None,
        has_finalizer=True,
        retain=False,
        adopt_id=None,
        provider_id=None,
        recorded_at=None,
        lost=False,
        failed=None,
        secret=None,
        joined=False,
        addressed=True,
        service=svc(),
        steady=STEADY,
        attempts_since=STEADY,
        recorded_since=STEADY,
    )
    return replace(base, **changes)


def running(**changes: Any) -> ServerFacts:
    """A recorded server that has been there for an hour."""
    base: dict[str, Any] = {
        "provider_id": "s1",
        "recorded_at": NOW - 3600 * S,
        "secret": SecretFacts((attempt(3600 * S),), revision=1),
    }
    return facts(**{**base, **changes})


def leaving(**changes: Any) -> ServerFacts:
    """A recorded server whose object is being deleted."""
    return running(**{"deleting_since": NOW - 60 * S, "noticed_at": NOW - 60 * S, **changes})


def failure(**changes: Any) -> CallFailure:
    return replace(CallFailure("Unavailable", "no answer", False, False, None), **changes)


FULL = failure(reason="InsufficientCapacity", message="full", terminal=True, definite=True)
FOUND = Lookup(NOW, STEADY, LookupResult.FOUND, server())
NOT_FOUND = Lookup(NOW, STEADY, LookupResult.NOT_FOUND)
TRIED = SecretFacts((attempt(5 * S),))
OVERDUE = SecretFacts((attempt(61 * S),))
SETTLED = SecretFacts((attempt(100 * S),))


Expected = Step | type[Step] | str
Cases = dict[str, tuple[ServerFacts, Expected]]


def is_step(step: Step, expected: Expected) -> bool:
    """A step equals, is of the type, or waits for the reason."""
    if isinstance(expected, str):
        return isinstance(step, Wait | AwaitInventory) and step.reason == expected
    return isinstance(step, expected) if isinstance(expected, type) else step == expected


CREATING: Cases = {
    "first": (facts(), Create()),
    "the service is gone": (facts(service=None), "ServiceNotFound"),
    "another account": (facts(service=svc(trusted=False)), "ScopeChanged"),
    "not reachable": (facts(service=svc(connected=False, problem="refused")), "ServiceUnavailable"),
    "already there": (facts(service=svc(latest=inventory(S, server()))), Record("s1")),
    "already there, told by a lagging inventory": (
        facts(service=svc(latest=inventory(999 * S, server()))),
        Record("s1"),
    ),
    "the one there is going": (
        facts(service=svc(latest=inventory(S, server(state=SeenState.TERMINATING)))),
        Create(),
    ),
    "somebody else's tag on our key": (facts(service=svc(latest=inventory(S, server(owner="inst/other")))), Create()),
    "released once": (facts(service=svc(latest=inventory(S, server(owner=RELEASED)))), Create()),
    "terminal refusal": (facts(secret=TRIED, failure=FULL), Fail(FULL)),
    "paused after a failure": (facts(secret=TRIED, failure=failure(retry_at=NOW + S)), "Unavailable"),
    "the pause is over": (facts(secret=TRIED, failure=failure(retry_at=NOW)), CreateAgain(record=False)),
    "closed": (facts(secret=SecretFacts(closed=True)), "CreationBarred"),
    "a Secret without attempts": (facts(secret=SecretFacts()), "CreationBarred"),
    "damaged": (facts(secret=SecretFacts(damaged=True)), "StateDamaged"),
    "its answer came and was not recorded": (facts(secret=TRIED, made="s7"), Record("s7")),
    "its answer came, and the service knows no keys": (
        facts(secret=TRIED, made="s7", service=svc(idempotent_create=False)),
        Record("s7"),
    ),
    "repeated with a key": (facts(secret=TRIED), CreateAgain(record=False)),
    "repeated with a key, a new attempt": (facts(secret=OVERDUE), CreateAgain(record=True)),
    "no keys: unknown outcome": (facts(secret=TRIED, service=svc(idempotent_create=False)), "CreateOutcomeUnknown"),
    "no keys: definitely refused": (
        facts(secret=TRIED, service=svc(idempotent_create=False), failure=failure(definite=True)),
        CreateAgain(record=True),
    ),
    "no keys: within the lag": (facts(secret=OVERDUE, service=svc(idempotent_create=False)), "CreateOutcomeUnknown"),
    "no keys: no inventory": (facts(secret=SETTLED, service=svc(idempotent_create=False)), AwaitInventory),
    "no keys: the inventory is older": (
        facts(secret=SETTLED, service=svc(idempotent_create=False, latest=inventory(31 * S))),
        AwaitInventory,
    ),
    "no keys: absent": (
        facts(secret=SETTLED, service=svc(idempotent_create=False, latest=inventory(29 * S))),
        CreateAgain(record=True),
    ),
    "no keys: there after all": (
        facts(secret=SETTLED, service=svc(idempotent_create=False, latest=inventory(29 * S, server()))),
        Record("s1"),
    ),
    "no keys: every attempt counts, not the last": (
        facts(
            secret=SecretFacts((attempt(5 * S), attempt(500 * S))),
            service=svc(idempotent_create=False, latest=inventory(S)),
        ),
        "CreateOutcomeUnknown",
    ),
    "adopt": (facts(adopt_id="s9"), Claim("s9")),
    "adopt, refused": (facts(adopt_id="s9", failure=FULL), Fail(FULL)),
    "adopt, paused": (facts(adopt_id="s9", failure=failure(retry_at=NOW + S)), "Unavailable"),
    "failed": (facts(failed=FULL), Settled()),
    "lost": (facts(lost=True), Settled()),
}


@pytest.mark.parametrize("case", CREATING)
def test_creating(case: str) -> None:
    given, expected = CREATING[case]
    assert is_step(decide_server(given, NOW), expected)


def test_two_servers_of_one_identity_end_the_object_and_both_go() -> None:
    seen = svc(latest=inventory(S, server("s2"), server("s1")))
    for given in (facts(service=seen), running(secret=SETTLED, service=seen)):
        step = decide_server(given, NOW)
        assert isinstance(step, Fail)
        assert (step.failure.reason, step.destroy) == ("DuplicateIdentity", ("s1", "s2"))


def test_an_unknown_outcome_names_the_moment_that_settles_it() -> None:
    service = svc(idempotent_create=False)
    waiting = decide_server(facts(secret=TRIED, service=service), NOW)
    settled = TRIED.attempts[0].deadline + LAG
    assert isinstance(waiting, Wait)
    assert waiting.until == settled + timedelta(milliseconds=1)
    later = facts(secret=TRIED, service=service, steady=steady(waiting.until))
    assert decide_server(later, waiting.until) == AwaitInventory(settled, "CreateOutcomeUnknown", waiting.message)


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_clock_that_is_set_does_not_end_the_wait_for_an_unknown_outcome_nor_prolong_it(jump: timedelta) -> None:
    no_keys = svc(idempotent_create=False)
    listed = replace(inventory(-jump), steady=STEADY)
    for given in (facts(secret=TRIED, service=no_keys), leaving(**UNASKED, secret=TRIED)):
        waiting = decide_server(given, NOW + jump)
        assert isinstance(waiting, Wait)
        assert waiting.until == NOW + jump + 65 * S + timedelta(milliseconds=1)
    over = facts(secret=SETTLED, service=replace(no_keys, latest=listed))
    assert decide_server(over, NOW + jump) == CreateAgain(record=True)


def test_a_process_that_did_not_make_the_attempt_counts_from_when_it_came_to_know_of_it() -> None:
    old = SecretFacts((attempt(86400 * S),))
    no_keys = svc(idempotent_create=False, latest=inventory(S))
    for given in (facts(secret=old, service=no_keys), leaving(**UNASKED, secret=old, service=no_keys)):
        known = replace(given, attempts_since=STEADY - 5)
        assert is_step(decide_server(known, NOW), "CreateOutcomeUnknown")


def test_with_keys_an_attempt_is_repeated_until_its_time_is_over_by_the_clock_that_nobody_sets() -> None:
    given = facts(secret=OVERDUE, attempts_since=STEADY - 59)
    assert decide_server(given, NOW + timedelta(hours=1)) == CreateAgain(record=False)
    assert decide_server(replace(given, attempts_since=STEADY - 60), NOW - timedelta(hours=1)) == CreateAgain(
        record=True
    )


def test_two_inventories_that_a_set_clock_puts_apart_do_not_make_a_loss() -> None:
    close = svc(latest=inventory(S), previous=replace(inventory(3600 * S), steady=STEADY - 6))
    assert is_step(decide_server(running(recorded_at=NOW - 7200 * S, service=close, lookup=NOT_FOUND), NOW), "Missing")


RUNNING: Cases = {
    "no address for long": (
        running(addressed=False, recorded_at=NOW - timedelta(minutes=11), lookup=replace(FOUND, at=NOW - 31 * S)),
        Settled(),
    ),
    "no inventory yet": (running(), Settled()),
    "there": (running(service=svc(latest=inventory(S, server()))), Settled()),
    "another one of our identity, configuration has flowed": (
        running(service=svc(latest=inventory(S, server(), server("s2")))),
        Destroy(("s2",)),
    ),
    "another one, but the last call failed": (
        running(service=svc(latest=inventory(S, server(), server("s2"))), failure=failure(retry_at=NOW + S)),
        "Unavailable",
    ),
    "tags of another": (
        running(service=svc(latest=inventory(S, server(owner="inst/other")))),
        "IdentityMismatch",
    ),
    "its tags are gone": (running(service=svc(latest=inventory(S, server(owner=None)))), "IdentityMismatch"),
    "damaged": (running(secret=SecretFacts(damaged=True), service=svc(latest=inventory(S))), "StateDamaged"),
    "no address: asks": (running(addressed=False), Ask("s1")),
    "no address: asked just now": (running(addressed=False, lookup=FOUND), Settled()),
    "no address: paused": (running(addressed=False, failure=failure(retry_at=NOW + S)), "Unavailable"),
    "no address: asks again": (
        running(addressed=False, recorded_at=NOW - timedelta(minutes=5), lookup=replace(FOUND, at=NOW - 31 * S)),
        Ask("s1"),
    ),
    "adopted, another one of our identity": (
        running(adopt_id="s1", secret=SecretFacts(), service=svc(latest=inventory(S, server(), server("s2")))),
        Destroy(("s2",)),
    ),
}


@pytest.mark.parametrize("case", RUNNING)
def test_running(case: str) -> None:
    given, expected = RUNNING[case]
    assert is_step(decide_server(given, NOW), expected)


GONE_TWICE = svc(latest=inventory(S), previous=inventory(20 * S))
MISSING: Cases = {
    "young: the listing may lag": (running(recorded_at=NOW - 5 * S, service=svc(latest=inventory(S))), Settled()),
    "first: ask": (running(service=svc(latest=inventory(S))), Ask("s1")),
    "asked before the inventory: ask again": (
        running(
            service=svc(latest=inventory(S)), lookup=replace(NOT_FOUND, at=NOW - 2 * S, steady=steady(NOW - 2 * S))
        ),
        Ask("s1"),
    ),
    "found when asked": (running(service=svc(latest=inventory(S)), lookup=FOUND), Settled()),
    "asking failed": (
        running(service=svc(latest=inventory(S)), failure=failure(retry_at=NOW + S)),
        "Unavailable",
    ),
    "one inventory is not enough": (running(service=svc(latest=inventory(S)), lookup=NOT_FOUND), AwaitInventory),
    "two inventories within the lag": (
        running(service=svc(latest=inventory(S), previous=inventory(10 * S)), lookup=NOT_FOUND),
        AwaitInventory,
    ),
    "the older one shows it": (
        running(service=svc(latest=inventory(S), previous=inventory(20 * S, server())), lookup=NOT_FOUND),
        AwaitInventory,
    ),
    "the older one is from before its birth": (
        running(recorded_at=NOW - 25 * S, service=GONE_TWICE, lookup=NOT_FOUND),
        AwaitInventory,
    ),
    "frozen": (running(service=replace(GONE_TWICE, frozen="90 of 100"), lookup=NOT_FOUND), "OvershootFreeze"),
    "another account": (running(service=replace(GONE_TWICE, trusted=False), lookup=NOT_FOUND), "ScopeChanged"),
    "two inventories and a typed answer": (running(service=GONE_TWICE, lookup=NOT_FOUND), DeclareLost),
    "two inventories, found when asked": (running(service=GONE_TWICE, lookup=FOUND), Settled()),
    "two inventories, not asked": (running(service=GONE_TWICE), Ask("s1")),
}


@pytest.mark.parametrize("case", MISSING)
def test_missing(case: str) -> None:
    given, expected = MISSING[case]
    assert is_step(decide_server(given, NOW), expected)


OTHERS = replace(FOUND, seen=server(owner="inst/other"))
UNASKED = {"provider_id": None, "recorded_at": None, "lookup": None}
DELETING: Cases = {
    "not ours to hold": (leaving(has_finalizer=False), Settled()),
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


@pytest.mark.parametrize(
    ("recorded", "missing", "too_many"), [(1, 1, False), (2, 2, False), (3, 3, True), (10, 3, False), (10, 4, True)]
)
def test_overshoot(recorded: int, missing: int, too_many: bool) -> None:
    assert overshoot(recorded, missing) is too_many
