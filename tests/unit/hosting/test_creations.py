"""What makes something may take minutes: each backend says so to its threads, so that creations leave some of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.hosting.openstack.fake import FakeCloud
from tests.unit.hosting.openstack.fake import backend as openstack

from moorage.hosting.contract import CreateRequest, identity_key, identity_tags
from moorage.hosting.ec2.backend import open_backend as ec2
from moorage.hosting.errors import HostingError, Unavailable
from moorage.hosting.hetzner import FACTORY as HETZNER
from moorage.hosting.libcloud import FACTORY as LIBCLOUD
from moorage.hosting.openstack import FACTORY as OPENSTACK
from moorage.hosting.threads import Threads
from moorage.testing.service import Spec

REQUEST = CreateRequest(
    key=identity_key("inst", "uid"),
    name="web-0",
    image="ami-1",
    offering="small",
    user_data="#!/bin/sh\n",
    tags=identity_tags("inst", "shop", "svc", "uid"),
)
AWS = "https://ec2.eu-central-1.amazonaws.com"
KEYS = {"accessKeyID": b"AKIAEXAMPLE", "secretAccessKey": b"hush-hush-7c41"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Whether each call was said to be slow; none is made."""
    noted: dict[str, bool] = {}

    async def run(self: Threads, seconds: float, what: str, *call: Any, slow: bool = False) -> Any:
        noted[what] = slow
        raise Unavailable("nobody is there")

    monkeypatch.setattr(Threads, "run", run)
    return noted


BACKENDS: dict[str, Callable[[], Any]] = {
    "ec2": lambda: ec2(Spec(AWS, "", None, {}), KEYS),
    "hetzner": lambda: HETZNER.open(Spec("https://api.example/v1", "fsn1"), {"token": b"t"}),
    "libcloud": lambda: LIBCLOUD.open(Spec("https://x/v3", "eu", settings={"driver": "openstack"}), {"key": b"k"}),
}


@pytest.mark.parametrize(
    ("name", "creation"),
    [("ec2", "RunInstances"), ("hetzner", "create"), ("libcloud", "create")],
)
async def test_a_server_that_is_made_leaves_threads_for_other_calls(
    name: str, creation: str, asked: dict[str, bool]
) -> None:
    backend = BACKENDS[name]()
    with pytest.raises(Unavailable, match="nobody"):
        await backend.create(REQUEST)
    assert asked == {creation: True}
    asked.clear()
    with pytest.raises(HostingError):
        await backend.get("i-0123456789abcdef0" if name == "ec2" else "7")
    assert set(asked.values()) == {False}
    await backend.close()


@pytest.mark.parametrize(("name", "creation"), [("ec2", "CreateVolume"), ("hetzner", "create volume")])
async def test_a_volume_that_is_made_does_too(name: str, creation: str, asked: dict[str, bool]) -> None:
    backend = BACKENDS[name]()
    with pytest.raises(Unavailable, match="nobody"):
        await backend.create_volume("m-key", 10, {}, "eu-central-1a")
    assert asked == {creation: True}
    await backend.close()


async def test_of_what_a_creation_asks_openstack_only_the_creation_itself_is_slow(asked: dict[str, bool]) -> None:
    cloud = FakeCloud()
    await openstack(cloud).create(REQUEST)
    assert (cloud.slow, len(cloud.asked) > 1) == (["create"], True)
    credentials = {"applicationCredentialId": b"i", "applicationCredentialSecret": b"s"}
    opened: Any = OPENSTACK.open(Spec("https://x/v3", "eu"), credentials)
    for slow in (True, False):
        with pytest.raises(Unavailable):
            await opened._cloud.call("compute", "POST", "/servers", "asked", time.monotonic() + 5, slow=slow)
        assert asked == {"asked": slow}
    await opened.close()
