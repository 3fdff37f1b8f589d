"""The requests of the channel, right and wrong, against configd over TLS."""

from __future__ import annotations

import asyncio
import hashlib
import logging

import pytest
from tests.support.configd import World, eventually
from tests.unit.configd.conftest import KEY, OUTPUTS, Connect, joined

from moorage.kube.errors import Forbidden, Unavailable
from moorage.kube.kinds import SECRET

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
