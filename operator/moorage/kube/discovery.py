"""Which resource a kind is on the API server, asked of it and remembered for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from moorage.kube.client import Client
from moorage.kube.errors import NotFound
from moorage.kube.kinds import Kind

REMEMBERED = 300.0
"""Seconds that an answer is good for a kind that is in it."""
REMEMBERED_ABSENT = 5.0
"""... and for one that is not."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as it is addressed, and whether it can be listed and watched."""

    kind: Kind
    watchable: bool


class Discovery:
    """Answers for a group and version come from one request."""

    def __init__(self, client: Client, *, steady: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._steady = steady
        self._known: dict[str, tuple[float, Mapping[str, Resource]]] = {}

    async def find(self, api_version: str, kind: str) -> Resource | None:
        """The resource of that kind; None where the API server has none. Raises ApiError."""
        known = self._known.get(api_version)
        if known is not None:
            keep = REMEMBERED if kind in known[1] else REMEMBERED_ABSENT
            if self._steady() - known[0] < keep:
                return known[1].get(kind)
        try:
            found = _read(api_version, await self._client.resources(api_version))
        except NotFound:
            found = {}
        self._known[api_version] = (self._steady(), found)
        return found.get(kind)

    def forget(self, api_version: str) -> None:
        """What was known turned out to be wrong."""
        self._known.pop(api_version, None)


def _read(api_version: str, resources: object) -> dict[str, Resource]:
    """Subresources have a kind too, but are nothing of which there is a list."""
    group, _, version = api_version.rpartition("/")
    found: dict[str, Resource] = {}
    for entry in resources if isinstance(resources, list | tuple) else ():
        plural, kind = str(entry.get("name", "")), str(entry.get("kind", ""))
        if "/" in plural or kind in found:
            continue
        verbs = set(entry.get("verbs") or ())
        resource = Kind(group, version, plural, kind, namespaced=bool(entry.get("namespaced")))
        found[kind] = Resource(resource, {"list", "watch"} <= verbs)
    return found
