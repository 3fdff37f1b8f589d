"""Plain http: what travels so can be read on the way, so it is for this machine's own network only.

Each call carries a credential (a token, a password, a session), and each creation the join token of a server.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

from pydantic import Field
from yarl import URL

from moorage.hosting.errors import Invalid

AllowPlainHttp = Annotated[
    bool,
    Field(
        description="Send credentials and servers' join tokens by plain http to an address that is not of this "
        "machine: everybody on the way can read and use them.",
    ),
]
"""The setting `allowPlainHttp`, the same for every backend that speaks http; its default is false."""


def refuse_plain(url: URL | str, allowed: bool, *, field: str = "endpoint") -> None:
    """Raises Invalid for plain http to anything but this machine itself, unless `allowed`."""
    try:
        found = URL(url)
    except ValueError:
        raise Invalid("is not a URL", field=field) from None
    if allowed or found.scheme != "http" or _is_here(found.host or ""):
        return
    raise Invalid(
        "credentials and join tokens would travel by plain http, readable on the way: write https://, or accept that "
        "by the setting allowPlainHttp",
        field=field,
    )


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
