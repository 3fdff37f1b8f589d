"""The HTTP service: tokens, faults and errors around the handlers; start and stop."""

from __future__ import annotations

import asyncio
import errno
import hmac
import ipaddress
import json
import logging
import math
import ssl
import time
from email.utils import formatdate
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from moorage.api.hostd import MAX_BODY, ErrorBody, Operation
from moorage.hostd import extras, routes
from moorage.hostd.config import Config, ConfigError
from moorage.hostd.driver import Driver
from moorage.hostd.faults import FaultState, Mischief
from moorage.hostd.ledger import Ledger, LedgerError
from moorage.hostd.process.driver import ProcessDriver
from moorage.hostd.refusals import Refusal
from moorage.hostd.service import Service
from moorage.hostd.sessions import PREFIX, Sessions
from moorage.hostd.simulate.driver import SimulateDriver
from moorage.hostd.store import DirectoryStore, Home, MemoryStore, Store, write_atomic

log = logging.getLogger(__name__)
HUGE_CHUNK = b" " * 65536
HUGE_CHUNKS = 4096


def _refusal(refusal: Refusal) -> web.Response:
    response = routes.answer(refusal.body, refusal.status)
    if refusal.retry_after:
        response.headers["Retry-After"] = str(math.ceil(refusal.retry_after))
    return response


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        return _refusal(refusal)
    except web.HTTPException as error:
        return routes.answer(ErrorBody(reason="NoSuchRoute", message=error.reason), error.status)
    except OSError as error:
        log.error("%s %s: %s", request.method, request.path, error)
        return routes.answer(ErrorBody(reason="Internal", message=f"the host failed: {error.strerror}"), 500)


def _tokens(token: str | None, host: str, sessions: Sessions | None) -> Middleware:
    wanted = None if token is None else f"Bearer {token}".encode()
    guarded = wanted is None and is_loopback(host)
    by_token = {"/healthz", routes.SESSION_PATH, *(path for _, path, _ in routes.CONTROLS)}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
            # A web page in a browser of this machine must not be able to start programs here.
            raise Refusal(403, "Forbidden", "browsers are not served")
        if guarded and not is_loopback(request.url.host or ""):
            # A page whose name was made to point at this machine sends neither of these headers with a GET.
            raise Refusal(403, "Forbidden", "on the loopback and without a token, no other host name is served")
        if wanted is not None and request.path != "/healthz":
            given = request.headers.get("Authorization", "")
            _judge(given, wanted, sessions if request.path not in by_token else None)
        return await handler(request)

    return check


def _judge(given: str, wanted: bytes, sessions: Sessions | None) -> None:
    is_token = hmac.compare_digest(given.encode(errors="replace"), wanted)
    session = given.removeprefix("Bearer ")
    if is_token if sessions is None else sessions.is_good(session):
        return
    if sessions is not None and (is_token or session.startswith(PREFIX)):
        raise Refusal(401, "SessionRequired", f"log in with the token: POST {routes.SESSION_PATH}")
    raise Refusal(401, "Unauthorized", "the bearer token is missing or wrong")


