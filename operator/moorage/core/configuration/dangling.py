"""Items that refer to outputs which nobody declares: told from specs alone, in the words that a server's status has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from moorage.core.configuration.compiled import CompiledConfig
from moorage.core.configuration.facts import GroupFacts, OwnFacts, ServerInput
from moorage.core.configuration.resolve import resolve
from moorage.core.configuration.words import Reason

_NOWHERE: Final = frozenset({Reason.NO_SUCH_GROUP, Reason.NO_SUCH_MEMBER, Reason.NO_SUCH_OUTPUT, Reason.NO_REPLICAS})


@dataclass(frozen=True, slots=True)
class Dangling:
    """An item whose source does not exist; ``message`` says what does not, and what is near it."""

    item: str
    reason: str
    message: str


def dangling(config: CompiledConfig, own: OwnFacts, groups: Mapping[str, GroupFacts]) -> tuple[Dangling, ...]:
    """The items of a configuration that refer to a group, a member or an output that does not exist, by name.

    Whatever servers have published: it is what ``groups`` declare that counts. Of a member without servers only the
    items without a default are told: to be without is what the default is for.
    """
    unserved = {name: _without_servers(facts) for name, facts in groups.items()}
    defaults = {item.name for item in config.spec.configuration if item.default is not None}
    found = resolve(ServerInput(_without_defaults(config), "", own, unserved)).items
    return tuple(
        Dangling(name, item.reason, f"default in force; {item.message}" if name in defaults else item.message)
        for name, item in sorted(found.items())
        if item.reason in _NOWHERE and not (item.reason == Reason.NO_REPLICAS and name in defaults)
    )


def _without_servers(facts: GroupFacts) -> GroupFacts:
    return GroupFacts({name: replace(member, servers=()) for name, member in facts.members.items()})


def _without_defaults(config: CompiledConfig) -> CompiledConfig:
    """The configuration with nothing to fall back to, which would hide why an item has no value of its own."""
    items = {
        name: replace(compiled, item=compiled.item.model_copy(update={"default": None}))
        for name, compiled in config.items.items()
    }
    return replace(config, items=items)
