"""The backend `local` against a service that lies, and its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.support.hostd import Spec

from moorage.hosting.contract import CreateRequest, ServerState
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    KeyConflict,
    NotFound,
    QuotaError,
    Throttled,
    Unavailable,
    Unknown,
)
from moorage.hosting.http import Answer, retry_after
from moorage.hosting.local import client as local
from moorage.hosting.local.answers import refusal
from moorage.hosting.local.backend import LocalBackend, open_backend

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[LocalBackend]]
REQUEST = CreateRequest("m-k", "n", "i", "o", "", {}, {})
SERVER = {"id": "i-1", "key": "m-k", "state": "Running"}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Gives a backend on a service that answers everything but the account with the handler."""
    opened: list[Any] = []

    async def start(handler: Handler) -> LocalBackend:
        app = web.Application()
        app.router.add_get("/v1/account", _account)
        app.router.add_route("*", "/v1/{rest:.*}", handler)
        server = TestServer(app)
        await server.start_server()
        backend = open_backend(Spec(str(server.make_url("/"))), {})
        opened.extend((backend, server))
        return backend

    yield start
    for thing in opened:
        await thing.close()


async def _account(_: web.Request) -> web.Response:
    return web.json_response({"id": "a"})


def answering(data: Any, status: int = 200) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response(data, status=status)

    return handler


async def test_a_list_that_goes_in_circles_is_refused(serve: Serve) -> None:
    backend = await serve(answering({"items": [], "continue": "1"}))
    with pytest.raises(Unavailable, match="does not go on"):
        await backend.inventory()


async def test_a_list_without_end_is_refused(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MAX_PAGES", 5)
    count = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return web.json_response({"items": [], "continue": str(count)})

    with pytest.raises(Unavailable, match="more than 5 pages"):
        await (await serve(handler)).inventory()


async def test_a_server_listed_twice_is_refused(serve: Serve) -> None:
    with pytest.raises(Unavailable, match="twice"):
        await (await serve(answering({"items": [SERVER, SERVER]}))).inventory()


@pytest.mark.parametrize(
    "page",
    [
        {},
        {"items": None},
        {"items": [{}]},
        {"items": [SERVER | {"id": ""}]},
        {"items": [SERVER | {"tags": {"a": 1}}]},
        {"items": [SERVER | {"addresses": [{"type": "Odd", "address": "x"}]}]},
        {"items": [], "continue": ""},
        [],
    ],
)
async def test_a_page_that_makes_no_sense_fails_the_inventory(serve: Serve, page: Any) -> None:
    with pytest.raises(Unavailable):
        await (await serve(answering(page))).inventory()


async def test_another_server_than_the_one_asked_for_is_refused(serve: Serve) -> None:
    backend = await serve(answering(SERVER | {"id": "i-2", "key": "m-other"}))
    with pytest.raises(Unavailable):
        await backend.get("i-1")
    with pytest.raises(Unavailable):
        await backend.create(REQUEST)
    with pytest.raises(Unavailable):
        await backend.retag("i-1", {"a": "b"})


async def test_a_retag_that_did_not_take_is_refused(serve: Serve) -> None:
    with pytest.raises(Unavailable, match="confirm"):
        await (await serve(answering(SERVER | {"tags": {"a": "old"}}))).retag("i-1", {"a": "b"})


async def test_an_unknown_state_is_unknown(serve: Serve) -> None:
    backend = await serve(answering(SERVER | {"state": "Hibernating", "message": "a\nb"}))
    record = await backend.get("i-1")
    assert record.state is ServerState.UNKNOWN
    assert record.message == "a b"


async def test_find_trusts_no_filter(serve: Serve) -> None:
    backend = await serve(answering({"items": [SERVER, SERVER | {"id": "i-2", "key": "m-other"}]}))
    assert [s.provider_id for s in await backend.find("m-k")] == ["i-1"]


async def test_a_redirect_is_not_followed(serve: Serve) -> None:
    async def handler(_: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:1/")

    with pytest.raises(Unknown):
        await (await serve(handler)).get("i-1")


async def test_the_request_is_sent_byte_for_byte(serve: Serve) -> None:
    seen: list[bytes] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(await request.read())
        return web.json_response(SERVER, status=201)

    await (await serve(handler)).create(REQUEST)
    assert seen == [REQUEST.to_bytes()]


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (400, "Invalid", Invalid),
        (401, "Unauthorized", AuthenticationError),
        (403, "QuotaExceeded", QuotaError),
        (403, "Forbidden", AuthenticationError),
        (404, "NotFound", NotFound),
        (404, "NoSuchRoute", Unavailable),
        (409, "KeyConflict", KeyConflict),
        (409, "Conflict", Unknown),
        (413, "TooLarge", Unknown),
        (429, "Throttled", Throttled),
        (500, "NotFound", Unavailable),
        (502, "", Unavailable),
        (507, "InsufficientCapacity", CapacityError),
        (507, "DiskFull", Unavailable),
        (200, "NotFound", Unknown),
    ],
)
def test_status_and_reason_together_are_typed(status: int, reason: str, error: type[HostingError]) -> None:
    body = f'{{"reason": "{reason}", "message": "m", "field": "f"}}'.encode()
    found = refusal("GET x", Answer(status, 3.0, "", body))
    assert type(found) is error
    if isinstance(found, Invalid):
        assert found.field == "f"
    if isinstance(found, Throttled):
        assert found.retry_after == 3.0


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[]", b'{"reason": 7}', b"[" * 100_000])
def test_a_refusal_without_a_readable_body_is_typed_by_its_status(body: bytes) -> None:
    assert type(refusal("x", Answer(404, None, "", body))) is Unavailable
    assert type(refusal("x", Answer(403, None, "", body))) is AuthenticationError
    assert type(refusal("x", Answer(507, None, "", body))) is Unavailable


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (None, None),
        ("", None),
        ("5", 5.0),
        ("1e9", 3600.0),
        ("-1", None),
        ("nan", None),
        ("soon", None),
        ("5 May", None),
        ("Mon, 1 Jan 2026 99999999999999999999:00:00 GMT", None),
        ("Mon, 1 Jan 2026 00:00:00 +9999999999999", None),
    ],
)
def test_retry_after_is_seconds_or_nothing(text: str | None, value: float | None) -> None:
    assert retry_after({} if text is None else {"Retry-After": text}) == value


