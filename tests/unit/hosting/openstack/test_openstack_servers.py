"""What Nova tells about servers, page by page, and what is asked of one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.hosting.openstack.fake import ID, IMAGE, FakeCloud, backend, refused, server

from moorage.hosting.contract import AddressType, ServerState
from moorage.hosting.errors import CapacityError, Invalid, NotFound, Unavailable
from moorage.hosting.openstack import backend as module

OTHERS = [f"{n:08d}-2222-4333-8444-555555555555" for n in range(5)]
NEXT = [{"rel": "next", "href": "http://elsewhere"}]
GET = f"GET /servers/{ID}"
ACTION = f"POST /servers/{ID}/action"


def page(*ids: str, more: bool = False, **changes: Any) -> dict[str, Any]:
    return {"servers": [server(i, **changes) for i in ids], **({"servers_links": NEXT} if more else {})}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("ACTIVE", ServerState.RUNNING),
        ("BUILD", ServerState.PENDING),
        ("SHUTOFF", ServerState.STOPPED),
        ("PAUSED", ServerState.STOPPED),
        ("ERROR", ServerState.FAILED),
        ("VERIFY_RESIZE", ServerState.RUNNING),
        ("SOFT_DELETED", ServerState.TERMINATING),
        ("SOMETHING_NEW", ServerState.UNKNOWN),
    ],
)
async def test_states(status: str, state: ServerState) -> None:
    cloud = FakeCloud()
    cloud.on(GET, {"server": server(status=status)})
    assert (await backend(cloud).get(ID)).state is state


async def test_a_server_that_nova_deletes_is_terminating_whatever_its_status() -> None:
    cloud = FakeCloud()
    cloud.on(GET, {"server": server(**{"OS-EXT-STS:task_state": "deleting"})})
    assert (await backend(cloud).get(ID)).state is ServerState.TERMINATING


async def test_a_failed_server_says_why() -> None:
    cloud = FakeCloud()
    cloud.on(GET, {"server": server(status="ERROR", fault={"message": "No valid host was found.", "code": 500})})
    assert (await backend(cloud).get(ID)).message == "No valid host was found."


async def test_addresses_are_internal_but_for_floating_ones_and_those_of_named_networks() -> None:
    addresses = {
        "lan": [
            {"addr": "10.0.0.5", "version": 4, "OS-EXT-IPS:type": "fixed"},
            {"addr": "203.0.113.5", "version": 4, "OS-EXT-IPS:type": "floating"},
        ],
        "wan": [{"addr": "198.51.100.5", "version": 4, "OS-EXT-IPS:type": "fixed"}],
    }
    cloud = FakeCloud()
    cloud.on(GET, {"server": server(addresses=addresses, accessIPv6="2001:db8::5")})
    found = {a.address: a.type for a in (await backend(cloud, externalNetworks=["wan"]).get(ID)).addresses}
    assert found == {
        "10.0.0.5": AddressType.INTERNAL,
        "203.0.113.5": AddressType.EXTERNAL,
        "198.51.100.5": AddressType.EXTERNAL,
        "2001:db8::5": AddressType.EXTERNAL,
    }


async def test_what_administrators_are_shown_of_deleted_servers_is_gone() -> None:
    cloud = FakeCloud()
    cloud.on(GET, {"server": server(status="DELETED")})
    cloud.on("GET /servers/detail", page(ID, status="DELETED"))
    with pytest.raises(NotFound):
        await backend(cloud).get(ID)
    assert (await backend(cloud).inventory()).servers == ()


async def test_another_server_in_the_answer_is_no_answer() -> None:
    cloud = FakeCloud()
    cloud.on(GET, {"server": server(OTHERS[0])})
    with pytest.raises(Unavailable):
        await backend(cloud).get(ID)


# Listings


async def test_the_inventory_goes_over_all_pages_by_its_own_markers() -> None:
    cloud = FakeCloud()
    cloud.on(
        "GET /servers/detail",
        [page(*OTHERS[:2], more=True), page(*OTHERS[2:4], more=True), page(OTHERS[4])],
    )
    found = await backend(cloud, pageSize=2).inventory()
    assert [s.provider_id for s in found.servers] == OTHERS
    assert [q.get("marker") for _, q, _ in cloud.asked] == [None, OTHERS[1], OTHERS[3]]
    assert found.account == "project/region/nova"


async def test_a_listing_that_repeats_itself_fails() -> None:
    cloud = FakeCloud()
    cloud.on("GET /servers/detail", page(*OTHERS[:2], more=True))
    with pytest.raises(Unavailable, match="does not hold still"):
        await backend(cloud).inventory()
    cloud.on("GET /servers/detail", {"servers": [], "servers_links": NEXT})
    with pytest.raises(Unavailable):
        await backend(cloud).inventory()


async def test_a_listing_whose_marker_is_gone_begins_anew() -> None:
    cloud = FakeCloud()
    gone = refused(400, "badRequest", "marker not found")
    cloud.on("GET /servers/detail", [page(OTHERS[0], more=True), gone, page(OTHERS[1])])
    assert [s.provider_id for s in (await backend(cloud).inventory()).servers] == [OTHERS[1]]


@pytest.mark.parametrize("came", ["host", ""])
async def test_a_listing_begins_anew_where_a_page_ended_with_a_server_that_moved(came: str) -> None:
    """Nova keeps servers without a host elsewhere: what follows one of them may be left out once it has a host."""
    cloud = FakeCloud()
    first = page(OTHERS[0], more=True, hostId="", status="BUILD")
    cloud.on("GET /servers/detail", [first, page(OTHERS[2]), page(*OTHERS[:3])])
    cloud.on(f"GET /servers/{OTHERS[0]}", {"server": server(OTHERS[0], hostId=came)})
    found = [s.provider_id for s in (await backend(cloud).inventory()).servers]
    assert found == (OTHERS[:3] if came else [OTHERS[0], OTHERS[2]])


async def test_servers_of_a_cell_that_is_down_fail_the_inventory() -> None:
    cloud = FakeCloud()
    bare = {"id": ID, "status": "UNKNOWN", "created": "2026-01-02T03:04:05Z", "tenant_id": "p", "links": []}
    cloud.on("GET /servers/detail", {"servers": [server(OTHERS[0]), bare]})
    with pytest.raises(Unavailable, match="leaves out a part"):
        await backend(cloud).inventory()


async def test_a_key_is_looked_for_by_its_tag_and_proved_by_metadata() -> None:
    cloud = FakeCloud()
    cloud.on("GET /servers/detail", {"servers": [server(ID), server(OTHERS[0], metadata={})]})
    assert [s.provider_id for s in await backend(cloud).find("m-1")] == [ID]
    assert cloud.asked[0][1]["tags"] == "m-1"


async def test_images_are_told_by_id_and_by_names_that_are_of_one() -> None:
    cloud = FakeCloud()
    shown = [{"id": IMAGE, "name": "debian"}, {"id": OTHERS[0], "name": "twice"}, {"id": OTHERS[1], "name": "twice"}]
    hidden = [{"id": OTHERS[2], "name": None}]
    cloud.on("GET /v2/images", lambda query: {"images": hidden if query["os_hidden"] == "true" else shown})
    assert set(await backend(cloud).images()) == {IMAGE, "debian", *OTHERS[:3]}


async def test_limits_without_bound_are_none() -> None:
    cloud = FakeCloud()
    cloud.on("GET /limits", {"limits": {"absolute": {"maxTotalInstances": -1, "totalInstancesUsed": 3}}})
    capacity = await backend(cloud).capacity()
    assert (capacity.limit, capacity.used) == (None, 3)


async def test_flavors_have_the_prices_and_the_architecture_that_the_settings_tell() -> None:
    found = (await backend(FakeCloud(), prices={"small": "0.02"}, architectures={"small": "arm64"}).offerings())[0]
    assert (found.name, str(found.price_per_hour), found.arch, int(found.memory)) == ("small", "0.02", "arm64", 2**29)


# Calls


async def test_a_server_that_the_cloud_keeps_after_its_deletion_is_ended_for_good() -> None:
    cloud = FakeCloud()
    cloud.on(f"DELETE /servers/{ID}", refused(409, "conflictingRequest"))
    cloud.on(GET, {"server": server(status="SOFT_DELETED")})
    cloud.on(ACTION, {})
    await backend(cloud).delete(ID)
    assert cloud.bodies(ACTION) == [{"forceDelete": None}]


async def test_a_server_that_is_locked_is_not_said_to_be_deleted() -> None:
    cloud = FakeCloud()
    cloud.on(f"DELETE /servers/{ID}", refused(409, "conflictingRequest", "Instance is locked"))
    cloud.on(GET, {"server": server()})
    with pytest.raises(Unavailable, match="locked"):
        await backend(cloud).delete(ID)


async def test_a_console_that_is_not_there_yet_is_empty_and_one_that_never_is_none() -> None:
    cloud = FakeCloud()
    cloud.on(ACTION, refused(409, "conflictingRequest"))
    assert await backend(cloud).console(ID) == ""
    cloud.on(ACTION, refused(501, "notImplemented"))
    assert await backend(cloud).console(ID) is None
    cloud.on(ACTION, {"output": "a\r\nb\x1b[1mc\n"})
    assert await backend(cloud).console(ID) == "a\nb[1mc\n"


@pytest.mark.parametrize(
    ("status", "way"), [("PAUSED", "unpause"), ("SUSPENDED", "resume"), ("SHELVED_OFFLOADED", "unshelve")]
)
async def test_a_server_gets_up_the_way_it_was_put_to_rest(status: str, way: str) -> None:
    cloud = FakeCloud()
    cloud.on(ACTION, [refused(409, "conflictingRequest"), {}])
    cloud.on(GET, {"server": server(status=status)})
    await backend(cloud).start(ID)
    assert cloud.bodies(ACTION) == [{"os-start": None}, {way: None}]


async def test_a_server_that_runs_is_left_as_it_is_and_a_failed_one_cannot_start() -> None:
    cloud = FakeCloud()
    cloud.on(ACTION, refused(409, "conflictingRequest"))
    cloud.on(GET, {"server": server()})
    await backend(cloud).start(ID)
    cloud.on(GET, {"server": server(status="ERROR")})
    with pytest.raises(Unavailable):
        await backend(cloud).start(ID)


async def test_new_metadata_has_to_be_confirmed() -> None:
    cloud = FakeCloud()
    cloud.on(f"POST /servers/{ID}/metadata", {"metadata": {"a": "b"}})
    await backend(cloud).retag(ID, {"a": "b"})
    with pytest.raises(Unavailable):
        await backend(cloud).retag(ID, {"a": "c"})


def resized(*states: tuple[str, str]) -> FakeCloud:
    """A cloud whose server goes through these statuses, each with its flavor."""
    cloud = FakeCloud()
    flavors = [{"id": str(n), "name": name, "vcpus": 1, "ram": 512} for n, name in enumerate(("small", "large"))]
    cloud.on("GET /flavors/detail", {"flavors": flavors})
    cloud.on(GET, [{"server": server(status=status, flavor={"original_name": name})} for status, name in states])
    cloud.on(ACTION, {})
    return cloud


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two looks."""
    monkeypatch.setattr(module, "_PAUSE", 0.0)


