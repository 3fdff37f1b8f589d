"""Which kinds of hosting service there are: the built-in ones and those of installed packages.

A package adds a kind with an entry point in the group `moorage.backends`, whose name is the type and whose object is
a `BackendFactory`. A package that fails to load costs its own type only, and says so when the type is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from moorage.hosting.errors import Invalid, clean
from moorage.hosting.factory import BackendFactory
from moorage.hosting.local import FACTORY as LOCAL

GROUP = "moorage.backends"
BUILT_IN = (LOCAL,)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Registry:
    """The types that can be opened, and why others that are installed cannot."""

    types: Mapping[str, BackendFactory]
    problems: Mapping[str, str]

    def get(self, name: str) -> BackendFactory:
        """The factory of a type. Raises Invalid(field="type") that names the types there are."""
        factory = self.types.get(name)
        if factory is not None:
            return factory
        known = ", ".join(sorted(self.types))
        if name in self.problems:
            raise Invalid(f"backend {name} is installed but failed to load: {self.problems[name]}", field="type")
        raise Invalid(f"no backend of type {name!r}; there are: {known}", field="type")


def load(built_in: Iterable[BackendFactory], points: Iterable[EntryPoint]) -> Registry:
    """A registry of the built-in factories and those the entry points name. A built-in type is never replaced."""
    types = {factory.type: factory for factory in built_in}
    problems: dict[str, str] = {}
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        if point.name in types:
            log.warning("backend %s of %s ignored: the type is taken", point.name, point.value)
            continue
        try:
            factory = point.load()
        except Exception as error:  # noqa: BLE001 - another package's import may raise anything
            problems[point.name] = clean(f"{type(error).__name__}: {error}")
        else:
            if isinstance(factory, BackendFactory) and factory.type == point.name:
                types[point.name] = factory
            else:
                problems[point.name] = f"{point.value} is not a BackendFactory of type {point.name}"
    for name, problem in problems.items():
        log.warning("backend %s failed to load: %s", name, problem)
    return Registry(types=MappingProxyType(types), problems=MappingProxyType(problems))


@cache
def registry() -> Registry:
    """The registry of this process, read once."""
    return load(BUILT_IN, entry_points(group=GROUP))


def backend_types() -> Mapping[str, BackendFactory]:
    """The types that can be opened, by name."""
    return registry().types


def backend(name: str) -> BackendFactory:
    """The factory of a type. Raises Invalid(field="type")."""
    return registry().get(name)
