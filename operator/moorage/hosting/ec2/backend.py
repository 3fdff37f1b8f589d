"""The backend `ec2`: Amazon EC2 and services that speak its API."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from moorage.hosting.contract import Capacity, CreateRequest, Inventory, Offering, ServerRecord
from moorage.hosting.ec2 import launch
from moorage.hosting.ec2.addresses import ElasticAddresses
from moorage.hosting.ec2.answers import named_ids, refusal
from moorage.hosting.ec2.client import Clients, credentials_of, region_of
from moorage.hosting.ec2.paging import Pages
from moorage.hosting.ec2.records import LIVING, TERMINATED, console_text, is_gone, record, state_name
from moorage.hosting.ec2.settings import Ec2ServerSettings, Ec2Settings
from moorage.hosting.ec2.volumes import BlockVolumes
from moorage.hosting.errors import Invalid, KeyConflict, NotFound, Unavailable
from moorage.hosting.factory import ServiceSpec, capabilities, parse_settings
from moorage.hosting.http import endpoint_url
from moorage.hosting.plain import refuse_plain

if TYPE_CHECKING:
    from types_boto3_ec2.client import EC2Client
    from types_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef

_ID: Final = re.compile(r"i-[0-9A-Za-z]{1,64}")
_ARCHITECTURES: Final[Mapping[str, str]] = {"x86_64": "amd64", "arm64": "arm64", "i386": "386"}


def open_backend(spec: ServiceSpec, credentials: Mapping[str, bytes]) -> Ec2Backend:
    """Open a backend; see `BackendFactory.open`."""
    settings = parse_settings(Ec2Settings, spec.settings)
    if spec.project:
        raise Invalid(
            "a service of type ec2 has no projects: its account follows from the credentials", field="project"
        )
    what, plain = "EC2, such as https://ec2.eu-central-1.amazonaws.com", settings.allow_plain_http
    endpoint = str(endpoint_url(spec.endpoint, what, plain=plain)).rstrip("/")
    refuse_plain(settings.sts_endpoint, plain, field="settings.stsEndpoint")
    region = region_of(spec.region, endpoint)
    clients = Clients(endpoint, region, settings, credentials_of(credentials, settings))
    # Images are an ability only where it is said whose: of all that can be booted there is no list.
    return (Ec2BackendWithImages if settings.image_owners else Ec2Backend)(clients, settings)


class Ec2Backend(BlockVolumes, ElasticAddresses):
    """EC2 of one account in one region. Satisfies `moorage.hosting.contract.Backend`."""

    BATCH: ClassVar[int] = 100

    def __init__(self, clients: Clients, settings: Ec2Settings) -> None:
        self._clients = clients
        self._settings = settings
        self._pages = Pages(clients, settings)
        self.capabilities = capabilities(
            settings, idempotent_create=settings.idempotent_create, listing_lag=settings.listing_lag
        )

    # The service itself

    async def account(self) -> str:
        """See `Backend.account`: partition, account and region for AWS, the endpoint's host in front elsewhere."""
        host = urlsplit(self._clients.endpoint).netloc
        if self._clients.sts_endpoint is None:
            return f"{host}/{await self._owner()}/{self._clients.region}"
        caller = await self._clients.sts("GetCallerIdentity", lambda sts: sts.get_caller_identity())
        account, arn = caller.get("Account"), str(caller.get("Arn", ""))
        if not account:
            raise Unavailable("GetCallerIdentity: the answer names no account")
        if not self._settings.sts_endpoint:
            partition = arn.split(":")[1] if arn.count(":") > 1 else "aws"
            return f"{partition}/{account}/{self._clients.region}"
        return f"{host}/{account}/{self._clients.region}"

    async def _owner(self) -> str:
        """Who owns the default security groups: every account has one in each of its networks."""
        groups = await self._pages.take(
            "DescribeSecurityGroups",
            "SecurityGroups",
            lambda ec2, page: ec2.describe_security_groups(
                Filters=[{"Name": "group-name", "Values": ["default"]}], **page
            ),
        )
        owners = {group.get("OwnerId", "") for group in groups}
        if len(owners) != 1 or "" in owners:
            raise Unavailable("whose account it is cannot be told: name the service's STS by the setting stsEndpoint")
        return str(owners.pop())

    async def offerings(self) -> tuple[Offering, ...]:
        """See `Backend.offerings`: the types that the settings name."""
        names: list[Any] = list(self._settings.instance_types)
        if not names:
            return ()
        found = await self._pages.take(
            "DescribeInstanceTypes",
            "InstanceTypes",
            # Types that are named come on one page, and a size of pages may not be asked for beside them.
            lambda ec2, page: ec2.describe_instance_types(InstanceTypes=names, **_without_size(page)),
        )
        return tuple(
            Offering(
                name=str(one.get("InstanceType")),
                cpu=Decimal(one.get("VCpuInfo", {}).get("DefaultVCpus", 0)),
                memory=Decimal(one.get("MemoryInfo", {}).get("SizeInMiB", 0)) * 1024 * 1024,
                arch=_arch(one.get("ProcessorInfo", {}).get("SupportedArchitectures", [])),
                price_per_hour=self._settings.prices.get(str(one.get("InstanceType"))),
            )
            for one in found
        )

    async def capacity(self) -> Capacity:
        """See `Backend.capacity`: EC2 tells no limit, only refusals."""
        return Capacity(limit=None, used=len(await self._listed([])))

    async def spot_prices(self) -> Mapping[str, Decimal]:
        """See `Spot.spot_prices`: of the types that the settings name, in the dearest of the zones in use, since a
        server may come to any of them."""
        names: list[Any] = list(self._settings.instance_types)
        if not names:
            return {}
        now = datetime.now(UTC)
        found = await self._pages.take(
            "DescribeSpotPriceHistory",
            "SpotPriceHistory",
            lambda ec2, page: ec2.describe_spot_price_history(
                InstanceTypes=names, ProductDescriptions=["Linux/UNIX"], StartTime=now, **page
            ),
        )
        prices: dict[str, Decimal] = {}
        for one in found:
            zone, name = one.get("AvailabilityZone", ""), str(one.get("InstanceType", ""))
            if not self._settings.subnets or zone in self._settings.subnets:
                prices[name] = max(prices.get(name, Decimal(0)), Decimal(one.get("SpotPrice", "0")))
        return prices

    # Servers

    async def inventory(self) -> Inventory:
        """See `Backend.inventory`."""
        async with self._pages.in_time("the inventory"):
            account = await self.account()
            return Inventory(account=account, servers=await self._listed([]))

    async def find(self, key: str) -> tuple[ServerRecord, ...]:
        """See `Backend.find`."""
        async with self._pages.in_time("the search"):
            found = await self._listed([{"Name": f"tag:{launch.TAG_KEY}", "Values": [_literal(key)]}])
        return tuple(server for server in found if server.key == key)

    async def _listed(self, filters: list[FilterTypeDef]) -> tuple[ServerRecord, ...]:
        living: FilterTypeDef = {"Name": "instance-state-name", "Values": list(LIVING)}
        reservations = await self._pages.take(
            "DescribeInstances",
            "Reservations",
            lambda ec2, page: ec2.describe_instances(Filters=[living, *filters], **page),
        )
        servers: dict[str, ServerRecord] = {}
        for instance in (one for reservation in reservations for one in reservation.get("Instances", [])):
            if state_name(instance) == TERMINATED:
                continue
            found = record(instance)
            if found.provider_id in servers:
                raise Unavailable("the service listed an instance twice")
            servers[found.provider_id] = found
        return tuple(servers.values())

    async def get(self, provider_id: str) -> ServerRecord:
        """See `Backend.get`. A terminated instance, which EC2 shows for another hour, is gone."""
        found = await self._clients.ec2("DescribeInstances", _describe([_id(provider_id)]))
        for instance in _instances(found):
            if instance.get("InstanceId") == provider_id:
                if is_gone(instance):
                    raise NotFound(f"instance {provider_id} is terminated")
                return record(instance)
        raise Unavailable("DescribeInstances: the service answered with another instance than the one asked for")

    async def get_many(self, provider_ids: Sequence[str]) -> Mapping[str, ServerRecord | None]:
        """See `BatchGet.get_many`. Ids that are gone fail EC2's whole call, which names them: asked again without."""
        answers: dict[str, ServerRecord | None] = {}
        asked = list(dict.fromkeys(_id(one) for one in provider_ids))
        while asked:
            found, gone = await self._without_gone("DescribeInstances", asked, _describe(asked))
            answers |= dict.fromkeys(gone)
            asked = [one for one in asked if one not in gone]
            if found is None:
                continue
            told = {str(one.get("InstanceId")): one for one in _instances(found)}
            if missing := [one for one in asked if one not in told]:
                raise Unavailable(f"DescribeInstances: {len(missing)} of the instances asked for are not in the answer")
            for one in asked:
                answers[one] = None if is_gone(told[one]) else record(told[one])
            break
        return answers

    async def create(self, request: CreateRequest) -> ServerRecord:
        """See `Backend.create`: RunInstances with the key as its ClientToken."""
        settings = launch.pin(self._settings, request.key, parse_settings(Ec2ServerSettings, request.settings))
        asked = launch.parameters(request, settings)
        answer = await self._clients.create("RunInstances", lambda ec2: ec2.run_instances(**asked))
        instances = answer.get("Instances", [])
        if len(instances) != 1:
            raise Unavailable(f"RunInstances: the service answered with {len(instances)} instances instead of one")
        return _made(request, instances[0])

    async def delete(self, provider_id: str) -> None:
        """See `Backend.delete`."""
        await self.delete_many([provider_id])

    async def delete_many(self, provider_ids: Sequence[str]) -> None:
        """See `BatchDelete.delete_many`. Where one id is unknown, EC2 terminates none and names it: asked again."""
        asked = list(dict.fromkeys(_id(one) for one in provider_ids))
        while asked:
            ids = asked
            _, gone = await self._without_gone(
                "TerminateInstances", ids, lambda ec2, ids=ids: ec2.terminate_instances(InstanceIds=ids)
            )
            if not gone:
                return
            asked = [one for one in ids if one not in gone]

    async def _without_gone(self, what: str, ids: list[str], call: Any) -> tuple[Any, list[str]]:
        """The call's answer, or None and the ids that do not exist any more."""
        from botocore.exceptions import ClientError

        def ask(ec2: EC2Client) -> tuple[Any, list[str]]:
            try:
                return call(ec2), []
            except ClientError as error:
                gone = named_ids(error, ids)
                if not gone and len(ids) == 1 and isinstance(refusal(what, error), NotFound):
                    gone = ids
                if not gone:
                    raise
                return None, gone

        found: tuple[Any, list[str]] = await self._clients.ec2(what, ask)
        return found

    async def console(self, provider_id: str) -> str | None:
        """See `Backend.console`. The newest output where the type of instance has it, else that of the last boot."""
        await self.get(provider_id)
        try:
            answer = await self._clients.ec2(
                "GetConsoleOutput", lambda ec2: ec2.get_console_output(InstanceId=provider_id, Latest=True)
            )
        except Invalid:
            answer = await self._clients.ec2(
                "GetConsoleOutput", lambda ec2: ec2.get_console_output(InstanceId=provider_id)
            )
        return console_text(answer.get("Output", ""))

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """See `Retag.retag`. EC2 shows tags a little after it took them: asked for until they show."""
        await self.get(provider_id)
        wanted: list[Any] = [{"Key": name, "Value": tags[name]} for name in sorted(tags)]
        await self._clients.ec2("CreateTags", lambda ec2: ec2.create_tags(Resources=[provider_id], Tags=wanted))
        pause = 0.1
        for _ in range(6):
            told = (await self.get(provider_id)).tags
            if all(told.get(name) == value for name, value in tags.items()):
                return
            await asyncio.sleep(pause)
            pause *= 2
        raise Unavailable("CreateTags: the service took the tags and does not show them yet")

    async def start(self, provider_id: str) -> None:
        """See `Power.start`. Raises Unavailable while the instance is still stopping."""
        await self.get(provider_id)
        await self._clients.ec2("StartInstances", lambda ec2: ec2.start_instances(InstanceIds=[provider_id]))

    async def stop(self, provider_id: str) -> None:
        """See `Power.stop`. Raises Invalid for an instance that cannot be stopped (a one-time spot instance, one whose
        root disk is not EBS)."""
        await self.get(provider_id)
        await self._clients.ec2("StopInstances", lambda ec2: ec2.stop_instances(InstanceIds=[provider_id]))

    async def close(self) -> None:
        """See `Backend.close`."""
        self._clients.close()


