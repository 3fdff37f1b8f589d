"""Where questions of policies may go: the platform team's list, and the addresses behind its names.

The list has two kinds of entries. `https://prometheus.example.org:9090` names a scheme, a host (`*.example.org`: every
name below it) and a port. `127.0.0.0/8` is a range of addresses that a listed name may lead to although names mostly
must not: this machine itself, the link, and what clouds serve to each machine (their metadata, credentials included).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
_PORTS: Final = {"http": 80, "https": 443}
_NAME = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_METADATA: Final = frozenset(
    ip_address(text)
    for text in ("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254")
)
"""Where clouds serve what belongs to the machine alone; most are link-local anyway."""
_NAT64: Final = IPv6Network("64:ff9b::/96")


class TargetError(ValueError):
    """An entry of the list, or a URL, that is none. The message says what to write."""


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")

    @property
    def address(self) -> Address | None:
        """The address, where the host is one."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None


def target_of(url: str) -> Target:
    """Whom a URL asks. Raises TargetError."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise TargetError(f"{url!r} is not a URL") from None
    if parts.scheme not in _PORTS or not host or parts.username is not None or parts.password is not None:
        raise TargetError(f"{url!r} is not http://HOST[:PORT] or https://HOST[:PORT]")
    if parts.query or parts.fragment or port == 0:
        raise TargetError(f"{url!r} has a query, a fragment or the port 0")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme])


@dataclass(frozen=True, slots=True)
class AllowList:
    """The platform team's list; empty: nothing is allowed."""

    targets: frozenset[Target] = frozenset()
    addresses: tuple[str, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> AllowList:
        """Read the list. Raises TargetError for what is neither a target nor a range of addresses."""
        targets, addresses = set(), []
        for entry in (e.strip() for e in entries):
            if "://" in entry:
                targets.add(_listed(entry))
            elif entry:
                addresses.append(_range(entry))
        return cls(frozenset(targets), tuple(addresses))

    def allows(self, target: Target) -> bool:
        """Whether this may be asked at all."""
        names = [target.host]
        if target.address is None:
            labels = target.host.split(".")
            names += [f"*.{'.'.join(labels[n:])}" for n in range(1, len(labels))]
        return any(Target(target.scheme, name, target.port) in self.targets for name in names)

    def reaches(self, target: Target, address: Address) -> bool:
        """Whether an allowed ``target`` may be asked at this address, which its name was resolved to.

        An address that is the target itself was listed as such.
        """
        if target.address is not None:
            return address == target.address
        if any(address in ip_network(listed) for listed in self.addresses):
            return True
        embedded = _embedded(address)
        if embedded and address in _NAT64:
            return not _is_special(embedded[0])
        return not any(_is_special(a) for a in (address, *embedded))


def _listed(entry: str) -> Target:
    target = target_of(entry)
    path = urlsplit(entry).path
    if path not in ("", "/"):
        raise TargetError(f"{entry!r} has a path; write scheme, host and port only, such as https://h.example.org:9090")
    if target.address is None and not _NAME.fullmatch(target.host):
        raise TargetError(f"{entry!r} has no host name; write one such as h.example.org, or *.example.org")
    return target


def _range(entry: str) -> str:
    try:
        return str(ip_network(entry))
    except ValueError:
        hint = "write a target such as https://h.example.org:9090, or a range of addresses such as 10.8.0.0/16"
        raise TargetError(f"{entry!r} is neither a target nor a range of addresses; {hint}") from None


def _is_special(address: Address) -> bool:
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
        or address in _METADATA
        or address == IPv4Address("255.255.255.255")
        or (isinstance(address, IPv4Address) and address.packed[0] == 0)
        or (isinstance(address, IPv6Address) and address.is_site_local)
    )


def _embedded(address: Address) -> list[Address]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, IPv4Address):
        return []
    found: list[Address] = [a for a in (address.ipv4_mapped, address.sixtofour) if a is not None]
    if address.teredo is not None:
        found.append(address.teredo[1])
    if address in _NAT64 or int(address) >> 32 == 0:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found
