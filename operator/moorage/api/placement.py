"""Where a group is and was, as its status tells it: the services that were looked at, chosen, exhausted and left."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from moorage.api.base import Model, Name, Text, Timestamp, Word, listed, mapped


class Scores(Model):
    """A candidate's scores, 0 to 100 each."""

    price: float | None = None
    """The cheaper, the higher."""
    capacity: float | None = None
    """The more room, the higher."""
    spread: float | None = None
    """The fewer servers of the policy's other groups there, the higher."""
    zone_spread: float | None = None
    """The fewer servers of the policy's other groups in its zone, the higher."""
    latency: float | None = None
    """The nearer to the front of the wanted zones its zone is, the higher."""
    boot_time: float | None = None
    """The faster servers came into being there of late, the higher."""
    failure_rate: float | None = None
    """The fewer servers could not be made there of late, the higher."""
    expression: float | None = None
    """The greater the result of the policy's expression, the higher."""
    stickiness: float | None = None
    """100 where the group was before."""


class Candidate(Model):
    """A service that was looked at."""

    service: Name
    """Its name."""
    feasible: bool
    """Whether it could take the group."""
    score: float | None = None
    """The weighted mean of its scores, 0 to 100."""
    scores: Scores | None = None
    """Its score in each view."""
    reasons: tuple[Text, ...] = listed(16)
    """Why it could not, or what the scores come from."""


class Placement(Model):
    """The service that was chosen, and why. Once recorded, it holds."""

    number: int
    """Counts the group's placements from 1."""
    service: Name
    """The chosen HostingService."""
    service_uid: Annotated[str, Field(max_length=64)] = ""
    """Its uid."""
    score: float | None = None
    """Its score, 0 to 100."""
    message: Text = ""
    """Why it was chosen."""
    time: Timestamp
    """When it was chosen."""
    gate_opened: Timestamp | None = None
    """When configuration began to flow."""
    completed: Timestamp | None = None
    """When all of its servers ran for the first time: from then on the group does not leave for lack of room."""
    candidates: tuple[Candidate, ...] = listed(20)
    """The best 20 services that were looked at."""
    rejected: dict[Annotated[str, Field(max_length=128)], int] = mapped(64)
    """How many services could not take the group, by reason."""
    would_change: tuple[Annotated[str, Field(max_length=256)], ...] = listed(5)
    """What would have led to another choice at that time, one fact a line."""
    overlapping: bool | None = None
    """Whether servers of the placement before may still be there: then the names of its own end in its number."""

    @property
    def suffix(self) -> int | None:
        """What the names of its servers end in; None: in nothing."""
        return self.number if self.overlapping else None


class LastPlacement(Model):
    """Where the group was before."""

    number: int
    """The placement's number."""
    service: Name
    """The HostingService."""
    service_uid: Annotated[str, Field(max_length=64)] = ""
    """Its uid."""


class Exhausted(Model):
    """What turned out to have no room for this group, or a zone that it is in trouble with."""

    service: Name
    """The HostingService."""
    service_uid: Annotated[str, Field(max_length=64)] = ""
    """Its uid."""
    offering: Word
    """The offering."""
    settings: Annotated[str, Field(max_length=16)] = ""
    """Tells the settings with which it was tried from others."""
    reason: Annotated[str, Field(max_length=128)]
    """What the service refused it for: InsufficientCapacity or QuotaExceeded. Any other is about a zone alone, in which
    a server failed: it is passed over while others are open."""
    message: Text = ""
    """What it said."""
    until: Timestamp
    """Until when it is not tried again, where there is something else to try."""


class FailedOver(Model):
    """A service that the group left of late because of a failover."""

    service: Name
    """The HostingService."""
    service_uid: Annotated[str, Field(max_length=64)] = ""
    """Its uid."""
    placement: int
    """The number of the placement there."""
    reason: Annotated[str, Field(max_length=128)]
    """What the occasion was: ServiceUnreachable or ServersUnhealthy."""
    message: Text = ""
    """The occasion, for people."""
    until: Timestamp
    """Until when the group is not placed there again."""


class FailoverOccasion(Model):
    """An occasion to fail over that is due; the condition `FailoverPending` says what keeps the group."""

    placement: int
    """The number of the placement that is to be left."""
    reason: Annotated[str, Field(max_length=128)]
    """ServiceUnreachable or ServersUnhealthy."""
    since: Timestamp
    """Since when it has been so."""
