"""The bed `ec2`, for the contract's suite and for tests of whole installations."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast
from urllib.request import Request, urlopen

import botocore.session

from moorage.hosting.contract import Backend
from moorage.testbed import Running
from moorage.testing.proxy import FaultProxy
from moorage.testing.service import Faults, Made, ServiceUnderTest

if TYPE_CHECKING:
    from types_boto3_ec2.client import EC2Client


class Control:
    """The switches of the bed, and what it tells of itself."""

    def __init__(self, running: Running) -> None:
        self._url = f"{running.endpoint}/_bed/"
        self._token = running.extra["token"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the control API."""
        data = None if body is None else json.dumps(body).encode()
        asked = Request(self._url + path, data=data, method=method, headers={"Authorization": f"Bearer {self._token}"})
        with urlopen(asked, timeout=60) as answer:
            return json.loads(answer.read())

    async def do(self, method: str, path: str, body: Any = None) -> Any:
        """The same, for asynchronous tests."""
        return await asyncio.to_thread(self.call, method, path, body)

    def ledger(self) -> list[dict[str, Any]]:
        """Every instance ever made: `id`, `account`, `token`, `ended`."""
        found: list[dict[str, Any]] = self.call("GET", "ledger")["items"]
        return found

    def calls(self) -> dict[str, int]:
        """How often each operation was called."""
        found: dict[str, int] = self.call("GET", "calls")
        return found

    def faults(self, **faults: Any) -> None:
        """Switch these faults on and all others off."""
        self.call("PUT", "faults", faults)

    def guests(self, *, enabled: bool) -> None:
        """Whether instances that are made from now on boot."""
        self.call("PUT", "guests", {"enabled": enabled})


@contextmanager
def booting(running: Running) -> Iterator[Control]:
    """Instances boot meanwhile, and nothing is wrong with the service, nor afterwards."""
    control = Control(running)
    control.faults()
    control.guests(enabled=True)
    yield control
    control.guests(enabled=False)
    control.faults()


class Ec2Faults(Faults):
    """The bed's own."""

    why: Mapping[str, str] = {
        "project_gone": "the keys of a closed account are refused as others are that were revoked",
        "expire": "every request is signed with the key itself: there is no session that could be renewed",
        "boot_fails": "an instance that cannot start is terminated, that is: gone",
        "restart": "moto keeps everything in memory",
    }

    def __init__(self, control: Control, running: Running) -> None:
        self._control = control
        self._key = running.credentials["accessKeyID"]
        self._secret = running.credentials["secretAccessKey"]
        self._account = running.extra["account"]

    async def clear(self) -> None:
        await self._switch({})
        await self._control.do("PUT", f"keys/{self._key}", {"secret": self._secret, "account": self._account})

    async def _switch(self, faults: dict[str, Any]) -> None:
        await self._control.do("PUT", "faults", faults)

    async def capacity(self, servers: int) -> None:
        await self._switch({"capacity": servers})

    async def quota(self, servers: int) -> None:
        await self._switch({"quota": servers})

    async def throttle(self, retry_after: float | None) -> None:
        bucket = {"rate": 0.0, "burst": 0.0, "retry_after": retry_after}
        await self._switch({"throttle": bucket})

    async def lag(self, seconds: float) -> None:
        await self._switch({"listing_lag": seconds})

    async def revoke(self) -> None:
        await self._control.do("DELETE", f"keys/{self._key}")

    async def vanish(self, provider_id: str) -> None:
        await self._control.do("DELETE", f"instances/{provider_id}")

    async def skew(self, seconds: float) -> None:
        await self._switch({"skew": seconds})


class ForgetfulFaults(Ec2Faults):
    """Of a service that does not know ClientToken, whatever else is wrong with it."""

    async def _switch(self, faults: dict[str, Any]) -> None:
        await super()._switch({"ignore_tokens": True, **faults})


