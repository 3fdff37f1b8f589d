"""What groups cost and may cost: their ceilings, from caches, and what was promised a moment ago.

Two groups of one namespace may be decided upon before either is in a cache. So the cost that each decision comes to is
noted at once, before anything is awaited, and counts for the next decision of another group. What a restart forgets is
in the groups' statuses by then: only the process that holds the lease decides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from moorage.api.conditions import STALLED
from moorage.api.hostingservice import Offering
from moorage.api.servergroup import MemberStatus, ServerGroup
from moorage.controllers.context import Surroundings
from moorage.controllers.exhaustion import asks_for_spot
from moorage.controllers.released import offering_of, recorded, released, untold
from moorage.controllers.tables import Tables
from moorage.core.ceilings import NOTHING, OWN, Allowance, Bill, Ceiling, Cost, Offer, allow, namespace_ceiling
from moorage.core.exhaustion import NO_ROOM
from moorage.core.group import PolicyView, granted
from moorage.core.pricing import market_price
from moorage.core.rollout import MemberWant
from moorage.kube.errors import InvalidObject
from moorage.kube.store import Obj, key_of

UNNAMED = "that is not told"
"""Of what a released server is made, where its service tells no offerings of servers."""

UNSEEN = "of the {} servers without an object on {} (no inventory since the controller's start tells of them yet)"
"""Of what those are that an earlier process has counted."""


def _nobody(_namespace: str, _name: str) -> None:
    """Whoever only looks has nobody to wake."""


class Spending:
    """Ceilings and costs of groups."""

    def __init__(self, context: Surroundings, tables: Tables) -> None:
        self._context = context
        self._tables = tables
        self.woken: Callable[[str, str], None] = _nobody
        """Told the namespace and the name of each group that waits while something becomes free."""
        self._promised: dict[str, Cost] = {}
        self._waiting: set[str] = set()
        tables.groups.subscribe(self._group)
        tables.services.subscribe(self._service)

    def ceilings(self, group: ServerGroup) -> tuple[Ceiling, ...]:
        """What bounds the cost of a group."""
        found: list[Ceiling] = []
        if group.spec.max_price_per_hour is not None:
            found.append(Ceiling(group.spec.max_price_per_hour, OWN))
        namespace = group.metadata.namespace
        annotations = self._tables.namespace_annotations(namespace)
        bound = namespace_ceiling(namespace, annotations, NOTHING)
        if bound is not None:
            alone, count = self._groupless(namespace)
            more = f" and {count} servers of no group" if count else ""
            others = self._others(group) + alone
            found.append(replace(bound, others=others, beside=f"{bound.beside}{more}"))
        return tuple(found)

    def allowance(
        self,
        group: ServerGroup,
        policy: PolicyView,
        wants: Sequence[MemberWant],
        ceilings: Sequence[Ceiling],
        outdated: Collection[str],
    ) -> Allowance:
        """How many servers of what each member may have; those of the members ``outdated`` are being replaced."""
        prices = _Prices(self._tables)
        costs = self._costs(group.metadata.namespace, group.metadata.name, group.metadata.uid, prices, _number(group))
        bills = _bills(group, costs, {want.name: want for want in wants}, prices)
        bills = [replace(bill, replaces=bill.name in outdated) for bill in bills]
        free = not group.metadata.deleting and not group.spec.suspend
        return allow(bills, ceilings, may_grow=free and policy.lets_grow)

    def promise(self, group: ServerGroup, cost: Cost | None, *, waiting: bool) -> None:
        """Note what a decision about the group comes to, and whether a ceiling kept it from more.

        Where it is less than before, those that a ceiling keeps waiting are looked at again. None: no ceiling bounds
        the group, so nobody reckoned; should there be one for the namespace next, its servers and its status count.
        """
        uid = group.metadata.uid
        if cost is None:
            self._promised.pop(uid, None)
            self._waiting.discard(uid)
            return
        before = self._promised.get(uid)
        self._promised[uid] = cost
        (self._waiting.add if waiting else self._waiting.discard)(uid)
        if before is not None and before.exceeds(cost):
            self._wake(group.metadata.namespace)

    def _group(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None:
            self._promised.pop(old["metadata"]["uid"], None)
            self._waiting.discard(old["metadata"]["uid"])
            self._wake(key_of(old)[0])

    def _service(self, old: Obj | None, new: Obj | None) -> None:
        """Where fewer servers run on without an object than before, something became free, in whatever namespace."""
        before, after = (recorded(obj) for obj in (old, new))
        if after < before:
            for namespace in {key_of(group)[0] for group in self._tables.groups} if self._waiting else ():
                self._wake(namespace)

    def _wake(self, namespace: str) -> None:
        if not self._waiting:
            return
        for group in self._tables.groups.by_index("namespace", namespace):
            if group["metadata"]["uid"] in self._waiting:
                self.woken(*key_of(group))

    def _others(self, group: ServerGroup) -> Cost:
        """What the other groups of the namespace cost, with all that was promised to them."""
        prices, meta = _Prices(self._tables), group.metadata
        total = NOTHING
        for other in self._tables.groups.by_index("namespace", meta.namespace):
            uid = other["metadata"]["uid"]
            if uid != meta.uid:
                promised = self._promised.get(uid)
                total += self._recorded(other, prices) if promised is None else promised
        return total

    def _groupless(self, namespace: str) -> tuple[Cost, int]:
        """What servers cost that no group of the namespace has any more, and how many they are: those that were
        released and run on, orphans, and those that were adopted, which may have been released before.

        Of those that only an earlier process has seen the price is not known: a ceiling takes nothing back, so what
        were added now would stay.
        """
        prices, unseen = _Prices(self._tables), 0
        found: list[Offer] = []
        for service in self._tables.services:
            where = service["metadata"]["name"], service["metadata"]["uid"]
            mine = (s for s in released(self._context, self._tables, service) if s.namespace == namespace)
            found += [prices.of(*where, seen.offering or UNNAMED) for seen in mine]
            if number := untold(self._context, self._tables, service, namespace):
                found.append(Offer(UNSEEN.format(number, where[0]), None))
                unseen += number - 1
        for server in self._tables.servers.by_index("namespace", namespace):
            spec = server["spec"]
            if spec.get("adopt") and (server.get("status") or {}).get("recordedAt"):
                ref = spec["serviceRef"]
                offer = prices.of(ref["name"], ref.get("uid") or "", offering_of(self._context, server))
                # Where nobody knows a price, none of a ceiling's servers can have been made.
                found += [offer] if offer.amount is not None else []
        return sum((offer.times(1) for offer in found), NOTHING), len(found) + unseen

    def _recorded(self, obj: Obj, prices: _Prices) -> Cost:
        """What a group costs by its servers and its status; it was not decided upon in this process yet."""
        namespace, name = key_of(obj)
        uid = obj["metadata"]["uid"]
        try:
            group = self._tables.groups.parse(obj)
        except InvalidObject:
            costs = self._costs(namespace, name, uid, prices, None)
            return sum((cost for _, cost in costs.values()), NOTHING)
        costs = self._costs(namespace, name, uid, prices, _number(group))
        return sum((bill.committed() for bill in _bills(group, costs, {}, prices)), NOTHING)

    def _costs(
        self, namespace: str, name: str, uid: str, prices: _Prices, placement: int | None
    ) -> dict[str, tuple[int, Cost]]:
        """How many servers each member has, and what they cost; those that are going cost until they are gone.

        Servers of an earlier placement than ``placement`` replace none of the member's: they are counted beside it.
        """
        found: dict[str, tuple[int, Cost]] = {}
        for server in self._tables.servers.by_index("group", (namespace, name)):
            spec = server["spec"]
            if (spec.get("group") or {}).get("uid") == uid and not _found_no_room(server):
                member = spec.get("member") or ""
                if placement not in (None, spec.get("placement") or 0):
                    member = f"{member} (earlier placement)"
                count, cost = found.get(member, (0, NOTHING))
                ref = spec["serviceRef"]
                service = ref["name"], ref.get("uid") or ""
                offer = prices.of_server(*service, spec.get("offering") or "", spec.get("settings") or {})
                found[member] = count + 1, cost + offer.times(1)
        return found


def _found_no_room(server: Obj) -> bool:
    """Whether it was never made for lack of room: it costs nothing, and another is tried instead."""
    status = server.get("status") or {}
    stalled = (c for c in status.get("conditions") or () if c["type"] == STALLED and c["status"] == "True")
    return not status.get("providerID") and any(c["reason"] in NO_ROOM for c in stalled)


def _number(group: ServerGroup) -> int | None:
    """The number of the group's placement; None where it has none."""
    return None if group.status.placement is None else group.status.placement.number


