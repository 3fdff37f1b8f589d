"""Every branch of the decision about one server, as tables: facts in, one step out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.server_facts import (
    FOUND,
    FULL,
    LAG,
    NOT_FOUND,
    NOW,
    OVERDUE,
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
    steady,
    svc,
)

from moorage.core.facts import (
    RELEASED,
    SecretFacts,
    SeenState,
)
from moorage.core.lifecycle import decide_server, overshoot
from moorage.core.steps import (
    Ask,
    AwaitInventory,
    Claim,
    Create,
    CreateAgain,
    DeclareLost,
    Destroy,
    Fail,
    Record,
    Settled,
    Wait,
)

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


@pytest.mark.parametrize(
    ("recorded", "missing", "too_many"), [(1, 1, False), (2, 2, False), (3, 3, True), (10, 3, False), (10, 4, True)]
)
def test_overshoot(recorded: int, missing: int, too_many: bool) -> None:
    assert overshoot(recorded, missing) is too_many
