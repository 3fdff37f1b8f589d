"""What is simulated: the policy, the services and the group of the files, and the situations that the series make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from moorage.api import conditions as c
from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.hostingservice import DataSource, HostingService, Offering
from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserverconfig import VirtualServerConfig, VirtualServerConfigSpec
from moorage.cli.cluster import read
from moorage.cli.errors import CliError, Exit
from moorage.cli.manifests import Obj, title
from moorage.cli.simulate.series import Column, Point, Value
from moorage.controllers.exhaustion import next_settings, spot_settings
from moorage.core.ceilings import NOTHING, OWN, Ceiling, namespace_ceiling
from moorage.core.exhaustion import Exhaustion
from moorage.core.placement import MemberRequest, PlacementRequest
from moorage.core.pricing import Told, in_force
from moorage.core.services import ServiceView, service_view
from moorage.core.simulation import Bounds, Situation
from moorage.core.template import did_you_mean
from moorage.hosting.abilities import Ability
from moorage.hosting.errors import HostingError
from moorage.hosting.registry import backend

NAMESPACE: Final = "default"
_KINDS: Final = ("HostingPolicy", "HostingService", "ServerGroup", "VirtualServerConfig", "Namespace")
_SMALL: Final = Offering(name="any", cpu=Decimal(1), memory=Decimal(2**30), arch="amd64")
"""What an offering is taken to be of which only the price is told."""
_PRICES: Final = {"price": "price_per_hour", "spotPrice": "spot_price_per_hour"}
_ANY_TIME: Final = datetime.min.replace(tzinfo=UTC)
_ANYTHING: Final = VirtualServerConfigSpec.from_dict({"images": [{"image": "any"}]})


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the files hold."""

    policy: HostingPolicy
    services: tuple[ServiceView, ...]
    request: PlacementRequest
    group: str
    told_by_files: bool
    """Whether the files hold the services; else the series make them up."""
    bounds: Bounds = field(default_factory=Bounds)
    notes: tuple[str, ...] = ()
    """What of the files is not simulated."""


def read_scenario(objects: Sequence[Obj]) -> Scenario:
    """The scenario of the files' objects. Raises CliError where one is missing or does not fit."""
    held: dict[str, list[Obj]] = {kind: [o for o in objects if o["kind"] == kind] for kind in _KINDS}
    policy = read(HostingPolicy, _one(held["HostingPolicy"], "HostingPolicy"))
    services = tuple(_view(read(HostingService, _complete(obj))) for obj in held["HostingService"])
    group = read(ServerGroup, _one(held["ServerGroup"], "ServerGroup")) if held["ServerGroup"] else None
    meta: Obj = next((o["metadata"] for o in held["Namespace"]), {})
    namespace = (group.metadata.namespace if group is not None else "") or policy.metadata.namespace or NAMESPACE
    members: tuple[MemberRequest, ...] = (MemberRequest("server", 1, _ANYTHING),)
    if group is not None:
        members = _members(group, held["VirtualServerConfig"])
    request = PlacementRequest(namespace, meta.get("labels") or {}, members, spot_settings=spot_settings)
    bound = namespace_ceiling(namespace, meta.get("annotations") or {}, NOTHING)
    if bound is not None:
        request = replace(request, ceilings=(bound,))
    name = "one server" if group is None else group.metadata.name
    scenario = Scenario(policy, services, request, name, bool(services))
    return scenario if group is None else _of_group(scenario, group)


def _of_group(scenario: Scenario, group: ServerGroup) -> Scenario:
    """The request and the bounds that the controller takes from a group."""
    spec, status = group.spec, group.status
    own = () if spec.max_price_per_hour is None else (Ceiling(spec.max_price_per_hour, OWN),)
    last = status.placement or status.last_placement
    request = replace(
        scenario.request,
        ceilings=(*own, *scenario.request.ceilings),
        retains=spec.deletion_policy == "Retain",
        # Its time is that of each look.
        exhaustion=Exhaustion(status.exhausted, _ANY_TIME, next_settings) if status.exhausted else None,
        before=last.service_uid if last is not None else "",
    )
    bounds = Bounds(spec.suspend, spec.deletion_protection, status.failed_over)
    return replace(scenario, request=request, bounds=bounds, notes=tuple(_left_out(scenario, group)))


