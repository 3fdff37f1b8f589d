"""What EC2 tells of instances, in the contract's words."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Final

from moorage.hosting.contract import MAX_CONSOLE, Address, AddressType, ServerRecord, ServerState
from moorage.hosting.ec2.launch import OWN_TAGS, TAG_KEY, TAG_NAME
from moorage.hosting.errors import Unavailable, clean

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import InstanceTypeDef, TagTypeDef

log = logging.getLogger(__name__)
TERMINATED: Final = "terminated"
_DELETED: Final = "Client.UserInitiatedShutdown"
LIVING: Final = ("pending", "running", "shutting-down", "stopping", "stopped")
"""The states of instances that exist. A terminated one is shown for about an hour and is gone."""
_STATES: Final[Mapping[str, ServerState]] = {
    "pending": ServerState.PENDING,
    "running": ServerState.RUNNING,
    "shutting-down": ServerState.TERMINATING,
    "stopping": ServerState.STOPPED,
    "stopped": ServerState.STOPPED,
}


def state_name(instance: InstanceTypeDef) -> str:
    """EC2's own word for the instance's state."""
    return str(instance.get("State", {}).get("Name", ""))


def is_gone(instance: InstanceTypeDef) -> bool:
    """Whether it is terminated. Why, if not by a deletion, is logged: in a record of what is gone there is no place."""
    if state_name(instance) != TERMINATED:
        return False
    reason = instance.get("StateReason", {})
    if reason.get("Code", _DELETED) != _DELETED:
        log.info("instance %s was terminated: %s", instance.get("InstanceId", ""), clean(reason.get("Message", "")))
    return True


def tags_of(listed: Iterable[TagTypeDef]) -> dict[str, str]:
    """Tags as a mapping."""
    return {tag.get("Key", ""): tag.get("Value", "") for tag in listed}


def record(instance: InstanceTypeDef) -> ServerRecord:
    """One instance. Raises Unavailable for one without an id."""
    provider_id = instance.get("InstanceId")
    if not provider_id:
        raise Unavailable("the service listed an instance without an id")
    tags = tags_of(instance.get("Tags", ()))
    reason, created = instance.get("StateReason", {}), instance.get("LaunchTime")
    return ServerRecord(
        provider_id=provider_id,
        key=tags.get(TAG_KEY),
        tags={name: value for name, value in tags.items() if name not in OWN_TAGS},
        state=_STATES.get(state_name(instance), ServerState.UNKNOWN),
        addresses=_addresses(instance),
        created=created.astimezone(UTC) if created is not None else None,
        message=clean(reason.get("Message") or instance.get("StateTransitionReason") or ""),
        name=tags.get(TAG_NAME),
        image=instance.get("ImageId"),
        offering=instance.get("InstanceType"),
        zone=instance.get("Placement", {}).get("AvailabilityZone"),
    )


def _addresses(instance: InstanceTypeDef) -> tuple[Address, ...]:
    found = []
    if private := instance.get("PrivateIpAddress"):
        found.append(Address(AddressType.INTERNAL, private))
    if public := instance.get("PublicIpAddress"):
        found.append(Address(AddressType.EXTERNAL, public))
    found += [
        Address(AddressType.EXTERNAL, six["Ipv6Address"])
        for interface in instance.get("NetworkInterfaces", ())
        for six in interface.get("Ipv6Addresses", ())
        if six.get("Ipv6Address")
    ]
    return tuple(found)


def console_text(raw: str) -> str:
    """The end of a console, without control characters but newlines."""
    text = raw.replace("\r\n", "\n")
    return "".join(c for c in text if c == "\n" or c == "\t" or c.isprintable())[-MAX_CONSOLE:]
