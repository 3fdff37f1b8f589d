"""Whatever is sent, configd answers with a refusal and not with a failure."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import logging
import ssl
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.configd import World
from tests.unit.configd.conftest import KEY

from moorage.configd.limits import Buckets

PATHS = ["/v1/join", "/v1/state", "/v1/configuration", "/v1/configuration?wait=0", "/v1/ca.pem", "/v1/", "/", "/%ff"]


class Fuzzed:
    """A configd in a thread of its own, and one connection to it."""

    def __init__(self) -> None:
        self.world = World()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        configd = self.run(self.world.start())
        for limited in ("_strangers", "_joins", "_posts"):
            setattr(configd.channel, limited, Buckets(1e9, 1e9, lambda: 0.0))
        self.server = self.world.add_server()
        self.world.configure(self.server, 1, outputs=[{"name": "a", "file": "/a", "pattern": "[a-z]*"}])
        self.tls = ssl.create_default_context(cadata=configd.bundle.decode())
        self.address = configd.address
        self.connection = self.connect()

    def run(self, work: Any) -> Any:
        """Run a coroutine where configd runs."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def connect(self) -> http.client.HTTPSConnection:
        host, port = self.address
        return http.client.HTTPSConnection(host, port, context=self.tls, timeout=10)

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> int:
        """One request; its status."""
        try:
            self.connection.request(method, path, body, headers)
            response = self.connection.getresponse()
            response.read()
        except (http.client.HTTPException, OSError):
            self.connection.close()
            self.connection = self.connect()
            return 0
        return response.status

    def close(self) -> None:
        self.connection.close()
        self.run(self.world.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Fuzzed]:
    made = Fuzzed()
    made.send(
        "POST",
        "/v1/join",
        json.dumps({"server": made.server, "token": made.world.TOKEN, "keyHash": _hash(KEY)}).encode(),
        {},
    )
    yield made
    made.close()


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(
    ["sequence", "deliveredRevision", "acknowledgedRevision", "ready", "outputs", "steps", "message", "token", "server"]
)
nearly = st.dictionaries(
    fields, values | st.integers(1, 9) | st.lists(st.just({"name": "a", "value": "x"})), max_size=9
)
header_text = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60)
authorizations = st.sampled_from([f"Bearer shop/uid-of-db:{KEY}", "Bearer shop/x:" + "y" * 20]) | header_text
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE"]),
    path=st.sampled_from(PATHS),
    body=st.binary(max_size=200) | nearly.map(lambda value: json.dumps(value).encode()),
    authorization=authorizations,
    etag=header_text,
)
def test_no_request_is_a_failure(
    fuzzed: Fuzzed, method: str, path: str, body: bytes, authorization: str, etag: str
) -> None:
    headers = {"Authorization": authorization, "If-None-Match": etag}
    assert fuzzed.send(method, path, body, headers) < 500


@FUZZ
@given(state=nearly, sequence=st.integers(1, 2**53))
def test_no_state_of_an_agent_is_a_failure(fuzzed: Fuzzed, state: dict[str, Any], sequence: int) -> None:
    body = json.dumps({**state, "sequence": sequence}).encode()
    status = fuzzed.send("POST", "/v1/state", body, {"Authorization": f"Bearer shop/uid-of-db:{KEY}"})
    assert status in (200, 409, 413, 422)


@FUZZ
@given(wait=st.text(max_size=8).filter(str.isprintable), raw=st.binary(max_size=60))
def test_no_query_and_no_header_is_a_failure(
    fuzzed: Fuzzed, wait: str, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    name = "".join(chr(b) for b in raw if chr(b).isalnum() and b < 128) or "X"
    headers = {"Authorization": f"Bearer shop/uid-of-db:{KEY}", name: "1", "If-None-Match": '"1"'}
    query = "0" if wait.isdigit() else quote(wait)
    assert fuzzed.send("GET", f"/v1/configuration?wait={query}", b"", headers) < 500
    assert caplog.text == ""
