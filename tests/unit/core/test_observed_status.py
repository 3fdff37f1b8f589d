"""What status says of servers that are observed, adopted without a configuration, or drifted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.support.server_facts import NOW, STEADY, S, inventory, running, server, svc

from moorage.api import conditions as c
from moorage.api.virtualserver import VirtualServer
from moorage.core import steps
from moorage.core.facts import Lookup, LookupResult, Seen, SeenState, ServerFacts
from moorage.core.server_status import ConfigurationView, expected_offering, server_status, taken_over

THEN = "2026-01-01T00:00:00Z"
SEEN = replace(server(), namespace="ns", service="svc-uid", offering="small")
RAN = {"type": "Instantiated", "status": "True", "reason": "Running", "lastTransitionTime": THEN}
READY = {"type": "Ready", "status": "True", "reason": "Observed", "message": "as before", "lastTransitionTime": THEN}
DRIFTED = {"type": "Drifted", "status": "True", "reason": "Stopped", "message": "so it was", "lastTransitionTime": THEN}


def adopted(policy: str = "Observe", conditions: tuple[Any, ...] = (), **more: Any) -> VirtualServer:
    """An object that adopts the server `s1`."""
    status = {"observedGeneration": 1, "conditions": conditions, **more.pop("status", {})}
    spec = {"serviceRef": {"name": "anchor"}, "adopt": {"providerID": "s1"}, "managementPolicy": policy, **more}
    meta = {"name": "x", "namespace": "ns", "uid": "uid-me", "resourceVersion": "1", "generation": 1}
    return VirtualServer.from_dict({"metadata": meta, "spec": spec, "status": status})


def facts_of(seen: Seen | None, **more: Any) -> ServerFacts:
    latest = inventory(S, *([seen] if seen is not None else []))
    base = {"namespace": "ns", "observes": True, "provider_id": None, "adopt_id": "s1", "secret": None, "ran": True}
    return running(**{**base, "service": svc(latest=latest), **more})


def told(status: Any) -> dict[str, tuple[str, str]]:
    return {one.type: (one.status, one.reason) for one in status.conditions}


def shown(object_: VirtualServer, seen: Seen | None, step: steps.Step | None = None, **more: Any) -> Any:
    return server_status(
        object_, facts_of(seen, **more), step or steps.Settled(), seen, ConfigurationView(), NOW + timedelta(hours=1)
    )


def test_an_observed_server_that_runs_is_ready_and_shown_and_not_ours() -> None:
    status = shown(adopted(), SEEN)
    assert told(status) == {
        "Instantiated": ("True", "Running"),
        "Configured": ("False", "Observed"),
        "Ready": ("True", "Observed"),
    }
    assert (status.provider_id, status.offering, status.state) == ("s1", "small", "Running")
    assert status.zone is None, "the service tells none"
    assert status.recorded_at is None
    assert status.addresses
    kept = adopted().model_copy(update={"status": status})
    assert taken_over(kept) is None


@pytest.mark.parametrize(
    ("state", "reason"),
    [(SeenState.STOPPED, "ServerStopped"), (SeenState.FAILED, "ServerFailed"), (SeenState.PENDING, "NotRunning")],
)
def test_an_observed_server_that_does_not_run_is_not_ready(state: SeenState, reason: str) -> None:
    status = shown(adopted(conditions=(RAN,)), replace(SEEN, state=state))
    assert told(status)["Ready"] == ("False", reason)


def test_until_the_first_inventory_after_a_start_nothing_changes() -> None:
    object_ = adopted(conditions=(RAN, READY))
    status = server_status(
        object_, facts_of(None, service=svc()), steps.Settled(), None, ConfigurationView(), NOW + timedelta(hours=1)
    )
    ready = c.find(status.conditions, c.READY)
    assert ready is not None
    assert (ready.status, ready.reason, ready.message) == ("True", "Observed", "as before")


def test_a_server_that_is_taken_over_this_moment_is_not_ready_before_it_was_looked_at() -> None:
    status = shown(adopted("Manage", conditions=(RAN,)), None, steps.Record("s1"), observes=False)
    assert told(status)["Ready"] == ("False", "Adopting")
    assert status.recorded_at is not None


def test_an_adopted_server_without_a_configuration_is_ready_while_it_runs() -> None:
    object_ = adopted("Manage", status={"providerID": "s1", "recordedAt": THEN})
    assert taken_over(object_) == "s1"
    status = shown(object_, SEEN, observes=False, provider_id="s1")
    assert told(status)["Configured"] == ("True", "NoConfiguration")
    assert told(status)["Ready"] == ("True", "Ready")


def test_the_zone_is_where_the_server_was_last_seen() -> None:
    status = shown(adopted(), replace(SEEN, zone="member-1"))
    assert status.zone == "member-1"
    known = adopted(status={"zone": "member-1"})
    assert shown(known, None).zone == shown(known, SEEN).zone == "member-1", "what is not told is not forgotten"
    assert shown(known, replace(SEEN, zone="member-2")).zone == "member-2", "servers can be moved"
    assert shown(known, replace(SEEN, zone="x" * 300)).zone == "member-1", "what does not fit keeps nothing from status"


def test_drift_is_told_beside_readiness_and_its_end_takes_the_condition_away() -> None:
    status = shown(adopted(conditions=(RAN, READY)), replace(SEEN, offering="large"), offering="small")
    assert told(status)["Ready"] == ("True", "Observed"), "a server that was resized works"
    assert told(status)["Drifted"] == ("True", "Resized")
    assert status.offering == "small", "what it was first seen with stays what it is held against"
    assert "Drifted" not in told(shown(adopted(conditions=(RAN, READY, DRIFTED)), SEEN))


@pytest.mark.parametrize("reason", ["ScopeChanged", "ServiceUnavailable", "ServiceNotFound"])
def test_what_was_known_of_a_drift_stays_told_while_nobody_can_look(reason: str) -> None:
    status = shown(adopted(conditions=(RAN, READY, DRIFTED)), SEEN, steps.Wait(reason, "away"))
    drifted = c.find(status.conditions, c.DRIFTED)
    assert drifted is not None
    assert drifted.message == "so it was"
    assert "Drifted" not in told(shown(adopted(), replace(SEEN, state=SeenState.STOPPED), steps.Wait(reason, "away")))


def test_a_lost_server_was_deleted_behind_our_back() -> None:
    gone = Lookup(NOW, STEADY, LookupResult.NOT_FOUND)
    status = shown(adopted(conditions=(RAN,)), None, steps.DeclareLost("gone"), lookup=gone)
    assert told(status)["Drifted"] == ("True", "Deleted")
    assert told(status)["Stalled"] == ("True", "Lost")


def test_an_adopted_servers_own_wish_is_its_offering_and_a_made_ones_is_what_it_was_first_seen_with() -> None:
    assert expected_offering(adopted(offering="medium", status={"offering": "small"})) == "medium"
    assert expected_offering(adopted(status={"offering": "small"})) == "small"
    assert expected_offering(adopted()) is None


def test_kubectl_shows_drift_before_what_is_in_progress() -> None:
    order = [one.type for one in shown(adopted(conditions=(RAN,)), replace(SEEN, state=SeenState.STOPPED)).conditions]
    assert order == ["Ready", "Instantiated", "Configured", "Drifted", "Reconciling"]
