"""The proxy that breaks single calls."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import aiohttp
import pytest
from aiohttp import web

from moorage.testing.certificates import loopback_tls
from moorage.testing.proxy import Call, Fault, FaultProxy


@dataclass
class Upstream:
    """A service that counts what it hears."""

    url: str = ""
    heard: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether there is more of a stream."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.heard.append(f"{request.method} {request.raw_path} {await request.text()}")
        self.hosts.append(request.headers["Host"])
        if request.path == "/moved":
            return web.Response(status=302, headers={"Location": f"{self.url}/there"})
        if request.path == "/stream":
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            response.enable_chunked_encoding()
            await response.prepare(request)
            await response.write(b"first\n")
            await self.more.wait()
            await response.write(b"second\n")
            return response
        if request.path in {"/socket", "/deaf"}:
            socket = web.WebSocketResponse(autoping=request.path == "/socket")
            await socket.prepare(request)
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await socket.send_str(f"heard {message.data}")
            return socket
        return web.json_response({"number": len(self.heard), "next": f"{self.url}/page?after=1"})


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A service."""
    service = Upstream()
    async with Serving(service, None):
        yield service


class Serving:
    """The service, while it runs."""

    def __init__(self, service: Upstream, tls: ssl.SSLContext | None) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", service.handle)
        self._service, self._tls = service, tls
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def __aenter__(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        scheme = "http" if self._tls is None else "https"
        self._service.url = f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


@pytest.fixture
async def proxy(upstream: Upstream) -> AsyncIterator[FaultProxy]:
    """A proxy before it."""
    async with FaultProxy([upstream.url]) as proxy:
        yield proxy


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client with little patience."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as client:
        yield client


async def test_calls_go_on_as_they_came_and_are_recorded(
    upstream: Upstream, proxy: FaultProxy, client: aiohttp.ClientSession
) -> None:
    here = proxy.url(f"{upstream.url}/a%2Fb?c=d%20e")
    async with client.post(here, data=b"body", headers={"Host": "signed.example"}) as answer:
        assert answer.status == 200
        assert (await answer.json())["next"] == proxy.url(f"{upstream.url}/page?after=1")
    assert upstream.heard == ["POST /a%2Fb?c=d%20e body"]
    assert upstream.hosts == ["signed.example"]
    assert [(call.method, call.path, call.body, call.status) for call in proxy.calls] == [
        ("POST", "/a%2Fb?c=d%20e", b"body", 200)
    ]


async def test_what_leads_to_the_service_leads_to_the_proxy(
    upstream: Upstream, proxy: FaultProxy, client: aiohttp.ClientSession
) -> None:
    async with client.get(proxy.url(f"{upstream.url}/moved"), allow_redirects=False) as answer:
        assert answer.headers["Location"] == proxy.url(f"{upstream.url}/there")


@pytest.mark.parametrize(("fault", "heard"), [(Fault.CUT, 0), (Fault.DROP, 1), (Fault.HALF, 1)])
async def test_the_nth_call_is_cut(
    upstream: Upstream, proxy: FaultProxy, client: aiohttp.ClientSession, fault: Fault, heard: int
) -> None:
    proxy.arm(fault, first=1, count=1)
    for number in range(3):
        call = client.post(proxy.url(f"{upstream.url}/{number}"))
        if number == 1:
            with pytest.raises(aiohttp.ClientError):
                async with call as answer:
                    await answer.read()
        else:
            async with call as answer:
                assert answer.status == 200
    assert len(upstream.heard) == 2 + heard
    assert [call.fault for call in proxy.calls] == [None, fault, None]
    assert [call.number for call in proxy.broken] == [1]
    assert proxy.repeated() == []


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault.NOT_FOUND, 404),
        (Fault.ERROR, 500),
        (Fault.GATEWAY, 502),
        (Fault.THROTTLED, 429),
        (Fault.UNAUTHORIZED, 401),
        (Fault.GARBAGE, 200),
        (Fault.EMPTY, 200),
        (Fault.HTML, 200),
        (Fault.OTHER_JSON, 200),
    ],
)
async def test_another_answer_is_given_and_the_service_hears_nothing(
    upstream: Upstream, proxy: FaultProxy, client: aiohttp.ClientSession, fault: Fault, status: int
) -> None:
    proxy.arm(fault)
    async with client.get(proxy.url(upstream.url)) as answer:
        assert answer.status == status
        assert answer.headers.get("Retry-After") == ("7" if fault is Fault.THROTTLED else None)
    assert upstream.heard == []


