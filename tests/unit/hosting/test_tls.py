"""TLS that does not come about, over every way that backends use: each failure with what to do about it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import urllib3
from aiohttp import web
from urllib3 import exceptions as failures
from yarl import URL

from moorage.hosting.carried import no_answer
from moorage.hosting.errors import AuthenticationError, HostingError, Unavailable
from moorage.hosting.http import Http, tls_context
from moorage.hosting.tls import tls_failure
from moorage.testbed.incus.bed import client_certificate
from moorage.testing.certificates import EXPIRED, NOT_YET_VALID, loopback_tls

Ask = Callable[[str, ssl.SSLContext], Awaitable[HostingError]]


async def over_aiohttp(url: str, tls: ssl.SSLContext) -> HostingError:
    """What a backend without an SDK raises."""
    http = Http(URL(url), headers={}, tls=tls, trust="the place of roots")
    try:
        with pytest.raises(HostingError) as caught:
            await http.call("GET", "", "account", seconds_allowed=10)
        with pytest.raises(type(caught.value)):
            _ = [text async for text in http.messages("", "events", silence=10)]
    finally:
        await http.close()
    return caught.value


async def over_urllib3(url: str, tls: ssl.SSLContext) -> HostingError:
    """What one with an SDK raises."""

    def ask() -> HostingError:
        with urllib3.PoolManager(ssl_context=tls, retries=False) as pool:
            try:
                pool.urlopen("GET", url, retries=False)
            except (failures.HTTPError, OSError) as error:
                return no_answer(error)
        raise AssertionError("it was answered")

    return await asyncio.to_thread(ask)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """A service at that address; gives its URL, with https whether it speaks TLS or not."""

    async def nothing(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", nothing)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0, ssl_context=tls).start()
        yield f"https://{host}:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def refusing(tls: ssl.SSLContext) -> AsyncIterator[str]:
    """A service that ends handshakes as OpenSSL does, telling why; asyncio's servers say nothing."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection.dup() as raw:
                with contextlib.suppress(OSError), tls.wrap_socket(connection, server_side=True):
                    raise AssertionError("it was let in")
                # To close with something unread would reset the connection, and the alert be lost with it.
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(1024):
                    pass

    serving = asyncio.create_task(asyncio.to_thread(serve))
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        await serving


@pytest.fixture(params=[over_aiohttp, over_urllib3])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Each way."""
    found: Ask = request.param
    return found


@pytest.mark.parametrize(
    ("server", "host", "phrase"),
    [
        (loopback_tls(validity=EXPIRED), "127.0.0.1", "has expired: renew it"),
        (loopback_tls(validity=NOT_YET_VALID), "127.0.0.1", "not valid yet: set the clock"),
        ((loopback_tls()[0], loopback_tls()[1]), "127.0.0.1", "is not trusted: write that of the authority"),
        (loopback_tls(), "127.0.0.2", "for another name than the endpoint's: write"),
        ((None, loopback_tls()[1]), "127.0.0.1", "does not speak TLS: check host and port"),
    ],
    ids=["expired", "not yet valid", "unknown authority", "other name", "no TLS"],
)
async def test_what_is_wrong_with_a_service_is_told_with_its_remedy(
    ask: Ask, server: tuple[ssl.SSLContext | None, str], host: str, phrase: str
) -> None:
    theirs, authority = server
    async with serving(theirs, host) as url:
        answer = await ask(url, tls_context(authority))
    assert isinstance(answer, Unavailable)
    assert phrase in answer.message
    assert host not in answer.message


@pytest.mark.parametrize(
    ("days", "trusted", "phrase"),
    [(-1, True, "client certificate has expired: renew"), (1, False, "does not take the client certificate")],
    ids=["expired", "not trusted"],
)
async def test_a_client_certificate_that_the_service_refuses_is_about_credentials(
    ask: Ask, days: int, trusted: bool, phrase: str
) -> None:
    certificate, key = client_certificate(timedelta(days=days))
    theirs, authority = loopback_tls()
    theirs.verify_mode = ssl.CERT_REQUIRED
    theirs.load_verify_locations(cadata=certificate if trusted else authority)
    async with refusing(theirs) as url:
        answer = await ask(url, tls_context(authority, certificate.encode(), key.encode()))
    assert isinstance(answer, AuthenticationError)
    assert phrase in answer.message


async def test_a_client_certificate_that_is_missing_is_asked_for(ask: Ask) -> None:
    theirs, authority = loopback_tls()
    theirs.verify_mode = ssl.CERT_REQUIRED
    async with refusing(theirs) as url:
        answer = await ask(url, tls_context(authority))
    assert isinstance(answer, AuthenticationError)
    assert "asks for a client certificate" in answer.message


def test_what_is_written_where_is_told_and_other_failures_are_not_of_tls() -> None:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.verify_code, error.verify_message = 20, "unable to get local issuer certificate"
    outer = ValueError("the SDK's own")
    outer.__context__ = RuntimeError("what came between", error)
    found = tls_failure(outer, "the key ca.crt")
    assert found is not None
    assert found.message.endswith("into the key ca.crt")
    error.verify_code, error.verify_message = 23, "certificate revoked"
    refused = tls_failure(error)
    assert refused is not None
    assert "is refused (certificate revoked)" in refused.message
    assert tls_failure(ConnectionResetError("reset")) is None
    assert "ConnectionResetError" in no_answer(ConnectionResetError("reset")).message


def test_what_an_error_of_ours_told_does_not_colour_the_next_call() -> None:
    """A call that is made while another's failure is handled carries it as its context."""
    try:
        try:
            raise ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca")
        except ssl.SSLError:
            raise Unavailable("told") from None
    except Unavailable:
        try:
            raise ConnectionResetError("reset")
        except ConnectionResetError as error:
            found = error
    assert tls_failure(found) is None
