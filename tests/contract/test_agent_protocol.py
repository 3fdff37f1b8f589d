"""What every agent does on the configuration channel, whoever wrote it: over TLS, against the real configd."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.agents import AGENTS, RunningAgent, Starter
from tests.support.configd import World, eventually

from moorage.configd.pki import new_authority, rotated, utc_now
from moorage.kube.errors import Unavailable
from moorage.kube.kinds import SECRET

PROBED = {"exec": {"command": "true"}, "periodSeconds": 1}
RUNS = 'echo "$port" >> "$MOORAGE_ROOT/runs"'
LATE = 'echo "$db" >> "$MOORAGE_ROOT/late-runs"'


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.stop()


@pytest.fixture(params=sorted(AGENTS))
def starter(request: pytest.FixtureRequest) -> Starter:
    return AGENTS[request.param]


class Place:
    """Where an agent lives, over any number of boots."""

    def __init__(self, starter: Starter, folder: Path) -> None:
        self.state, self.root = folder / "state", folder / "root"
        self._starter = starter

    @contextmanager
    def booted(self, user_data: str) -> Iterator[RunningAgent]:
        """An agent that is ended, without a word, when the test leaves."""
        agent = self._starter(user_data, self.state, self.root)
        try:
            yield agent
        finally:
            agent.kill()

    def lines(self, name: str) -> list[str]:
        """What steps left in a file of the guest."""
        path = self.root / name
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def place(starter: Starter, tmp_path: Path) -> Place:
    return Place(starter, tmp_path)


def incomplete(port: str = "80") -> dict[str, Any]:
    """A configuration whose item `db` is not known yet."""
    return {
        "items": {"port": port},
        "pending": [{"item": "db", "waitingFor": "output address of server db-0"}],
        "steps": [
            {"name": "early", "script": RUNS, "env": ["port"]},
            {"name": "late", "script": LATE, "env": ["db"], "pending": ["db"]},
        ],
        "outputs": [{"name": "address", "command": 'echo "10.0.0.1:$port"', "env": ["port"], "after": ["early"]}],
        "readiness": PROBED,
    }


def complete(port: str = "80", db: str = "10.0.0.9") -> dict[str, Any]:
    """The same with `db`."""
    parts = incomplete(port)
    parts["items"]["db"] = db
    parts["pending"] = []
    parts["steps"][1].pop("pending")
    return parts


async def acknowledged(world: World, server: str, revision: int) -> dict[str, Any]:
    await eventually(
        lambda: world.agent_state(server).get("acknowledgedRevision") == revision,
        what=f"the acknowledgement of revision {revision}",
    )
    return world.agent_state(server)


def steps(state: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["state"] for step in state.get("steps", [])}


def values(state: dict[str, Any]) -> dict[str, str]:
    return {output["name"]: output.get("value") for output in state.get("outputs", [])}


async def test_it_joins_then_applies_what_is_known_then_what_was_late(world: World, place: Place) -> None:
    await world.start()
    server = world.add_server()
    with place.booted(world.user_data(server)):
        await eventually(lambda: world.told.joins == ["shop/db"])
        world.configure(server, 1, **incomplete())
        state = await acknowledged(world, server, 1)
        assert steps(state) == {"early": "Succeeded", "late": "Waiting"}
        await eventually(lambda: values(world.agent_state(server)) == {"address": "10.0.0.1:80"})
        world.configure(server, 2, **complete())
        state = await acknowledged(world, server, 2)
        assert steps(state) == {"early": "Succeeded", "late": "Succeeded"}
        await eventually(lambda: world.agent_state(server)["ready"])
        assert world.told.replays == []


async def test_a_configuration_that_is_there_before_the_boot_is_taken_at_once(world: World, place: Place) -> None:
    await world.start()
    server = world.add_server()
    world.configure(server, 7, **complete())
    with place.booted(world.user_data(server)):
        assert (await acknowledged(world, server, 7))["deliveredRevision"] == 7


async def test_an_answer_to_the_join_that_is_lost_is_harmless(world: World, place: Place) -> None:
    configd = await world.start()
    server = world.add_server()
    lost = 0

    async def lose(verb: str, plural: str, name: str) -> None:
        nonlocal lost
        if verb == "get" and name.endswith("-session") and lost:
            return
        if verb == "create" and name.endswith("-session") and not lost:
            lost += 1
            world.cluster.calls.append(("lost", plural, name))
            # The Secret is created and the agent never hears of it: its connection dies first.
            for connection in list(configd.channel.guard._open if configd.channel.guard else ()):
                assert connection.transport is not None
                connection.transport.abort()

    world.cluster.before = lose
    with place.booted(world.user_data(server)):
        world.configure(server, 1, **complete())
        await acknowledged(world, server, 1)
    assert lost == 1
    assert world.told.replays == []


async def test_a_guest_without_its_key_is_refused_and_reported(world: World, place: Place, starter: Starter) -> None:
    await world.start()
    server = world.add_server()
    with place.booted(world.user_data(server)):
        await eventually(lambda: world.told.joins)
    again = Place(starter, place.state.parent / "re-imaged")
    with again.booted(world.user_data(server)) as agent:
        await eventually(lambda: world.told.replays)
        world.configure(server, 1, **complete())
        await eventually(lambda: "409" in agent.logged())
    assert world.agent_state(server) == {}


async def test_a_configd_with_another_root_is_refused(world: World, place: Place) -> None:
    await world.start()
    server = world.add_server()
    other = new_authority(utc_now()).pin
    with place.booted(world.user_data(server, pin=other)) as agent:
        await eventually(lambda: "pin" in agent.logged())
        assert not any(verb == "create" for verb, _, _ in world.cluster.calls)
        assert world.TOKEN not in agent.logged()


async def test_the_pin_is_trusted_while_the_clock_is_unset(world: World, place: Place) -> None:
    """To a guest whose clock stands in the past, configd's certificates seem to come from the future."""
    world.authority = new_authority(utc_now() + timedelta(days=400))
    configd = await world.start()
    configd.clock = lambda: utc_now() + timedelta(days=800)
    configd.refresh()
    server = world.add_server()
    world.configure(server, 1, **complete())
    with place.booted(world.user_data(server)):
        await acknowledged(world, server, 1)


