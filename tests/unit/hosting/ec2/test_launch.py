"""What RunInstances is asked, from a request and the settings of service and server."""

from __future__ import annotations

import gzip
import secrets
from typing import Any

import pytest

from moorage.hosting.contract import CreateRequest, identity_key, identity_tags
from moorage.hosting.ec2 import FACTORY, launch
from moorage.hosting.ec2.settings import Ec2ServerSettings, Ec2Settings
from moorage.hosting.errors import Invalid

SUBNETS = {"eu-central-1a": "subnet-a", "eu-central-1b": "subnet-b", "eu-central-1c": "subnet-c"}


def request(**changes: Any) -> CreateRequest:
    values: dict[str, Any] = {
        "key": identity_key("inst", "uid"),
        "name": "db-0",
        "image": "ami-1",
        "offering": "t3.micro",
        "user_data": "#!/bin/sh\n",
        "tags": identity_tags("inst", "shop", "svc", "uid"),
    }
    return CreateRequest(**{**values, **changes})


def asked(service: dict[str, Any] | None = None, server: dict[str, Any] | None = None, **changes: Any) -> Any:
    one = request(**changes)
    pinned = launch.pin(Ec2Settings(**(service or {})), one.key, Ec2ServerSettings(**(server or {})))
    return launch.parameters(one, pinned)


def test_the_key_is_the_token_and_the_tags_are_on_server_and_disks_in_the_same_call() -> None:
    found = asked()
    assert found["ClientToken"] == request().key
    assert (found["MinCount"], found["MaxCount"]) == (1, 1)
    kinds = {
        one["ResourceType"]: {tag["Key"]: tag["Value"] for tag in one["Tags"]} for one in found["TagSpecifications"]
    }
    assert kinds["instance"] == kinds["volume"]
    assert kinds["instance"].items() >= request().tags.items()
    assert kinds["instance"]["moorage-key"] == request().key
    assert kinds["instance"]["moorage-request"] == request().digest()
    assert kinds["instance"]["Name"] == "db-0"


def test_metadata_is_given_for_tokens_only() -> None:
    assert asked()["MetadataOptions"]["HttpTokens"] == "required"
    assert asked()["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert asked({"metadataHopLimit": 2})["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert asked({"metadataHopLimit": 2}, {"metadataHopLimit": 3})["MetadataOptions"]["HttpPutResponseHopLimit"] == 3


def test_a_server_that_names_no_zone_gets_one_by_its_key_and_the_same_one_again() -> None:
    chosen = {uid: asked({"subnets": SUBNETS}, key=identity_key("inst", f"{uid}"))["SubnetId"] for uid in range(60)}
    assert set(chosen.values()) == set(SUBNETS.values())
    again = {uid: asked({"subnets": SUBNETS}, key=identity_key("inst", f"{uid}"))["SubnetId"] for uid in range(60)}
    assert again == chosen


def test_a_zone_that_is_named_leads_to_its_subnet() -> None:
    assert asked({"subnets": SUBNETS}, {"zone": "eu-central-1b"})["SubnetId"] == "subnet-b"
    assert asked({"subnets": SUBNETS}, {"subnet": "subnet-x"})["SubnetId"] == "subnet-x"
    assert asked({}, {"zone": "eu-central-1b"})["Placement"] == {"AvailabilityZone": "eu-central-1b"}
    with pytest.raises(Invalid) as caught:
        asked({"subnets": SUBNETS}, {"zone": "eu-central-1z"})
    assert caught.value.field == "settings.zone"


def test_the_zones_that_a_group_spreads_over_are_those_with_a_subnet() -> None:
    found = FACTORY.zones({"subnets": SUBNETS}, {"market": "Spot", "zone": None})
    assert found == {zone: {"zone": zone} for zone in SUBNETS}
    for zone, added in found.items():
        assert asked({"subnets": SUBNETS}, dict(added))["SubnetId"] == SUBNETS[zone]
    for service, server in (
        ({}, {}),
        ({"subnets": SUBNETS}, {"zone": "eu-central-1a"}),
        ({"subnets": SUBNETS}, {"subnet": "subnet-x"}),
        ({"subnets": "wrong"}, {}),
    ):
        assert FACTORY.zones(service, server) == {}


def test_without_zones_ec2_chooses() -> None:
    assert not {"SubnetId", "Placement", "NetworkInterfaces"} & set(asked())


def test_what_was_completed_once_stays_when_the_service_changes() -> None:
    before: dict[str, Any] = {"subnets": SUBNETS, "securityGroups": ["sg-1"], "keyName": "ops", "metadataHopLimit": 2}
    first = launch.complete(before, "m-key", {"market": "Spot"})
    assert first["subnet"] in SUBNETS.values()
    assert (first["securityGroups"], first["keyName"], first["market"]) == (["sg-1"], "ops", "Spot")
    later = {"subnets": {"eu-central-1z": "subnet-z"}, "securityGroups": ["sg-2"], "keyName": "other"}
    assert launch.complete(later, "m-key", first) == first
    FACTORY.validate_server_settings(first)


def test_a_public_address_is_asked_of_an_interface() -> None:
    found = asked({"subnets": {"a": "subnet-a"}, "securityGroups": ["sg-1"]}, {"publicAddress": False})
    assert found["NetworkInterfaces"] == [
        {"DeviceIndex": 0, "AssociatePublicIpAddress": False, "SubnetId": "subnet-a", "Groups": ["sg-1"]}
    ]
    assert "SubnetId" not in found
    assert "SecurityGroupIds" not in found


def test_key_pair_and_security_groups_are_the_servers_own_or_the_services() -> None:
    service: dict[str, Any] = {"keyName": "ops", "securityGroups": ["sg-1", "sg-2"]}
    found = asked(service)
    assert (found["KeyName"], found["SecurityGroupIds"]) == ("ops", ["sg-1", "sg-2"])
    own = asked(service, {"keyName": "team", "securityGroups": ["sg-3"]})
    assert (own["KeyName"], own["SecurityGroupIds"]) == ("team", ["sg-3"])
    assert not {"KeyName", "SecurityGroupIds", "IamInstanceProfile", "BlockDeviceMappings"} & set(asked())


def test_profile_by_name_or_arn() -> None:
    assert asked({"instanceProfile": "web"})["IamInstanceProfile"] == {"Name": "web"}
    arn = "arn:aws:iam::123456789012:instance-profile/web"
    assert asked({"instanceProfiles": [arn]}, {"instanceProfile": arn})["IamInstanceProfile"] == {"Arn": arn}


def test_a_server_gets_no_rights_and_no_data_that_the_service_does_not_name() -> None:
    disks = [{"device": "/dev/sdf", "snapshot": "snap-1"}]
    for server, field in (
        ({"instanceProfile": "admin"}, "settings.instanceProfile"),
        ({"blockDevices": disks}, "settings.blockDevices"),
    ):
        for service in ({}, {"instanceProfile": "web", "instanceProfiles": ["db"], "snapshots": ["snap-2"]}):
            with pytest.raises(Invalid) as caught:
                launch.complete(service, "m-key", server)
            assert caught.value.field == field
    found = asked(
        {"instanceProfile": "web", "snapshots": ["snap-1"]}, {"instanceProfile": "web", "blockDevices": disks}
    )
    assert found["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] == "snap-1"


def test_disks_go_with_the_server_unless_they_are_kept() -> None:
    disks = [{"device": "/dev/xvda", "size": 20, "type": "gp3"}, {"device": "/dev/sdf", "size": 5, "keep": True}]
    assert asked({"blockDevices": disks})["BlockDeviceMappings"] == [
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "DeleteOnTermination": True}},
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 5, "DeleteOnTermination": False}},
    ]


