"""What holds for one server in any world: crashes, conflicts, lost and late answers, inventories that lag or lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.server_world import ME, World, run

from moorage.core import steps
from moorage.core.facts import Inventory
from moorage.core.lifecycle import decide_server

CHAOS = st.lists(st.integers(0, 79), max_size=60)
S = timedelta(seconds=1)


def world(chaos: Sequence[int], **settings: object) -> World:
    return World(iter(chaos), **settings)  # type: ignore[arg-type]


@settings(max_examples=300)
@given(
    chaos=CHAOS,
    keys=st.booleans(),
    retain=st.booleans(),
    lag=st.sampled_from([0, 5, 40]),
    hides=st.booleans(),
)
@example(
    chaos=[0, 0, 0, 0, 1, 69], keys=False, retain=False, lag=0, hides=False
)  # vanishes, then the clock is set back
def test_one_identity_is_at_most_one_server_and_nothing_is_left(
    chaos: list[int], keys: bool, retain: bool, lag: int, hides: bool
) -> None:
    """The world itself asserts at each effect; at the end the server is there, ended, or gone without a trace."""
    w = run(world(chaos, keys=keys, retain=retain, lag=lag * S, hides=hides))
    if w.deleting is None:
        ended = w.lost or w.failed is not None
        assert ended or [m.id for m in w.alive()] == [w.provider_id]
        w.deleting = w.clock
        run(w)
    assert not w.finalizer
    assert not w.alive()
    assert not [d for d in w.in_flight if d > w.now] or (keys and w.used_keys)
    if not retain:
        assert all(m.died is not None for m in w.machines)


@settings(max_examples=100)
@given(CHAOS, st.booleans())
def test_the_same_facts_give_the_same_step_in_any_order(chaos: list[int], keys: bool) -> None:
    def decide(facts, now):  # type: ignore[no-untyped-def]
        first = decide_server(facts, now)
        service = replace(facts.service, latest=turned(facts.service.latest), previous=turned(facts.service.previous))
        assert decide_server(facts, now) == first
        assert decide_server(replace(facts, service=service), now) == first
        return first

    run(world(chaos, keys=keys, decide=decide))


def turned(inventory: Inventory | None) -> Inventory | None:
    """The same inventory, everything in the other order."""
    if inventory is None:
        return None
    by_id = dict(reversed(list(inventory.by_id.items())))
    by_key = {key: tuple(reversed(found)) for key, found in reversed(list(inventory.by_key.items()))}
    return Inventory(inventory.started, inventory.steady, by_id, by_key)


def test_a_quiet_world_takes_few_steps() -> None:
    w = world([])
    seen = [type(w.step()) for _ in range(3)]
    assert seen == [steps.Create, steps.Settled, steps.Settled]
    w.deleting = w.now
    seen = []
    while w.finalizer:
        seen.append(type(w.step()))
    assert seen == [steps.Revoke, steps.Ask, steps.Destroy, steps.Ask, steps.DropFinalizer]


def test_a_server_that_vanishes_is_called_lost_and_is_not_made_again() -> None:
    w = world([])
    w.step()
    w.alive()[0].died = w.now
    run(w)
    assert w.lost
    assert len(w.machines) == 1
    assert [s for s in w.told if isinstance(s, steps.DeclareLost)]


def test_nothing_is_believed_while_the_account_is_another_one() -> None:
    w = world([])
    w.step()
    w.away = True
    w.take_inventory()
    assert [w.step() for _ in range(20)][-1] == w.told[-1]
    assert {s.reason for s in w.told[1:] if isinstance(s, steps.Wait)} == {"ScopeChanged"}
    assert [m.id for m in w.alive()] == ["s1"]
    assert ME.owner == w.alive()[0].owner