class _Prices:
    """The prices of offerings now, each looked up once."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._known: dict[tuple[str, str, str], tuple[str, Offering | None]] = {}

    def of(self, service: str, uid: str, offering: str, interruptible: bool = False) -> Offer:
        _, found = self._look(service, uid, offering)
        return Offer(offering, None if found is None else market_price(found, interruptible), service, interruptible)

    def of_server(self, service: str, uid: str, offering: str, settings: Mapping[str, Any]) -> Offer:
        """What a server is paid for: its settings tell the market."""
        type_, found = self._look(service, uid, offering)
        # Only where there is another price: else the settings say nothing about it.
        lent = found is not None and found.spot_price_per_hour is not None and asks_for_spot(type_, settings)
        return self.of(service, uid, offering, lent)

    def _look(self, name: str, uid: str, offering: str) -> tuple[str, Offering | None]:
        key = name, uid, offering
        if key not in self._known:
            self._known[key] = self._find(name, uid, offering)
        return self._known[key]

    def _find(self, name: str, uid: str, offering: str) -> tuple[str, Offering | None]:
        try:
            service = self._tables.services.parsed(None, name)
        except InvalidObject:
            service = None
        if service is None or uid not in {"", service.metadata.uid}:
            return "", None
        # What is declared wins over what was discovered.
        declared = (*service.spec.offerings, *service.status.offerings)
        return service.spec.type, next((o for o in declared if o.name == offering), None)


def _bills(
    group: ServerGroup, costs: Mapping[str, tuple[int, Cost]], wants: Mapping[str, MemberWant], prices: _Prices
) -> list[Bill]:
    """The members' bills; servers of members that are no more cost until they are gone."""
    placement = None if group.metadata.deleting else group.status.placement
    recorded = {status.name: status for status in group.status.members}
    bills: list[Bill] = []
    for member in group.spec.members:
        there, cost = costs.get(member.name, (0, NOTHING))
        if placement is None:
            bills.append(Bill(member.name, 0, 0, there, cost))
            continue
        want, before = wants.get(member.name), recorded.get(member.name)
        template = want.template if want is not None else None
        where = placement.service, placement.service_uid
        bills.append(
            Bill(
                name=member.name,
                wanted=group.spec.replicas_of(member),
                granted=granted(group, member),
                there=there,
                cost=cost,
                allowed=_allowed(before, there, cost, where, prices),
                asked=None if template is None else prices.of(*where, template.offering, template.interruptible),
            )
        )
    known = {bill.name for bill in bills}
    return bills + _strays(costs, known)


def _allowed(
    before: MemberStatus | None, there: int, cost: Cost, where: tuple[str, str], prices: _Prices
) -> Offer | None:
    """The offer that status recorded. An older status tells no market: it is what its servers are paid for now."""
    if before is None or before.offering is None:
        return None
    if before.interruptible is None and there:
        lent = prices.of(*where, before.offering, interruptible=True)
        if lent.times(there) == cost:
            return lent
    return prices.of(*where, before.offering, bool(before.interruptible))


def _strays(costs: Mapping[str, tuple[int, Cost]], known: Iterable[str]) -> list[Bill]:
    return [Bill(name, 0, 0, there, cost) for name, (there, cost) in sorted(costs.items()) if name not in known]
