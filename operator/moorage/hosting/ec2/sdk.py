"""What the SDK knows of EC2, cut down to what is asked of it.

EC2 has 800 operations, and the SDK makes a method for each of them, for each client anew: 8 ms of CPU instead of 2,
during which no other thread runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import botocore.session
from botocore.loaders import Loader, create_loader

OPERATIONS: Final = frozenset(
    {
        "AssociateAddress",
        "AttachVolume",
        "CreateTags",
        "CreateVolume",
        "DeleteVolume",
        "DescribeAddresses",
        "DescribeImages",
        "DescribeInstanceTypes",
        "DescribeInstances",
        "DescribeSecurityGroups",
        "DescribeSpotPriceHistory",
        "DescribeVolumes",
        "DetachVolume",
        "DisassociateAddress",
        "GetConsoleOutput",
        "RunInstances",
        "StartInstances",
        "StopInstances",
        "TerminateInstances",
    }
)
"""All that this package asks of EC2."""


class _Loader(Loader):
    """Reads descriptions as the SDK's own loader does, and gives those of EC2 cut down."""

    def __init__(self) -> None:
        super().__init__()
        self._ec2: Mapping[str, Any] | None = None

    def load_service_model(
        self, service_name: str, type_name: str, api_version: str | None = None
    ) -> Mapping[str, Any]:
        """See botocore."""
        if (service_name, type_name) != ("ec2", "service-2"):
            found: Mapping[str, Any] = super().load_service_model(service_name, type_name, api_version)
            return found
        if self._ec2 is None:
            # By a loader of its own, which keeps what it read for as long as it lives.
            self._ec2 = only(create_loader().load_service_model(service_name, type_name, api_version), OPERATIONS)
        return self._ec2


def only(model: Mapping[str, Any], operations: frozenset[str]) -> Mapping[str, Any]:
    """A service's description with these operations alone, and the shapes that they use. Raises KeyError where it has
    not all of them."""
    kept = {name: model["operations"][name] for name in sorted(operations)}
    shapes: dict[str, Any] = {}
    left = list(_named(kept))
    while left:
        name = left.pop()
        if name not in shapes:
            shapes[name] = model["shapes"][name]
            left += _named(shapes[name])
    return {**model, "operations": kept, "shapes": shapes}


def _named(part: Any) -> Iterator[str]:
    """The shapes that a part of a description names."""
    if isinstance(part, Mapping):
        if isinstance(part.get("shape"), str):
            yield part["shape"]
        for inner in part.values():
            yield from _named(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _named(inner)


def new_session() -> botocore.session.Session:
    """A session of the SDK that reads descriptions once for the process."""
    session = botocore.session.Session()
    session.register_component("data_loader", _loader())
    return session


@cache
def _loader() -> _Loader:
    return _Loader()


@cache
def shared_session() -> botocore.session.Session:
    """Of all clients whose credentials were given: it holds none, and takes a tenth of a second of CPU to make."""
    return new_session()
