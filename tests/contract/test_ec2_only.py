"""What only EC2 does: tokens by zone, spot, ids that are unknown at first, sessions that expire, errors that lie."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support import beds
from tests.support.services.ec2 import Ec2Service

from moorage.hosting.ec2 import FACTORY
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    Invalid,
    KeyConflict,
    NotFound,
    QuotaError,
    Throttled,
    Unavailable,
)
from moorage.testing.service import Spec

pytestmark = pytest.mark.bed("ec2")


@pytest.fixture
async def ec2() -> AsyncIterator[Ec2Service]:
    async with Ec2Service(beds.running("ec2")) as service:
        yield service


async def made(ec2: Ec2Service, key: str) -> int:
    return len([one for one in await ec2.ledger() if one.key == key])


async def test_a_token_means_one_instance_in_each_zone_so_the_zone_is_in_the_request(ec2: Ec2Service) -> None:
    """The danger that `BackendFactory.complete` is there for, and that it averts."""
    subnets: dict[str, str] = ec2.running.settings["subnets"]
    first, second = ({zone: subnet} for zone, subnet in subnets.items())
    request = ec2.request()
    await ec2.open(subnets=first).create(request)
    await ec2.open(subnets=second).create(request)
    assert await made(ec2, request.key) == 2
    other = ec2.request()
    fixed = replace(other, settings=FACTORY.complete({"subnets": first}, other.key, other.settings))
    one = await ec2.open(subnets=first).create(fixed)
    again = await ec2.open(subnets=second).create(fixed)
    assert again.provider_id == one.provider_id
    assert await made(ec2, other.key) == 1


async def test_spot_without_room_is_tried_again_on_demand_as_another_server(ec2: Ec2Service) -> None:
    backend = ec2.open()
    await ec2.control.do("PUT", "faults", {"spot_capacity": 0})
    request = ec2.request(settings={"market": "SpotThenOnDemand"})
    with pytest.raises(CapacityError):
        await backend.create(request)
    assert await made(ec2, request.key) == 0
    settings: Any = FACTORY.fallback(request.settings)
    record = await backend.create(ec2.request(settings=settings))
    found = await ec2.do(lambda client: client.describe_instances(InstanceIds=[record.provider_id]))
    assert "InstanceLifecycle" not in found["Reservations"][0]["Instances"][0]
    await ec2.faults.clear()
    spot = await backend.create(ec2.request(settings={"market": "Spot"}))
    found = await ec2.do(lambda client: client.describe_instances(InstanceIds=[spot.provider_id]))
    assert found["Reservations"][0]["Instances"][0]["InstanceLifecycle"] == "spot"


async def test_a_zone_without_room_says_nothing_of_another(ec2: Ec2Service) -> None:
    full, other = sorted(ec2.running.settings["subnets"])
    await ec2.control.do("PUT", "faults", {"zone_capacity": {full: 1}})
    backend = ec2.open()
    assert (await backend.create(ec2.request(settings={"zone": full}))).zone == full
    request = ec2.request(settings={"zone": full})
    with pytest.raises(CapacityError) as caught:
        await backend.create(request)
    assert full in caught.value.message
    assert await made(ec2, request.key) == 0
    zones = FACTORY.zones(ec2.running.settings, {})
    assert set(zones) == {full, other}
    assert (await backend.create(ec2.request(settings=dict(zones[other])))).zone == other


async def test_a_region_that_is_not_the_endpoints_is_told_as_such(ec2: Ec2Service) -> None:
    spec = Spec(ec2.endpoint, "eu-central-2", None, ec2.settings)
    backend = FACTORY.open(spec, ec2.credentials)
    with pytest.raises(Invalid) as caught:
        await backend.inventory()
    assert caught.value.field == "region"
    assert "access key" not in caught.value.message
    await backend.close()


async def test_instances_ask_for_tokens_and_their_disks_carry_the_identity(ec2: Ec2Service) -> None:
    request = ec2.request(settings={"blockDevices": [{"device": "/dev/sda1", "size": 9}], "metadataHopLimit": 2})
    record = await ec2.open().create(request)
    found = await ec2.do(lambda client: client.describe_instances(InstanceIds=[record.provider_id]))
    options = found["Reservations"][0]["Instances"][0]["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 2)
    disks = [one for one in await ec2.open().volumes() if one.attached_to == record.provider_id]  # type: ignore[attr-defined]
    assert [(disk.size_gib, disk.tags) for disk in disks] == [(9, dict(request.tags))]


async def test_an_instance_has_the_key_pair_the_groups_and_the_disks_that_its_settings_name(ec2: Ec2Service) -> None:
    name = f"ops-{ec2.request().key}"
    await ec2.do(lambda client: client.create_key_pair(KeyName=name))
    group = (await ec2.do(lambda client: client.create_security_group(GroupName=name, Description="d")))["GroupId"]
    disk = {"device": "/dev/sda1", "size": 10, "type": "gp3", "encrypted": True}
    settings = {"keyName": name, "securityGroups": [group], "blockDevices": [disk]}
    record = await ec2.open().create(ec2.request(settings=settings))
    found = await ec2.do(lambda client: client.describe_instances(InstanceIds=[record.provider_id]))
    (instance,) = found["Reservations"][0]["Instances"]
    assert instance["KeyName"] == name
    assert [one["GroupId"] for one in instance["SecurityGroups"]] == [group]
    attached: Any = [{"Name": "attachment.instance-id", "Values": [record.provider_id]}]
    (volume,) = (await ec2.do(lambda client: client.describe_volumes(Filters=attached)))["Volumes"]
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (10, "gp3", True)
    await ec2.do(lambda client: client.delete_key_pair(KeyName=name))


async def test_an_id_that_is_unknown_at_first_harms_nothing(ec2: Ec2Service) -> None:
    await ec2.control.do("PUT", "faults", {"lookup_lag": 3600})
    backend = ec2.open()
    request = ec2.request()
    record = await backend.create(request)
    with pytest.raises(NotFound):
        await backend.get(record.provider_id)
    assert (await backend.create(request)).provider_id == record.provider_id
    await ec2.faults.clear()
    assert (await backend.get(record.provider_id)).key == request.key


@pytest.mark.parametrize("way", ["refused", "shown"])
async def test_the_key_of_a_terminated_instance_is_refused_however_ec2_says_it(ec2: Ec2Service, way: str) -> None:
    """Until 2025 EC2 answered with the terminated instance, as if it had just been made."""
    await ec2.control.do("PUT", "faults", {"return_terminated": way == "shown"})
    backend = ec2.open()
    request = ec2.request()
    record = await backend.create(request)
    await backend.delete(record.provider_id)
    with pytest.raises(KeyConflict):
        await backend.create(request)
    assert await made(ec2, request.key) == 1


async def test_a_creation_that_is_answered_with_an_error_is_found_by_repeating_it(ec2: Ec2Service) -> None:
    error = {"code": "InternalError", "status": 500, "operation": "RunInstances", "after": True}
    await ec2.control.do("PUT", "faults", {"errors": [error]})
    backend = ec2.open()
    request = ec2.request()
    with pytest.raises(Unavailable) as caught:
        await backend.create(request)
    assert not caught.value.definite
    (server,) = await ec2.ledger()
    assert (await backend.create(request)).provider_id == server.provider_id
    assert await made(ec2, request.key) == 1


async def test_a_session_that_expired_is_about_credentials(ec2: Ec2Service) -> None:
    key = {"secret": "s3cret-s3cret", "account": ec2.running.extra["account"], "token": "a-session"}
    await ec2.control.do("PUT", "keys/ASIASESSION", key)
    backend = ec2.open(
        credentials={"accessKeyID": b"ASIASESSION", "secretAccessKey": b"s3cret-s3cret", "sessionToken": b"a-session"}
    )
    record = await backend.create(ec2.request())
    await ec2.control.do("PUT", "keys/ASIASESSION", {**key, "expired": True})
    for call in (backend.get(record.provider_id), backend.account(), backend.create(ec2.request())):
        with pytest.raises(AuthenticationError) as caught:
            await call
        assert "session token" in caught.value.message
    assert len(await ec2.ledger()) == 1


async def test_one_permission_that_is_missing_is_told_by_its_operation(ec2: Ec2Service) -> None:
    await ec2.control.do("PUT", "faults", {"denied": ["TerminateInstances"]})
    backend = ec2.open()
    record = await backend.create(ec2.request())
    with pytest.raises(AuthenticationError) as caught:
        await backend.delete(record.provider_id)
    assert "TerminateInstances" in caught.value.message
    assert (await backend.get(record.provider_id)).provider_id == record.provider_id


async def test_the_bucket_of_requests_runs_empty_and_fills_again(ec2: Ec2Service) -> None:
    backend = ec2.open()
    await backend.account()
    await ec2.control.do("PUT", "faults", {"throttle": {"rate": 0.0, "burst": 2.0}})
    requests = [ec2.request() for _ in range(3)]
    for request in requests[:2]:
        await backend.create(request)
    with pytest.raises(Throttled):
        await backend.create(requests[2])
    assert len(await ec2.ledger()) == 2
    await ec2.faults.clear()
    await backend.create(requests[2])


async def test_a_quota_is_not_overrun_by_creations_at_the_same_time(ec2: Ec2Service) -> None:
    await ec2.faults.quota(1)
    backend = ec2.open()
    await backend.create(ec2.request())
    with pytest.raises(QuotaError) as caught:
        await backend.create(ec2.request())
    assert "quota" in caught.value.message


async def test_without_sts_the_owner_of_the_default_groups_is_the_account(ec2: Ec2Service) -> None:
    account = await ec2.open(stsEndpoint="").account()
    assert ec2.running.extra["account"] in account
    assert account == await ec2.open().account()
    elsewhere = await ec2.elsewhere()
    assert await elsewhere.account() != account


async def test_a_batch_of_ids_that_are_all_gone_is_no_error(ec2: Ec2Service) -> None:
    backend: Any = ec2.open()
    gone = [f"i-{number:017x}" for number in range(1, 6)]
    record = await backend.create(ec2.request())
    found = await backend.get_many([*gone, record.provider_id])
    assert {name for name, server in found.items() if server is None} == set(gone)
    await backend.delete_many([*gone, record.provider_id])
    with pytest.raises(NotFound):
        await backend.get(record.provider_id)
