"""The contract between Moorage and a hosting service.

A backend is one class that satisfies `Backend`, and any of the protocols in `moorage.hosting.abilities` beside it.
Everything here is about three questions: what happens when a call is *repeated*, when it is *interrupted* (cancelled,
or its process killed), and when the answer is *late or lost*. The suite in
`moorage.testing` asks them of every backend.

Rules for every method:

- It MUST raise only `HostingError`s (and let `asyncio.CancelledError` through), with the meaning of
  `moorage.hosting.errors`. A provider's text, status code or exception never gets out otherwise.
- It MUST be bounded in time, however the service behaves.
- It MUST be bounded in the bytes that it reads of one answer.
- It MUST NOT retry by itself after an answer was lost: the caller knows the budget, the deadline and the lease.
- It MUST be cancellable at every await and MUST leave the backend usable after a cancellation.
- It MUST be safe to call concurrently, and MUST keep nothing in memory that another process would need.
- It MUST NOT log or raise credentials, user-data or tokens.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Protocol, Self

from moorage.api.hostingservice import Offering
from moorage.hosting.errors import Invalid

__all__ = [
    "MAX_CONSOLE",
    "RELEASED",
    "TAG_INSTALLATION",
    "TAG_NAMESPACE",
    "TAG_SERVER",
    "TAG_SERVICE",
    "Address",
    "AddressType",
    "Backend",
    "Capabilities",
    "Capacity",
    "CreateRequest",
    "Inventory",
    "Offering",
    "ServerRecord",
    "ServerState",
    "identity_key",
    "identity_tags",
]

TAG_INSTALLATION = "moorage-installation"
"""Tag: id of the Moorage installation that owns the server."""
TAG_NAMESPACE = "moorage-namespace"
"""Tag: namespace of the VirtualServer object."""
TAG_SERVICE = "moorage-service"
"""Tag: uid of the HostingService object."""
TAG_SERVER = "moorage-server"
"""Tag: uid of the VirtualServer object, or `RELEASED`."""
MAX_CONSOLE = 65_536
"""Most characters of a console that are handed on."""
RELEASED = "released"
"""Value of `TAG_SERVER` on a server that was retained: it belongs to nobody any more and is never touched."""


@lru_cache(maxsize=8192)
def identity_key(installation_id: str, uid: str) -> str:
    """Key of the server of a VirtualServer object: `m-` and 26 characters of base32, the same for ever."""
    digest = hashlib.sha256(f"{installation_id}/{uid}".encode()).digest()
    return "m-" + b32encode(digest).decode().lower()[:26]


def identity_tags(installation_id: str, namespace: str, service_uid: str, uid: str) -> dict[str, str]:
    """The tags that every server carries from its creation on."""
    return {
        TAG_INSTALLATION: installation_id,
        TAG_NAMESPACE: namespace,
        TAG_SERVICE: service_uid,
        TAG_SERVER: uid,
    }


class ServerState(StrEnum):
    """State of a server as its service tells it. There is no `Terminated`: what is gone is `NotFound`."""

    PENDING = "Pending"
    RUNNING = "Running"
    STOPPED = "Stopped"
    TERMINATING = "Terminating"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


class AddressType(StrEnum):
    """Who can reach an address."""

    INTERNAL = "Internal"
    EXTERNAL = "External"


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a server: an IP address or a host name."""

    type: AddressType
    address: str


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """What a service tells about one server.

    `key` is the identity key the server was created with, None where it has none (a foreign server, or one whose
    service shows it in no way). `tags` are all its tags, foreign ones too. `name`, `image`, `offering` and `zone` are
    the service's own words, None where it does not tell.
    """

    provider_id: str
    key: str | None
    tags: Mapping[str, str]
    state: ServerState
    addresses: tuple[Address, ...] = ()
    created: datetime | None = None
    message: str = ""
    name: str | None = None
    image: str | None = None
    offering: str | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """Servers that fit (`limit`, None where the service does not tell) and servers that are there (`used`)."""

    limit: int | None
    used: int

    @property
    def available(self) -> int | None:
        """Servers that still fit, None where the service does not tell."""
        return None if self.limit is None else max(0, self.limit - self.used)


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every server that the credentials show in this region and project, foreign ones too, each once."""

    account: str
    servers: tuple[ServerRecord, ...]

    def with_key(self, key: str) -> tuple[ServerRecord, ...]:
        """The servers that carry the identity key; more than one only where a service broke its promise."""
        return tuple(server for server in self.servers if server.key == key)


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """Everything about a creation, fixed before the first attempt and repeated byte for byte.

    `tags` hold the identity; the backend adds the key in its own way. `repr` leaves out what may be secret.
    """

    key: str
    name: str
    image: str
    offering: str
    user_data: str = field(repr=False)
    tags: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The request as JSON-able data, fields named as in the VirtualServer's Secret."""
        return {
            "key": self.key,
            "name": self.name,
            "image": self.image,
            "offering": self.offering,
            "userData": self.user_data,
            "tags": dict(self.tags),
            "settings": dict(self.settings),
        }

    def digest(self) -> str:
        """32 hex digits that tell this request from any other, for services that keep no requests: put beside the key
        on the server, it lets a repeated creation find out whether the server there is the one asked for."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:32]

    def to_bytes(self) -> bytes:
        """Canonical bytes: equal requests give equal bytes (sorted keys, no spaces, UTF-8)."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`. Raises Invalid, naming the field, for anything that is not a request."""
        if not isinstance(data, dict):
            raise Invalid("a create request is a JSON object")
        unknown = sorted(set(data) - {"key", "name", "image", "offering", "userData", "tags", "settings"})
        if unknown:
            raise Invalid("unknown field in a create request", field=str(unknown[0]))
        for name in ("key", "name", "image", "offering", "userData"):
            if not isinstance(data.get(name), str):
                raise Invalid("must be a string", field=name)
        tags, settings = data.get("tags"), data.get("settings")
        if not isinstance(tags, dict) or not all(isinstance(v, str) for pair in tags.items() for v in pair):
            raise Invalid("must be an object of strings", field="tags")
        if not isinstance(settings, dict):
            raise Invalid("must be an object", field="settings")
        return cls(
            key=data["key"],
            name=data["name"],
            image=data["image"],
            offering=data["offering"],
            user_data=data["userData"],
            tags=tags,
            settings=settings,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of `to_bytes`. Raises Invalid for anything that is not a request."""
        try:
            parsed = json.loads(data)
        except ValueError:
            raise Invalid("a create request is a JSON object") from None
        return cls.from_json(parsed)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a service can do; fixed for the life of a backend.

    idempotent_create: a creation repeated with the same request gives the same server, at any distance in time while
        the server exists. Without it, the caller waits for deadline + `listing_lag` and looks into an inventory.
    listing_lag: seconds after which a creation or deletion shows in every inventory and `find`.
    create_timeout: seconds by which `create` has returned or raised; an attempt's deadline is its start plus this,
        and no attempt has an effect that begins after its deadline.
    inventory_timeout: seconds by which `inventory` has returned or raised.
    call_timeout: seconds by which every other call has. A call that goes on for longer is cancelled.
    """

    idempotent_create: bool
    listing_lag: float
    create_timeout: float
    inventory_timeout: float = 180.0
    call_timeout: float = 30.0


class Backend(Protocol):
    """One hosting service, seen with one set of credentials, in one region and project."""

    @property
    def capabilities(self) -> Capabilities:
        """See `Capabilities`. Never asks the service."""
        ...

    async def account(self) -> str:
        """Identity of the account and service behind the credentials.

        MUST be the same for as long as the same servers are visible and MUST differ when the endpoint leads to
        another service or the credentials to another account: a controller freezes when it changes. Raises rather
        than guesses.
        """
        ...

    async def offerings(self) -> tuple[Offering, ...]:
        """The sizes the service tells; empty where it tells none (the user declares them)."""
        ...

    async def capacity(self) -> Capacity:
        """How many servers fit. A hint, never a promise: `create` may still raise CapacityError."""
        ...

    async def inventory(self) -> Inventory:
        """All servers, over all pages.

        MUST be complete or raise: a page that failed, was cut, repeated its continuation or did not parse makes the
        whole call raise. MUST NOT leave out a server because it is foreign, failed or being deleted. May lag behind
        by `capabilities.listing_lag`.
        """
        ...

    async def get(self, provider_id: str) -> ServerRecord:
        """One server, as it is now (no lag).

        MUST raise NotFound only on the service's own typed answer that the id is unknown (or was deleted), and
        Unavailable or Unknown for every other 404-like answer, of a proxy for one.
        """
        ...

    async def find(self, key: str) -> tuple[ServerRecord, ...]:
        """The servers created with this key; may lag like an inventory, so an empty answer proves nothing before
        `listing_lag` has passed.

        MUST show each of them, on whatever page it is, or raise as `inventory` does.
        """
        ...

    async def create(self, request: CreateRequest) -> ServerRecord:
        """Create the server, or return the one that this very request has created before.

        Repetition: where `idempotent_create`, the same request MUST give the same server, in whatever state it is,
        also when the calls are concurrent, from another process, or after the service restarted; another request
        with the same key MUST raise KeyConflict and create nothing. The identity tags and the key MUST be on the
        server in the same call: there is no moment at which it exists without them.
        Interruption: a call cancelled or killed at any moment leaves no server or exactly one that carries the key.
        Late or lost answer: MUST raise TimedOut or Unavailable (`definite` is false) after at most
        `create_timeout` seconds; MUST NOT send the request again itself.
        Typed refusals (CapacityError, QuotaError, Invalid, AuthenticationError, Throttled) MUST mean that nothing was
        created. Returns as soon as the id is known; the server may still be Pending.
        """
        ...

    async def delete(self, provider_id: str) -> None:
        """Ask for the end of a server. Returns when the service has accepted, or knows no such server.

        Repetition: MUST be harmless, while the server is being deleted and after. Returning proves nothing about
        the server being gone: the caller asks `get` until NotFound. Interrupted or unanswered: repeat. The id MUST
        never come to mean another server.
        """
        ...

    async def console(self, provider_id: str) -> str | None:
        """The end of what the server wrote to its console, at most `MAX_CONSOLE` characters, control characters other
        than newlines taken out; "" where it wrote nothing yet, None where the service keeps no console.

        MUST raise NotFound where the server is gone (as `get` does). Repetition: harmless, but a service may give each
        part out only once, so that a later answer has only what was written since. A console may hold secrets of the
        guest's own: the caller shows it to people who may see the server, and never logs it.
        """
        ...

    async def close(self) -> None:
        """Release connections. Repetition: harmless. Calls in flight may raise Unavailable."""
        ...
