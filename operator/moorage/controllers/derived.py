"""What follows from specs alone, computed once for each of their generations: groups look at it at every change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.hostingservice import HostingService
from moorage.api.selection import Select
from moorage.api.virtualserverconfig import VirtualServerConfig
from moorage.controllers.exhaustion import spot_settings
from moorage.controllers.revisions import revision_name
from moorage.core.obstacles import Obstacle
from moorage.core.placement import MemberTemplate, Rejection, Spot, resolve_turns
from moorage.core.problems import joined
from moorage.core.services import service_view
from moorage.core.validation import validate

T = TypeVar("T")
REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """What follows from one generation of a configuration: the name of its revision, and what is wrong with it."""

    revision: str
    problem: Obstacle | None


class Derived:
    """A bounded memory of results, each kept with the basis that it was computed from."""

    def __init__(self) -> None:
        self._results: OrderedDict[tuple[str, str], tuple[object, Any]] = OrderedDict()

    def kept(self, what: str, key: str, basis: object, compute: Callable[[], T]) -> T:
        """The result of ``compute`` for ``key``, computed anew where the basis is another one."""
        known = self._results.get((what, key))
        if known is not None and known[0] == basis:
            result: T = known[1]
            return result
        result = compute()
        self._results[what, key] = (basis, result)
        self._results.move_to_end((what, key))
        while len(self._results) > REMEMBERED:
            self._results.popitem(last=False)
        return result

    def of_config(self, config: VirtualServerConfig) -> ConfigFacts:
        """What follows from a configuration's spec."""
        return self.kept("config", config.metadata.uid, config.metadata.generation, lambda: _config_facts(config))

    def turns(
        self, config: VirtualServerConfig, service: HostingService, policy: HostingPolicy | None
    ) -> tuple[MemberTemplate, ...] | Rejection:
        """What servers of this configuration are made from on the service, in turn, or why it has nothing for them."""
        select = policy.spec.select if policy is not None else Select()
        spot = Spot(select.spot, spot_settings)
        basis = (identity(config), identity(service), identity(policy), service.status.offerings, service.status.images)
        key = f"{config.metadata.uid}/{service.metadata.uid}/{policy.metadata.uid if policy is not None else ''}"
        return self.kept(
            "turns",
            key,
            basis,
            lambda: resolve_turns(config.spec, service_view(service), select.requirements, spot),
        )

    def turns_of(
        self, config: VirtualServerConfig, service: HostingService, offering: str
    ) -> tuple[MemberTemplate, ...] | Rejection:
        """What servers are made from where no policy can be read: of the offering that the last one let them have."""
        found = self.turns(config, service, None)
        same = () if isinstance(found, Rejection) else tuple(t for t in found if t.offering.name == offering)
        if same:
            return same
        # It may be of another architecture than what would come first without any requirement.
        view = service_view(service)
        return resolve_turns(
            config.spec, replace(view, offerings=tuple(o for o in view.offerings if o.name == offering))
        )


def identity(obj: VirtualServerConfig | HostingService | HostingPolicy | None) -> tuple[str, int] | None:
    """Changes with an object's spec."""
    return None if obj is None else (obj.metadata.uid, obj.metadata.generation)


def _config_facts(config: VirtualServerConfig) -> ConfigFacts:
    name, found, problem = config.metadata.name, validate(config.spec), None
    if found:
        message = f"VirtualServerConfig {name}: {joined(map(str, found))}"
        problem = Obstacle("ConfigInvalid", message, stalled=True)
    return ConfigFacts(revision_name(name, config.spec), problem)