@pytest.mark.usefixtures("at_once")
async def test_a_resize_is_confirmed() -> None:
    cloud = resized(("ACTIVE", "small"), ("RESIZE", "small"), ("VERIFY_RESIZE", "large"), ("ACTIVE", "large"))
    await backend(cloud).resize(ID, "large")
    assert cloud.bodies(ACTION) == [{"resize": {"flavorRef": "1"}}, {"confirmResize": None}]


@pytest.mark.usefixtures("at_once")
async def test_a_resize_that_nobody_confirmed_shows_and_is_confirmed_when_asked_for_again() -> None:
    looks = [("VERIFY_RESIZE", "large")] * 4
    cloud = resized(*looks, ("ACTIVE", "large"))
    assert (await backend(cloud).get(ID)).offering == "large (to be confirmed)"
    await backend(cloud).resize(ID, "large")
    assert cloud.bodies(ACTION) == [{"confirmResize": None}]


@pytest.mark.usefixtures("at_once")
async def test_a_resize_that_is_being_confirmed_is_waited_for() -> None:
    cloud = resized(("VERIFY_RESIZE", "large"), ("ACTIVE", "large"))
    cloud.on(ACTION, refused(400, "badRequest", "Instance has not been resized."))
    await backend(cloud).resize(ID, "large")


