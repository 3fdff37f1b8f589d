"""Zones in which servers of a group failed before their agents ever joined, for anything but room.

A subnet that is gone, a zone without a way out or in an outage of its own: the next server would be made in the very
same zone, since that has the fewest of its siblings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from moorage.api.placement import Placement
from moorage.api.servergroup import Remediation
from moorage.core.exhaustion import Attempted, in_trouble
from moorage.core.rollout import GroupServer, MemberWant, Sick, find_sick
from moorage.core.zones import zone_of

NEVER_JOINED: Final = frozenset({"BootTimeout", "JoinTimeout"})


def troubles(
    wants: Iterable[MemberWant],
    servers: Sequence[GroupServer],
    placement: Placement,
    remediation: Remediation,
    now: datetime,
) -> Iterator[Attempted]:
    """What is to be remembered of zones, where the service has more than one."""
    zoned = [(want, want.first) for want in wants if want.first is not None and len(want.first.zones) > 1]
    if not zoned:
        return
    live = [s for s in servers if s.placement == placement.number and not s.deleting and not s.joined]
    sick = {ill.server.uid: ill for ill in find_sick(live, remediation, now)[0] if ill.reason in NEVER_JOINED}
    for want, first in zoned:
        for server in (s for s in live if s.member == want.name):
            zone = zone_of(server.settings, first.zones)
            why = _why(server, sick)
            if zone is None or why is None:
                continue
            yield Attempted(
                service=placement.service,
                service_uid=placement.service_uid,
                offering=first.offering,
                settings=in_trouble(zone, server.image, first.own(server.settings)),
                reason=why[0],
                message=f"{server.name}: {why[1]}",
                at=why[2],
            )


def _why(server: GroupServer, sick: Mapping[str, Sick]) -> tuple[str, str, datetime] | None:
    if server.attempted is not None:
        return None  # for want of room, which is remembered as such
    if server.failed is not None:
        return server.failed, server.message, server.failed_at or server.created
    ill = sick.get(server.uid)
    return None if ill is None else (ill.reason, ill.message, ill.since)