@pytest.mark.parametrize(
    ("date", "value"),
    [
        ("Wed, 21 Oct 2020 07:28:07 GMT", 7.0),
        ("Wed, 21 Oct 2020 09:28:07 +0200", 7.0),
        ("Wed, 21 Oct 2020 07:28:07 -0000", 7.0),
        ("Wed, 21 Oct 2020 07:27:00 GMT", None),
        ("Thu, 22 Oct 2020 07:28:00 GMT", 3600.0),
        ("Wed, 41 Oct 2020 07:28:07 GMT", None),
    ],
)
def test_a_date_in_retry_after_counts_from_the_date_of_the_answer(date: str, value: float | None) -> None:
    assert retry_after({"date": "Wed, 21 Oct 2020 07:28:00 GMT", "retry-after": date}) == value


@pytest.mark.parametrize("told", [{}, {"Date": "today"}])
def test_a_date_in_retry_after_counts_from_now_where_the_answer_has_none(told: dict[str, str]) -> None:
    waits = retry_after({**told, "Retry-After": format_datetime(datetime.now(UTC) + timedelta(minutes=30))})
    assert waits is not None
    assert 600 < waits <= 1800
    assert retry_after({**told, "Retry-After": "Wed, 21 Oct 2020 07:28:00 GMT"}) is None


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (Spec(None), "endpoint"),
        (Spec("ftp://x"), "endpoint"),
        (Spec("http://"), "endpoint"),
        (Spec("http://u:p@x"), "endpoint"),
        (Spec("http://x?a=b"), "endpoint"),
        (Spec("http://[::1"), "endpoint"),
        (Spec("https://x", project="p"), "project"),
        (Spec("https://x", settings={"caBundle": "no certificate"}), "settings.caBundle"),
        (Spec("https://x", settings={"nonsense": 1}), "settings.nonsense"),
    ],
)
async def test_a_spec_that_cannot_be_opened_names_its_field(spec: Spec, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        open_backend(spec, {})
    assert caught.value.field == field


@pytest.mark.parametrize("credentials", [{"password": b"x"}, {"token": b""}, {"token": b"a\nb"}, {"token": b"\xff"}])
async def test_credentials_that_are_none_are_refused_without_showing_them(credentials: Mapping[str, bytes]) -> None:
    with pytest.raises(AuthenticationError) as caught:
        open_backend(Spec("https://x"), credentials)
    assert all(value.decode(errors="replace") not in str(caught.value) for value in credentials.values() if value)


async def test_a_service_in_another_region_is_refused(serve: Serve) -> None:
    backend = await serve(answering({}))
    assert await backend.account() == "a"
    app = web.Application()

    async def account(_: web.Request) -> web.Response:
        return web.json_response({"id": "a", "region": "eu-1"})

    app.router.add_get("/v1/account", account)
    async with TestServer(app) as server:
        for region, wrong in (("", False), ("eu-1", False), ("us-1", True)):
            opened = open_backend(Spec(str(server.make_url("/")), region=region), {})
            if wrong:
                with pytest.raises(Invalid, match="eu-1"):
                    await opened.account()
            else:
                assert await opened.account() == "a"
            await opened.close()


async def test_a_service_without_tls_behind_https_is_unavailable() -> None:
    async with TestServer(web.Application()) as server:
        opened = open_backend(Spec(str(server.make_url("/")).replace("http://", "https://")), {})
        with pytest.raises(Unavailable):
            await opened.account()
        await opened.close()
