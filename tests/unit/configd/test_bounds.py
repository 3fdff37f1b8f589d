"""What one guest, or somebody in its name, can have configd and the API server do."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.support.configd import World
from tests.unit.configd.conftest import Connect

from moorage.api import channel
from moorage.configd import app
from moorage.configd.admission import admit
from moorage.configd.limits import Buckets


async def test_wrong_tokens_do_not_use_up_the_tries_of_the_right_one(world: World, connect: Connect) -> None:
    await world.start()
    server = world.add_server()
    thief = connect(server, key="t" * 43)
    assert {(await thief.join("wrong-token-wrong-token")).status for _ in range(60)} == {401}
    assert (await connect(server).join(world.TOKEN)).status == 200


async def test_a_guest_holds_a_few_long_polls_and_no_more(world: World, connect: Connect) -> None:
    await world.start()
    agent = connect(world.add_server())
    await agent.join(world.TOKEN)
    answers = await asyncio.gather(*(agent.configuration(1) for _ in range(12)))
    assert sorted(answer.status for answer in answers) == [304] * 8 + [429] * 4
    assert (await agent.configuration(0)).status == 304


async def test_a_guest_reports_often_for_a_while_but_not_for_ever(
    world: World, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(app, "Buckets", lambda burst, per_second, clock: Buckets(burst, per_second, lambda: now[0]))
    await world.start()
    agent = connect(world.add_server())
    await agent.join(world.TOKEN)
    recorded = []
    for second in range(1, 91):
        now[0] += 1.0
        statuses = [(await agent.state(second * 10 + number)).status for number in range(10)]
        assert set(statuses) <= {200, 429}
        recorded.append(statuses.count(200))
    assert recorded[:70] == [10] * 70
    assert recorded[-10:] == [2] * 10


async def test_a_guest_cannot_have_the_api_server_asked_at_will(world: World, connect: Connect) -> None:
    await world.start()
    server = world.add_server()
    agent = connect(server)
    await agent.join(world.TOKEN)
    world.configure(server, 1)
    before = len(world.cluster.calls)
    statuses = [(await agent.configuration(0, have=1000)).status for _ in range(60)]
    assert {200, 429} == set(statuses)
    assert len(world.cluster.calls) - before < 30
    assert (await agent.configuration(0)).status == 200, "what is known is still told"


async def test_a_stranger_cannot_have_the_session_of_a_server_asked_for_at_will(world: World, connect: Connect) -> None:
    await world.start()
    server = world.add_server()
    thief = connect(server, key="t" * 43)
    statuses = [(await thief.configuration(0)).status for _ in range(60)]
    assert {401, 429} == set(statuses)
    assert len(world.cluster.calls) < 30


def test_what_goes_over_the_wire_is_in_no_repr() -> None:
    files = [{"path": "/f", "content": "CANARY"}]
    whole = {"revision": 1, "server": {"name": "db", "namespace": "shop"}, "items": {"pw": "CANARY"}, "files": files}
    assert "CANARY" not in repr(channel.Document.model_validate(whole))
    joining = {"server": "shop/uid", "token": "CANARY", "keyHash": "0" * 64}
    assert "CANARY" not in repr(channel.JoinRequest.model_validate(joining))


def test_a_pattern_cannot_hold_up_all_agents() -> None:
    costly = {"name": "a", "file": "/a", "maxBytes": 300_000, "pattern": "(?s)(.*a.{100}.*){9}b"}
    whole = {"revision": 1, "server": {"name": "db", "namespace": "shop"}, "outputs": [costly]}
    report = {"sequence": 1, "outputs": [{"name": "a", "value": "ac" * 100_000, "version": 1}]}
    began = time.process_time()
    admitted = admit(channel.StateReport.model_validate(report), channel.Document.model_validate(whole), 1, "")
    assert [problem.reason for problem in admitted.problems] == ["PatternTooCostly"]
    assert time.process_time() - began < 1