def is_loopback(host: str) -> bool:
    """Whether the name or address is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _faulty(operation: Operation, handler: routes.Handler) -> Handler:
    async def run(request: web.Request) -> web.StreamResponse:
        faults = request.app[routes.SERVICE].faults
        request.app[routes.SERVICE].calls[operation.value] += 1
        mischief = await faults.before(operation)
        if mischief is not None:
            return await _misbehave(request, mischief)
        response = await handler(request)
        mischief = faults.after(operation)
        if mischief is not None:
            return await _misbehave(request, mischief)
        if faults.now.skew and not response.prepared:
            response.headers["Date"] = formatdate(time.time() + faults.now.skew, usegmt=True)
        if faults.loses_answer(operation) and request.transport is not None:
            request.transport.abort()
        return response

    return run


async def _misbehave(request: web.Request, mischief: Mischief) -> web.StreamResponse:
    match mischief:
        case Mischief.GARBAGE:
            return web.Response(body=b"\x00\xff<html>", content_type="application/json")
        case Mischief.CUT:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        case Mischief.HANG:
            while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.1)
            return web.Response()
        case Mischief.HUGE:
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            for _ in range(HUGE_CHUNKS):
                await response.write(HUGE_CHUNK)
            return response


def build(service: Service, token: str | None) -> web.Application:
    """The web application of a service."""
    length = service.config.session_length
    sessions = None if length is None or token is None else Sessions(length)
    gate = _tokens(token, service.config.host, sessions)
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_errors, gate])
    app[routes.SERVICE] = service
    if sessions is not None:
        app[routes.SESSIONS] = sessions
        app.router.add_post(routes.SESSION_PATH, _faulty(Operation.SESSION, routes.session))
    for method, path, operation, handler in (*routes.OPERATIONS, *extras.OPERATIONS):
        app.router.add_route(method, path, _faulty(operation, handler))
    for method, path, handler in routes.CONTROLS:
        app.router.add_route(method, path, handler)
    app.router.add_get("/healthz", routes.health)
    return app


class Running:
    """A hostd that serves. `url` is its address, as a HostingService's `endpoint` wants it."""

    def __init__(self, service: Service, home: Home, runner: web.AppRunner, url: str) -> None:
        self.service = service
        self.url = url
        self._home = home
        self._runner = runner
        self._stopped = False

    def announcement(self) -> dict[str, str]:
        """What whoever started it wants to know: name, address, account, and where the token of its own is."""
        config, home = self.service.config, self._home
        told = {"name": config.name, "url": self.url, "account": home.account}
        return {**told, "tokenFile": str(home.token_file)} if config.own_token else told

    async def stop(self) -> None:
        """Stop serving. Servers live on, unless they are ephemeral or simulated. Repeating is harmless."""
        if self._stopped:
            return
        self._stopped = True
        await self._runner.cleanup()
        await self.service.close()
        self._home.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def run(config: Config) -> Running:
    """Start a hostd and return when it serves. Raises ConfigError, with a message for people, where it cannot."""
    home = Home(config.data)
    try:
        faults = FaultState(config.simulate.seed if config.simulate else 0)
        driver, store = _driver(config, home)
        service = Service(
            config, home, store, Ledger(home.path / "ledger.jsonl", durable=store.blocking), driver, faults
        )
        token = home.token() if config.own_token else config.token
    except (OSError, LedgerError) as error:
        home.close()
        raise ConfigError(f"cannot use {config.data}: {error}") from None
    except BaseException:
        home.close()
        raise
    runner = web.AppRunner(build(service, token), access_log=None, shutdown_timeout=1.0)
    try:
        tls = _tls(config)
        await service.open()
        await runner.setup()
        site = web.TCPSite(runner, config.host, config.port, ssl_context=tls, backlog=1024)
        await site.start()
        url = _url(config, runner)
        running = Running(service, home, runner, url)
        write_atomic(home.path / "address.json", json.dumps(running.announcement()).encode())
    except OSError as error:
        await runner.cleanup()
        await service.close()
        home.close()
        raise ConfigError(_not_served(config, error)) from None
    except BaseException:
        await runner.cleanup()
        await service.close()
        home.close()
        raise
    if token is None and config.simulate is None:
        log.warning("no token is asked for: every user of this machine can run programs as the user of this process")
    return running


def _not_served(config: Config, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {config.port} of {config.host} is taken: choose another with --port, or 0 for a free one"
    return f"cannot serve at {config.host}:{config.port}: {error.strerror or error}"


def _driver(config: Config, home: Home) -> tuple[Driver, Store]:
    if config.simulate is not None:
        return SimulateDriver(config, config.simulate), MemoryStore()
    store = DirectoryStore(home.path)
    return ProcessDriver(config, store), store


def _tls(config: Config) -> ssl.SSLContext | None:
    if config.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.certificate, config.key)
    except (OSError, ssl.SSLError):
        raise ConfigError(f"cannot use the certificate {config.certificate} with its key") from None
    return context


def _url(config: Config, runner: web.AppRunner) -> str:
    port = runner.addresses[0][1]
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"{'http' if config.certificate is None else 'https'}://{host}:{port}"
