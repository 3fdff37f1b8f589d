"""The requests of the channel, right and wrong, against configd over TLS."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import Any

import pytest
from tests.support.channel import ChannelClient
from tests.support.configd import World, eventually
from tests.unit.configd.conftest import KEY, Connect

from moorage.kube.errors import Forbidden, Unavailable
from moorage.kube.kinds import SECRET, VIRTUAL_SERVER

OUTPUTS = [{"name": "a", "file": "/a"}, {"name": "s", "file": "/s", "sensitive": True}]


async def joined(world: World, connect: Connect) -> tuple[str, ChannelClient]:
    if not world.replicas:
        await world.start()
    server = world.add_server()
    agent = connect(server)
    assert (await agent.join(world.TOKEN)).status == 200
    return server, agent


# Joining


async def test_a_join_burns_the_token_and_may_be_repeated(world: World, connect: Connect) -> None:
    server, agent = await joined(world, connect)
    session = world.cluster.found(SECRET, "shop", "uid-of-db-session")
    assert session["immutable"] is True
    assert session["metadata"]["ownerReferences"][0]["uid"] == "uid-of-db"
    again = await agent.join(world.TOKEN)
    assert (again.status, again.json) == (200, {"server": server})
    assert [name for verb, _, name in world.cluster.calls if verb == "create"] == ["uid-of-db-session"]
    assert world.told.joins == ["shop/db"]


async def test_a_used_token_with_another_key_is_refused_and_reported(world: World, connect: Connect) -> None:
    server, _ = await joined(world, connect)
    thief = connect(server, key="t" * 43)
    answer = await thief.join(world.TOKEN)
    assert (answer.status, answer.json["reason"]) == (409, "TokenUsed")
    assert world.told.replays == ["shop/db"]
    assert (await thief.configuration(0)).status == 401


async def test_two_agents_that_join_at_once_do_not_both_succeed(world: World, connect: Connect) -> None:
    await world.start()
    other = await world.start(follow=False)
    server = world.add_server()
    answers = await asyncio.gather(
        connect(server).join(world.TOKEN), connect(server, other, "t" * 43).join(world.TOKEN)
    )
    assert sorted(answer.status for answer in answers) == [200, 409]


async def test_a_wrong_token_or_server_is_refused_alike(world: World, connect: Connect) -> None:
    await world.start()
    server = world.add_server()
    wrong = await connect(server).join("wrong-token-wrong-token")
    unknown = await connect("shop/nobody").join(world.TOKEN)
    assert wrong.status == unknown.status == 401
    assert wrong.json == unknown.json
    assert not any(verb == "create" for verb, _, _ in world.cluster.calls)


async def test_a_forged_secret_does_not_lead_into_another_namespace(world: World, connect: Connect) -> None:
    await world.start()
    forged = world.secret("../../other/virtualservers/db", "uid-of-another", {"token": world.TOKEN})
    world.cluster.put(SECRET, forged)
    assert (await connect("shop/uid-of-another").join(world.TOKEN)).status == 401


async def test_a_secret_that_is_no_servers_is_none_of_our_business(world: World, connect: Connect) -> None:
    await world.start()
    data = {"token": "c2VjcmV0LXNlY3JldC1zZWNyZXQ="}
    world.cluster.put(SECRET, {"metadata": {"name": "other", "namespace": "shop"}, "data": data})
    assert (await connect("shop/other").join("secret-secret-secret")).status == 401
    assert len(world.replicas[0].directory.table) == 0


async def test_guessing_ends_in_429_while_a_right_token_still_works(world: World, connect: Connect) -> None:
    await world.start()
    seen = set()
    for number in range(60):
        seen.add((await connect(f"shop/nobody-{number}").join(world.TOKEN)).status)
    assert seen == {401, 429}
    assert sum(verb == "get" for verb, _, _ in world.cluster.calls) < 60
    await joined(world, connect)


async def test_a_server_that_joins_too_often_is_slowed_down(world: World, connect: Connect) -> None:
    _, agent = await joined(world, connect)
    answers = [await agent.join(world.TOKEN) for _ in range(40)]
    slowed = [answer for answer in answers if answer.status == 429]
    assert slowed
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in slowed)


# Whose configuration


async def test_another_servers_credential_opens_nothing(world: World, connect: Connect) -> None:
    await joined(world, connect)
    other = world.add_server("web")
    world.configure(other, 1)
    outsider = connect(other)  # the first server's key
    answers = [await outsider.configuration(0), await outsider.state(1), await outsider.join("first-servers-token")]
    assert [answer.status for answer in answers] == [401, 401, 401]
    assert world.agent_state(other) == {}


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Basic c2hvcDpr", "Bearer shop/uid-of-db", f"Bearer {KEY}", "Bearer shop/uid-of-db:" + "x" * 43],
)
async def test_a_wrong_authorization_is_refused(world: World, connect: Connect, authorization: str) -> None:
    _, agent = await joined(world, connect)
    for path in ("/v1/configuration", "/v1/state"):
        method = "GET" if path == "/v1/configuration" else "POST"
        answer = await agent.request(method, path, body=b"{}", headers={"Authorization": authorization})
        assert answer.status == 401


async def test_what_is_public_needs_no_authorization(world: World, connect: Connect) -> None:
    configd = await world.start()
    stranger = connect("shop/nobody")
    for path in ("/v1/ca.pem", "/v1/agent.pyz", "/healthz"):
        assert (await stranger.request("GET", path)).status == 200
    assert (await stranger.request("GET", "/v1/ca.pem")).body == configd.bundle
    assert (await stranger.request("GET", "/other")).status == 404
    assert (await stranger.request("PUT", "/v1/state")).status == 405


# Waiting for a configuration


async def test_a_long_poll_ends_as_soon_as_the_revision_is_unequal(world: World, connect: Connect) -> None:
    server, agent = await joined(world, connect)
    poll = asyncio.create_task(agent.configuration(30))
    await eventually(lambda: world.replicas[0].directory.waiting == 1)
    assert not poll.done()
    world.configure(server, 1, items={"a": "b"})
    answer = await poll
    assert (answer.status, answer.headers["ETag"]) == (200, '"1"')
    assert answer.json["items"] == {"a": "b"}
    poll = asyncio.create_task(agent.configuration(30, have=1))
    await eventually(lambda: world.replicas[0].directory.waiting == 1)
    world.configure(server, 2)
    assert (await poll).json["revision"] == 2
    assert (await agent.configuration(0, have=3)).json["revision"] == 2


async def test_a_long_poll_without_news_ends_in_304(world: World, connect: Connect) -> None:
    server, agent = await joined(world, connect)
    assert (await agent.configuration(0.05)).status == 304
    world.configure(server, 1)
    answer = await agent.configuration(0.05, have=1)
    assert (answer.status, answer.headers["ETag"]) == (304, '"1"')
    assert answer.headers["Moorage-CA"] == hashlib.sha256(world.replicas[0].bundle).hexdigest()
    assert world.replicas[0].directory.waiting == 0


async def test_a_replica_that_lags_asks_before_it_answers(world: World, connect: Connect) -> None:
    server, _ = await joined(world, connect)
    world.configure(server, 1)
    stale = world.cluster.found(SECRET, "shop", "uid-of-db")
    world.configure(server, 2)
    lagging = await world.start(follow=False, primed=[stale])
    agent = connect(server, lagging)
    assert (await agent.configuration(0, have=2)).status == 304
    assert lagging.directory.cached_server(("shop", "uid-of-db")).revision == 2  # type: ignore[union-attr]


async def test_a_deleted_server_is_gone(world: World, connect: Connect) -> None:
    _, agent = await joined(world, connect)
    poll = asyncio.create_task(agent.configuration(30))
    await eventually(lambda: world.replicas[0].directory.waiting == 1)
    world.cluster.remove(SECRET, "shop", "uid-of-db")
    assert (await poll).status == 410
    assert (await agent.join(world.TOKEN)).status == 410


async def test_a_stop_ends_long_polls(world: World, connect: Connect) -> None:
    _, agent = await joined(world, connect)
    poll = asyncio.create_task(agent.configuration(30))
    await eventually(lambda: world.replicas[0].directory.waiting == 1)
    await world.stop()
    assert (await poll).status == 304


@pytest.mark.parametrize("wait", ["x", "-1", "nan", "1e9", "", "٣"])
async def test_a_wrong_wait_is_refused(world: World, connect: Connect, wait: str) -> None:
    _, agent = await joined(world, connect)
    assert (await agent.request("GET", f"/v1/configuration?wait={wait}")).status == 400


# States


async def test_a_state_is_one_patch(world: World, connect: Connect) -> None:
    server, agent = await joined(world, connect)
    world.configure(server, 1, outputs=OUTPUTS)
    world.cluster.calls.clear()
    answer = await agent.state(1, deliveredRevision=1, outputs=[{"name": "a", "value": "x", "version": 1}])
    assert (answer.status, answer.json) == (200, {"problems": []})
    assert world.cluster.calls == [("patch", "virtualservers", "db")]
    assert (await agent.state(2, deliveredRevision=1)).status == 200
    assert world.cluster.calls == [("patch", "virtualservers", "db")] * 2
    assert world.agent_state(server)["sequence"] == 2


async def test_an_older_state_is_refused_with_the_known_sequence(world: World, connect: Connect) -> None:
    server, agent = await joined(world, connect)
    assert (await agent.state(5, ready=True)).status == 200
    for old in (4, 5):
        answer = await agent.state(old)
        assert (answer.status, answer.json["sequence"]) == (409, 5)
    assert (await agent.state(5, ready=True)).status == 200  # the same again: its answer may have been lost
    assert world.agent_state(server)["ready"] is True


async def test_replicas_do_not_put_an_older_state_over_a_newer_one(world: World, connect: Connect) -> None:
    server, one = await joined(world, connect)
    two = connect(server, await world.start())
    assert (await one.state(1)).status == 200
    assert (await two.state(4, ready=True)).status == 200
    answer = await one.state(3)
    assert (answer.status, answer.json["sequence"]) == (409, 4)
    assert (await one.state(5)).status == 200
    assert (await two.state(6)).status == 200
    assert world.agent_state(server)["sequence"] == 6


async def test_a_late_state_does_not_bring_back_older_outputs(world: World, connect: Connect) -> None:
    """A state that hangs in one replica must not replace the values of a newer one that went through another."""
    server, one = await joined(world, connect)
    world.configure(server, 1, outputs=OUTPUTS)
    two = connect(server, await world.start())
    assert (await one.state(1, outputs=[{"name": "s", "value": "first", "version": 1}])).status == 200
    hung = asyncio.Event()
    hold = asyncio.Event()

    async def hang(verb: str, plural: str, name: str) -> None:
        if verb == "update" and not hung.is_set():
            hung.set()
            await hold.wait()

    world.cluster.before = hang
    late = asyncio.create_task(one.state(2, outputs=[{"name": "s", "value": "second", "version": 2}]))
    await hung.wait()
    assert (await two.state(3, outputs=[{"name": "s", "value": "third", "version": 3}])).status == 200
    hold.set()
    assert (await late).status == 409
    assert world.output_secret(server) == {"s": "third"}
    assert world.agent_state(server)["outputs"] == [{"name": "s", "version": 3, "inSecret": True}]


async def test_secrets_are_written_before_the_status_that_names_them(world: World, connect: Connect) -> None:
    server, agent = await joined(world, connect)
    world.configure(server, 1, outputs=OUTPUTS)
    world.cluster.calls.clear()
    told: dict[str, Any] = {"outputs": [{"name": "s", "value": "canary", "version": 1}]}
    assert (await agent.state(1, **told)).status == 200
    assert (await agent.state(2, **told, ready=True)).status == 200
    assert [(verb, name) for verb, _, name in world.cluster.calls] == [
        ("create", "uid-of-db-outputs"),
        ("patch", "db"),
        ("patch", "db"),
    ]
    kept = world.cluster.found(SECRET, "shop", "uid-of-db-outputs")["metadata"]
    assert kept["annotations"]["moorage.dev/versions"] == '{"s":1}'
    assert "canary" not in world.everything()


async def test_a_successor_of_the_same_name_is_not_written_to(world: World, connect: Connect) -> None:
    _, agent = await joined(world, connect)
    world.cluster.remove(VIRTUAL_SERVER, "shop", "db")
    assert (await agent.state(1)).status == 410
    successor = world.add_server("db", "another-uid")
    assert (await agent.state(2)).status == 410
    assert world.agent_state(successor) == {}


async def test_a_server_without_status_gets_one(world: World, connect: Connect) -> None:
    server, agent = await joined(world, connect)
    del world.cluster.objects["virtualservers", "shop", "db"]["status"]
    assert (await agent.state(1)).status == 200
    assert world.agent_state(server)["sequence"] == 1


async def test_a_megabyte_of_state_is_refused_and_nothing_else(world: World, connect: Connect) -> None:
    server, agent = await joined(world, connect)
    world.configure(server, 1, outputs=OUTPUTS)
    answer = await agent.state(1, outputs=[{"name": "a", "value": "x" * 2**20, "version": 1}])
    assert (answer.status, answer.json["reason"]) == (413, "TooLarge")
    assert "262144" in answer.json["message"]
    assert (await agent.state(1, outputs=[{"name": "a", "value": "x" * 200_000, "version": 1}])).status == 200
    assert world.agent_state(server)["outputs"][0]["error"] == "TooLarge"
    chunked = await agent.request("POST", "/v1/join", body=b"x" * 5000)
    assert chunked.status == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b'{"sequence": 0}',
        b'{"sequence": "canary"}',
        b'{"sequence": 1e400}',
        b'{"sequence": 1, "outputs": [{"name": "a b", "value": "canary"}]}',
        b'{"sequence": 1, "outputs": [{"name": "a", "value": "\\ud800canary"}]}',
        b'{"sequence": 1, "steps": [{"name": "a", "state": "Odd"}]}',
        b"[" * 100000,
    ],
)
async def test_a_body_that_is_no_state_is_refused_without_being_quoted(
    world: World, connect: Connect, body: bytes
) -> None:
    server, agent = await joined(world, connect)
    answer = await agent.request("POST", "/v1/state", body=body)
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    assert b"canary" not in answer.body
    assert world.agent_state(server) == {}


async def test_posts_of_one_server_are_limited(world: World, connect: Connect) -> None:
    _, agent = await joined(world, connect)
    statuses = [(await agent.state(number)).status for number in range(1, 70)]
    assert 429 in statuses
    assert set(statuses) == {200, 429}


async def test_an_api_server_that_is_away_is_said_to_be(world: World, connect: Connect) -> None:
    server, agent = await joined(world, connect)

    async def away(verb: str, plural: str, name: str) -> None:
        raise Unavailable(0, "Unavailable", "no connection")

    world.cluster.before = away
    answer = await agent.state(1)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert (await agent.configuration(0)).status == 304  # from the cache
    world.cluster.before = None
    assert (await agent.state(2)).status == 200
    assert world.agent_state(server)["sequence"] == 2


async def test_a_namespace_that_goes_away_takes_its_servers_along(world: World, connect: Connect) -> None:
    await world.start()
    server = world.add_server()

    async def terminating(verb: str, plural: str, name: str) -> None:
        if verb == "create":
            raise Forbidden(403, "Forbidden", "being terminated", causes=("NamespaceTerminating",))

    world.cluster.before = terminating
    assert (await connect(server).join(world.TOKEN)).status == 410


async def test_the_session_of_a_server_that_is_removed_gets_nothing_any_more(world: World, connect: Connect) -> None:
    """Its session still stands: what ends it is the mark on its Secret, which a waiting poll hears of at once."""
    server, agent = await joined(world, connect)
    other = await world.start()
    world.configure(server, 1, items={"password": "before"})
    assert (await agent.configuration(0)).status == 200
    waiting = asyncio.ensure_future(agent.configuration(20, have=1))
    await eventually(lambda: world.replicas[0].directory.waiting == 1)
    secret = world.cluster.found(SECRET, "shop", "uid-of-db")
    secret["metadata"]["annotations"]["moorage.dev/revoked"] = "true"
    secret["data"] = {"request": secret["data"]["request"]}
    world.cluster.put(SECRET, secret)
    assert (await waiting).status == 410
    assert world.cluster.found(SECRET, "shop", "uid-of-db-session")["immutable"] is True
    world.cluster.calls.clear()
    for asked in (agent, connect(server, other)):
        answers = [await asked.configuration(0), await asked.state(1), await asked.join(world.TOKEN)]
        assert [a.status for a in answers] == [410, 410, 410]
        assert all(a.json["reason"] == "Gone" for a in answers)
    assert world.agent_state(server) == {}
    assert ("get", "secrets", "uid-of-db") not in world.cluster.calls, "no question to the API server for each"


async def test_nothing_secret_is_logged(world: World, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server, agent = await joined(world, connect)
    world.configure(server, 1, outputs=OUTPUTS, items={"i": "canary-item"})
    await agent.configuration(0)
    await agent.state(1, outputs=[{"name": "s", "value": "canary-output", "version": 1}])
    await connect(server, key="t" * 43).join(world.TOKEN)
    await agent.request("POST", "/v1/state", body=b'{"sequence": "canary-body"}')
    assert "presented again" in caplog.text
    for secret in ("canary", KEY, world.TOKEN, hashlib.sha256(KEY.encode()).hexdigest()):
        assert secret not in caplog.text