async def test_an_expired_certificate_is_refused(world: World, place: Place) -> None:
    configd = await world.start(leaf_lifetime=timedelta(days=1))
    configd.clock = lambda: utc_now() - timedelta(days=30)
    configd.certificates.leaf = None
    configd.refresh()
    server = world.add_server()
    with place.booted(world.user_data(server)) as agent:
        await eventually(lambda: "expired" in agent.logged())
        assert world.told.joins == []


async def test_a_revision_that_is_lower_than_the_one_at_hand_is_taken_too(world: World, place: Place) -> None:
    """After the API server was restored from a backup, revisions begin again lower."""
    await world.start()
    server = world.add_server()
    world.configure(server, 9, **complete())
    with place.booted(world.user_data(server)):
        await acknowledged(world, server, 9)
        world.configure(server, 3, **complete(port="81"))
        await acknowledged(world, server, 3)
        assert place.lines("runs") == ["80", "81"]


async def test_a_replica_with_a_lagging_cache_does_not_take_it_back(world: World, place: Place) -> None:
    configd = await world.start()
    server = world.add_server()
    world.configure(server, 1, **incomplete())
    stale = world.cluster.found(SECRET, "shop", "uid-of-db")
    with place.booted(world.user_data(server)):
        await acknowledged(world, server, 1)
        world.configure(server, 2, **complete())
        await acknowledged(world, server, 2)
        port = configd.address[1]
        await world.stop(configd)
        lagging = await world.start(port=port, follow=False, primed=[stale])
        await eventually(lambda: lagging.directory.waiting, what="a long poll")
        status = json.loads((place.state / "status.json").read_text())
        assert status["revision"] == 2


async def test_it_posts_again_with_a_higher_number_after_a_conflict(world: World, place: Place) -> None:
    await world.start()
    server = world.add_server()
    world.configure(server, 1, **incomplete())
    key = ("virtualservers", "shop", "db")
    world.cluster.objects[key]["status"]["agent"] = {"sequence": 1000, "ready": False}
    with place.booted(world.user_data(server)):
        state = await acknowledged(world, server, 1)
        assert state["sequence"] > 1000


async def test_a_reboot_keeps_the_key_and_runs_nothing_again(world: World, place: Place) -> None:
    await world.start()
    server = world.add_server()
    world.configure(server, 1, **complete())
    with place.booted(world.user_data(server)):
        before = await acknowledged(world, server, 1)
    world.configure(server, 2, **complete(db="10.0.0.10"))
    with place.booted(world.user_data(server)):
        after = await acknowledged(world, server, 2)
    assert after["sequence"] > before["sequence"]
    assert place.lines("runs") == ["80"]
    assert place.lines("late-runs") == ["10.0.0.9", "10.0.0.10"]
    assert (world.told.joins, world.told.replays) == (["shop/db"], [])


async def test_configd_may_be_away(world: World, place: Place) -> None:
    configd = await world.start()
    server = world.add_server()
    user_data = world.user_data(server)
    world.configure(server, 1, **incomplete())
    with place.booted(user_data):
        await acknowledged(world, server, 1)
        port = configd.address[1]
        await world.stop(configd)
        world.configure(server, 2, **complete())
        await world.start(port=port)
        await acknowledged(world, server, 2)
    assert place.lines("runs") == ["80"]


async def test_the_api_server_may_be_away(world: World, place: Place) -> None:
    await world.start()
    server = world.add_server()
    refused = 0

    async def away(verb: str, plural: str, name: str) -> None:
        nonlocal refused
        if refused < 6:
            refused += 1
            raise Unavailable(0, "Unavailable", "no connection")

    world.cluster.before = away
    world.configure(server, 1, **complete())
    with place.booted(world.user_data(server)):
        await acknowledged(world, server, 1)
    assert refused == 6