async def test_a_call_is_doubled(upstream: Upstream, proxy: FaultProxy, client: aiohttp.ClientSession) -> None:
    proxy.arm(Fault.DUPLICATE, count=1)
    async with client.post(proxy.url(upstream.url)) as answer:
        assert (await answer.json())["number"] == 2
    assert len(upstream.heard) == 2


@pytest.mark.parametrize(("fault", "heard"), [(Fault.HANG, 0), (Fault.LATE, 1)])
async def test_no_answer_comes(
    upstream: Upstream, proxy: FaultProxy, client: aiohttp.ClientSession, fault: Fault, heard: int
) -> None:
    proxy.arm(fault)
    with pytest.raises(TimeoutError):
        await client.post(proxy.url(upstream.url), timeout=aiohttp.ClientTimeout(total=0.3))
    assert len(upstream.heard) == heard


async def test_the_service_hears_of_a_delayed_call_after_the_caller_gave_up(
    upstream: Upstream, proxy: FaultProxy, client: aiohttp.ClientSession
) -> None:
    proxy.arm(Fault.DELAYED)
    with pytest.raises(TimeoutError):
        await client.post(proxy.url(upstream.url), timeout=aiohttp.ClientTimeout(total=0.1))
    async with asyncio.timeout(20):
        while not upstream.heard:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


async def test_an_answer_is_given_again(upstream: Upstream, proxy: FaultProxy, client: aiohttp.ClientSession) -> None:
    numbers = []
    proxy.arm(Fault.REPLAY, first=1, count=1)
    for after in range(3):
        async with client.get(proxy.url(f"{upstream.url}/page?after={after}")) as answer:
            numbers.append((await answer.json())["number"])
    assert numbers == [1, 1, 2]


async def test_a_huge_answer_ends_when_the_caller_goes(
    upstream: Upstream, proxy: FaultProxy, client: aiohttp.ClientSession
) -> None:
    proxy.arm(Fault.HUGE)
    async with client.get(proxy.url(upstream.url)) as answer:
        await answer.content.readexactly(1_000_000)
        answer.close()
    await proxy.stop()
    assert 1_000_000 <= proxy.huge_bytes < 100_000_000


@pytest.mark.parametrize("after", [False, True])
async def test_a_call_is_held(
    upstream: Upstream, proxy: FaultProxy, client: aiohttp.ClientSession, after: bool
) -> None:
    reached = proxy.hold(1, after=after)
    await client.get(proxy.url(upstream.url))
    calling = asyncio.create_task(client.get(proxy.url(upstream.url)))
    await reached.wait()
    assert len(upstream.heard) == (2 if after else 1)
    assert not calling.done()
    proxy.open()
    await calling
    assert len(upstream.heard) == 2


async def test_a_call_that_is_made_again_after_it_was_broken_is_noticed(
    upstream: Upstream, proxy: FaultProxy, client: aiohttp.ClientSession
) -> None:
    proxy.arm(Fault.ERROR, count=1)
    for _ in range(2):
        await client.post(proxy.url(f"{upstream.url}/servers"), data=b"same")
    await client.post(proxy.url(f"{upstream.url}/servers"), data=b"another")
    assert [call.number for call in proxy.repeated()] == [1]


