"""The examples' programs do what their comments say, as real processes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.examples import one
from tests.support.guest import Guest, eventually, fetch

from moorage.api.virtualserverconfig import VirtualServerConfig, VirtualServerConfigSpec

NewGuest = Callable[..., Guest]


@pytest.fixture
def new_guest(tmp_path: Path) -> Iterator[NewGuest]:
    guests: list[Guest] = []

    def make(spec: VirtualServerConfigSpec, **items: str) -> Guest:
        guests.append(Guest(tmp_path / str(len(guests)), spec, items))
        return guests[-1]

    yield make
    for guest in guests:
        guest.stop()


def config(example: str, name: str) -> VirtualServerConfigSpec:
    return VirtualServerConfig.from_dict(one(example, "VirtualServerConfig", name)).spec


def started(guest: Guest) -> Guest:
    guest.write_files()
    done = guest.start()
    assert done.returncode == 0, done.stderr
    return guest


@pytest.fixture
def database(new_guest: NewGuest) -> Guest:
    return started(new_guest(config("quickstart", "database"), listen="127.0.0.1", password="canary-1", loading="0"))


@pytest.fixture
def web(new_guest: NewGuest) -> Guest:
    guest = new_guest(config("quickstart", "web"), me="web-0", listen="127.0.0.1", port="0", password="canary-1")
    guest.pending("database_address")
    return started(guest)


def test_the_database_answers_on_a_port_of_its_own_choice(database: Guest) -> None:
    host, _, port = database.output("address").rpartition(":")
    assert host == "127.0.0.1"
    assert int(port) > 0
    assert database.ready()


def test_the_database_refuses_a_wrong_password(database: Guest) -> None:
    host, _, port = database.output("address").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection, connection.makefile("rw") as lines:
        assert lines.readline().strip()
        lines.write("stranger 0123\n")
        lines.flush()
        assert lines.readline() == "denied\n"


def test_a_client_that_says_nothing_does_not_hold_up_others(database: Guest) -> None:
    host, _, port = database.output("address").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5):
        assert database.ready()


def test_starting_again_changes_nothing(database: Guest) -> None:
    address, before = database.output("address"), set(database.processes())
    assert "already running" in database.start().stdout
    assert database.output("address") == address
    assert set(database.processes()) == before


def test_a_database_that_cannot_listen_fails_its_step(new_guest: NewGuest) -> None:
    guest = new_guest(config("quickstart", "database"), listen="203.0.113.1", password="x", loading="0")
    guest.write_files()
    done = guest.start()
    assert done.returncode == 1
    assert "did not start" in done.stderr


def test_web_starts_without_the_database_and_says_what_it_waits_for(web: Guest) -> None:
    _, page = fetch(web.output("url"))
    assert "database_address" in page
    assert "not known yet" in page
    assert not web.ready()


def test_web_shows_rows_once_the_address_arrives_and_follows_it_without_a_restart(
    web: Guest, database: Guest, new_guest: NewGuest
) -> None:
    pid = fetch(web.output("url") + "status.json")[1]["pid"]
    for server in (
        database,
        started(new_guest(config("quickstart", "database"), listen="127.0.0.2", password="canary-1", loading="0")),
    ):
        web.items["database_address"] = server.output("address")
        web.pending()
        web.write_files()
        _, facts = fetch(web.output("url") + "status.json")
        assert facts["database"] == server.output("address")
        assert [row["boat"] for row in facts["rows"]] == ["Albatross", "Bounty", "Calypso"]
        assert facts["pid"] == pid
        assert facts["waitingFor"] == []
        assert web.ready()
    assert "Albatross" in fetch(web.output("url"))[1]


def test_web_says_so_when_the_database_is_gone(web: Guest, database: Guest) -> None:
    web.items["database_address"] = database.output("address")
    web.write_files()
    database.stop()
    _, facts = fetch(web.output("url") + "status.json")
    assert facts["rows"] == []
    assert "does not answer" in facts["message"]
    assert not web.ready()


def test_the_password_is_shown_nowhere(web: Guest, database: Guest) -> None:
    web.items["database_address"] = database.output("address")
    web.write_files()
    shown = [fetch(web.output("url"))[1], str(fetch(web.output("url") + "status.json")[1])]
    for guest in (web, database):
        shown += [Path(f"/proc/{pid}/cmdline").read_text() for pid in guest.processes()]
        shown += [path.read_text() for path in guest.root.glob("run/*/log")]
    assert not [text for text in shown if "canary-1" in text]


def test_every_node_of_the_cluster_sees_all_others(new_guest: NewGuest) -> None:
    spec = config("three-node-cluster", "node")
    nodes = [started(new_guest(spec, me=f"node-{i}", listen="127.0.0.1")) for i in range(3)]
    assert not any(node.ready() for node in nodes)
    addresses = [node.output("address") for node in nodes]
    for node in nodes:
        node.items["peers"] = "[" + ",".join(f'"{address}"' for address in addresses) + "]"
        node.items["seeds"] = ",".join(addresses)
        node.write_files()
    for address in addresses:
        _, cluster = fetch(f"http://{address}/cluster")
        assert cluster["members"] == {a: f"node-{i}" for i, a in enumerate(addresses)}
        assert cluster["leader"] == "node-0"
    assert all(node.ready() for node in nodes)
    nodes[0].stop()
    assert fetch(f"http://{addresses[1]}/cluster")[1]["leader"] == "node-1"
    assert not nodes[1].ready()


def test_a_request_to_the_last_tier_goes_up_the_whole_chain(new_guest: NewGuest) -> None:
    program = one("chain", "ConfigMap", "relay")["data"]["relay.py"]
    tiers: list[Guest] = []
    for number in range(1, 6):
        items = {"me": f"tier-{number}", "listen": "127.0.0.1", "program": program}
        if tiers:
            items["upstream"] = tiers[-1].output("address")
        tiers.append(started(new_guest(config("chain", f"tier-{number}"), **items)))
    address = tiers[-1].output("address")
    assert fetch(f"http://{address}/") == (200, {"path": [f"tier-{number}" for number in range(1, 6)]})
    assert all(tier.ready() for tier in tiers)
    tiers[0].stop()
    assert fetch(f"http://{address}/")[0] == 502
    assert not tiers[-1].ready()

    # A new first tier: the second one's step runs again with the new address, its program does not.
    first = started(
        new_guest(config("chain", "tier-1"), me="tier-1", listen="127.0.0.1", program=program),
    )
    before = set(tiers[1].processes())
    tiers[1].items["upstream"] = first.output("address")
    assert tiers[1].start().returncode == 0
    assert set(tiers[1].processes()) == before
    eventually(lambda: True if fetch(f"http://{address}/")[0] == 200 else None)
