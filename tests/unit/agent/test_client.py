"""The agent's connection, against a server that misbehaves."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moorage.agent.client import Channel, Roots, UnreachableError
from moorage.agent.settings import Settings
from moorage.configd.pki import issue_leaf, new_authority, utc_now
from moorage.configd.tls import load_leaf, server_context

AUTHORITY = new_authority(utc_now())
Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server that says one thing on each connection, then hangs up. Its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)
    tls = server_context()
    load_leaf(tls, issue_leaf(AUTHORITY, ["127.0.0.1"], utc_now()))
    threads = []

    def started(*answers: bytes) -> str:
        def body() -> None:
            for answer in answers:
                try:
                    with tls.wrap_socket(listener.accept()[0], server_side=True) as connection:
                        connection.recv(65536)
                        connection.sendall(answer)
                except (OSError, ssl.SSLError):
                    return

        threads.append(threading.Thread(target=body))
        threads[-1].start()
        return f"https://127.0.0.1:{listener.getsockname()[1]}"

    yield started
    listener.close()
    for thread in threads:
        thread.join()


Connect = Callable[..., Channel]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """A channel to these addresses, tried in this order."""
    made = []

    def connected(*urls: str) -> Channel:
        settings = Settings(list(urls), AUTHORITY.pin, "ns/uid", "token", str(tmp_path), "")
        roots = Roots(settings)
        roots.learn(AUTHORITY.bundle.decode())
        made.append(Channel(settings, roots, "canary-key"))
        made[-1]._urls = list(urls)
        return made[-1]

    yield connected
    for one in made:
        one._drop()


def ok(body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (more, len(body), body)


def test_an_answer_that_is_cut_off_is_none(serve: Serve, connect: Connect) -> None:
    with pytest.raises(UnreachableError, match="cut off"):
        connect(serve(ok(b"x" * 100)[:-50])).request("GET", "/v1/configuration")


@pytest.mark.parametrize(
    "rubbish", [b"", b"rubbish\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x: 1\r\n" * 500]
)
def test_what_is_no_http_is_unreachable(serve: Serve, connect: Connect, rubbish: bytes) -> None:
    with pytest.raises(UnreachableError) as caught:
        connect(serve(rubbish)).request("GET", "/v1/configuration")
    assert "canary" not in str(caught.value)


def test_a_kept_connection_that_has_died_is_replaced_once(serve: Serve, connect: Connect) -> None:
    found = connect(serve(ok(b"1"), ok(b"2")))
    assert found.request("GET", "/v1/configuration").body == b"1"
    assert found.request("GET", "/v1/configuration").body == b"2"  # the server hung up in between


def test_nobody_there_is_unreachable_and_the_next_address_is_tried(serve: Serve, connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        dead = f"https://127.0.0.1:{taken.getsockname()[1]}"
    found = connect(dead, serve(ok(b"1")))
    with pytest.raises(UnreachableError, match="refused"):
        found.request("GET", "/v1/configuration")
    assert found.request("GET", "/v1/configuration").body == b"1"


def test_a_closed_channel_sends_nothing(connect: Connect) -> None:
    found = connect("https://127.0.0.1:1")
    found.close()
    with pytest.raises(UnreachableError, match="stops"):
        found.request("GET", "/v1/configuration")
