"""What the members of a placed group shall be: how many servers, made from what, or why from nothing now."""

from __future__ import annotations

from dataclasses import dataclass

from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.hostingservice import HostingService
from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserverconfig import VirtualServerConfig
from moorage.controllers.derived import Derived
from moorage.controllers.exhaustion import zone_settings
from moorage.controllers.references import GroupPolicy, MemberConfig
from moorage.controllers.tables import Tables
from moorage.core.exhaustion import Exhaustion
from moorage.core.group import granted
from moorage.core.placement import MemberTemplate, Rejection, first_with_room
from moorage.core.rollout import MemberWant, Template
from moorage.core.zones import Zones, in_own_order


@dataclass(frozen=True, slots=True)
class _Made:
    """What servers of a member are made from, or the problem for which there is nothing; why no room is expected for
    them; why it is not the first that they could be made from, and why not in all zones."""

    template: Template | None = None
    problem: tuple[str, str] | None = None
    exhausted: str = ""
    instead: str = ""
    narrowed: str = ""
    first: Template | None = None


class Wants:
    """Derives them from caches alone."""

    def __init__(self, tables: Tables, derived: Derived) -> None:
        self._tables = tables
        self._derived = derived

    def want(self, group: ServerGroup, found: GroupPolicy, m: MemberConfig, have: int, room: Exhaustion) -> MemberWant:
        """What a member that has ``have`` servers shall be, on the service where the group is."""
        status = next((s for s in group.status.members if s.name == m.member.name), None)
        made = self._made(group, found, m, room)
        problem = made.problem
        if have < group.spec.replicas_of(m.member):
            problem = self._closing(group) or problem
        return MemberWant(
            name=m.member.name,
            config=m.member.config_ref.name,
            replicas=group.spec.replicas_of(m.member),
            granted=granted(group, m.member),
            revision=self._derived.of_config(m.config).revision if m.config is not None else None,
            template=made.template,
            problem=problem,
            failures=(status.failures or 0) if status is not None else 0,
            exhausted=made.exhausted,
            instead=made.instead,
            narrowed=made.narrowed,
            first=made.first,
        )

    def _made(self, group: ServerGroup, found: GroupPolicy, m: MemberConfig, room: Exhaustion) -> _Made:
        placement = group.status.placement
        if m.problem is not None:
            return _Made(problem=(m.problem.reason, m.problem.message))
        if placement is None or m.config is None:
            return _Made()
        service = self.service(placement.service, placement.service_uid)
        if service is None:
            return _Made(problem=self._gone(placement.service))
        turns = self.turns(group, m.member.name, m.config, service, found.policy)
        if isinstance(turns, Rejection):
            told = f"member {m.member.name} on {placement.service}: {turns.detail}"
            if found.policy is None and found.view.problem is not None:
                reason, message = found.view.problem
                return _Made(problem=(reason, f"{message}; nothing else is made until then ({told})"))
            return _Made(problem=(turns.word, told))
        uid, whose = service.metadata.uid, group.metadata.uid
        index = next((n for n, member in enumerate(group.spec.members) if member.name == m.member.name), 0)
        zones = in_own_order(room.zones(uid, turns[0].settings), whose, index)
        first = template_of(turns[0], service, zones=zones)
        left = first_with_room(turns, uid, service.spec.type, room)
        if isinstance(left, MemberTemplate):
            made = template_of(left, service, zones=in_own_order(left.zones, whose, index))
            return _Made(made, instead=left.instead, narrowed=left.narrowed, first=first)
        return _Made(first, exhausted=left.detail, first=first)

    def _gone(self, name: str) -> tuple[str, str]:
        """That the service is gone: a new one of the same name has another uid, and knows none of these servers."""
        message = f"HostingService {name} does not exist any more, and a new one of the same name is another one"
        if self._tables.services.get(None, name) is not None:
            message = f"HostingService {name} is another one (another uid) than the group was placed on, which is gone"
        return "ServiceNotFound", f"{message}: restore it with its uid (from a backup of etcd), or make the group anew"

    def turns(
        self,
        group: ServerGroup,
        member: str,
        config: VirtualServerConfig,
        service: HostingService,
        policy: HostingPolicy | None,
    ) -> tuple[MemberTemplate, ...] | Rejection:
        """As the policy says; without one, what it said last: its requirements do not go with it."""
        if policy is not None:
            return self._derived.turns(config, service, policy)
        recorded = next((m.offering for m in group.status.members if m.name == member), None)
        return self._derived.turns_of(config, service, recorded or "")

    def _closing(self, group: ServerGroup) -> tuple[str, str] | None:
        """Why no server can be added where the group is: its service is on its way out."""
        placement = group.status.placement
        service = None if placement is None else self.service(placement.service, placement.service_uid)
        if service is None or not service.metadata.deleting:
            return None
        name = service.metadata.name
        message = (
            f"HostingService {name} is being deleted and takes no new server; it goes once nothing is on it. To have "
            "the group elsewhere, delete it and make it anew"
        )
        return "ServiceDeleting", message

    def service(self, name: str, uid: str) -> HostingService | None:
        """The very HostingService that a group was placed on."""
        service = self._tables.services.parsed(None, name)
        return service if service is not None and uid in {"", service.metadata.uid} else None


def template_of(
    resolved: MemberTemplate,
    service: HostingService | None = None,
    made: Template | None = None,
    *,
    zones: Zones | None = None,
) -> Template:
    """What a server is made from, in one of ``zones`` of the ``service``, without the price.

    Where the service's backend cannot be asked by what it puts servers into zones, all that ``made`` has beside the
    settings that are wanted counts as such: nobody can tell otherwise.
    """
    settings, interruptible = dict(resolved.settings), resolved.interruptible
    keys = None if service is None else zone_settings(service.spec.type)
    if keys is None:
        keys = frozenset() if made is None else frozenset(made.settings) - frozenset(settings)
    return Template(resolved.image, resolved.offering.name, settings, interruptible, zones or {}, keys)
