"""What drivers tell, as the contract has it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from libcloud.compute.base import Node

from moorage.hosting.contract import Address, AddressType, Offering, ServerRecord, ServerState
from moorage.hosting.errors import Invalid, Unavailable, clean
from moorage.hosting.libcloud.profiles import Profile

TAG_KEY: Final = "moorage-key"
TAG_REQUEST: Final = "moorage-request"
OWN_TAGS: Final = frozenset({TAG_KEY, TAG_REQUEST})
MOST_SIZES: Final = 200
_KEY = re.compile(r"^m-[a-z2-7]{26}$")
_CORES = ("cpu", "vcpus", "vcpu", "cpus", "cores", "vcpu_count")


def record(node: Node, profile: Profile) -> ServerRecord | None:
    """A server; None for one that is gone and still shown."""
    state = profile.state(node)
    if state is None:
        return None
    tags, details = profile.tags_of(node), profile.details(node)
    name = str(node.name)
    key = tags.get(TAG_KEY) if profile.tags is not None else (name if _KEY.match(name) else None)
    return ServerRecord(
        provider_id=str(node.id),
        key=key,
        tags={tag: value for tag, value in tags.items() if tag not in OWN_TAGS},
        state=state,
        addresses=tuple(_addresses(node)),
        created=_utc(node.created_at),
        message=clean(details.message) if state is ServerState.FAILED else "",
        name=name,
        image=details.image,
        offering=details.offering,
        zone=details.zone,
    )


def records(nodes: Iterable[Node], profile: Profile) -> tuple[ServerRecord, ...]:
    """A list of servers. Raises Unavailable where one comes twice."""
    found = [each for each in (record(node, profile) for node in nodes) if each is not None]
    if len({each.provider_id for each in found}) != len(found):
        raise Unavailable("the service listed a server twice")
    return tuple(found)


def _addresses(node: Node) -> Iterable[Address]:
    for address in node.private_ips or ():
        yield Address(AddressType.INTERNAL, str(address))
    for address in dict.fromkeys(node.public_ips or ()):
        yield Address(AddressType.EXTERNAL, str(address))


def _utc(moment: Any) -> datetime | None:
    if not isinstance(moment, datetime):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def offerings_of(
    sizes: Iterable[Any], profile: Profile, wanted: tuple[str, ...], prices: Mapping[str, Decimal]
) -> tuple[Offering, ...]:
    """The sizes whose cores the driver tells, those in `wanted` alone where it names some. Raises Invalid."""
    found: dict[str, Offering] = {}
    for size in sizes:
        name, cores = profile.size_name(size), _cores(size)
        if cores and size.ram and (not wanted or name in wanted or str(size.id) in wanted):
            memory = Decimal(int(size.ram) * 2**20)
            found[name] = Offering(name=name, cpu=cores, memory=memory, price_per_hour=prices.get(name))
    if len(found) > MOST_SIZES:
        raise Invalid(f"the driver knows {len(found)} sizes: name those to be offered", field="settings.sizes")
    return tuple(found[name] for name in sorted(found))


def _cores(size: Any) -> Decimal | None:
    extra = size.extra if isinstance(size.extra, dict) else {}
    for name in _CORES:
        try:
            value = Decimal(str(extra.get(name, getattr(size, name, None))))
        except InvalidOperation:
            continue
        if value.is_finite() and value > 0:
            return value
    return None
