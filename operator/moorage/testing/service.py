"""What the contract's suite needs to know of a hosting service that it tests."""

from __future__ import annotations

import itertools
import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from moorage.hosting.contract import Backend, CreateRequest, identity_key, identity_tags
from moorage.hosting.registry import backend
from moorage.testing.proxy import FaultProxy

INSTALLATION = "suite"
Raised: TypeAlias = type[BaseException] | None


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

    async def project_gone(self) -> None:
        """Close the project, or account, that the credentials are of, with all that is in it. `clear` opens it."""
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

    async def no_room_to_grow(self) -> None:
        """Let there be no room for a server to get `other_offering`."""
        raise NotImplementedError

    async def hang(self) -> None:
        """Let the service answer nobody and refuse nobody, on connections that are open, too. For one that is not
        reached over HTTP: before all others, a proxy does it."""
        raise NotImplementedError

    async def restart(self) -> None:
        """Kill the service's daemon without warning, start it again and return when it answers. Servers stay."""
        raise NotImplementedError


class ServiceUnderTest(ABC):
    """One hosting service, running and empty of servers that the suite made.

    Subclasses set `type` (of the backend), `endpoint`, `credentials`, and override what differs. `http` is false where
    the service is not reached over HTTP, so that the proxy which breaks single calls cannot stand before it.

    A test's fixture yields it from within `async with service:`, which calls `begin` and `end`.
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
    """How many servers a test may have at a time, where it wants several: more than are on a page of `small_pages(1)`,
    best more than on two, so that there is a page in the middle."""
    faults_at: Literal["every call", "one per operation"] = "every call"
    """Where the proxy breaks an operation: at each call that it makes, or at one of them for each kind of fault. With
    MOORAGE_EVERY_FAULT=1 it is each call for every service."""
    hasty: float = 1.0
    """Seconds for `short_timeouts` where a test waits for a call to be given up."""
    silence: str = ""
    """Where the backend keeps how many seconds of silence it takes for the end of its events, as `module:NAME`, so that
    a test can make them few. "": the test waits for as long as the contract allows."""
    sees_retry_after: bool = True
    """Whether the backend gets to see for how long it is asked to wait: some SDKs keep that to themselves."""
    shows_addresses: bool = True
    """Whether a running server has an address."""
    console_says: str | None = None
    """What the console of a server that booted `request()` has in it, sooner or later. None: nothing is asked of it."""
    most_bytes: int = 64 * 1024 * 1024
    """Most bytes of one answer that a backend may read."""
    unknown_id: str = ""
    """An id that the service might have given to a server and did not; "" where no such id can be told."""
    other_offering: str = ""
    """Another offering that the service has; "" where it has but one."""
    wrong_credentials: Sequence[Mapping[str, bytes]] = ()
    """Credentials that are refused, by `open` or by every call."""
    public_address: str = ""
    """An address of the account that no server has (for the ability Addresses)."""
    volume_gib: int = 1
    """Size of the volumes that are made (for the ability Volumes)."""
    upstream_tls: ssl.SSLContext | None = None
    """How the proxy connects to a service that speaks TLS, with a client's certificate where one is asked for."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._numbers = itertools.count(1)
        self._opened: list[Backend] = []
        self._observer: Backend | None = None

    @property
    def calm(self) -> float:
        """Seconds for `short_timeouts` where a call that nobody disturbs has to come to its end. Where creation is not
        idempotent, this is also how long the fate of an attempt stays unknown."""
        return min(10 * self.hasty, 15.0)

    @property
    def soon(self) -> float:
        """Seconds within which a backend that was told `hasty` has given up, on a slow and busy machine."""
        return min(10 * self.hasty + 5, self.patience)

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

    @property
    def observer(self) -> Backend:
        """One backend for all that is prepared and looked at around what a test is about: opening one may be dear."""
        if self._observer is None:
            self._observer = self.open()
        return self._observer

    def forget_observer(self) -> None:
        """Have another one from now on: the service went away from under its connections."""
        self._observer = None

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
        """Settings with which listings come in pages of this size, or of the smallest that the service takes; {} where
        its pages have a fixed size. `few` has to exceed the page. None where the service has no pages."""
        return {"pageSize": size}

    def lagging(self, seconds: float) -> dict[str, Any]:
        """Settings that tell a backend that listings are so late."""
        return {"listingLag": f"{seconds}s"}

    def invalid_requests(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        """Changes of `request()` that the service or the backend refuses, each with the field that is named."""
        return [({"image": "no-such-image"}, "image"), ({"offering": "no-such-offering"}, "offering")]

    def invalid_specs(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        """Arguments of `open` with which it, or the first call of `account`, raises Invalid naming the field."""
        return []

    def addresses(self) -> Sequence[str]:
        """All addresses that a backend talks to, the endpoint first: those of a catalogue too."""
        return [self.endpoint]

    def open_through(self, proxy: FaultProxy, **changes: Any) -> Backend:
        """As `open`, with the proxy before the service. Override it where the address or the CA that backends trust
        is not `endpoint` and the setting `caBundle`."""
        trust = {"caBundle": proxy.authority} if proxy.authority else {}
        return self.open(endpoint=proxy.url(self.endpoint), **{**trust, **changes})

    async def elsewhere(self) -> Backend | None:
        """A backend of the same kind on another service, account or project; None where there is no other."""
        return None

    async def begin(self) -> None:
        """Called before each test: no faults, no servers."""
        await self.faults.clear()
        await self.remove_all()

    async def end(self) -> None:
        """Called after each test, and what it leaves must not disturb the next one."""
        await self.faults.clear()
        await self.remove_all()

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(self, kind: Raised, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.settle()
        await self.end()

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
        self.forget_observer()