@pytest.mark.usefixtures("at_once")
async def test_another_resize_is_confirmed_before_the_server_gets_its_size_back() -> None:
    cloud = resized(("VERIFY_RESIZE", "small"), ("ACTIVE", "small"), ("VERIFY_RESIZE", "large"), ("ACTIVE", "large"))
    await backend(cloud).resize(ID, "large")
    sent = [next(iter(body)) for body in cloud.bodies(ACTION)]
    assert sent == ["confirmResize", "resize", "confirmResize"]


@pytest.mark.usefixtures("at_once")
async def test_a_server_of_the_size_is_left_as_it_is() -> None:
    cloud = resized(("ACTIVE", "large"))
    await backend(cloud).resize(ID, "large")
    assert cloud.bodies(ACTION) == []


@pytest.mark.usefixtures("at_once")
async def test_a_resize_that_nova_gave_up_found_no_room() -> None:
    cloud = resized(("ACTIVE", "small"), ("RESIZE", "small"), ("ACTIVE", "small"))
    with pytest.raises(CapacityError):
        await backend(cloud).resize(ID, "large")


async def test_a_resize_to_no_size_is_refused() -> None:
    with pytest.raises(Invalid) as caught:
        await backend(resized(("ACTIVE", "small"))).resize(ID, "giant")
    assert caught.value.field == "offering"
