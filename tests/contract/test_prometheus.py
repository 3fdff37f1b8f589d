"""The condition `metric` over a real Prometheus: its numbers, its refusals, its login and TLS, and its being away."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.support.configd import eventually
from tests.support.prometheus import PASSWORD, USER, Prometheus, prometheus

from moorage.api.probes import MetricQuery
from moorage.core.policy.answers import Answer
from moorage.core.targets import AllowList
from moorage.runtime.clock import SystemClock
from moorage.runtime.outbound import Outbound
from moorage.runtime.prober import Prober
from moorage.runtime.probing import Asker, Question, SecretUnusable


class Asking:
    """Asks one Prometheus as the controller does."""

    def __init__(self, server: Prometheus, secrets: Mapping[str, Mapping[str, bytes]]) -> None:
        self.server, self.secrets = server, secrets
        self.outbound = Outbound(AllowList.of([server.url]))
        self.asker = Asker(self.outbound, self.secret, SystemClock())

    async def secret(self, namespace: str, name: str) -> Mapping[str, bytes]:
        if name not in self.secrets:
            raise SecretUnusable("SecretNotFound", "there is none")
        return self.secrets[name]

    def question(self, query: str, **more: Any) -> Question:
        given = {"url": self.server.url, "query": query, "comparison": "GreaterThan", "threshold": 10, **more}
        return Question("ns", "p", "u", "c", MetricQuery.from_dict(given))

    async def ask(self, query: str, **more: Any) -> Answer:
        return await self.asker.ask(self.question(query, **more))

    async def reason(self, query: str, **more: Any) -> str:
        found = await self.ask(query, **more)
        return found.reason


@asynccontextmanager
async def asking(server: Prometheus, **secrets: Mapping[str, bytes]) -> AsyncIterator[Asking]:
    asking = Asking(server, secrets)
    try:
        yield asking
    finally:
        await asking.outbound.close()


async def test_numbers_and_what_is_none(tmp_path: Path) -> None:
    async with prometheus(tmp_path) as server, asking(server) as asked:
        server.exported |= {'depth{q="a"}': "12.5", 'depth{q="b"}': "3", "broken": "NaN"}
        await server.knows('depth{q="a"}')
        found = await asked.ask('depth{q="a"}')
        assert (found.holds, found.value, found.message) == (True, 12.5, "the result, 12.5, is greater than 10")
        assert (await asked.ask("sum(depth)", threshold="15.5", comparison="Equal")).holds is True
        assert (await asked.ask("sum(depth)", threshold=16)).holds is False
        assert (await asked.ask("scalar(sum(depth))")).holds is True
        assert (await asked.ask("1 / vector(0)")).holds is True
        assert (await asked.ask('sum(depth{q="none"}) or vector(0)')).holds is False
        assert await asked.reason("depth") == "MetricSeveralSeries"
        assert await asked.reason("no_such_series") == "MetricNoData"
        assert await asked.reason("broken") == "MetricNaN"
        assert await asked.reason("0 / vector(0)") == "MetricNaN"
        assert await asked.reason('"a text"') == "MetricNotANumber"
        assert await asked.reason("depth[1m]") == "MetricNotANumber"
        refused = await asked.ask("sum(depth")
        assert refused.reason == "MetricQueryRefused"
        assert "parse error" in refused.message
        assert await asked.reason("label_replace(depth, 'q', 'x', '', '')") == "MetricQueryRefused"
        assert await asked.reason("depth", url=f"{server.url}/elsewhere") == "MetricHTTPError"


async def test_login_and_tls(tmp_path: Path) -> None:
    async with prometheus(tmp_path, secured=True) as server:
        server.exported["depth"] = "12"
        await server.knows("depth")
        right = {"username": USER.encode(), "password": PASSWORD.encode()}
        async with asking(server, right=right, wrong={**right, "password": b"guess"}, token={"token": b"t"}) as asked:
            trusted = {"caBundle": server.ca}
            assert (await asked.ask("depth", credentialsSecretRef={"name": "right"}, **trusted)).holds is True
            for name in ("wrong", "token"):
                found = await asked.ask("depth", credentialsSecretRef={"name": name}, **trusted)
                assert found.reason == "MetricUnauthorized"
                assert "guess" not in found.message
            assert await asked.reason("depth", **trusted) == "MetricUnauthorized"
            assert await asked.reason("depth", credentialsSecretRef={"name": "right"}) == "TargetNotTrusted"
            plain = server.url.replace("https", "http")
            assert await asked.reason("depth", url=plain) == "TargetNotAllowed"


async def test_a_server_that_stops_dies_and_comes_back_is_unknown_meanwhile(tmp_path: Path) -> None:
    """Through the prober: the sample follows, and a policy hears of each change once."""
    async with prometheus(tmp_path) as server, asking(server) as asked:
        server.exported["depth"] = "12"
        await server.knows("depth")
        changes: list[tuple[bool | None, str]] = []
        prober = Prober(asked.asker.ask, lambda key: changes.append(_found(prober)), SystemClock())
        quick = {"interval": "100ms", "timeout": "3s"}
        try:
            prober.watch(("ns", "p"), {"c": asked.question("depth", **quick)})
            await _becomes(prober, True, "ComparisonTrue")
            server.exported["depth"] = "7"
            await _becomes(prober, False, "ComparisonFalse")
            server.process.send_signal(signal.SIGSTOP)
            await _becomes(prober, None, "TargetTimeout")
            server.process.send_signal(signal.SIGCONT)
            await _becomes(prober, False, "ComparisonFalse")
            server.process.kill()
            await _becomes(prober, None, "TargetUnreachable")
            assert len(changes) >= 5
            assert all(one != other for one, other in pairwise(changes)), "told of changes only"
        finally:
            await prober.close()


def _found(prober: Prober) -> tuple[bool | None, str]:
    sample = prober.samples(("ns", "p")).get("c")
    return (None, "NotReadYet") if sample is None else (sample.holds, sample.reason)


async def _becomes(prober: Prober, holds: bool | None, reason: str) -> None:
    await eventually(lambda: _found(prober) == (holds, reason), 60.0, f"{reason} instead of {_found(prober)}")
