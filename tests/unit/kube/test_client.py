"""The client against a scripted server: retries, typed errors, observers, guard, pages, watches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from moorage.kube.calls import Call, body_fields
from moorage.kube.client import Client
from moorage.kube.credentials import Credentials, Loaded
from moorage.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    NotLeader,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from moorage.kube.kinds import CONFIG_MAP, HOSTING_SERVICE, NAMESPACE, SECRET, SERVER_GROUP, VIRTUAL_SERVER
from moorage.kube.transport import Limits, Transport

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Recorder:
    """Remembers what observers are told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Call, Any]] = []

    def before(self, call: Call) -> None:
        self.seen.append(("before", call, None))

    def after(self, call: Call, outcome: int | BaseException, seconds: float) -> None:
        assert seconds >= 0
        self.seen.append(("after", call, outcome))


class Script:
    """A server that answers one request after another by the given handlers."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.handlers: list[Handler] = []
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.headers: list[dict[str, str]] = []

    def answer(self, code: int, body: Any = None, headers: dict[str, str] | None = None) -> Script:
        async def handle(_: web.Request) -> web.StreamResponse:
            return web.json_response(body if body is not None else {}, status=code, headers=headers)

        self.handlers.append(handle)
        return self

    def refuse(self, code: int, reason: str, message: str = "no", **details: Any) -> Script:
        return self.answer(code, {"kind": "Status", "reason": reason, "message": message, "details": details})

    async def serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        self.requests.append((request.method, request.path, dict(request.query), body))
        self.headers.append(dict(request.headers))
        return await self.handlers.pop(0)(request)


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    tokens = iter(("bearer one\n", "bearer two\n", "bearer three\n"))
    loaded = Loaded("", "home", None, None, None, True, None, None, lambda: next(tokens))
    credentials = Credentials(lambda: loaded)
    client = Client(Transport(credentials, limits=Limits(timeout=5, attempts=3, longest_wait=1, write_slots=2)))
    script = Script(client)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    loaded.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    await credentials.refresh()
    yield script
    await client.close()
    await runner.cleanup()


def test_paths() -> None:
    assert SERVER_GROUP.path() == "/apis/moorage.dev/v1alpha1/servergroups"
    assert SERVER_GROUP.path("ns", "a", "status") == "/apis/moorage.dev/v1alpha1/namespaces/ns/servergroups/a/status"
    assert SECRET.path("ns") == "/api/v1/namespaces/ns/secrets"
    assert HOSTING_SERVICE.path(None, "a") == "/apis/moorage.dev/v1alpha1/hostingservices/a"
    with pytest.raises(ValueError, match="cluster-scoped"):
        NAMESPACE.path("ns", "a")
    with pytest.raises(ValueError, match="needs a namespace"):
        SECRET.path(None, "a")


def test_a_name_is_one_segment_of_a_path_whatever_is_in_it() -> None:
    forged = VIRTUAL_SERVER.path("ns", "../../other/virtualservers/a?x#", "status")
    assert URL(f"https://api{forged}").path == forged.replace("%2F", "/").replace("%3F", "?").replace("%23", "#")
    assert forged.count("/") == VIRTUAL_SERVER.path("ns", "a", "status").count("/")
    assert "/namespaces/other/" not in str(URL(f"https://api{forged}"))
    for name in (".", ".."):
        with pytest.raises(ValueError, match="not the name"):
            VIRTUAL_SERVER.path("ns", name)


def test_field_sets_have_names_only() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "data": {"token": "c2VjcmV0"}}
    assert body_fields(secret) == {"metadata.name", "data.token"}
    assert body_fields(
        [{"op": "test", "path": "/metadata/uid", "value": 1}, {"op": "add", "path": "/status/agent"}]
    ) == {"status.agent"}
    assert body_fields(None) == frozenset()


async def test_reads_are_repeated_after_failures_and_writes_are_not(script: Script) -> None:
    script.refuse(503, "ServiceUnavailable").answer(200, {"metadata": {"name": "a"}})
    assert (await script.client.get(SECRET, "ns", "a"))["metadata"]["name"] == "a"
    script.refuse(503, "ServiceUnavailable")
    with pytest.raises(Unavailable):
        await script.client.create(SECRET, {"metadata": {"namespace": "ns", "name": "a"}})
    assert len(script.requests) == 3


async def test_a_broken_connection_is_unavailable(script: Script) -> None:
    async def drop(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    recorder = Recorder()
    script.client.observers.append(recorder)
    script.handlers = [drop] * 10  # the HTTP library itself repeats a GET once more
    with pytest.raises(Unavailable, match="no connection") as caught:
        await script.client.get(SECRET, "ns", "a")
    assert caught.value.status == 0
    assert [what for what, _, _ in recorder.seen] == ["before", "after"] * 3
    before = len(script.requests)
    with pytest.raises(Unavailable):
        await script.client.patch(SECRET, "ns", "a", {"data": {}})
    assert len(script.requests) == before + 1, "whether a write took place is unknown, so it is not repeated"


async def test_throttling_is_waited_out_for_writes_too(script: Script) -> None:
    script.answer(429, {}, {"Retry-After": "0"}).answer(201, {"metadata": {"name": "a"}})
    await script.client.create(CONFIG_MAP, {"metadata": {"namespace": "ns", "name": "a"}})
    script.answer(429, {"reason": "TooManyRequests"}, {"Retry-After": "7"})
    with pytest.raises(TooManyRequests) as caught:
        await script.client.create(CONFIG_MAP, {"metadata": {"namespace": "ns", "name": "a"}})
    assert caught.value.retry_after == 7, "longer than one call may wait: the caller decides"
    assert len(script.requests) == 3


async def test_a_401_loads_the_credentials_again_once(script: Script) -> None:
    script.refuse(401, "Unauthorized").answer(200, {"metadata": {}})
    await script.client.get(SECRET, "ns", "a")
    assert [h["Authorization"] for h in script.headers] == ["Bearer one", "Bearer two"]
    script.refuse(401, "Unauthorized").refuse(401, "Unauthorized")
    with pytest.raises(Unauthorized):
        await script.client.get(SECRET, "ns", "a")


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (410, "Expired", Gone),
        (422, "Invalid", Invalid),
        (500, "InternalError", Unavailable),
        (418, "Teapot", ApiError),
    ],
)
async def test_errors_have_types(script: Script, code: int, reason: str, expected: type[ApiError]) -> None:
    script.refuse(code, reason, "because")
    with pytest.raises(expected, match="because") as caught:
        await script.client.delete(VIRTUAL_SERVER, "ns", "a", uid="u", propagation="Background")
    assert type(caught.value) is expected
    assert caught.value.reason == reason
    assert script.requests[0][3] == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": "u"},
        "propagationPolicy": "Background",
    }


async def test_a_refused_secret_is_not_quoted(script: Script) -> None:
    script.refuse(422, "Invalid", 'data[x]: Invalid value: "hunter2"')
    with pytest.raises(Invalid, match="withheld") as caught:
        await script.client.create(SECRET, {"metadata": {"namespace": "ns", "name": "a"}})
    assert "hunter2" not in repr(caught.value) + str(caught.value)


async def test_a_terminating_namespace_is_recognised(script: Script) -> None:
    script.refuse(403, "Forbidden", "ns is being terminated", causes=[{"reason": "NamespaceTerminating"}])
    with pytest.raises(Forbidden) as caught:
        await script.client.create(SECRET, {"metadata": {"namespace": "ns", "name": "a"}})
    assert caught.value.namespace_terminating


async def test_observers_see_each_attempt_around_the_request(script: Script) -> None:
    recorder = Recorder()
    script.client.observers.append(recorder)
    script.refuse(409, "Conflict")
    with pytest.raises(Conflict):
        await script.client.apply_status(VIRTUAL_SERVER, "ns", "a", "7", {"providerID": "p"}, "m")
    call = Call("apply", VIRTUAL_SERVER, "ns", "a", "status", "m", recorder.seen[0][1].fields)
    assert call.fields == {"metadata.name", "metadata.resourceVersion", "status.providerID"}
    assert recorder.seen == [("before", call, None), ("after", call, 409)]
    method, path, query, body = script.requests[0]
    assert (method, path) == ("PATCH", "/apis/moorage.dev/v1alpha1/namespaces/ns/virtualservers/a/status")
    assert query == {"force": "true", "fieldManager": "m"}
    assert body["metadata"] == {"name": "a", "resourceVersion": "7"}
    assert script.headers[0]["Content-Type"] == "application/apply-patch+yaml"


async def test_the_guard_stops_writes_before_they_are_sent(script: Script) -> None:
    def refuse() -> None:
        raise NotLeader("not the leader")

    script.client.set_guard(refuse)
    with pytest.raises(NotLeader):
        await script.client.create(SECRET, {"metadata": {"namespace": "ns", "name": "a"}})
    assert script.requests == []
    script.answer(201).answer(200)
    await script.client.unguarded().create(SECRET, {"metadata": {"namespace": "ns", "name": "a"}})
    await script.client.get(SECRET, "ns", "a")


async def test_what_would_overwrite_the_unseen_is_refused(script: Script) -> None:
    with pytest.raises(ValueError, match="resourceVersion"):
        await script.client.apply_status(VIRTUAL_SERVER, "ns", "a", "", {}, "m")
    with pytest.raises(ValueError, match="resourceVersion"):
        await script.client.update(SECRET, {"metadata": {"namespace": "ns", "name": "a"}})
    with pytest.raises(ValueError, match="uid"):
        await script.client.apply(SECRET, {"metadata": {"namespace": "ns", "name": "a"}}, "m")
    assert script.requests == []


async def test_patches_say_what_they_are(script: Script) -> None:
    script.answer(200).answer(200)
    await script.client.patch(VIRTUAL_SERVER, "ns", "a", {"metadata": {}})
    await script.client.patch(
        VIRTUAL_SERVER, "ns", "a", [{"op": "test", "path": "/metadata/uid"}], subresource="status"
    )
    assert [h["Content-Type"] for h in script.headers] == [
        "application/merge-patch+json",
        "application/json-patch+json",
    ]


async def test_lists_are_paged_and_begin_again_when_pages_expire(script: Script) -> None:
    page = {"metadata": {"resourceVersion": "9", "continue": "c"}, "items": [{"n": 1}]}
    last = {"metadata": {"resourceVersion": "9"}, "items": [{"n": 2}]}
    script.answer(200, page).refuse(410, "Expired").answer(200, page).answer(200, last)
    listing = await script.client.list(SECRET, "ns", labels="a=b", metadata_only=True)
    assert listing.items == [{"n": 1}, {"n": 2}]
    assert listing.resource_version == "9"
    assert script.requests[0][2] == {"labelSelector": "a=b", "limit": "500"}
    assert script.requests[3][2] == {"labelSelector": "a=b", "limit": "500", "continue": "c"}
    assert "PartialObjectMetadataList" in script.headers[0]["Accept"]


async def test_a_list_whose_pages_always_expire_is_taken_whole(script: Script) -> None:
    for _ in range(3):
        script.refuse(410, "Expired")
    script.answer(200, {"metadata": {"resourceVersion": "9"}, "items": []})
    await script.client.list(SECRET)
    assert script.requests[-1][2] == {}


async def test_a_page_that_is_too_large_is_asked_for_again_with_fewer_objects_and_goes_on_from_there(
    script: Script,
) -> None:
    def page(size: int, more: str = "") -> dict[str, Any]:
        return {"metadata": {"resourceVersion": "9", "continue": more}, "items": [{"x": "x" * size}]}

    acting = script.client.acting_as("ns", "reader", most=1000)
    script.answer(200, page(10, "c")).answer(200, page(2000)).answer(200, page(2000)).answer(200, page(20))
    found = [item async for listed in acting.pages(CONFIG_MAP, "ns", limit=100) for item in listed.items]
    assert [len(item["x"]) for item in found] == [10, 20]
    assert [(q.get("limit"), q.get("continue")) for _, _, q, _ in script.requests] == [
        ("100", None),
        ("100", "c"),
        ("12", "c"),
        ("1", "c"),
    ]
    script.answer(200, page(2000))
    with pytest.raises(TooLarge):
        _ = [listed async for listed in acting.pages(CONFIG_MAP, "ns", limit=1)]


async def test_watch_events_of_any_length_and_errors(script: Script) -> None:
    long = "x" * 300_000
    events = [
        {"type": "ADDED", "object": {"metadata": {"name": long}}},
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "8"}}},
        {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}},
    ]

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        raw = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        for start in range(0, len(raw), 50_000):
            await response.write(raw[start : start + 50_000])
        return response

    script.handlers.append(stream)
    seen: list[tuple[str, str | None]] = []

    async def follow() -> None:
        async for event in script.client.watch(SECRET, resource_version="7", duration=60):
            seen.append((event.type, event.object["metadata"].get("name")))  # noqa: PERF401 - kept until it raises

    with pytest.raises(Gone, match="too old"):
        await follow()
    assert seen == [("ADDED", long), ("BOOKMARK", None)]
    assert script.requests[0][2]["resourceVersion"] == "7"
    assert script.requests[0][2]["allowWatchBookmarks"] == "true"


async def test_a_watch_of_something_else_is_an_error(script: Script) -> None:
    async def html(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>\n</html>\n")

    script.handlers.append(html)
    with pytest.raises(Unavailable, match="not JSON"):
        await anext(script.client.watch(SECRET, resource_version="7"))


async def test_no_more_writes_than_slots_are_in_flight(script: Script) -> None:
    flying, most = 0, 0
    arrived, release = asyncio.Condition(), asyncio.Event()

    async def handle(_: web.Request) -> web.StreamResponse:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        async with arrived:
            arrived.notify_all()
        await release.wait()
        flying -= 1
        return web.json_response({})

    async def until(count: int) -> None:
        async with asyncio.timeout(5), arrived:
            await arrived.wait_for(lambda: flying >= count)

    script.handlers = [handle] * 6
    body = {"metadata": {"namespace": "ns", "name": "a"}}
    writes = [asyncio.create_task(script.client.create(SECRET, body)) for _ in range(5)]
    await until(2)
    read = asyncio.create_task(script.client.get(SECRET, "ns", "a"))
    await until(3)
    release.set()
    await asyncio.gather(read, *writes)
    assert most == 3, "two writes and the read, which needs no slot"


async def test_an_answer_that_is_no_object_is_an_error(script: Script) -> None:
    async def html(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>")

    script.handlers.append(html)
    with pytest.raises(Unavailable, match="not a JSON object"):
        await script.client.get(SECRET, "ns", "a")
