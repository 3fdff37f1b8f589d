"""The beds `ec2` and `openstack`, by drivers of Apache Libcloud, for the contract's suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from tests.support.services.ec2 import Ec2Service
from tests.support.services.openstack import OpenStackService

from moorage.hosting.contract import Backend
from moorage.hosting.registry import backend
from moorage.testbed import Running
from moorage.testing.proxy import FaultProxy
from moorage.testing.service import ServiceUnderTest, Spec


class LibcloudEc2Service(Ec2Service):
    """The bed `ec2` by the driver `ec2`."""

    type = "libcloud"
    faults_at = "one per operation"

    def __init__(self, running: Running) -> None:
        super().__init__(running)
        self.settings = {"driver": "ec2", "listingLag": "1s", "sizes": ["t3.micro", "t3.small"]}
        self.settings["serverArguments"] = ["ex_subnet", "ex_no_such", "ex_userdata"]
        self.credentials = _keys(running.credentials)
        key, secret = self.credentials["key"], self.credentials["secret"]
        self.wrong_credentials = (
            {},
            {"secret": secret},
            {"key": key, "secret": b"wrong"},
            {"key": b"AKIAAAAAAAAAAAAAAAAA", "secret": secret},
            {"key": key, "secret": secret, "token": b"of-another-key"},
        )

    def invalid_requests(self) -> list[tuple[dict[str, Any], str]]:
        """Refused by the service, but for the last three."""
        return [
            ({"image": "ami-00000000"}, "image"),
            ({"offering": "m99.huge"}, "offering"),
            ({"settings": {"references": {"ex_subnet": "subnet-00000000"}}}, "settings.references.ex_subnet"),
            ({"settings": {"arguments": {"ex_no_such": 1}}}, "settings.arguments"),
            ({"settings": {"arguments": {"ex_iamprofile": "admin"}}}, "settings.arguments.ex_iamprofile"),
            ({"settings": {"arguments": {"ex_userdata": "mine"}}}, "settings.arguments.ex_userdata"),
            ({"user_data": "".join(sha256(b"%d" % n).hexdigest() for n in range(1000))}, "userData"),
        ]

    def invalid_specs(self) -> list[tuple[dict[str, Any], str]]:
        """Refused by `open`."""
        return [
            ({"region": "nowhere-1"}, "region"),
            ({"endpoint": "ftp://127.0.0.1"}, "endpoint"),
            ({"driver": "no-such"}, "settings.driver"),
            ({"driver": "rimuhosting"}, "settings.driver"),
            ({"caBundle": "x"}, "settings.caBundle"),
        ]

    def open_through(self, proxy: FaultProxy, **changes: Any) -> Backend:
        """There is no other address."""
        return ServiceUnderTest.open_through(self, proxy, **changes)

    async def elsewhere(self) -> Backend:
        """Another account, in the same region."""
        return self.open(credentials=await self.another_account())

    async def another_account(self) -> Mapping[str, bytes]:
        """Credentials of it."""
        return _keys(self.running.extra["other"])


def _keys(credentials: Mapping[str, str]) -> dict[str, bytes]:
    return {"key": credentials["accessKeyID"].encode(), "secret": credentials["secretAccessKey"].encode()}


class LibcloudOpenStackService(OpenStackService):
    """The bed `openstack` by the driver `openstack`."""

    type = "libcloud"
    faults_at = "one per operation"
    hasty = 3.0  # each thread has a driver, and each driver asks Keystone before it asks Nova
    server_settings: Mapping[str, Any] = {"arguments": {"networks": "none"}}

    def __init__(self, running: Running) -> None:
        super().__init__(running)
        # Servers without a network can be asked for from this microversion on, and the bed has none.
        arguments = {"ex_force_microversion": "2.37"}
        self.settings = {"driver": "openstack", "listingLag": "500ms", "arguments": arguments}
        self.settings["serverArguments"] = ["networks", "ex_keyname"]
        # Without idempotent creation the suite waits so long before it looks for what an attempt made.
        self.settings["createTimeout"] = "10s"
        self.credentials = {
            "key": running.credentials["applicationCredentialId"].encode(),
            "secret": running.credentials["applicationCredentialSecret"].encode(),
        }
        wrong = {**self.credentials, "secret": b"wrong"}
        self.wrong_credentials = ({}, wrong, {**self.credentials, "key": b"0" * 32})

    def invalid_requests(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        """Refused by Nova, but for the first two and the last two."""
        networks = {"networks": "none"}
        return [
            ({"image": "no-such-image"}, "image"),
            ({"offering": "no-such-offering"}, "offering"),
            ({"settings": {"arguments": {**networks, "ex_keyname": "no-such"}}}, "settings.arguments.ex_keyname"),
            ({"settings": {"arguments": {**networks, "ex_config_drive": True}}}, "settings.arguments.ex_config_drive"),
            ({"user_data": "#!/bin/sh\n" + "#" * 50_000}, "userData"),
            ({"tags": {"a": "x" * 300}}, "tags.a"),
        ]

    async def elsewhere(self) -> Backend:
        """Another project of the same user, with a password."""
        facts = self.facts
        credentials = {"key": facts["user"].encode(), "secret": facts["user_password"].encode()}
        spec = Spec(self.endpoint, self.region, facts["other"], dict(self.settings))
        opened = backend(self.type).open(spec, credentials)
        self._opened.append(opened)
        return opened

    def invalid_specs(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        """Refused by `open`."""
        return [
            ({"endpoint": "ftp://127.0.0.1"}, "endpoint"),
            ({"caBundle": "x"}, "settings.caBundle"),
        ]