def _left_out(scenario: Scenario, group: ServerGroup) -> Iterator[str]:
    """What a simulation does not show of this group."""
    if group.status.placement is not None:
        yield "the group begins without a placement, as if the one in its status had just ended"
    if any(ceiling.name != OWN for ceiling in scenario.request.ceilings):
        yield "the ceiling of the namespace is held against this group alone"
    if scenario.policy.spec.failover is not None:
        yield "spec.failover is not simulated: a placed group stays where it is"
    if group.spec.deletion_policy == "Retain":
        yield "servers that are released run on (deletionPolicy: Retain); what they cost then is not counted"


def situations(
    scenario: Scenario, points: Sequence[Point], start: datetime | None, end: datetime | None
) -> tuple[list[Situation], datetime]:
    """What is so from when on, from ``start`` (default: the first point), and the end (default: the last point)."""
    _check_names(scenario, points)
    first = start or (points[0].at if points else None)
    last = end or (points[-1].at if points else None)
    if first is None or last is None:
        raise CliError("it is not said which time is simulated", Exit.USAGE, hint="give a --series, or --from and --to")
    if last <= first:
        hint = "give a --to that is later than --from and than the first point of the series"
        raise CliError(f"the simulation ends at {last:%Y-%m-%dT%H:%M:%SZ}, before it begins", Exit.USAGE, hint=hint)
    course = _Course({s.name: s for s in scenario.services})
    for point in points:
        if point.at <= first:
            course.take(point)
    found = [course.situation(first)]
    for point in points:
        if first < point.at < last:
            course.take(point)
            found.append(course.situation(point.at))
    return found, last


def untold(scenario: Scenario, points: Iterable[Point]) -> list[str]:
    """Conditions that are read from outside, and of which no series tells: they stay unknown."""
    told = {column.name for point in points for column in point.values if column.kind == "condition"}
    own = {condition.name for condition in scenario.policy.spec.when.conditions if _reads_itself(condition)}
    return [c.name for c in scenario.policy.spec.when.conditions if c.name not in told | own]


def _reads_itself(condition: Any) -> bool:
    return condition.schedule is not None or condition.service is not None


@dataclass(slots=True)
class _Course:
    """The services and conditions as they are after the points so far."""

    services: dict[str, ServiceView]
    conditions: dict[str, bool | None] = field(default_factory=dict)
    since: dict[str, datetime] = field(default_factory=dict)

    def take(self, point: Point) -> None:
        """Let what a point tells be so."""
        for column, value in point.values.items():
            if column.kind == "condition":
                if column.name not in self.conditions or self.conditions[column.name] is not value:
                    self.since[column.name] = point.at
                self.conditions[column.name] = None if value is None else bool(value)
            else:
                view = self.services.get(column.name) or ServiceView(column.name, uid=column.name)
                self.services[column.name] = _changed(view, column, value, point.at)

    def situation(self, at: datetime) -> Situation:
        """As it is from ``at`` on."""
        services = tuple(self.services[name] for name in sorted(self.services))
        return Situation(at, services, dict(self.conditions), dict(self.since))


def _changed(view: ServiceView, column: Column, value: Value, at: datetime) -> ServiceView:
    match column.kind:
        case "available":
            why = ("", "") if value else ("NotAvailable", "not available in the series")
            return replace(view, usable=bool(value), why_not=why)
        case "capacity":
            return replace(view, room=None if value is None else int(value))
        case _:
            known = {o.name: o for o in view.offerings}
            offering = known.get(column.offering) or _SMALL.model_copy(update={"name": column.offering})
            known[column.offering] = offering.model_copy(update={_PRICES[column.kind]: value})
            # A price that is told is what somebody asked for then.
            asked = DataSource(name="Service", at=at, offerings=len(known))
            return replace(view, offerings=tuple(known[name] for name in sorted(known)), sources=(asked,))


