"""The differences between what runs and what would, server by server, with what makes each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from moorage.api.names import server_name
from moorage.api.virtualserver import VirtualServer
from moorage.api.virtualserverconfig import VirtualServerConfig, VirtualServerConfigSpec
from moorage.cli.plan.foresee import Foreseen
from moorage.cli.plan.gather import Gathered
from moorage.controllers.exhaustion import asks_for_spot
from moorage.core.pricing import market_price
from moorage.core.rollout import MemberWant, Template
from moorage.core.services import ServiceView, service_view
from moorage.kube.errors import InvalidObject

_GOES = frozenset({"ScaledDown", "MemberRemoved", "Released", "Moved", "FailedOver", "GroupDeleted"})
"""Reasons of removals after which the group makes no server of that name."""
_PARTS: tuple[tuple[str, Callable[[VirtualServerConfigSpec], Iterable[Any]], str], ...] = (
    ("item", lambda spec: spec.configuration, "name"),
    ("file", lambda spec: spec.files, "path"),
    ("step", lambda spec: spec.steps, "name"),
    ("output", lambda spec: spec.outputs, "name"),
)


class Action(StrEnum):
    """What becomes of a server."""

    CREATE = "Create"
    REPLACE = "Replace"
    REVISE = "Revise"
    UPDATE = "Update"
    REMOVE = "Remove"


class When(StrEnum):
    """When it becomes so."""

    NOW = "Now"
    LATER = "Later"
    """Paced: once others are ready again."""
    MANUAL = "OnDelete"
    """Once a person deletes the server."""


@dataclass(frozen=True, slots=True)
class Change:
    """One server. ``why`` names what makes the change: never a value of the configuration."""

    action: Action
    server: str
    member: str
    when: When = When.NOW
    why: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        named = {"action": self.action.value, "server": self.server, "member": self.member, "when": self.when.value}
        return {**named, "why": list(self.why)}


@dataclass(frozen=True, slots=True)
class MemberPrice:
    """What a member is made from where the group would be, and what it costs there for an hour, where that is known.

    It has ``servers`` of the ``asked`` ones; what keeps it from the others is told by `core.limits.withheld`.
    """

    member: str
    servers: int
    asked: int
    image: str
    offering: str
    each: Decimal | None

    @property
    def total(self) -> Decimal | None:
        """For all its servers."""
        return None if self.each is None else self.each * self.servers

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        prices = {"pricePerHour": _text(self.each), "totalPerHour": _text(self.total)}
        return {
            "member": self.member,
            "servers": self.servers,
            "asked": self.asked,
            "image": self.image,
            "offering": self.offering,
            **prices,
        }


def _text(price: Decimal | None) -> str | None:
    return None if price is None else format(price, "f")


def total(prices: Iterable[Decimal | None]) -> Decimal | None:
    """The sum, None where one is not known."""
    found = list(prices)
    return None if any(price is None for price in found) else sum((p for p in found if p is not None), Decimal(0))


class Comparison:
    """Compares one group with what runs."""

    def __init__(self, gathered: Gathered, foreseen: Foreseen) -> None:
        self._tables = gathered.tables
        self._foreseen = foreseen
        self._group = foreseen.world.group
        self._wants = {want.name: want for want in foreseen.world.wants}
        namespace, name = self._group.metadata.namespace, self._group.metadata.name
        objects = self._tables.servers.by_index("group", (namespace, name))
        self._running = {obj["metadata"]["name"]: self._tables.servers.parse(obj) for obj in objects}

    def changes(self) -> tuple[Change, ...]:
        """Every server that does not stay as it is, by name."""
        now, whole = self._foreseen.now, self._foreseen.whole
        at_once = {r.uid for r in now.removals} | {r.uid for r in now.revisions}
        later = When.MANUAL if self._group.spec.update_strategy.type == "OnDelete" else When.LATER
        found: list[Change] = []
        for removal in whole.removals:
            member = self._member(removal.name)
            goes = removal.reason in _GOES or member not in self._wants
            action = Action.REMOVE if goes else Action.REPLACE
            why = self._why_replaced(removal.name) if removal.reason == "Replaced" else ()
            when = When.NOW if removal.uid in at_once else later
            found.append(Change(action, removal.name, member, when, why or (removal.message or removal.reason,)))
        for revision in whole.revisions:
            when = When.NOW if revision.uid in at_once else later
            why = self._why_revised(revision.name)
            found.append(Change(Action.REVISE, revision.name, self._member(revision.name), when, why))
        for creation in whole.creations:
            suffix = whole.placement.suffix if whole.placement is not None else None
            name = server_name(self._group.metadata.name, creation.member, creation.ordinal, suffix)
            found.append(Change(Action.CREATE, name, creation.member))
        touched = {change.server for change in found}
        for name, _, keep in whole.retain:
            if name not in touched:
                why = (f"deletionPolicy becomes {'Retain' if keep else 'Delete'}",)
                found.append(Change(Action.UPDATE, name, self._member(name), When.NOW, why))
        return tuple(sorted(found, key=lambda c: (c.server, c.action)))

    def prices(self) -> tuple[MemberPrice, ...]:
        """Each member where the group would be."""
        placement = self._foreseen.placement
        view = None if placement is None else self._view(placement.service)
        world = self._foreseen.world
        return tuple(
            MemberPrice(
                member=want.name,
                servers=world.desired(want),
                asked=want.replicas,
                image=want.template.image,
                offering=want.template.offering,
                each=_price(view, want),
            )
            for want in world.wants
            if want.template is not None
        )

    def price_now(self) -> Decimal | None:
        """What the servers that there are cost for an hour, at the prices of now; None where one is not known."""
        return total(_paid(self._view(server.spec.service_ref.name), server) for server in self._running.values())

    def _member(self, name: str) -> str:
        server = self._running.get(name)
        return "" if server is None else server.spec.member or ""

    def _view(self, name: str) -> ServiceView | None:
        try:
            service = self._tables.services.parsed(None, name)
        except InvalidObject:
            return None
        return None if service is None else service_view(service)

    def _why_replaced(self, name: str) -> tuple[str, ...]:
        server, want = self._running.get(name), self._wants.get(self._member(name))
        if server is None or want is None or want.template is None:
            return ()
        return tuple(_differences(server, want.template))

    def _why_revised(self, name: str) -> tuple[str, ...]:
        server = self._running.get(name)
        want = self._wants.get(self._member(name))
        kept = None if server is None or server.spec.revision is None else self._kept(server.spec.revision)
        config = None if want is None else self._config(want.config)
        if kept is None or config is None:
            return ("the configuration changed",)
        return tuple(_parts(kept, config.spec)) or ("the configuration changed",)

    def _kept(self, revision: str) -> VirtualServerConfigSpec | None:
        found = self._tables.revisions.parsed(self._group.metadata.namespace, revision)
        return None if found is None else found.spec

    def _config(self, name: str) -> VirtualServerConfig | None:
        return self._tables.configs.parsed(self._group.metadata.namespace, name)


def _price(view: ServiceView | None, want: MemberWant) -> Decimal | None:
    made_of = want.template
    return None if made_of is None else _offered(view, made_of.offering, made_of.interruptible)


def _paid(view: ServiceView | None, server: VirtualServer) -> Decimal | None:
    lent = view is not None and asks_for_spot(view.type, server.spec.settings)
    return _offered(view, server.spec.offering or "", lent)


def _offered(view: ServiceView | None, offering: str, interruptible: bool) -> Decimal | None:
    offerings = () if view is None else view.offerings
    return next((market_price(o, interruptible) for o in offerings if o.name == offering), None)


def _differences(server: VirtualServer, template: Template) -> Iterator[str]:
    """What another server would be made from."""
    spec = server.spec
    if spec.image != template.image:
        yield f"image {spec.image} -> {template.image}"
    if spec.offering != template.offering:
        yield f"size {spec.offering} -> {template.offering}"
    own = template.own(spec.settings)
    for key in sorted({*own, *template.settings}):
        old, new = spec.settings.get(key), template.settings.get(key)
        if old != new:
            yield f"settings {key} {_shown(spec.settings, key)} -> {_shown(template.settings, key)}"


def _shown(settings: Mapping[str, Any], key: str) -> str:
    return str(settings[key]) if key in settings else "(not set)"


def _parts(old: VirtualServerConfigSpec, new: VirtualServerConfigSpec) -> Iterator[str]:
    """The parts of a configuration that differ, by name: their values may be sensitive."""
    for word, part, key in _PARTS:
        before = {getattr(one, key): one for one in part(old)}
        after = {getattr(one, key): one for one in part(new)}
        for name in sorted({*before, *after}):
            if name not in before:
                yield f"{word} {name} added"
            elif name not in after:
                yield f"{word} {name} removed"
            elif before[name] != after[name]:
                yield f"{word} {name} changed"
    if old.readiness != new.readiness:
        yield "readiness changed"


def counted(changes: Sequence[Change]) -> dict[Action, int]:
    """How many of each."""
    return {action: sum(change.action is action for change in changes) for action in Action}