async def test_a_changed_value_runs_only_the_steps_that_use_it(world: World, place: Place) -> None:
    await world.start()
    server = world.add_server()
    world.configure(server, 1, **complete())
    with place.booted(world.user_data(server)):
        await acknowledged(world, server, 1)
        for revision, db in enumerate(("10.0.0.10", "10.0.0.11"), start=2):
            world.configure(server, revision, **complete(db=db))
            await acknowledged(world, server, revision)
        world.configure(server, 4, **complete(port="81", db="10.0.0.11"))
        await acknowledged(world, server, 4)
        await eventually(lambda: values(world.agent_state(server)) == {"address": "10.0.0.1:81"})
    assert place.lines("runs") == ["80", "81"]
    assert place.lines("late-runs") == ["10.0.0.9", "10.0.0.10", "10.0.0.11"]


async def test_nothing_new_means_no_posts(world: World, place: Place) -> None:
    await world.start()
    server = world.add_server()
    world.configure(server, 1, **complete())
    with place.booted(world.user_data(server)):
        await acknowledged(world, server, 1)
        await eventually(lambda: world.agent_state(server)["ready"])
        sequence = world.agent_state(server)["sequence"]
        # Another answer of the same configuration is no news: only a probe's period passes.
        await asyncio.sleep(1.2)
        assert world.agent_state(server)["sequence"] == sequence


async def test_a_new_root_is_announced_and_the_old_pin_still_works(
    world: World, place: Place, starter: Starter
) -> None:
    configd = await world.start()
    old, late = world.add_server("old"), world.add_server("late")
    boots = {name: world.user_data(server) for name, server in (("old", old), ("late", late))}
    world.configure(old, 1, **complete())
    with place.booted(boots["old"]):
        await acknowledged(world, old, 1)
        configd.use(rotated(configd.certificates.authority, utc_now()))
        world.configure(old, 2, **complete(port="81"))
        await acknowledged(world, old, 2)
        world.configure(late, 1, **complete())
        with Place(starter, place.state.parent / "late").booted(boots["late"]):
            await acknowledged(world, late, 1)
        # Whoever heard the announcement does without the old root altogether.
        configd.use(
            type(configd.certificates.authority)(
                configd.certificates.authority.certificate, configd.certificates.authority.key
            )
        )
        for connection in list(configd.channel.guard._open if configd.channel.guard else ()):
            connection.close()
        world.configure(old, 3, **complete(port="82"))
        await acknowledged(world, old, 3)


async def test_sensitive_outputs_and_large_ones_are_in_the_secret_alone(world: World, place: Place) -> None:
    await world.start()
    server = world.add_server()
    parts = complete()
    parts["outputs"] = [
        {"name": "password", "command": "echo canary-7d1e", "sensitive": True},
        {"name": "large", "command": "head -c 5000 /dev/zero | tr '\\0' x", "maxBytes": 6000},
        {"name": "odd", "command": "echo nope", "pattern": "[0-9]+"},
        {"name": "huge", "command": "head -c 1048576 /dev/zero | tr '\\0' x"},
        {"name": "binary", "command": "printf '\\377\\376'"},
        {"name": "fine", "command": "echo fine"},
    ]
    world.configure(server, 1, **parts)
    with place.booted(world.user_data(server)) as agent:
        await eventually(lambda: len(world.agent_state(server).get("outputs", [])) == 6)
        rows = {row["name"]: row for row in world.agent_state(server)["outputs"]}
        assert {name: row.get("error") for name, row in rows.items()} == {
            "password": None,
            "large": None,
            "odd": "PatternMismatch",
            "huge": "TooLarge",
            "binary": "NotText",
            "fine": None,
        }
        assert rows["fine"]["value"] == "fine"
        assert "value" not in rows["password"]
        assert rows["password"]["inSecret"] is True
        assert world.output_secret(server) == {"password": "canary-7d1e", "large": "x" * 5000}
        assert "canary-7d1e" not in world.everything() + agent.logged()


async def test_programs_in_the_guest_can_see_what_is_pending(world: World, place: Place) -> None:
    await world.start()
    server = world.add_server()
    world.configure(server, 1, **incomplete())
    with place.booted(world.user_data(server)):
        await acknowledged(world, server, 1)
        status = json.loads((place.state / "status.json").read_text())
        assert status["revision"] == 1
        assert status["pending"] == [{"item": "db", "waitingFor": "output address of server db-0"}]


async def test_an_agent_that_is_stopped_goes_on_where_it_was(world: World, place: Place) -> None:
    await world.start()
    server = world.add_server()
    world.configure(server, 1, **incomplete())
    with place.booted(world.user_data(server)) as agent:
        await acknowledged(world, server, 1)
        await asyncio.to_thread(agent.stop)
    world.configure(server, 2, **complete())
    with place.booted(world.user_data(server)):
        await acknowledged(world, server, 2)
    assert place.lines("runs") == ["80"]
