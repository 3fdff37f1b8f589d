"""What Nova tells about servers and flavors, as the contract has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from moorage.hosting.contract import Address, AddressType, ServerRecord, ServerState
from moorage.hosting.errors import clean

KEY: Final = "moorage-key"
OFFERING: Final = "moorage-offering"
"""Metadata of a server whose flavor was asked for by its id: the id, a blank, and the flavor's name then."""
OWN: Final = frozenset({KEY, OFFERING})

_STATES: Final[Mapping[str, ServerState]] = {
    "ACTIVE": ServerState.RUNNING,
    "PASSWORD": ServerState.RUNNING,
    "REBOOT": ServerState.RUNNING,
    "HARD_REBOOT": ServerState.RUNNING,
    "MIGRATING": ServerState.RUNNING,
    "VERIFY_RESIZE": ServerState.RUNNING,
    "BUILD": ServerState.PENDING,
    "REBUILD": ServerState.PENDING,
    "RESIZE": ServerState.PENDING,
    "REVERT_RESIZE": ServerState.PENDING,
    "SHUTOFF": ServerState.STOPPED,
    "PAUSED": ServerState.STOPPED,
    "SUSPENDED": ServerState.STOPPED,
    "SHELVED": ServerState.STOPPED,
    "SHELVED_OFFLOADED": ServerState.STOPPED,
    "ERROR": ServerState.FAILED,
    "SOFT_DELETED": ServerState.TERMINATING,
    "DELETED": ServerState.TERMINATING,
}
_DELETING: Final = frozenset({"deleting", "soft-deleting"})
DELETED: Final = "DELETED"
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F-]{32,36}$")]


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Ip(_Told):
    """An address in a network."""

    addr: str
    type: str = Field(default="fixed", alias="OS-EXT-IPS:type")


class EmbeddedFlavor(_Told):
    """The flavor a server was made with."""

    original_name: str


class Fault(_Told):
    """Why a server is in state ERROR."""

    message: str = ""


class Server(_Told):
    """A server, at microversion 2.79. Of one in a cell that is down Nova tells no more than id and state: that does not
    parse, on purpose."""

    id: Id
    name: str
    status: str
    metadata: dict[str, str]
    flavor: EmbeddedFlavor
    created: datetime
    addresses: dict[str, tuple[Ip, ...]] = {}
    image: Any = None
    fault: Fault | None = None
    host_id: str = Field(default="", alias="hostId")
    zone: str = Field(default="", alias="OS-EXT-AZ:availability_zone")
    task: str | None = Field(default=None, alias="OS-EXT-STS:task_state")
    ipv4: str = Field(default="", alias="accessIPv4")
    ipv6: str = Field(default="", alias="accessIPv6")

    def record(self, external: tuple[str, ...]) -> ServerRecord:
        """The server, as the contract has it. `external` names the networks whose addresses everybody can reach."""
        state = _STATES.get(self.status, ServerState.UNKNOWN)
        if self.task in _DELETING:
            state = ServerState.TERMINATING
        return ServerRecord(
            provider_id=self.id,
            key=self.metadata.get(KEY),
            tags={name: value for name, value in self.metadata.items() if name not in OWN},
            state=state,
            addresses=self._addresses(external),
            created=self.created,
            message=self._message(),
            name=self.name,
            image=str(self.image["id"]) if isinstance(self.image, Mapping) and "id" in self.image else None,
            offering=self.offering,
            zone=self.zone or None,
        )

    @property
    def offering(self) -> str:
        """The flavor, as it was asked for. That of a resize which nobody has confirmed yet is marked: it is not over,
        and asked for once more, `resize` confirms it."""
        name = self.flavor.original_name
        asked, _, then = self.metadata.get(OFFERING, "").partition(" ")
        shown = asked if asked and then == name else name
        return f"{shown} (to be confirmed)" if self.status == "VERIFY_RESIZE" else shown

    def _message(self) -> str:
        if self.fault is not None and self.status == "ERROR":
            return clean(self.fault.message or "Nova tells no reason")
        usual = {"ACTIVE", "BUILD", "SHUTOFF"}
        return "" if self.status in usual else clean(f"Nova's state is {self.status}")

    def _addresses(self, external: tuple[str, ...]) -> tuple[Address, ...]:
        found: dict[str, AddressType] = {}
        for network, ips in self.addresses.items():
            for ip in ips:
                public = ip.type == "floating" or network in external
                found[ip.addr] = AddressType.EXTERNAL if public else AddressType.INTERNAL
        for access in (self.ipv4, self.ipv6):
            if access:
                found[access] = AddressType.EXTERNAL
        return tuple(Address(kind, address) for address, kind in found.items())


class Created(_Told):
    """What Nova answers to a creation."""

    id: Id


class Flavor(_Told):
    """A size."""

    id: str
    name: str
    vcpus: int
    ram: int


class Absolute(_Told):
    """The project's limits. -1: none."""

    instances: int = Field(alias="maxTotalInstances")
    used: int = Field(alias="totalInstancesUsed")


class Image(_Told):
    """A boot image."""

    id: Id
    name: str | None = None
    status: str = "active"
