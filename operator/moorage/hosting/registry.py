"""Which kinds of hosting service there are: the built-in ones and those of installed packages.

A package adds a kind with an entry point in the group `moorage.backends`, whose name is the type and whose object is
a `BackendFactory`. A package that fails to load costs its own type only, and says so when the type is asked for.
Nothing is imported before its type is asked for: a provider's SDK costs memory and a second of start.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from types import MappingProxyType

from moorage.hosting.errors import Invalid, clean
from moorage.hosting.factory import BackendFactory

GROUP = "moorage.backends"
DISTRIBUTION = "moorage"
BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "ec2": "boto3",
        "hetzner": "hcloud",
        "incus": "aiohttp",
        "kubevirt": "kubernetes",
        "libcloud": "libcloud",
        "libvirt": "libvirt",
        "local": "aiohttp",
        "openstack": "keystoneauth1",
    }
)
"""Built-in types, each in `moorage.hosting.<type>` and with the module that its extra `moorage[<type>]` brings."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a type comes from: the distribution and its version, and why it cannot be opened ("" where it can)."""

    type: str
    distribution: str
    version: str
    problem: str = ""


@dataclass(slots=True)
class Registry:
    """The types there are. Loaded factories are kept."""

    built_in: Mapping[str, str]
    points: Mapping[str, EntryPoint]
    _loaded: dict[str, BackendFactory] = field(default_factory=dict)
    _problems: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All types, those that cannot be opened too."""
        return tuple(sorted({*self.built_in, *self.points}))

    def get(self, name: str) -> BackendFactory:
        """The factory of a type. Raises Invalid(field="type") that says what to install, or which types there are."""
        factory = self._loaded.get(name)
        if factory is not None:
            return factory
        if name not in self.built_in and name not in self.points:
            known = ", ".join(self.names)
            raise Invalid(
                f"no backend of type {name!r}: install the package that brings it (an entry point {name} of the group "
                f"{GROUP}); there are: {known}",
                field="type",
            )
        if name not in self._problems:
            try:
                return self._loaded.setdefault(name, self._load(name))
            except Exception as error:  # noqa: BLE001 - another package's import may raise anything
                self._problems[name] = self._explain(name, error)
                # Whoever did not install an extra did not ask for it; whoever asks for its type is told.
                log.log(logging.INFO if self._lacks_extra(name, error) else logging.WARNING, "%s", self._problems[name])
        raise Invalid(self._problems[name], field="type")

    def source(self, name: str) -> Source:
        """Where the type comes from, and whether it can be opened."""
        point = self.points.get(name) if name not in self.built_in else None
        dist = point.dist if point is not None else None
        try:
            named, told = (dist.name, dist.version) if dist else (DISTRIBUTION, version(DISTRIBUTION))
        except PackageNotFoundError:
            named, told = DISTRIBUTION, ""
        try:
            self.get(name)
        except Invalid as error:
            return Source(name, named, told, error.message)
        return Source(name, named, told)

    def _load(self, name: str) -> BackendFactory:
        if name in self.built_in:
            factory = import_module(f"moorage.hosting.{name}").FACTORY
        else:
            factory = self.points[name].load()
        if not isinstance(factory, BackendFactory) or factory.type != name:
            raise TypeError(f"is not a BackendFactory of type {name}")
        return factory

    def _lacks_extra(self, name: str, error: Exception) -> bool:
        missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        return name in self.built_in and missing == self.built_in[name]

    def _explain(self, name: str, error: Exception) -> str:
        if self._lacks_extra(name, error):
            return f"backend {name} needs its extra, which is not installed: pip install '{DISTRIBUTION}[{name}]'"
        return f"backend {name} is installed but failed to load: " + clean(f"{type(error).__name__}: {error}")


def load(built_in: Mapping[str, str], points: Iterable[EntryPoint]) -> Registry:
    """A registry of the built-in types and those the entry points name. A built-in type is never replaced."""
    found: dict[str, EntryPoint] = {}
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        if point.name in built_in or point.name in found:
            log.warning("backend %s of %s ignored: the type is taken", point.name, point.value)
        else:
            found[point.name] = point
    return Registry(built_in=built_in, points=MappingProxyType(found))


@cache
def registry() -> Registry:
    """The registry of this process, read once."""
    return load(BUILT_IN, entry_points(group=GROUP))


def backend(name: str) -> BackendFactory:
    """The factory of a type. Raises Invalid(field="type")."""
    return registry().get(name)