class Ec2Service(ServiceUnderTest):
    """EC2 as moto and the proxy before it play it."""

    type = "ec2"
    few = 11  # EC2 has pages of 5 and more
    unknown_id = "i-0123456789abcdef0"
    other_offering = "t3.small"

    def __init__(self, running: Running) -> None:
        super().__init__()
        self.running = running
        self.control = Control(running)
        self.faults = Ec2Faults(self.control, running)
        self.endpoint, self.region = running.endpoint, running.region
        self.credentials = _bytes(running.credentials)
        self.settings = {**running.settings, "imageOwners": [running.extra["imageOwner"]]}
        self.image, self.offering = running.image, running.offering
        key, secret = self.credentials["accessKeyID"], self.credentials["secretAccessKey"]
        self.wrong_credentials = (
            {},
            {"accessKeyID": key},
            {"accessKeyID": key, "secretAccessKey": b"wrong"},
            {"accessKeyID": b"AKIAAAAAAAAAAAAAAAAA", "secretAccessKey": secret},
            {"accessKeyID": key, "secretAccessKey": secret, "sessionToken": b"of-another-key"},
        )
        self._began = 0
        # A key means one server for ever, and the bed outlives this object.
        self._numbers = itertools.count(time.time_ns())

    def small_pages(self, size: int) -> dict[str, Any]:
        """EC2 takes no fewer than 5."""
        return {"pageSize": max(size, 5)}

    def invalid_requests(self) -> list[tuple[dict[str, Any], str]]:
        """Refused by the service, all but the last two."""
        return [
            ({"image": "ami-00000000"}, "image"),
            ({"offering": "m99.huge"}, "offering"),
            ({"settings": {"subnet": "subnet-00000000"}}, "settings.subnet"),
            ({"settings": {"securityGroups": ["sg-00000000"]}}, "settings.securityGroups"),
            ({"settings": {"zone": "eu-central-1z"}}, "settings.zone"),
            ({"user_data": "".join(sha256(b"%d" % n).hexdigest() for n in range(1000))}, "userData"),
        ]

    def invalid_specs(self) -> list[tuple[dict[str, Any], str]]:
        """Refused by `open`."""
        return [
            ({"region": "not a region"}, "region"),
            ({"endpoint": "ftp://127.0.0.1"}, "endpoint"),
            ({"pageSize": 0}, "settings.pageSize"),
            ({"caBundle": "x"}, "settings.caBundle"),
        ]

    def open_through(self, proxy: FaultProxy, **changes: Any) -> Backend:
        """STS is at the same address."""
        through = proxy.url(self.endpoint)
        return super().open_through(proxy, **{"stsEndpoint": through, **changes})

    async def elsewhere(self) -> Backend:
        """Another account, in the same region."""
        no_subnets: Any = {}
        return self.open(credentials=await self.another_account(), subnets=no_subnets)

    async def another_account(self) -> Mapping[str, bytes]:
        """Credentials of it."""
        return _bytes(self.running.extra["other"])

    async def begin(self) -> None:
        """No faults, no instances, and the ledger from here on."""
        await super().begin()
        self.public_address = (await self.do(lambda ec2: ec2.allocate_address(Domain="vpc")))["PublicIp"]
        self._began = len((await self.control.do("GET", "ledger"))["items"])

    async def end(self) -> None:
        """Also volumes go, and the address goes back."""
        await super().end()
        ours: Any = [{"Name": "tag-key", "Values": ["moorage-key"]}, {"Name": "status", "Values": ["available"]}]
        for volume in (await self.do(lambda ec2: ec2.describe_volumes(Filters=ours)))["Volumes"]:
            await self.do(partial(_delete_volume, volume["VolumeId"]))
        named: Any = [{"Name": "public-ip", "Values": [self.public_address]}]
        (held,) = (await self.do(lambda ec2: ec2.describe_addresses(Filters=named)))["Addresses"]
        if "AssociationId" in held:
            await self.do(lambda ec2: ec2.disassociate_address(AssociationId=held["AssociationId"]))
        await self.do(lambda ec2: ec2.release_address(AllocationId=held["AllocationId"]))

    async def ledger(self) -> list[Made]:
        """The bed's."""
        items = (await self.control.do("GET", "ledger"))["items"][self._began :]
        return [Made(item["id"], item["token"]) for item in items]

    async def foreign(self) -> str:
        """An instance as somebody's script makes it."""
        made = await self.do(lambda ec2: ec2.run_instances(ImageId=self.image, MinCount=1, MaxCount=1))
        return str(made["Instances"][0]["InstanceId"])

    async def do(self, call: Callable[[EC2Client], Any]) -> Any:
        """A call of EC2 as somebody else makes it, with all of its operations."""
        return await asyncio.to_thread(lambda: call(self._client()))

    def _client(self) -> EC2Client:
        keys = self.running.credentials
        made = _session().create_client(
            "ec2",
            self.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=keys["accessKeyID"],
            aws_secret_access_key=keys["secretAccessKey"],
        )
        return cast("EC2Client", made)

    async def remove_all(self) -> None:
        """Terminate every instance."""
        await self.control.do("DELETE", "instances")


@cache
def _session() -> botocore.session.Session:
    """Reads what the SDK knows of EC2 but once."""
    return botocore.session.Session()


def _delete_volume(known: str, ec2: EC2Client) -> None:
    ec2.delete_volume(VolumeId=known)


class ForgetfulEc2Service(Ec2Service):
    """An EC2-compatible service that makes another instance of every request, and settings that say so."""

    hasty = 1.0  # for so many times that long each fate stays unknown

    def __init__(self, running: Running) -> None:
        super().__init__(running)
        self.settings = {**self.settings, "idempotentCreate": False}
        self.faults = ForgetfulFaults(self.control, running)

    def short_timeouts(self, seconds: float) -> dict[str, Any]:
        """Of creations alone: what became of them is found in inventories, which take long on a bed of thousands."""
        return {**super().short_timeouts(seconds), "requestTimeout": "30s", "inventoryTimeout": "60s"}

    async def end(self) -> None:
        """The bed is not this service's own."""
        await super().end()
        await self.control.do("DELETE", "faults")


def _bytes(credentials: dict[str, str]) -> dict[str, bytes]:
    return {name: value.encode() for name, value in credentials.items()}
