"""What user-data and the environment tell the agent. The token comes by a file, never on a command line."""

from __future__ import annotations

import os
from typing import List, NamedTuple

from .store import read_json

DEFAULT_STATE = "/var/lib/moorage"


class SettingsError(Exception):
    """The agent was not told what it needs; the message says what."""


class Settings(NamedTuple):
    """Where configd is, who this server is, where files go."""

    urls: List[str]
    pin: str
    server: str
    token: str
    state: str
    root: str

    def __repr__(self) -> str:
        return "Settings(server=%r, urls=%r)" % (self.server, self.urls)


def state_directory() -> str:
    """`$MOORAGE_STATE`, or the default."""
    return os.path.abspath(os.environ.get("MOORAGE_STATE") or DEFAULT_STATE)


def read_settings() -> Settings:
    """Read `boot.json` in the state directory. Raises SettingsError."""
    state = state_directory()
    path = os.path.join(state, "boot.json")
    boot = read_json(path)
    if boot is None:
        raise SettingsError("no readable %s; the server's user-data writes it" % path)
    urls = boot.get("urls")
    if not isinstance(urls, list) or not urls or not all(isinstance(u, str) and u.startswith("https://") for u in urls):
        raise SettingsError("%s: urls must be a list of https:// addresses" % path)
    texts = {name: boot.get(name) for name in ("pin", "server", "token")}
    for name, text in texts.items():
        if not isinstance(text, str) or not text:
            raise SettingsError("%s: %s must be a text" % (path, name))
    root = os.environ.get("MOORAGE_ROOT") or ""
    return Settings(
        urls=[u.rstrip("/") for u in urls],
        pin=str(texts["pin"]).lower(),
        server=str(texts["server"]),
        token=str(texts["token"]),
        state=state,
        root=os.path.abspath(root) if root else "",
    )
