"""When a group leaves the service that it runs on, and how: a part of HostingPolicy."""

from __future__ import annotations

from typing import Literal

from moorage.api.base import Model
from moorage.api.quantities import Interval, PositiveIntOrPercent, parse_duration
from moorage.api.rules import Rule

FailoverAction = Literal["Rebuild", "Wait", "Ask"]
Overlap = Literal["Forbidden", "Allowed"]


class FailoverWhen(Model):
    """The occasions; one is enough."""

    RULES = (
        Rule(
            "has(self.unreachableFor) || has(self.unhealthyShare)",
            "a failover has no occasion",
            "write unreachableFor: 10m, or unhealthyShare: 50% with unhealthyFor: 10m, or all of them",
        ),
        Rule(
            "has(self.unhealthyShare) == has(self.unhealthyFor)",
            "a share of unhealthy servers needs a time, and a time needs a share",
            "write unhealthyShare: 50% together with unhealthyFor: 10m",
        ),
    )

    unreachable_for: Interval | None = None
    """The service has not answered for so long. That it refuses the credentials, or a call, is an answer."""
    unhealthy_share: PositiveIntOrPercent | None = None
    """So many of the group's servers (a number or a percentage) are unhealthy: configured and not ready, or stopped."""
    unhealthy_for: Interval | None = None
    """How long each of these has been unhealthy, without a break."""


class Failover(Model):
    """When a placed group leaves its service for another one, and how."""

    when: FailoverWhen
    """The occasions."""
    action: FailoverAction
    """Rebuild: the group is made anew on another service; Wait: it is told, and nothing is done; Ask: a person decides,
    by `moorage failover GROUP`."""
    overlap: Overlap = "Forbidden"
    """Forbidden: nothing is made elsewhere before the old servers are confirmed gone, so a service that cannot be
    reached is never left; Allowed: the new servers are made first, and the old ones are removed once the new ones are
    ready."""
    avoid_for: Interval = parse_duration("1h")
    """How long the service that was left is not chosen for the group again."""
