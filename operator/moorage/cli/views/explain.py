"""Why a group is where it is: what its policy was found to be, and how the hosting services compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from moorage.api.conditions import PLACED, find
from moorage.api.hostingpolicy import HostingPolicy, Reading
from moorage.api.meta import Condition
from moorage.api.placement import Candidate, Placement, Scores
from moorage.api.servergroup import ServerGroup
from moorage.cli.plan.outlook import GROUP, NOTHING_AHEAD, OWN, POLICY, Due, Outlook
from moorage.cli.views.node import age
from moorage.cli.views.safe import cell, safe
from moorage.core.placement.place import MAX_CANDIDATES
from moorage.core.policy.readings import spell

_WHAT = {
    POLICY: "the policy's conditions",
    OWN: "the group's own conditions: approvals, votes",
    GROUP: "the group and its servers",
}
_STYLES = {"Met": "green", "Unmet": "yellow", "Unknown": "dim", "True": "green", "False": "yellow"}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that `moorage explain` says."""

    group: ServerGroup
    policy: HostingPolicy | None
    outlook: Outlook = NOTHING_AHEAD

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        status = self.group.status.to_dict()
        return {
            "group": self.group.metadata.name,
            "policy": status.get("policy") or {"name": self.group.spec.policy_ref.name},
            "policyExists": self.policy is not None,
            "readings": [reading.to_dict() for reading in self._readings()],
            "due": [{"what": due.what, "at": spell(due.at)} for due in self._due()],
            "nextCheckTime": self.policy.status.to_dict().get("nextCheckTime") if self.policy else None,
            "placement": status.get("placement"),
            "candidates": status.get("candidates", []),
            "now": self._now(),
            "failover": status.get("failover"),
            "failedOver": status.get("failedOver", []),
            "conditions": status.get("conditions", []),
        }

    def notes(self) -> tuple[str, ...]:
        """What whoever asks may not see, or what could not be told."""
        found, unknown = self.outlook.notes, self.outlook.unknown
        if unknown and self.group.status.placement is not None:
            return (*found, f"what is due next is not all known: {unknown}")
        return found

    def show(self, now: datetime) -> list[RenderableType]:
        """The parts, top down."""
        parts: list[RenderableType] = [self._verdict(now)]
        readings = self._readings()
        if self.policy and readings:
            parts.append(readings_table(readings, now))
        if self.policy and (readings or self._due()):
            parts.append(Text(next_looks(self._due(), now)))
        parts += [Text(), self._placement(now)]
        placement = self.group.status.placement
        if placement and placement.candidates:
            parts.append(candidates_table(placement.candidates, placement.service))
        if placement and placement.rejected:
            counts = ", ".join(f"{count} by {reason}" for reason, count in sorted(placement.rejected.items()))
            parts.append(Text(f"rejected: {counts}"))
        if placement and placement.would_change:
            parts += [Text(), Text("what would have changed the choice"), *map(point, placement.would_change)]
        if not placement:
            parts += self._candidates()
        if self.group.status.conditions:
            parts += [Text(), _conditions(self.group.status.conditions, now, self._said())]
        return parts

    def _readings(self) -> tuple[Reading, ...]:
        """Those that the policy's groups share, then the group's own, in the order of the policy's conditions."""
        if self.policy is None:
            return ()
        order = {condition.name: number for number, condition in enumerate(self.policy.spec.when.conditions)}
        own = self.group.status.policy
        mine = own.readings if own is not None and own.name == self.policy.metadata.name else ()
        found = (*self.policy.status.readings, *mine)
        return tuple(sorted(found, key=lambda reading: order.get(reading.name, len(order))))

    def _said(self) -> set[str]:
        """Messages whose content the parts above the conditions have already."""
        status = self.group.status
        said = set()
        if self.policy and status.policy:
            said.add(status.policy.message)
        if status.placement:
            said.add(status.placement.message)
        placed = find(status.conditions, PLACED)
        # A full table may be a cut one: what the message counts is not in it then.
        shown = status.candidates if not isinstance(self.outlook.chosen, Placement) else ()
        if placed and not status.placement and 0 < len(shown) < MAX_CANDIDATES:
            said.add(placed.message)
        return said

    def _due(self) -> tuple[Due, ...]:
        """When something is due by itself; what the policy's status says is there to be seen by everyone."""
        at = self.policy.status.next_check_time if self.policy else None
        return self.outlook.due or (() if at is None else (Due(at, POLICY),))

    def _now(self) -> dict[str, Any] | None:
        """Which service would be chosen now for a group that has none."""
        outlook, chosen = self.outlook, self.outlook.chosen
        if self.group.status.placement is not None:
            return None
        if isinstance(chosen, Placement):
            return {"unless": outlook.unless, **chosen.to_dict()}
        found = [c.to_dict() for c in chosen.candidates] if chosen is not None else []
        why = chosen.message if chosen is not None else outlook.unknown
        return {"message": why, "candidates": found, "wouldChange": list(outlook.would_change)}

    def _foreseen(self) -> str:
        """Which service a group without one would be on."""
        chosen = self.outlook.chosen
        if isinstance(chosen, Placement):
            return f"; {self.outlook.unless}, it would be {chosen.service}: {safe(chosen.message)}"
        if chosen is not None and chosen.candidates:
            return f", and {safe(chosen.message)}"
        unknown = chosen.message if chosen is not None else self.outlook.unknown
        return f"; which would be is unknown: {safe(unknown)}" if unknown else ""

    def _candidates(self) -> Iterator[RenderableType]:
        """How services compare for a group that is on none, as they are now; where nobody can tell, as recorded."""
        chosen = self.outlook.chosen
        if isinstance(chosen, Placement):
            yield candidates_table(chosen.candidates, chosen.service)
        elif found := (chosen.candidates if chosen is not None else ()) or self.group.status.candidates:
            yield rejected_table(found)
        title, told = "what would let one take it", self.outlook.would_change
        if isinstance(chosen, Placement):
            title, told = "what would change the choice", chosen.would_change
        if told:
            yield from (Text(), Text(title), *map(point, told))

    def _verdict(self, now: datetime) -> Text:
        name, verdict = self.group.spec.policy_ref.name, self.group.status.policy
        if self.policy is None:
            return Text(f"policy {name} does not exist", style="red")
        if verdict is None:
            return Text(f"policy {name} was not evaluated for this group yet", style="yellow")
        text = Text(f"policy {name} is ")
        text.append(verdict.verdict, style=_STYLES[verdict.verdict])
        text.append(f" for {age(verdict.since, now)}")
        return text.append(f": {safe(verdict.message)}" if verdict.message else "")

    def _placement(self, now: datetime) -> Text:
        placement = self.group.status.placement
        if placement is None:
            in_vain = self.group.status.candidates and not isinstance(self.outlook.chosen, Placement)
            untold = f"no hosting service is chosen yet{self._foreseen()}"
            return Text("no hosting service can take the group" if in_vain else untold, style="yellow")
        text = Text("placed on ")
        text.append(placement.service, style="bold green")
        text.append(f" for {age(placement.time, now)} (placement {placement.number})")
        return text.append(f": {safe(placement.message)}" if placement.message else "")


