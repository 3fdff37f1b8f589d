"""Drivers as the tests see them, and what providers answer them."""

from __future__ import annotations

import ssl
import time
from typing import Any

from libcloud.compute.base import NodeDriver
from libcloud.compute.providers import get_driver

from moorage.hosting.libcloud.exchange import Exchange, Reply, pool_of
from moorage.hosting.libcloud.profiles import Profile, profile_of


class Plain(NodeDriver):
    """A driver that tags nothing."""

    def create_node(self, name: str, size: Any, image: Any, ex_userdata: str = "") -> Any:  # type: ignore[override]
        raise NotImplementedError


def ec2() -> Profile:
    return profile_of("ec2", get_driver("ec2"))


def openstack() -> Profile:
    return profile_of("openstack", get_driver("openstack"))


def exchange(*replies: Reply) -> Exchange:
    return Exchange(pool_of(ssl.create_default_context(), 1), time.monotonic() + 5, list(replies))


def xml(code: str) -> bytes:
    space = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'
    return (
        f"<Response {space}><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors></Response>".encode()
    )


def told(status: int, body: bytes, method: str = "POST", url: str = "http://x/", sent: bytes = b"") -> Reply:
    return Reply(method, url, sent, status, {"Retry-After": "7"}, body)
