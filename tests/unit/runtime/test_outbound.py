"""Requests go where they may and nowhere else, whoever answers there and however."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from moorage.api.probes import MetricQuery, Webhook
from moorage.core.policy.answers import Answer
from moorage.core.policy.webhook import signature
from moorage.core.targets import AllowList
from moorage.runtime.clock import ManualClock
from moorage.runtime.outbound import Outbound
from moorage.runtime.probing import Asker, Question, SecretUnusable
from moorage.testing.certificates import EXPIRED, loopback_tls

KEY = b"0123456789abcdef"
METRIC = json.dumps(
    {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "12"]}]}}
).encode()


class Server:
    """Takes down what it is sent, and says what it is told to say, byte for byte; `None`: nothing, ever."""

    def __init__(self) -> None:
        self.says: bytes | None = ok(METRIC)
        self.endless = False
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.sent = 0
        self.broken = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append((head[0], headers, body))
                if self.says is None:
                    await asyncio.Event().wait()
                    continue
                writer.write(self.says)
                await writer.drain()
                while self.endless:
                    writer.write(b"x" * 65536)
                    self.sent += 65536
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.broken.set()
        finally:
            writer.close()


def ok(body: bytes, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def served(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with served() as server:
        yield server


Ask = Callable[..., Awaitable[Answer]]


class Asked:
    """Asks with an allow-list, names and Secrets of its own."""

    def __init__(self, *allowed: str, names: Mapping[str, list[str]] | None = None) -> None:
        self.lookups: list[str] = []
        self.names = dict(names or {})
        self.secrets: dict[str, Mapping[str, bytes]] = {}
        self.clock = ManualClock()
        self.outbound = Outbound(AllowList.of(allowed), self.lookup)
        self.asker = Asker(self.outbound, self.secret, self.clock)

    async def lookup(self, host: str) -> list[str]:
        self.lookups.append(host)
        if host not in self.names:
            raise OSError("no such name")
        return self.names[host]

    async def secret(self, namespace: str, name: str) -> Mapping[str, bytes]:
        if name not in self.secrets:
            raise SecretUnusable("SecretNotFound", f"there is no Secret {name!r}")
        return self.secrets[name]

    async def metric(self, url: str, **more: Any) -> Answer:
        given = {
            "url": url,
            "query": 'up{a="b"}',
            "comparison": "GreaterThan",
            "threshold": 10,
            "timeout": "5s",
            **more,
        }
        return await self.ask(MetricQuery.from_dict(given))

    async def webhook(self, url: str, **more: Any) -> Answer:
        given = {"url": url, "signingSecretRef": {"name": "key"}, "timeout": "5s", **more}
        return await self.ask(Webhook.from_dict(given))

    async def ask(self, probe: MetricQuery | Webhook) -> Answer:
        return await self.asker.ask(Question("ns", "p", "u-1", "c", probe))


@asynccontextmanager
async def asking(*allowed: str, names: Mapping[str, list[str]] | None = None) -> AsyncIterator[Asked]:
    asked = Asked(*allowed, names=names)
    try:
        yield asked
    finally:
        await asked.outbound.close()


async def test_an_allowed_target_is_asked_over_one_connection(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}"
    async with asking(url) as asked:
        for _ in range(3):
            found = await asked.metric(f"{url}/prom/")
            assert (found.holds, found.value) == (True, 12)
    assert server.connections == 1
    head, headers, body = server.requests[0]
    assert head == "POST /prom/api/v1/query HTTP/1.1"
    assert body == b"query=up%7Ba%3D%22b%22%7D&timeout=5s"
    assert "authorization" not in headers


async def test_nothing_is_asked_that_is_not_listed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    async with asking("http://elsewhere") as asked:
        for url in (f"http://127.0.0.1:{server.port}", "http://elsewhere:81", "https://elsewhere"):
            found = await asked.metric(url)
            assert (found.holds, found.reason) == (None, "TargetNotAllowed")
            assert "ask the platform team to add" in found.message
        assert asked.lookups == []
        found = await asked.metric("http://elsewhere")
        assert found.reason == "TargetUnreachable"
    assert server.connections == 0, "the proxy of the environment is not used"


async def test_a_name_that_leads_to_this_machine_is_not_followed_unless_that_is_listed(server: Server) -> None:
    url, names = f"http://prom.example:{server.port}", {"prom.example": ["127.0.0.1", "169.254.169.254"]}
    async with asking(url, names=names) as asked:
        found = await asked.metric(url)
        assert (found.reason, server.connections) == ("TargetNotAllowed", 0)
        assert "leads to 127.0.0.1, 169.254.169.254, where no question may go" in found.message
    async with asking(url, "127.0.0.0/8", names=names) as asked:
        assert (await asked.metric(url)).holds is True
    assert server.requests[0][1]["host"] == f"prom.example:{server.port}"


async def test_the_connection_goes_to_the_address_that_was_checked_and_the_name_is_asked_once(server: Server) -> None:
    """A name that leads elsewhere when it is asked again (rebinding) changes nothing: nobody asks again."""
    url = f"http://prom.example:{server.port}"
    async with asking(url, "127.0.0.1", names={"prom.example": ["127.0.0.1"]}) as asked:
        assert (await asked.metric(url)).holds is True
        assert asked.lookups == ["prom.example"]
        asked.names["prom.example"] = ["127.0.0.2"]
        server.says = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        await asked.metric(url)
        assert (await asked.metric(url)).reason == "TargetNotAllowed"


async def test_a_redirect_is_not_followed(server: Server) -> None:
    async with served() as other:
        url = f"http://127.0.0.1:{server.port}"
        location = f"http://127.0.0.1:{other.port}/".encode()
        server.says = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"
        async with asking(url, location.decode()) as asked:
            assert (await asked.metric(url)).reason == "MetricRedirected"
        assert other.connections == 0


async def test_an_endless_answer_is_cut_off(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}"
    server.says, server.endless = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", True
    async with asking(url) as asked:
        found = await asked.metric(url)
        assert found.reason == "AnswerTooLarge"
        async with asyncio.timeout(20):
            await server.broken.wait()
    assert server.sent < 10_000_000


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (b"no HTTP at all\r\n\r\n", "AnswerInvalid"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "AnswerInvalid"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "AnswerInvalid"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<p>", "AnswerInvalid"),
        (None, "TargetTimeout"),
    ],
)
async def test_garbage_and_silence_have_their_reasons(server: Server, says: bytes | None, reason: str) -> None:
    url = f"http://127.0.0.1:{server.port}"
    server.says = says
    async with asking(url) as asked:
        found = await asked.metric(url, timeout="30s" if says else "200ms")
    assert (found.holds, found.reason) == (None, reason)
    assert found.by_target is False


async def test_nobody_there_is_everybodys_answer(server: Server) -> None:
    async with served() as gone:
        url = f"http://127.0.0.1:{gone.port}"
    async with asking(url) as asked:
        found = await asked.metric(url)
    assert (found.reason, found.by_target) == ("TargetUnreachable", True)


async def test_names_that_do_not_answer_keep_only_their_own_waiting(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}"
    async with asking(url, "http://slow") as asked:
        never = asyncio.Event()

        async def wait(host: str) -> list[str]:
            asked.lookups.append(host)
            await never.wait()
            return []

        asked.outbound._names._lookup = wait
        slow = [asyncio.create_task(asked.metric("http://slow", timeout="300ms")) for _ in range(20)]
        assert (await asked.metric(url)).holds is True
        assert {answer.reason for answer in await asyncio.gather(*slow)} == {"TargetTimeout"}
        assert asked.lookups == ["slow"], "asked once for all who wait"


async def test_certificates_are_checked_against_the_bundle() -> None:
    context, ca = loopback_tls()
    other = loopback_tls()[1]
    async with served(context) as server:
        url = f"https://127.0.0.1:{server.port}"
        async with asking(url) as asked:
            assert (await asked.metric(url, caBundle=ca)).holds is True
            for answer in (await asked.metric(url, caBundle=other), await asked.metric(url)):
                assert answer.reason == "TargetNotTrusted"
                assert "into caBundle" in answer.message
            broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
            assert (await asked.metric(url, caBundle=broken)).reason == "InvalidCABundle"
        assert len(server.requests) == 1


async def test_what_is_wrong_with_a_certificate_is_told() -> None:
    context, ca = loopback_tls(validity=EXPIRED)
    async with served(context) as server:
        url = f"https://127.0.0.1:{server.port}"
        async with asking(url) as asked:
            answer = await asked.metric(url, caBundle=ca)
            assert answer.reason == "TargetNotTrusted"
            assert answer.message.startswith(f"{url}: the service's certificate")
            assert "has expired" in answer.message

    def speak_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    plain = await asyncio.start_server(speak_plainly, "127.0.0.1", 0)
    async with plain:
        url = f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}"
        async with asking(url) as asked:
            answer = await asked.metric(url)
            assert answer.reason == "TargetNotTrusted"
            assert "does not speak TLS" in answer.message


async def test_credentials_are_sent_as_they_stand_in_the_secret() -> None:
    context, ca = loopback_tls()
    async with served(context) as server:
        url, with_secret = f"https://127.0.0.1:{server.port}", {"credentialsSecretRef": {"name": "s"}, "caBundle": ca}
        async with asking(url) as asked:
            assert (await asked.metric(url, **with_secret)).reason == "SecretNotFound"
            for wrong in ({}, {"username": b""}, {"token": b"t", "username": b"u"}, {"token": b"a\r\nX: y"}):
                asked.secrets["s"] = wrong
                found = await asked.metric(url, **with_secret)
                assert found.reason == "SecretInvalid"
                assert not any(value.decode() in found.message for value in wrong.values() if len(value) > 1)
            assert server.requests == []
            for right, header in (
                ({"token": b"t0ken\n"}, "Bearer t0ken"),
                ({"username": b"u", "password": b"p"}, "Basic dTpw"),
            ):
                asked.secrets["s"] = right
                assert (await asked.metric(url, **with_secret)).holds is True
                assert server.requests[-1][1]["authorization"] == header


async def test_a_webhook_is_asked_with_a_signature_and_believed() -> None:
    context, ca = loopback_tls()
    async with served(context) as server:
        url = f"https://127.0.0.1:{server.port}"
        server.says = ok(b'{"met": false, "message": "not today"}')
        async with asking(url) as asked:
            asked.secrets["key"] = {"key": b"short"}
            assert (await asked.webhook(f"{url}/ask", caBundle=ca)).reason == "SecretInvalid"
            asked.secrets["key"] = {"key": KEY}
            found = await asked.webhook(f"{url}/ask", caBundle=ca)
            assert (found.holds, found.message) == (False, "the endpoint says no: not today")
            head, headers, body = server.requests[0]
            assert head == "POST /ask HTTP/1.1"
            assert headers["moorage-signature"] == signature(KEY, body, asked.clock.now())
            assert json.loads(body)["condition"] == "c"
            server.says = ok(b"x" * 10_000_000)
            assert (await asked.webhook(url, caBundle=ca)).reason == "AnswerTooLarge"
            server.says = b"HTTP/1.1 308 X\r\nContent-Length: 0\r\nLocation: /there\r\n\r\n"
            assert (await asked.webhook(url, caBundle=ca)).reason == "WebhookRedirected"
