"""What the contract's suite needs to know of a hosting service that it tests."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moorage.hosting.contract import Backend, CreateRequest, identity_key, identity_tags
from moorage.hosting.registry import backend

INSTALLATION = "suite"


@dataclass(frozen=True)
class Spec:
    """The part of a HostingService's spec that a backend sees."""

    endpoint: str | None
    region: str = ""
    project: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Made:
    """One server that the service itself says it ever created: its id, and the key it was created with (or None)."""

    provider_id: str
    key: str | None


class Faults:
    """What the service can be told to do wrong. A method that is not overridden means that it cannot: the tests that
    need it do not apply to this service, and `why` says so for each in the report.

    `why` has the name of the fault and the reason in a few words. Every fault stays until `clear`.
    """

    why: Mapping[str, str] = {}

    def can(self, name: str) -> bool:
        """Whether the fault of that name can be switched on."""
        return getattr(type(self), name) is not getattr(Faults, name)

    async def clear(self) -> None:
        """End all faults."""

    async def capacity(self, servers: int) -> None:
        """Room for so many servers; further ones are refused for want of room."""
        raise NotImplementedError

    async def quota(self, servers: int) -> None:
        """The account may have so many servers."""
        raise NotImplementedError

    async def throttle(self, retry_after: float | None) -> None:
        """Refuse every call for its rate, asking to wait so long (None: without saying how long)."""
        raise NotImplementedError

    async def lag(self, seconds: float) -> None:
        """Show creations and deletions in listings only so much later."""
        raise NotImplementedError

    async def revoke(self) -> None:
        """Refuse the credentials that `open` uses from now on."""
        raise NotImplementedError

    async def expire(self) -> None:
        """Let the session or token that backends hold now expire; the credentials stay good."""
        raise NotImplementedError

    async def vanish(self, provider_id: str) -> None:
        """Let a server go, behind everyone's back."""
        raise NotImplementedError

    async def boot_fails(self) -> None:
        """Servers created from now on end in state Failed (or are refused as the service's own failure to start)."""
        raise NotImplementedError

    async def skew(self, seconds: float) -> None:
        """Set the service's clock apart from ours (its Date headers, its signatures' check)."""
        raise NotImplementedError


class ServiceUnderTest(ABC):
    """One hosting service, running and empty of servers that the suite made.

    Subclasses set `type` (of the backend), `endpoint`, `credentials`, and override what differs. `http` is false where
    the service is not reached over HTTP, so that the proxy which breaks single calls cannot stand before it.
    """

    type: str
    endpoint: str
    region: str = ""
    project: str | None = None
    credentials: Mapping[str, bytes]
    settings: Mapping[str, Any] = {}
    http: bool = True
    faults: Faults
    patience: float = 60.0
    """Seconds within which a server runs, or is gone, on a slow and busy machine."""
    few: int = 3
    """How many servers a test may have at a time, where it wants several."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._numbers = itertools.count(1)
        self._opened: list[Backend] = []

    @property
    def spec(self) -> Spec:
        """The HostingService's spec."""
        return Spec(self.endpoint, self.region, self.project, dict(self.settings))

    def open(
        self,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        credentials: Mapping[str, bytes] | None = None,
        **settings: Any,
    ) -> Backend:
        """A new backend on the service, through the registry. `settings` come on top of the service's own."""
        spec = Spec(
            endpoint or self.endpoint,
            self.region if region is None else region,
            self.project,
            {**self.settings, **settings},
        )
        opened = backend(self.type).open(spec, self.credentials if credentials is None else credentials)
        self._opened.append(opened)
        return opened

    def request(self, installation: str = INSTALLATION, **changes: Any) -> CreateRequest:
        """A request of another server than any before. It names an image and an offering that the service has."""
        uid = f"{id(self):x}-{next(self._numbers)}"
        values: dict[str, Any] = {
            "key": identity_key(installation, uid),
            "name": f"server-{uid}",
            "image": self.image,
            "offering": self.offering,
            "user_data": "#!/bin/sh\necho booted\n",
            "tags": identity_tags(installation, "shop", "service-uid", uid),
            "settings": dict(self.server_settings),
        }
        return CreateRequest(**{**values, **changes})

    image: str = ""
    offering: str = ""
    server_settings: Mapping[str, Any] = {}

    def short_timeouts(self, seconds: float) -> dict[str, Any]:
        """Settings with which every call of a backend is given up after about so long."""
        return {"requestTimeout": f"{seconds}s", "createTimeout": f"{seconds}s", "inventoryTimeout": f"{seconds}s"}

    def small_pages(self, size: int) -> dict[str, Any] | None:
        """Settings with which listings come in pages of this size; None where the service has no pages."""
        return {"pageSize": size}

    @abstractmethod
    async def ledger(self) -> list[Made]:
        """Every server that the service created since the suite began with it, those that are gone too, by the
        service's own word (not the backend's)."""

    @abstractmethod
    async def foreign(self) -> str:
        """Create a server by the service's own means, with no tag of ours; gives its id."""

    @abstractmethod
    async def remove_all(self) -> None:
        """Remove every server, by the service's own means."""

    async def settle(self) -> None:
        """Close what was opened. Called after each test."""
        for opened in self._opened:
            await opened.close()
        self._opened.clear()