def test_what_a_disk_is_to_be_like_is_asked_for() -> None:
    disk = {"device": "/dev/xvda", "size": 100, "type": "io2", "iops": 4000, "throughput": 500, "encrypted": True}
    found = asked(server={"blockDevices": [{**disk, "kmsKey": "alias/disks"}]})
    assert found["BlockDeviceMappings"] == [
        {
            "DeviceName": "/dev/xvda",
            "Ebs": {
                "VolumeSize": 100,
                "VolumeType": "io2",
                "Iops": 4000,
                "Throughput": 500,
                "Encrypted": True,
                "KmsKeyId": "alias/disks",
                "DeleteOnTermination": True,
            },
        }
    ]
    plain = asked(server={"blockDevices": [{"device": "/dev/xvda", "encrypted": False}]})
    assert plain["BlockDeviceMappings"][0]["Ebs"] == {"Encrypted": False, "DeleteOnTermination": True}


def test_spot_is_asked_once_and_falls_back_by_another_server() -> None:
    found = asked(server={"market": "SpotThenOnDemand", "spotMaxPrice": "0.01"})
    assert found["InstanceMarketOptions"] == {
        "MarketType": "spot",
        "SpotOptions": {
            "SpotInstanceType": "one-time",
            "InstanceInterruptionBehavior": "terminate",
            "MaxPrice": "0.01",
        },
    }
    assert "InstanceMarketOptions" not in asked()
    next_try = FACTORY.fallback({"market": "SpotThenOnDemand", "zone": "eu-central-1a"})
    assert next_try == {"market": "OnDemand", "zone": "eu-central-1a"}
    assert FACTORY.fallback(next_try) is None
    assert FACTORY.fallback({"market": "Spot"}) is None


def test_user_data_is_compressed_only_where_it_would_not_fit() -> None:
    assert asked(user_data="x" * 16384)["UserData"] == b"x" * 16384
    packed = asked(user_data="x" * 16385)["UserData"]
    assert gzip.decompress(packed) == b"x" * 16385
    assert packed == asked(user_data="x" * 16385)["UserData"]
    assert "UserData" not in asked(user_data="")
    with pytest.raises(Invalid) as caught:
        asked(user_data=secrets.token_hex(20_000))
    assert caught.value.field == "userData"


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"image": ""}, "image"), ({"offering": ""}, "offering"), ({"key": "k" * 65}, "key"), ({"key": "kä"}, "key")],
)
def test_what_cannot_be_launched_is_refused_before_the_call(changes: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        asked(None, None, **changes)
    assert caught.value.field == field


def test_tags_are_counted_and_the_own_ones_are_not_the_users() -> None:
    found = asked(server={"tags": {"team": "blue"}})["TagSpecifications"][0]["Tags"]
    assert {"Key": "team", "Value": "blue"} in found
    with pytest.raises(Invalid) as caught:
        asked(tags={f"t{number}": "" for number in range(48)})
    assert caught.value.field == "tags"
    for name in ("moorage-key", "Name", "aws:x"):
        with pytest.raises(Invalid) as caught:
            FACTORY.validate_server_settings({"tags": {name: "x"}})
        assert caught.value.field is not None
        assert caught.value.field.startswith("settings.tags")
