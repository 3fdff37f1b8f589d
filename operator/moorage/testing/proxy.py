"""A reverse proxy on the loopback that records the calls of a backend and breaks the one that a test names.

Requests go on as they came, the header `Host` included, since some services sign it. Answers come back as they are,
but for the address of the service in them, which becomes the proxy's (`Location`, catalogues, links to the next page).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Self

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict
from yarl import URL

from moorage.testing.certificates import VALID, Validity, loopback_tls
from moorage.testing.faults import BODIES, STATUSES, Armed, Call, Fault, Gate

__all__ = ["Call", "Fault", "FaultProxy"]

Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse
HUGE_CHUNK = b" " * 65536
MOST_HUGE = 512 * 1024 * 1024
_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"})
_OWN_LENGTH = frozenset({"content-length"})
_TEXT = ("json", "xml", "text")
_HTML = b"<!doctype html><title>404</title><h1>404 page not found</h1>\n"


class FaultProxy:
    """Stands before the addresses of one service (several where a catalogue names them).

    `upstream_tls` is how the proxy talks to addresses that are https, with the client's certificate where the service
    wants one. Before such an address the proxy speaks TLS too, with a certificate that `authority` (PEM) vouches for.
    With a `validity` it speaks TLS before every address, with a certificate that is valid then.
    """

    def __init__(
        self,
        addresses: Iterable[str],
        *,
        upstream_tls: ssl.SSLContext | None = None,
        validity: Validity | None = None,
    ) -> None:
        self._origins = list(dict.fromkeys(URL(address).origin() for address in addresses))
        self._upstream_tls = upstream_tls
        self._validity = validity
        self._here: dict[URL, URL] = {}
        self._runners: list[web.AppRunner] = []
        self._client: aiohttp.ClientSession | None = None
        self._armed: list[Armed] = []
        self._gate: Gate | None = None
        self._answers: dict[str, tuple[int, CIMultiDict[str], bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._undelivered = 0
        self._flows = asyncio.Event()
        self._flows.set()
        self.authority = ""
        self.calls: list[Call] = []
        self.huge_bytes = 0
        """How much of a huge answer was sent before the backend gave up."""

    # -- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen."""
        tls: ssl.SSLContext | None = None
        if self._validity is not None or any(origin.scheme == "https" for origin in self._origins):
            tls, self.authority = loopback_tls(validity=self._validity or VALID)
        connector = aiohttp.TCPConnector(ssl=self._upstream_tls if self._upstream_tls is not None else True)
        self._client = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        )
        for origin in self._origins:
            app = web.Application(client_max_size=64 * 1024 * 1024)
            app.router.add_route("*", "/{path:.*}", self._handler(origin))
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            self._runners.append(runner)
            await runner.setup()
            scheme = "https" if self._validity is not None else origin.scheme
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls if scheme == "https" else None).start()
            self._here[origin] = URL.build(scheme=scheme, host="127.0.0.1", port=runner.addresses[0][1])

    async def stop(self) -> None:
        """End all connections and accept none. Repetition: harmless."""
        self.open()
        for task in self._tasks:
            task.cancel()
        runners, self._runners = self._runners, []
        for runner in runners:
            if runner.server is not None:
                for connection in runner.server.connections:
                    if connection.transport is not None:
                        connection.transport.abort()
            await runner.cleanup()
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def url(self, address: str) -> str:
        """The address on the proxy that leads to this address of the service."""
        url = URL(address)
        return str(url).replace(str(url.origin()), str(self._here[url.origin()]), 1)

    # -- what a test tells it ----------------------------------------------------------------------------------------

    def arm(self, fault: Fault, *, first: int = 0, count: int = 1_000_000) -> None:
        """Break `count` calls from the `first` one on, counted from now; calls made so far are forgotten."""
        self.forget()
        self._armed = [Armed(fault, first, count)]

    def calm(self) -> None:
        """Break nothing from now on, and forget the calls."""
        self._armed = []
        self.forget()

    async def delivered(self) -> None:
        """Wait until the calls that were delayed have reached the service and are answered."""
        while self._undelivered:  # noqa: ASYNC110 - several tasks end it
            await asyncio.sleep(0.02)

    def forget(self) -> None:
        """Forget the calls."""
        self.calls = []
        self._answers.clear()
        self.huge_bytes = 0

    def hold(self, number: int, *, after: bool) -> asyncio.Event:
        """Hold that call, counted from now, before the service hears of it or `after` it acted, until `open`. The
        event tells that the call is there."""
        self.calm()
        self._gate = Gate(number, after=after)
        return self._gate.reached

    def open(self) -> None:
        """Let the held call go on."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.opened.set()

    def freeze(self) -> None:
        """Pass nothing on any more, in either direction, heartbeats included, as a network does that lost its way. All
        connections stay open, and calls from now on get no answer."""
        self._flows.clear()

    @property
    def broken(self) -> list[Call]:
        """The calls that were broken."""
        return [call for call in self.calls if call.fault is not None]

    def repeated(self) -> list[Call]:
        """Calls made once more after they were broken. One that was then answered by 401 was not carried out: what
        follows it, with another session, repeats that answer and not the one that was lost."""
        again = []
        for call in self.broken:
            for later in self.calls[call.number + 1 :]:
                if later.signature == call.signature:
                    again.append(later)
                    if later.status == 401 and later.fault is None:
                        break
        return again

    # -- calls -------------------------------------------------------------------------------------------------------

    def _handler(self, origin: URL) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._websocket(request, origin)
            call = Call(len(self.calls), request.method, request.raw_path, b"")
            self.calls.append(call)
            call.body = await request.read()
            call.fault = self._fault(call.number)
            gate = self._gate
            if gate is not None:
                await gate.wait(call.number, after=False)
            await self._flows.wait()
            response = await self._answer(request, origin, call)
            await self._flows.wait()
            call.status = response.status
            return response

        return handle

    def _fault(self, number: int) -> Fault | None:
        for armed in self._armed:
            if armed.first <= number < armed.first + armed.count:
                return armed.fault
        return None

    async def _answer(self, request: web.Request, origin: URL, call: Call) -> web.StreamResponse:
        fault = call.fault
        if fault in STATUSES:
            wait = {"Retry-After": "7"} if fault is Fault.THROTTLED else {}
            return web.Response(status=STATUSES[fault], body=_HTML, content_type="text/html", headers=wait)
        if fault in BODIES:
            kind, body = BODIES[fault]
            return web.Response(body=body, content_type=kind)
        path = request.raw_path.partition("?")[0]
        if fault is Fault.REPLAY and path in self._answers:
            status, headers, body = self._answers[path]
            return web.Response(status=status, headers=headers, body=body)
        match fault:
            case Fault.CUT:
                return _abort(request)
            case Fault.HUGE:
                return await self._huge(request)
            case Fault.HANG:
                return await _silence(request)
            case Fault.DELAYED:
                self._undelivered += 1
                await _silence(request)
                # In a task of its own: the one that serves a connection may end with it.
                task = asyncio.create_task(self._late(request, origin, call.body))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                return web.Response()
            case _:
                return await self._forward(request, origin, call)

    async def _late(self, request: web.Request, origin: URL, body: bytes) -> None:
        try:
            async with await self._send(request, origin, body) as answer:
                await answer.read()
        finally:
            self._undelivered -= 1

    async def _send(self, request: web.Request, origin: URL, body: bytes) -> aiohttp.ClientResponse:
        assert self._client is not None, "the proxy does not run"
        headers = _without(request.headers, _HOP | _OWN_LENGTH)
        return await self._client.request(
            request.method,
            URL(f"{origin}{request.raw_path}", encoded=True),
            data=body or None,
            headers=headers,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )

    async def _forward(self, request: web.Request, origin: URL, call: Call) -> web.StreamResponse:
        try:
            if call.fault is Fault.DUPLICATE:
                async with await self._send(request, origin, call.body) as first:
                    await first.read()
            async with await self._send(request, origin, call.body) as answer:
                return await self._hand_on(request, call, answer)
        except (aiohttp.ClientError, OSError):
            # The service is not there, or ended the connection: so does the proxy.
            await self._flows.wait()
            return _abort(request)

    async def _hand_on(self, request: web.Request, call: Call, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        headers = _without(answer.headers, _HOP | _OWN_LENGTH)
        if answer.headers.get("Transfer-Encoding", "").lower() == "chunked" and call.fault is None:
            return await self._stream(request, call, answer, headers)
        body = self._moved(answer, await answer.read())
        if "Location" in headers:
            headers["Location"] = self._translate(headers["Location"].encode()).decode()
        self._answers[request.raw_path.partition("?")[0]] = (answer.status, headers, body)
        gate = self._gate
        if gate is not None:
            await gate.wait(call.number, after=True)
        match call.fault:
            case Fault.DROP:
                return _abort(request)
            case Fault.LATE:
                return await _silence(request)
            case Fault.HALF:
                return await _half(request, answer.status, headers, body)
            case _:
                return web.Response(status=answer.status, headers=headers, body=body)

    async def _stream(
        self, request: web.Request, call: Call, answer: aiohttp.ClientResponse, headers: CIMultiDict[str]
    ) -> web.StreamResponse:
        """An answer without a length may have no end: what comes goes on at once."""
        response = web.StreamResponse(status=answer.status, headers=headers)
        kept = bytearray()
        gate = self._gate
        if gate is not None:
            await gate.wait(call.number, after=True)
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            moved = self._moved(answer, chunk)
            kept += moved
            await self._flows.wait()
            await response.write(moved)
        self._answers[request.raw_path.partition("?")[0]] = (answer.status, headers, bytes(kept))
        return response

    def _moved(self, answer: aiohttp.ClientResponse, body: bytes) -> bytes:
        text = any(word in answer.content_type for word in _TEXT) and "Content-Encoding" not in answer.headers
        return self._translate(body) if text else body

    def _translate(self, text: bytes) -> bytes:
        for origin, here in self._here.items():
            text = text.replace(str(origin).encode(), str(here).encode())
        return text

    async def _huge(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        # Over TLS nothing is raised for writing to a connection that the backend has closed.
        while self.huge_bytes < MOST_HUGE and request.transport is not None and not request.transport.is_closing():
            try:
                await response.write(HUGE_CHUNK)
                # A write that does not wait leaves the loop no time to hear of the end of the connection.
                await asyncio.sleep(0)
            except (ConnectionError, aiohttp.ClientError):
                break
            self.huge_bytes += len(HUGE_CHUNK)
        return response

    async def _websocket(self, request: web.Request, origin: URL) -> web.StreamResponse:
        assert self._client is not None, "the proxy does not run"
        keep = _without(request.headers, _HOP | {h.lower() for h in request.headers if h.startswith("Sec-WebSocket")})
        url = URL(f"{origin}{request.raw_path}", encoded=True)
        # Pings and pongs are between the two ends.
        here = web.WebSocketResponse(autoping=False)
        async with self._client.ws_connect(url, headers=keep, max_msg_size=0, autoping=False) as there:
            await self._flows.wait()
            await here.prepare(request)
            pumps = [asyncio.create_task(self._pump(here, there)), asyncio.create_task(self._pump(there, here))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        return here

    async def _pump(self, source: Socket, target: Socket) -> None:
        sends: Mapping[aiohttp.WSMsgType, Callable[[Any], Awaitable[None]]] = {
            aiohttp.WSMsgType.TEXT: target.send_str,
            aiohttp.WSMsgType.BINARY: target.send_bytes,
            aiohttp.WSMsgType.PING: target.ping,
            aiohttp.WSMsgType.PONG: target.pong,
        }
        async for message in source:
            await self._flows.wait()
            if message.type in sends:
                await sends[message.type](message.data)
        await self._flows.wait()
        await target.close()


def _without(headers: Mapping[str, str], names: frozenset[str] | set[str]) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    for name in [name for name in kept if name.lower() in names]:
        kept.popall(name, None)
    return kept


def _abort(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _silence(request: web.Request) -> web.Response:
    """Answer nothing for as long as the caller waits."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.02)
    return web.Response()


async def _half(request: web.Request, status: int, headers: CIMultiDict[str], body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body) + 1
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return _abort(request)