class Ec2BackendWithImages(Ec2Backend):
    """The same where the settings say whose images there are."""

    async def images(self) -> tuple[str, ...]:
        """See `Images.images`: the ids of the available images of the owners that the settings name."""
        owners = list(self._settings.image_owners)
        found = await self._pages.take(
            "DescribeImages",
            "Images",
            lambda ec2, page: ec2.describe_images(
                Owners=owners, Filters=[{"Name": "state", "Values": ["available"]}], **page
            ),
        )
        return tuple(sorted({image["ImageId"] for image in found if image.get("ImageId")}))


def _made(request: CreateRequest, instance: InstanceTypeDef) -> ServerRecord:
    """What RunInstances made, or had made before, if it is what was asked for."""
    tags = {tag.get("Key"): tag.get("Value") for tag in instance.get("Tags", [])}
    if state_name(instance) == TERMINATED:
        raise KeyConflict("the server of this key is gone; a key means one server for ever")
    if instance.get("ClientToken", request.key) != request.key:
        raise Unavailable("RunInstances: the service answered with another instance than the one created")
    # EC2 says that it may answer a repetition that differs with the instance there is, instead of refusing it.
    if tags.get(launch.TAG_REQUEST, request.digest()) != request.digest():
        raise KeyConflict("the key was used with another request")
    return record(instance)


def _describe(ids: list[str]) -> Any:
    return lambda ec2: ec2.describe_instances(InstanceIds=ids)


def _instances(answer: Any) -> list[InstanceTypeDef]:
    return [one for reservation in answer.get("Reservations", []) for one in reservation.get("Instances", [])]


def _id(provider_id: str) -> str:
    if not _ID.fullmatch(provider_id):
        raise Invalid("is not the id of a server", field="providerID")
    return provider_id


def _literal(value: str) -> str:
    """A filter's value that means itself: * and ? are wildcards to EC2."""
    return value.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")


def _without_size(page: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in page.items() if name != "MaxResults"}


def _arch(supported: Sequence[str]) -> str:
    # An old type that can do both is offered as what images are made for today.
    for ours in ("x86_64", "arm64", "i386"):
        if ours in supported:
            return _ARCHITECTURES[ours]
    return str(supported[0]) if supported else "amd64"
