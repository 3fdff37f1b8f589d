"""What status says of groups, servers and services: each state has its condition, reason and a message that helps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.group_world import World, make_group, run

from moorage.api.hostingservice import HostingService, HostingServiceStatus, Orphan
from moorage.api.placement import Candidate
from moorage.api.virtualserver import AgentState, VirtualServer
from moorage.core import steps
from moorage.core.facts import CallFailure, Identity, Seen, SeenState, ServerFacts, ServiceFacts
from moorage.core.group import GroupPlan, GroupWorld, PolicyView, decide_group
from moorage.core.group_status import group_status
from moorage.core.obstacles import Obstacle
from moorage.core.server_status import ConfigurationView, failure_of, server_status
from moorage.core.service_status import ServiceSight, service_status

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
S = timedelta(seconds=1)
META = {"name": "x", "namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 3}


def told(status: Any) -> dict[str, tuple[str, str]]:
    """Status and reason by type."""
    return {c.type: (c.status, c.reason) for c in status.conditions}


# Groups


def unplaced(**changes: Any) -> GroupWorld:
    base: dict[str, Any] = {"policy": PolicyView("p", "Met", "told"), "wants": [], "servers": []}
    return GroupWorld(make_group(), **{**base, **changes})


NO_POLICY = ("PolicyNotFound", "there is no HostingPolicy 'p'; create it or change policyRef")
STALLED = Obstacle("ConfigInvalid", "it is invalid", stalled=True)
WAITING = Obstacle("ConfigNotFound", "create it", stalled=False)
GROUPS: dict[str, tuple[GroupWorld, str, str, str]] = {
    "no policy": (
        unplaced(policy=PolicyView("p", "Unknown", "", problem=NO_POLICY)),
        "PolicyMet",
        "Unknown",
        NO_POLICY[0],
    ),
    "unmet": (unplaced(policy=PolicyView("p", "Unmet", "at 8")), "PolicyMet", "False", "PolicyUnmet"),
    "unknown": (unplaced(policy=PolicyView("p", "Unknown", "?")), "PolicyMet", "Unknown", "PolicyUnknown"),
    "waits for its policy": (unplaced(policy=PolicyView("p", "Unmet", "at 8")), "Placed", "False", "PolicyUnmet"),
    "nowhere to go": (
        unplaced(proposal=Obstacle("NoFeasibleService", "none", stalled=False)),
        "Placed",
        "False",
        "NoFeasibleService",
    ),
    "stalled": (unplaced(problems=[WAITING, STALLED], proposal=STALLED), "Stalled", "True", "ConfigInvalid"),
    "stalled is not ready": (unplaced(problems=[STALLED], proposal=STALLED), "Ready", "False", "ConfigInvalid"),
    "waits": (unplaced(problems=[WAITING], proposal=WAITING), "Reconciling", "True", "ConfigNotFound"),
    "not placed": (unplaced(), "Instantiated", "False", "NotPlaced"),
}


@pytest.mark.parametrize("case", GROUPS)
def test_group(case: str) -> None:
    world, type_, status, reason = GROUPS[case]
    found = told(group_status(world, decide_group(world, NOW), NOW))
    assert found[type_] == (status, reason)
    assert not ("Stalled" in found and "Reconciling" in found), "kstatus knows one of the two at a time"


def test_all_problems_are_named_first_those_that_waiting_cannot_mend() -> None:
    world = unplaced(problems=[WAITING, STALLED, STALLED], proposal=STALLED)
    found = group_status(world, decide_group(world, NOW), NOW).conditions
    messages = {c.type: (c.reason, c.message) for c in found}
    assert messages["Stalled"] == messages["Ready"] == ("ConfigInvalid", "it is invalid; create it")


def test_services_that_were_looked_at_in_vain_are_kept_until_one_is_found() -> None:
    candidate = Candidate(service="s", feasible=False, reasons=("NoImage: none",))
    nowhere = Obstacle("NoFeasibleService", "none", stalled=False, candidates=(candidate,))
    world = unplaced(proposal=nowhere)
    assert group_status(world, decide_group(world, NOW), NOW).candidates == (candidate,)
    assert group_status(placed().world(), GroupPlan(placed().group.status.placement), NOW).candidates == ()


def placed(**spec: Any) -> World:
    """A group that is at rest."""
    world = run(World(iter(()), make_group()))
    if spec:
        world.group = make_group(**spec).model_copy(update={"status": world.group.status})
    return world


def now_told(world: World) -> dict[str, tuple[str, str]]:
    seen = world.world()
    return told(group_status(seen, decide_group(seen, world.now), world.now))


def test_a_group_at_rest_is_ready_and_nothing_is_in_progress() -> None:
    found = now_told(placed())
    assert found["Ready"] == ("True", "Ready")
    assert {"Reconciling", "Stalled"}.isdisjoint(found)


def test_a_suspended_group_is_told_and_not_in_progress() -> None:
    world = placed(suspend=True)
    world.revision["a"] = 9
    found = now_told(world)
    assert found["Ready"] == ("False", "Suspended")
    assert "Reconciling" not in found


def test_growth_that_waits_for_the_policy_says_so() -> None:
    world = placed()
    world.replicas["a"], world.verdict = 9, "Unmet"
    assert now_told(world)["Ready"][0] == "False"


def test_too_many_sick_servers_stall_the_group() -> None:
    world = placed()
    for name, server in world.servers.items():
        world.servers[name] = type(server)(
            **{f: getattr(server, f) for f in server.__slots__} | {"ready": False, "unhealthy_since": world.now}
        )
    world.now += 3600 * S
    assert now_told(world)["Stalled"] == ("True", "RemediationBlocked")


def test_times_change_only_with_what_they_describe() -> None:
    world = placed()
    seen = world.world()
    before = group_status(seen, decide_group(seen, world.now), world.now)
    later = group_status(seen, decide_group(seen, world.now + S), world.now + 3600 * S)
    assert later == before


def test_a_protected_deletion_says_what_to_do() -> None:
    world = placed(deletionProtection=True)
    meta = world.group.metadata.model_copy(update={"deletion_timestamp": world.now})
    world.group = world.group.model_copy(update={"metadata": meta})
    plan = decide_group(world.world(), world.now)
    status = group_status(world.world(), plan, world.now)
    assert isinstance(plan, GroupPlan)
    ready = next(c for c in status.conditions if c.type == "Ready")
    assert ready.reason == "DeletionProtected"
    assert "set spec.deletionProtection to false" in ready.message


# Servers


def vs(**status: Any) -> VirtualServer:
    spec = {"serviceRef": {"name": "s"}, "group": {"name": "g", "uid": "gu"}, "member": "m", "image": "i"}
    return VirtualServer.from_dict({"metadata": META, "spec": {**spec, "offering": "o"}, "status": status})


def facts(**changes: Any) -> ServerFacts:
    base: dict[str, Any] = {
        "name": "x",
        "uid": "u",
        "identity": Identity("k", "i/u"),
        "created": NOW,
        "deleting_since": None,
        "has_finalizer": True,
        "retain": False,
        "adopt_id": None,
        "provider_id": None,
        "recorded_at": None,
        "lost": False,
        "failed": None,
        "secret": None,
        "joined": False,
        "addressed": True,
        "service": ServiceFacts("anchor", "su", connected=True),
        "steady": 0.0,
        "attempts_since": 0.0,
        "recorded_since": 0.0,
    }
    return ServerFacts(**{**base, **changes})


def seen(state: SeenState) -> Seen:
    return Seen("s1", "k", "i/u", state, (("External", "1.2.3.4"),))


READY_AGENT = {"sequence": 1, "ready": True}
FAILED_STEP = {"sequence": 1, "ready": True, "steps": [{"name": "start", "state": "Failed", "exitCode": 3}]}
DONE = ConfigurationView(revision=1, done=True)
FULL = CallFailure("InsufficientCapacity", "full", terminal=True, definite=True)
RUNNING = seen(SeenState.RUNNING)
SERVERS: dict[str, tuple[VirtualServer, ServerFacts, steps.Step, Seen | None, ConfigurationView, tuple[str, str, str]]]
SERVERS = {
    "creating": (vs(), facts(), steps.Create(), None, ConfigurationView(), ("Ready", "False", "Creating")),
    "booting": (
        vs(),
        facts(provider_id="s1"),
        steps.Settled(),
        seen(SeenState.PENDING),
        ConfigurationView(),
        ("Instantiated", "False", "Booting"),
    ),
    "waiting": (
        vs(),
        facts(),
        steps.Wait("ServiceUnavailable", "refused"),
        None,
        ConfigurationView(),
        ("Reconciling", "True", "ServiceUnavailable"),
    ),
    "refused": (vs(), facts(), steps.Fail(FULL), None, ConfigurationView(), ("Stalled", "True", FULL.reason)),
    "lost": (
        vs(providerID="s1"),
        facts(provider_id="s1"),
        steps.DeclareLost("gone"),
        None,
        DONE,
        ("Stalled", "True", "Lost"),
    ),
    "running": (vs(), facts(), steps.Settled(), RUNNING, ConfigurationView(), ("Instantiated", "True", "Running")),
    "joined": (
        vs(),
        facts(joined=True),
        steps.Settled(),
        None,
        ConfigurationView(),
        ("Instantiated", "True", "Running"),
    ),
    "waits for the group": (
        vs(),
        facts(),
        steps.Settled(),
        RUNNING,
        ConfigurationView(),
        ("Configured", "False", "WaitingForGroup"),
    ),
    "configured, not ready": (
        vs(agent={"sequence": 1}),
        facts(),
        steps.Settled(),
        RUNNING,
        DONE,
        ("Ready", "False", "ReadinessFailed"),
    ),
    "a step failed": (
        vs(agent=FAILED_STEP),
        facts(),
        steps.Settled(),
        RUNNING,
        DONE,
        ("Ready", "False", "StepFailed"),
    ),
    "ready": (vs(agent=READY_AGENT), facts(), steps.Settled(), RUNNING, DONE, ("Ready", "True", "Ready")),
    "stopped": (
        vs(agent=READY_AGENT),
        facts(joined=True),
        steps.Settled(),
        seen(SeenState.STOPPED),
        DONE,
        ("Ready", "False", "ServerStopped"),
    ),
    "damaged": (
        vs(agent=READY_AGENT),
        facts(joined=True),
        steps.Wait("StateDamaged", "restore it"),
        RUNNING,
        DONE,
        ("Ready", "False", "StateDamaged"),
    ),
    "deleting": (
        vs(agent=READY_AGENT),
        facts(deleting_since=NOW),
        steps.Destroy(("s1",)),
        RUNNING,
        DONE,
        ("Ready", "False", "Deleting"),
    ),
}


@pytest.mark.parametrize("case", SERVERS)
def test_server(case: str) -> None:
    server, given, step, sight, view, (type_, status, reason) = SERVERS[case]
    found = server_status(server, given, step, sight, view, NOW)
    assert told(found)[type_] == (status, reason)
    assert found.observed_generation == 3
    assert not {"Stalled", "Reconciling"} <= set(told(found))


def test_what_is_recorded_stays() -> None:
    recorded = server_status(vs(), facts(), steps.Record("s1"), RUNNING, ConfigurationView(), NOW + S / 2)
    assert (recorded.provider_id, recorded.recorded_at) == ("s1", NOW)
    assert [(a.type, a.address) for a in recorded.addresses] == [("External", "1.2.3.4")]
    kept = vs(providerID="s1", recordedAt="2026-01-01T00:00:00Z", state="Running", lost=True)
    later = server_status(kept, facts(provider_id="s1"), steps.Settled(), None, ConfigurationView(), NOW)
    assert (later.provider_id, later.state, later.lost) == ("s1", "Running", True)


@pytest.mark.parametrize(
    ("reason", "definite"), [("InsufficientCapacity", True), ("DuplicateIdentity", False), ("KeyConflict", False)]
)
def test_a_terminal_failure_is_read_back(reason: str, definite: bool) -> None:
    step = steps.Fail(CallFailure(reason, "told", terminal=True, definite=True))
    status = server_status(vs(), facts(), step, None, ConfigurationView(), NOW)
    failed = failure_of(vs().model_copy(update={"status": status}))
    assert failed is not None
    assert (failed.reason, failed.terminal, failed.definite) == (reason, True, definite)


def test_unhealthy_is_what_was_configured_and_is_not_ready() -> None:
    def after(view: ConfigurationView, agent: dict[str, Any]) -> datetime | None:
        server = vs(agent=agent)
        status = server_status(server, facts(), steps.Settled(), RUNNING, view, NOW)
        return status.unhealthy_since

    assert after(DONE, {"sequence": 1}) == NOW
    assert after(DONE, READY_AGENT) is None
    assert after(ConfigurationView(), {"sequence": 1}) is None


class Course:
    """One server, whose status is made anew from the last one as time passes."""

    def __init__(self, **status: Any) -> None:
        self.server = vs(**status)

    def goes_on(
        self, at: int, *, step: steps.Step | None = None, sight: Seen | None = RUNNING, done: bool = True, ready: bool
    ) -> datetime | None:
        agent = self.server.status.agent or AgentState()
        status = self.server.status.model_copy(update={"agent": agent.model_copy(update={"ready": ready})})
        self.server = self.server.model_copy(update={"status": status})
        view = DONE if done else ConfigurationView(reason="ItemsPending", message="told")
        found = server_status(self.server, facts(), step or steps.Settled(), sight, view, NOW + at * S)
        self.server = self.server.model_copy(update={"status": found.model_copy(update={"agent": status.agent})})
        return found.unhealthy_since


STOPPED = Seen("s1", "m-u", "inst/u", SeenState.STOPPED)


def test_a_server_that_was_not_ready_for_another_reason_is_unhealthy_only_from_when_it_stopped() -> None:
    course = Course()
    assert course.goes_on(0, done=False, ready=False) is None
    assert course.goes_on(7200, done=False, ready=False, sight=STOPPED) == NOW + 7200 * S
    assert course.goes_on(9000, done=False, ready=False, sight=STOPPED) == NOW + 7200 * S
    assert course.goes_on(9001, done=False, ready=False) is None


def test_a_freeze_of_an_hour_does_not_make_a_server_unhealthy_for_an_hour() -> None:
    course = Course()
    course.goes_on(0, ready=True)
    freeze = steps.Wait("OvershootFreeze", "told")
    assert course.goes_on(10, ready=True, step=freeze) is None
    assert course.goes_on(3600, ready=False) == NOW + 3600 * S
    assert course.goes_on(3601, ready=True) is None


def test_a_status_of_an_older_release_begins_to_count_now() -> None:
    conditions = [
        {"type": type_, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2020-01-01T00:00:00Z"}
        for type_, status, reason in (("Ready", "False", "ReadinessFailed"), ("Configured", "True", "Configured"))
    ]
    assert Course(conditions=conditions).goes_on(5, ready=False) == NOW + 5 * S


def test_a_stopped_server_stays_unhealthy_through_a_start_of_the_controller() -> None:
    course = Course()
    course.goes_on(0, ready=True)
    assert course.goes_on(10, ready=True, sight=STOPPED) == NOW + 10 * S
    waits = steps.Wait("ServiceUnavailable", "told")
    assert course.goes_on(20, ready=True, sight=None, step=waits) == NOW + 10 * S
    assert course.goes_on(30, ready=True, sight=STOPPED) == NOW + 10 * S


# Services


def hs(**status: Any) -> HostingService:
    spec = {"type": "local", "endpoint": "http://127.0.0.1:1"}
    return HostingService.from_dict({"metadata": META, "spec": spec, "status": status})


ORPHANS = [Orphan(provider_id=f"s{n}", virtual_server="u", since=NOW) for n in range(30)]
SERVICES: dict[str, tuple[ServiceSight, tuple[str, str], str]] = {
    "well": (ServiceSight(account="a"), ("True", "Available"), ""),
    "not seen": (ServiceSight(), ("False", "NotSeenYet"), "Reconciling"),
    "wrong credentials": (
        ServiceSight(problem=("AuthenticationFailed", "token")),
        ("False", "AuthenticationFailed"),
        "Reconciling",
    ),
    "invalid": (ServiceSight(problem=("Invalid", "type"), invalid=True), ("False", "Invalid"), "Stalled"),
    "another account": (ServiceSight(account="b", foreign_account="b"), ("False", "ScopeChanged"), "Stalled"),
    "left alone": (ServiceSight(account="a", circuit="Open"), ("False", "CircuitOpen"), "Reconciling"),
    "frozen": (ServiceSight(account="a", frozen="9 of 9"), ("False", "OvershootFreeze"), "Reconciling"),
}


@pytest.mark.parametrize("case", SERVICES)
def test_service(case: str) -> None:
    sight, available, other = SERVICES[case]
    found = told(service_status(hs(), sight, NOW))
    assert found["Available"] == found["Ready"] == available
    assert {"Stalled", "Reconciling"} & set(found) == ({other} if other else set())


def test_the_account_of_first_contact_is_never_replaced() -> None:
    first = service_status(hs(), ServiceSight(account="a"), NOW)
    assert first.account is not None
    after = hs().model_copy(update={"status": first})
    again = service_status(after, ServiceSight(account="b", foreign_account="b"), NOW + S)
    assert again.account == first.account


def test_abilities_are_kept_while_there_is_no_connection_that_tells_them() -> None:
    first = service_status(hs(), ServiceSight(account="a", abilities=("Power", "Retag")), NOW)
    assert first.abilities == ("Power", "Retag")
    after = hs().model_copy(update={"status": first})
    assert service_status(after, ServiceSight(problem=("Invalid", "type")), NOW + S).abilities == first.abilities
    assert service_status(after, ServiceSight(account="a", abilities=()), NOW + S).abilities == ()


def test_errors_and_circuits_keep_the_time_of_their_beginning() -> None:
    sight = ServiceSight(problem=("Unavailable", "refused"), circuit="Open")
    first = service_status(hs(), sight, NOW)
    again = service_status(hs().model_copy(update={"status": first}), sight, NOW + 60 * S)
    assert again == first
    well = service_status(hs().model_copy(update={"status": again}), ServiceSight(account="a"), NOW + 90 * S)
    assert well.last_error is None
    assert well.circuit is not None
    assert well.circuit.since == NOW + 90 * S


def test_status_stays_small() -> None:
    sight = ServiceSight(account="a", orphans=ORPHANS, images=tuple(f"i{n}" for n in range(500)))
    status = service_status(hs(), sight, NOW)
    assert (len(status.orphans), status.orphan_count, len(status.images)) == (20, 30, 200)


def test_orphans_that_nobody_judged_anew_stay_as_they_were_told() -> None:
    before = service_status(hs(), ServiceSight(account="a", orphans=ORPHANS), NOW)
    service = hs().model_copy(update={"status": before})
    again = service_status(service, ServiceSight(account="a"), NOW + S)
    assert (again.orphans, again.orphan_count) == (before.orphans, 30)
    none = service_status(service, ServiceSight(account="a", orphans=()), NOW + S)
    assert (none.orphans, none.orphan_count) == ((), 0)


def test_since_when_a_service_does_not_answer_is_counted_from_silence_and_not_from_refusals() -> None:
    def seen(old: HostingServiceStatus | None, sight: ServiceSight, at: int) -> HostingServiceStatus:
        service = hs() if old is None else hs().model_copy(update={"status": old})
        return service_status(service, sight, NOW + at * S)

    refused = seen(None, ServiceSight(account="a", problem=("AuthenticationFailed", "told")), 0)
    assert refused.unreachable_since is None
    silent = seen(refused, ServiceSight(account="a", circuit="Open"), 10)
    assert silent.unreachable_since == NOW + 10 * S
    still = seen(silent, ServiceSight(account="a", problem=("TimedOut", "told")), 20)
    assert still.unreachable_since == NOW + 10 * S
    unknown = seen(still, ServiceSight(), 30)
    assert unknown.unreachable_since == NOW + 10 * S, "nothing was learnt"
    assert seen(unknown, ServiceSight(account="a"), 40).unreachable_since is None
    assert seen(unknown, ServiceSight(account="a", frozen="told"), 40).unreachable_since is None
