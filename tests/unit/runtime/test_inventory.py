"""Inventories: what they show, when the next is due, which older one an absence is held against."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from moorage.core.facts import Inventory
from moorage.hosting.contract import Address, AddressType, ServerRecord, ServerState, identity_key, identity_tags
from moorage.hosting.contract import Inventory as Listing
from moorage.runtime.inventory import (
    ATTENTION,
    Timetable,
    changed_keys,
    inventory_of,
    kept_inventory,
    missing_share,
    owned_uids,
    patience,
    pause_after,
    seen_of,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
S = timedelta(seconds=1)


def record(id_: str, uid: str = "u1", installation: str = "inst", service: str = "svc", **changes: str) -> ServerRecord:
    tags = {**identity_tags(installation, "ns", service, uid), **changes}
    return ServerRecord(
        id_, f"m-{uid}", tags, ServerState.RUNNING, (Address(AddressType.INTERNAL, "10.0.0.1"),), message="fine"
    )


def empty(at: datetime, *ids: str) -> Inventory:
    return Inventory(at, (at - NOW) / S, {i: seen_of(record(i)) for i in ids}, {})


def test_an_inventory_is_waited_for_five_times_its_pace_and_as_long_as_one_may_take() -> None:
    assert patience(60, 180) == 300
    assert patience(5, 180) == 185
    table = Timetable(60)
    assert table.pace == 60
    table.flows = True
    assert table.pace == 600


def test_seen_of_a_server_of_ours_a_released_and_a_foreign_one() -> None:
    seen = seen_of(record("s1"))
    assert (seen.provider_id, seen.key, seen.owner, seen.message) == ("s1", "m-u1", "inst/u1", "fine")
    assert seen.addresses == (("Internal", "10.0.0.1"),)
    assert (seen.zone, seen_of(replace(record("s1"), zone="a")).zone) == (None, "a")
    assert seen_of(record("s1", uid="released")).owner == "released"
    assert seen_of(ServerRecord("s1", None, {}, ServerState.UNKNOWN)).owner is None


def test_a_server_whose_service_shows_no_key_has_that_of_its_tags() -> None:
    tags = {"moorage-installation": "i", "moorage-server": "u"}
    assert seen_of(ServerRecord("s1", None, tags, ServerState.RUNNING)).key == identity_key("i", "u")
    assert seen_of(ServerRecord("s1", None, {**tags, "moorage-server": "released"}, ServerState.RUNNING)).key is None


def test_an_inventory_is_indexed_by_id_and_by_key() -> None:
    found = inventory_of(Listing("account", (record("s1"), record("s2"), record("s3", "u3"))), NOW, 7.0)
    assert (found.started, found.steady) == (NOW, 7.0)
    assert set(found.by_id) == {"s1", "s2", "s3"}
    assert {key: [s.provider_id for s in seen] for key, seen in found.by_key.items()} == {
        "m-u1": ["s1", "s2"],
        "m-u3": ["s3"],
    }


def test_changed_keys_are_those_that_appeared_changed_or_went() -> None:
    def listed(*records: ServerRecord) -> Inventory:
        return inventory_of(Listing("account", records), NOW, 7.0)

    old = listed(record("s1"), record("s2", "u2"), record("s3", "u3"))
    new = listed(record("s1"), record("s2b", "u2"), record("s4", "u4"))
    assert changed_keys(old, new) == {"m-u2", "m-u3", "m-u4"}
    assert changed_keys(None, new) == {"m-u1", "m-u2", "m-u4"}
    assert changed_keys(new, new) == set()


def test_owned_are_only_those_of_this_installation_and_service() -> None:
    listing = Listing(
        "account",
        (
            record("s1"),
            record("s2", installation="other"),
            record("s3", service="other"),
            record("s4", uid="released"),
            ServerRecord("s5", None, {}, ServerState.RUNNING),
        ),
    )
    assert owned_uids(listing, "inst", "svc") == {"s1": "u1"}


def timetable(interval: float = 30.0) -> Timetable:
    return Timetable(interval, jitter=lambda: 0.5)


def test_the_first_inventory_is_due_at_once_and_the_next_after_the_interval() -> None:
    assert timetable().delay(None, NOW) == 0
    assert timetable().delay(NOW, NOW) == 30
    assert timetable().delay(NOW, NOW + 10 * S) == 20
    assert timetable().delay(NOW, NOW + 99 * S) == 0
    assert Timetable(30.0, jitter=lambda: 1.0).delay(NOW, NOW) == pytest.approx(33)


def test_failed_inventories_are_tried_again_however_many_there_were() -> None:
    assert [pause_after(n, 30.0) for n in (1, 3, 10, 100_000)] == [1, 4, 30, 30]


def test_attention_is_for_one_inventory() -> None:
    table = timetable()
    table.watch()
    assert table.delay(NOW, NOW) == ATTENTION
    table.done(NOW)
    assert table.delay(NOW, NOW) == 30


def test_what_is_waited_for_is_due_when_it_can_be() -> None:
    table = timetable()
    table.need(NOW + 3 * S)
    table.need(NOW + 2 * S)
    assert table.delay(NOW, NOW) == pytest.approx(3.001)
    table.done(NOW + 2 * S)
    assert table.delay(NOW + 2 * S, NOW + 2 * S) == pytest.approx(1.001)
    table.done(NOW + 4 * S)
    assert table.delay(NOW + 4 * S, NOW + 4 * S) == 30


def test_a_clock_set_back_does_not_end_the_inventories() -> None:
    assert timetable().delay(NOW + 3600 * S, NOW) == 30


@pytest.mark.parametrize(
    ("previous", "latest", "kept"),
    [
        (None, None, None),
        (None, 0, 0),
        (0, 30, 30),  # far apart: the neighbour
        (0, 5, 0),  # closer than the lag: the older stays
        (0, 10, 0),
        (0, 11, 11),
    ],
)
def test_the_older_inventory_stays_until_the_latest_is_more_than_the_lag_younger(
    previous: int | None, latest: int | None, kept: int | None
) -> None:
    made = {n: empty(NOW + n * S) for n in (previous, latest) if n is not None}
    older, newer = (None if n is None else made[n] for n in (previous, latest))
    found = kept_inventory(older, newer, 10 * S)
    assert found is (None if kept is None else made[kept])


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
def test_how_far_two_inventories_are_apart_does_not_depend_on_the_time_of_day(jump: timedelta) -> None:
    older = empty(NOW)
    assert kept_inventory(older, replace(empty(NOW + jump), steady=10.0), 10 * S) is older
    later = replace(empty(NOW + jump), steady=10.1)
    assert kept_inventory(older, later, 10 * S) is later


def test_inventories_faster_than_the_lag_come_to_be_more_than_the_lag_apart() -> None:
    previous: Inventory | None = None
    latest: Inventory | None = None
    apart = timedelta(0)
    for number in range(8):
        previous, latest = kept_inventory(previous, latest, 10 * S), empty(NOW + 3 * number * S)
        apart = max(apart, latest.started - previous.started) if previous is not None else apart
    assert apart > 10 * S


def test_only_servers_older_than_the_lag_can_be_missing() -> None:
    shown = empty(NOW, "s1")
    recorded = [("s1", shown.steady - 60), ("s2", shown.steady - 60), ("young", shown.steady - 5)]
    assert missing_share(recorded, shown, 10 * S) == (2, 1)