async def test_what_is_asked_again_with_another_session_repeats_no_lost_answer(proxy: FaultProxy) -> None:
    """A call that is lost, repeated by the client's library, refused for its session, and made with another one."""
    lost, refused, made, more = (Call(number, "GET", "/servers", b"") for number in (0, 1, 3, 4))
    lost.fault, refused.status, made.status = Fault.DROP, 401, 200
    proxy.calls[:] = [lost, refused, Call(2, "POST", "/session", b"", 201), made]
    assert proxy.repeated() == [refused]
    refused.status = 503
    assert proxy.repeated() == [refused, made]
    proxy.calls[:] = [lost, replace(refused, status=200), made, more]
    assert len(proxy.repeated()) == 3


async def test_a_stream_and_a_websocket_pass_and_end_with_the_proxy(
    upstream: Upstream, proxy: FaultProxy, client: aiohttp.ClientSession
) -> None:
    async with client.get(proxy.url(f"{upstream.url}/stream")) as answer:
        assert await answer.content.readline() == b"first\n"
        async with client.ws_connect(proxy.url(f"{upstream.url}/socket")) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "heard hello"
            await proxy.stop()
            assert (await socket.receive()).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
        with pytest.raises(aiohttp.ClientError):
            await answer.content.readline()


async def test_a_frozen_proxy_passes_nothing_on_and_ends_nothing(
    upstream: Upstream, proxy: FaultProxy, client: aiohttp.ClientSession
) -> None:
    async with (
        client.get(proxy.url(f"{upstream.url}/stream")) as stream,
        client.ws_connect(proxy.url(f"{upstream.url}/socket"), autoping=False) as socket,
    ):
        assert await stream.content.readline() == b"first\n"
        await socket.ping()
        assert (await socket.receive(20)).type is aiohttp.WSMsgType.PONG
        proxy.freeze()
        await socket.ping()
        await socket.send_str("hello")
        upstream.more.set()
        for call in (stream.content.readline, socket.receive, lambda: client.get(proxy.url(upstream.url))):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(call(), 0.3)
        assert not stream.content.at_eof()
        assert not socket.closed
        assert [heard for heard in upstream.heard if heard.startswith("GET / ")] == []
        await proxy.stop()


async def test_a_websocket_is_kept_alive_by_the_service_and_not_by_the_proxy(
    upstream: Upstream, proxy: FaultProxy, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(proxy.url(f"{upstream.url}/deaf"), heartbeat=0.5) as socket:
        async with asyncio.timeout(20):
            ended = await socket.receive()
        assert ended.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
        assert isinstance(socket.exception(), aiohttp.ServerTimeoutError)


async def test_a_service_that_is_not_there_ends_the_connection(client: aiohttp.ClientSession) -> None:
    async with FaultProxy(["http://127.0.0.1:1"]) as proxy:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.post(proxy.url("http://127.0.0.1:1"))


async def test_before_tls_the_proxy_speaks_tls(client: aiohttp.ClientSession) -> None:
    service = Upstream()
    tls, authority = loopback_tls()
    async with Serving(service, tls):
        trust = ssl.create_default_context(cadata=authority)
        async with FaultProxy([service.url], upstream_tls=trust) as proxy:
            mine = ssl.create_default_context(cadata=proxy.authority)
            async with client.get(proxy.url(service.url), ssl=mine) as answer:
                assert (await answer.json())["number"] == 1
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await client.get(proxy.url(service.url), ssl=trust)


async def test_addresses_of_one_service_each_have_a_place(client: aiohttp.ClientSession) -> None:
    first, second = Upstream(), Upstream()
    async with Serving(first, None), Serving(second, None), FaultProxy([f"{first.url}/v3", second.url]) as proxy:
        for service in (first, second):
            await client.get(proxy.url(f"{service.url}/x"))
        assert (first.heard, second.heard) == (["GET /x "], ["GET /x "])
        assert [call.number for call in proxy.calls] == [0, 1]