def table(*columns: str) -> Table:
    """An empty table of the one look that all reports have."""
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        shown.add_column(column)
    return shown


def readings_table(readings: Sequence[Reading], now: datetime) -> Table:
    """Each condition as it was read."""
    shown = table("CONDITION", "VALUE", "SINCE", "WHY")
    for reading in readings:
        value = Text(reading.value, style=_STYLES[reading.value])
        shown.add_row(reading.name, value, age(reading.since, now), cell(reading.message or reading.reason))
    return shown


def next_looks(due: Sequence[Due], now: datetime) -> str:
    """When anything about a group can change although no fact does, and what."""
    if not due:
        return "looked at again when a fact changes"
    first, *later = due
    what = "" if first.what == POLICY and not later else f" ({_WHAT[first.what]})"
    more = "".join(f"; {_WHAT[one.what]} at {_moment(one.at, now)}" for one in later)
    return f"looked at again at {_moment(first.at, now)}{what}, and when a fact changes{more}"


def _moment(at: datetime, now: datetime) -> str:
    return f"{spell(at)}, in {age(now, at)}"


def point(sentence: str) -> Text:
    """A sentence in a list."""
    return Text(f"- {safe(sentence)}")


def number(value: float | None) -> str:
    """A score."""
    return "-" if value is None else f"{value:g}"


def candidates_table(candidates: tuple[Candidate, ...], chosen: str) -> Table:
    """With a column for each view in which at least one has a score."""
    views = [view for view in Scores.model_fields if any(_score(c, view) is not None for c in candidates)]
    shown = table("SERVICE", "FEASIBLE", "SCORE", *(view.replace("_", " ").upper() for view in views), "WHY")
    for candidate in candidates:
        shown.add_row(
            Text(candidate.service, style="bold green" if candidate.service == chosen else ""),
            "yes" if candidate.feasible else "no",
            number(candidate.score),
            *(number(_score(candidate, view)) for view in views),
            cell("; ".join(candidate.reasons)),
        )
    return shown


def _score(candidate: Candidate, view: str) -> float | None:
    found = getattr(candidate.scores, view, None)
    return found if isinstance(found, float) else None


def rejected_table(candidates: tuple[Candidate, ...]) -> Table:
    """Services that cannot take the group have no scores."""
    shown = table("SERVICE", "WHY NOT")
    for candidate in candidates:
        shown.add_row(cell(candidate.service), cell("; ".join(candidate.reasons)))
    return shown


def _conditions(conditions: tuple[Condition, ...], now: datetime, said: set[str]) -> Table:
    """Each message once: conditions that wait for the same say the same."""
    shown, said = table("STATUS", "VALUE", "SINCE", "WHY"), set(said)
    for condition in conditions:
        value = Text(condition.status, style=_STYLES.get(condition.status, ""))
        why = condition.message or condition.reason
        if condition.message in said:
            why = f"{condition.reason}, as above" if condition.message else condition.reason
        said.add(condition.message)
        shown.add_row(condition.type, value, age(condition.last_transition_time, now), cell(why))
    return shown