def _check_names(scenario: Scenario, points: Iterable[Point]) -> None:
    """A column about nothing is a mistake that would go unnoticed."""
    conditions = [condition.name for condition in scenario.policy.spec.when.conditions]
    services = {s.name: [o.name for o in s.offerings] for s in scenario.services}
    for column in {column: None for point in points for column in point.values}:
        if column.kind == "condition" and column.name not in conditions:
            similar = did_you_mean(column.name, conditions)
            raise CliError(f"the policy has no condition {column.name!r}{similar}", Exit.USAGE)
        if column.kind != "condition" and scenario.told_by_files:
            if column.name not in services:
                similar = did_you_mean(column.name, sorted(services))
                raise CliError(f"the files have no HostingService {column.name!r}{similar}", Exit.USAGE)
            if column.offering and column.offering not in services[column.name]:
                similar = did_you_mean(column.offering, services[column.name])
                raise CliError(f"{column.name} has no offering {column.offering!r}{similar}", Exit.USAGE)


def _one(found: Sequence[Obj], kind: str) -> Obj:
    if len(found) != 1:
        which = "hold none" if not found else f"hold {', '.join(title(o) for o in found)}"
        raise CliError(f"a simulation is about one {kind}; the files {which}", Exit.USAGE, hint="give one with -f")
    return _complete(found[0])


def _complete(obj: Obj) -> Obj:
    """With what an API server would add."""
    meta: Mapping[str, Any] = obj["metadata"]
    return {**obj, "metadata": {"uid": meta["name"], "generation": 1, **meta}}


def _view(service: HostingService) -> ServiceView:
    """A service of a file has mostly no status: it is available unless the status or a series says otherwise."""
    view = service_view(service, servers=0)
    if not service.status.abilities:
        view = replace(view, retags=_retags(service.spec.type))
    if not service.status.sources:
        declared = in_force(service.spec.offerings, service.spec.offerings_as_of, None, Told())
        view = replace(view, sources=declared.sources)
    if c.find(service.status.conditions, c.AVAILABLE) is None:
        return replace(view, usable=True, why_not=("", ""))
    return view


def _retags(type_: str) -> bool:
    """Whether services of the type can let servers go; one of a type that is not installed here is taken to."""
    try:
        return Ability.RETAG in backend(type_).abilities
    except HostingError:
        return True


def _members(group: ServerGroup, configs: Sequence[Obj]) -> tuple[MemberRequest, ...]:
    known = {obj["metadata"]["name"]: read(VirtualServerConfig, _complete(obj)) for obj in configs}
    found = []
    for member in group.spec.members:
        config = known.get(member.config_ref.name)
        if config is None:
            similar = did_you_mean(member.config_ref.name, sorted(known))
            what = f"member {member.name} needs VirtualServerConfig {member.config_ref.name}"
            raise CliError(f"{what}, which no file holds{similar}", Exit.USAGE)
        count, most = group.spec.replicas_of(member), group.spec.most_replicas_of(member)
        found.append(MemberRequest(member.name, count, config.spec, most))
    return tuple(found)


def parse_step(text: str) -> timedelta | None:
    """`15m` and the like; "" for none. Raises CliError."""
    from moorage.api.quantities import parse_duration

    if not text:
        return None
    try:
        found = parse_duration(text)
    except ValueError:
        found = timedelta(0)
    if found < timedelta(seconds=1):
        raise CliError(f"{text!r} is not a step", Exit.USAGE, hint="write a duration of 1s or more, such as 15m")
    return found


def parse_instant(text: str, option: str) -> datetime | None:
    """The value of --from or --to; "" for none. Raises CliError."""
    from moorage.cli.simulate.series import parse_time

    return parse_time(text, option).astimezone(UTC) if text else None
