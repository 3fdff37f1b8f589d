"""What would happen to a group if the files were applied now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from moorage.api.placement import Placement
from moorage.cli.plan.changes import Action, Change, MemberPrice, When, counted, total
from moorage.cli.plan.foresee import Foreseen
from moorage.cli.plan.outlook import dues, unless
from moorage.cli.views.explain import candidates_table, next_looks, point, readings_table, rejected_table, table
from moorage.cli.views.safe import cell, safe
from moorage.core.limits import Withheld, withheld
from moorage.core.obstacles import Obstacle
from moorage.core.placement.views import price_text

_MARKS = {
    Action.CREATE: ("+", "green"),
    Action.REPLACE: ("±", "yellow"),
    Action.REVISE: ("~", "cyan"),
    Action.UPDATE: ("~", "cyan"),
    Action.REMOVE: ("-", "red"),
}
_ASCII = {"±": "!"}
_WORDS = {
    Action.CREATE: "to be created",
    Action.REPLACE: "to be replaced",
    Action.REVISE: "to be revised in place",
    Action.UPDATE: "to be updated in place",
    Action.REMOVE: "to be removed",
}
_VERDICTS = {"Met": "green", "Unmet": "yellow", "Unknown": "yellow"}


@dataclass(frozen=True, slots=True)
class PlanView:
    """Everything that `moorage plan` says of one group."""

    foreseen: Foreseen
    changes: tuple[Change, ...]
    members: tuple[MemberPrice, ...]
    price_now: Decimal | None

    @property
    def _running(self) -> bool:
        return bool(self.foreseen.world.servers)

    def problems(self) -> list[tuple[str, str]]:
        """What keeps the group from being as it is asked for."""
        world = self.foreseen.world
        found = [(p.reason, p.message) for p in world.problems]
        found += [want.problem for want in world.wants if want.problem is not None]
        found += [(d.reason, f"member {m}: item {d.item}: {d.message}") for m, d in self.foreseen.dangling]
        if isinstance(world.proposal, Obstacle):
            found.append((world.proposal.reason, world.proposal.message))
        if self.foreseen.now.remediation_blocked:
            found.append(("RemediationBlocked", self.foreseen.now.remediation_blocked))
        return list(dict.fromkeys(found))

    def withheld(self) -> tuple[Withheld, ...]:
        """The servers that are asked for and not made; of a group that gives all of its servers back, there is none."""
        return () if self.foreseen.now.phase == "Releasing" else withheld(self.foreseen.world)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        foreseen, policy = self.foreseen, self.foreseen.policy
        view = foreseen.world.policy
        placement, hypothetical = foreseen.placement, foreseen.hypothetical
        price = total(member.total for member in self.members) if self.members else None
        status = policy.status.to_dict() if policy is not None else {}
        return {
            "group": foreseen.group.metadata.name,
            "new": foreseen.current is None,
            "policy": {
                "name": view.name,
                "verdict": view.verdict,
                "message": view.message,
                "readings": status.get("readings", []),
                "nextCheckTime": status.get("nextCheckTime"),
            },
            "placement": placement.to_dict() if placement is not None else None,
            "ifMet": hypothetical.to_dict() if isinstance(hypothetical, Placement) else None,
            "ifLeft": foreseen.refuge.to_dict() if isinstance(foreseen.refuge, Placement) else None,
            "ifLeftUnknown": _why(foreseen.refuge),
            "candidates": [c.to_dict() for c in self._in_vain()],
            "wouldChange": list(foreseen.would_change),
            "members": [member.to_dict() for member in self.members],
            "pricePerHour": None if price is None else format(price, "f"),
            "pricePerHourNow": None if self.price_now is None else format(self.price_now, "f"),
            "phase": foreseen.now.phase,
            "message": foreseen.now.message,
            "problems": [{"reason": reason, "message": message} for reason, message in self.problems()],
            "withheld": [_withheld(one) for one in self.withheld()],
            "changes": [change.to_dict() for change in self.changes],
        }

    def _in_vain(self) -> tuple[Any, ...]:
        for found in (self.foreseen.world.proposal, self.foreseen.hypothetical):
            if isinstance(found, Obstacle):
                return found.candidates
        return ()

    def show(self, now: datetime, *, ascii_only: bool = False) -> list[RenderableType]:
        """The parts, top down."""
        group = self.foreseen.group
        title = Text("group ").append(group.metadata.name, style="bold")
        if self.foreseen.current is None:
            title.append(" (new)")
        parts: list[RenderableType] = [title, *self._verdict()]
        policy = self.foreseen.policy
        if policy is not None:
            if policy.status.readings:
                parts.append(readings_table(policy.status.readings, now))
            parts.append(Text(next_looks(dues(policy, self.foreseen.world, now), now)))
        parts += [Text(), *self._where()]
        if self.members:
            parts += [Text(), self._members()]
            parts += [
                point(f"{one.reason}: member {one.member} gets {one.gets} of {one.asked} servers: {one.message}")
                for one in self.withheld()
            ]
        parts += [point(f"{reason}: {message}") for reason, message in self.problems()]
        return [*parts, Text(), *self._changes(ascii_only)]

    def _verdict(self) -> Iterator[Text]:
        view = self.foreseen.world.policy
        if view.problem is not None:
            yield Text(safe(view.message), style="red")
            return
        yield Text(f"policy {view.name} is ").append(view.verdict, style=_VERDICTS[view.verdict])
        if view.verdict != "Met":
            # The readings that follow are what groups share: what is asked of this one alone is said nowhere else.
            yield Text(safe(view.message))

    def _where(self) -> Iterator[RenderableType]:
        current = self.foreseen.current
        recorded = current.status.placement if current is not None else None
        placement, hypothetical = self.foreseen.placement, self.foreseen.hypothetical
        if placement is not None and recorded is not None and placement.number == recorded.number:
            yield Text("stays on ").append(placement.service, style="bold green")
            yield from self._refuge()
        elif placement is not None:
            yield from _decision("would be placed on ", placement)
        elif isinstance(hypothetical, Placement):
            yield from _decision(f"not placed; {unless(self.foreseen.world)}, it would be on ", hypothetical)
        else:
            why = hypothetical.message if isinstance(hypothetical, Obstacle) else self.foreseen.now.message
            yield Text(f"not placed{': ' + safe(why) if why else ''}", style="yellow")
            if self._in_vain():
                yield rejected_table(self._in_vain())
            yield from _would_change("what would let one take it", self.foreseen.would_change)

    def _refuge(self) -> Iterator[Text]:
        """Where a group that stays would go."""
        refuge = self.foreseen.refuge
        if isinstance(refuge, Placement):
            text = Text("were it to leave, it would go to ").append(refuge.service, style="bold")
            yield text.append(f": {safe(refuge.message)}")
        elif refuge is not None and refuge.candidates:
            yield Text(f"were it to leave: {safe(refuge.message)}")
        elif refuge is not None:
            yield Text(f"were it to leave, where it would go is unknown: {safe(refuge.message)}")

    def _members(self) -> Table:
        shown = table("MEMBER", "SERVERS", "IMAGE", "OFFERING", "EACH", "ALL")
        for member in self.members:
            each, every = price_text(member.each), price_text(member.total)
            servers = str(member.servers) if member.servers >= member.asked else f"{member.servers} of {member.asked}"
            shown.add_row(member.member, servers, cell(member.image), cell(member.offering), each, every)
        price = price_text(total(member.total for member in self.members))
        if self._running and price_text(self.price_now) != price:
            price += f" (now {price_text(self.price_now)})"
        shown.add_row("total", str(sum(member.servers for member in self.members)), "", "", "", price)
        return shown

    def _changes(self, ascii_only: bool) -> Iterator[RenderableType]:
        if not self.changes:
            message = self.foreseen.now.message
            yield Text(f"nothing to be done{': ' + safe(message) if message else ''}")
            return
        counts = counted(self.changes)
        yield Text(", ".join(f"{counts[action]} {word}" for action, word in _WORDS.items() if counts[action]))
        shown = table("", "SERVER", "CHANGE", "WHY")
        for change in self.changes:
            mark, style = _MARKS[change.action]
            mark = _ASCII.get(mark, mark) if ascii_only else mark
            word = change.action.value.lower() + _when(change.when)
            shown.add_row(Text(mark, style=style), change.server, word, cell("; ".join(change.why)))
        yield shown
        if self.foreseen.now.message:
            yield Text(safe(self.foreseen.now.message))
        if any(change.when is When.LATER for change in self.changes):
            strategy = self.foreseen.group.spec.update_strategy
            yield Text(f"servers change in turn: at most {strategy.max_unavailable} of a member not ready at a time")


def _when(when: When) -> str:
    return {When.NOW: "", When.LATER: ", in turn", When.MANUAL: ", once it is deleted"}[when]


def _decision(words: str, placement: Placement) -> Iterator[RenderableType]:
    text = Text(words).append(placement.service, style="bold green")
    yield text.append(f": {safe(placement.message)}" if placement.message else "")
    if placement.candidates:
        yield candidates_table(placement.candidates, placement.service)
    yield from _would_change("what would change the choice", placement.would_change)


def _would_change(title: str, sentences: Sequence[str]) -> Iterator[RenderableType]:
    if sentences:
        yield Text(title)
        yield from map(point, sentences)


def _why(refuge: Placement | Obstacle | None) -> dict[str, str] | None:
    return {"reason": refuge.reason, "message": refuge.message} if isinstance(refuge, Obstacle) else None


def _withheld(one: Withheld) -> dict[str, Any]:
    named = {"member": one.member, "asked": one.asked, "servers": one.gets}
    return {**named, "reason": one.reason, "message": one.message}
