"""What status says while a server, or a group, goes: what it waits for, and nothing new where nothing was learnt."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.group_world import make_group
from tests.support.server_facts import NOW, S, leaving

from moorage.api.virtualserver import VirtualServer
from moorage.core import steps
from moorage.core.group import GroupWorld, PolicyView, decide_group
from moorage.core.rollout import GroupServer
from moorage.core.server_status import ConfigurationView, server_status

META = {"name": "x", "namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 3}


GOING = steps.Wait("Deleting", "s is deleting server s1")


def ready(step: steps.Step, reason: str = "DeletionOverdue", **facts: Any) -> tuple[str, str]:
    """Reason and message of Ready after such a step, where status has told that reason before."""
    before = {"type": "Ready", "status": "False", "reason": reason, "message": "still there"}
    spec = {"serviceRef": {"name": "s"}, "group": {"name": "g", "uid": "gu"}, "member": "m", "image": "i"}
    told = {"conditions": [{**before, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    server = VirtualServer.from_dict({"metadata": META, "spec": {**spec, "offering": "o"}, "status": told})
    going = leaving(deleting_since=NOW - 3600 * S, **facts)
    status = server_status(server, going, step, None, ConfigurationView(), NOW)
    found = next(c for c in status.conditions if c.type == "Ready")
    return found.reason, found.message


@pytest.mark.parametrize("reason", ["Deleting", "DeletionOverdue"])
def test_that_a_deletion_is_asked_for_again_changes_nothing_of_what_is_told(reason: str) -> None:
    assert ready(steps.Destroy(("s1",)), reason, deleted_at=NOW - 30 * S) == (reason, "still there")


def test_a_deletion_that_is_overdue_stays_so_for_a_process_that_was_just_started() -> None:
    assert ready(steps.Destroy(("s1",))) == ("DeletionOverdue", "still there")
    assert ready(GOING, deleted_at=NOW - S, asked_since=NOW - S) == ("DeletionOverdue", "still there")
    elsewhere = steps.Wait("ServiceUnavailable", "s does not answer")
    assert ready(elsewhere) == ("ServiceUnavailable", "s does not answer")
    assert ready(GOING, "ServiceUnavailable", deleted_at=NOW - S) == ("Deleting", "s is deleting server s1")


def test_a_group_that_is_being_deleted_names_what_it_waits_for() -> None:
    group = make_group()
    gone = group.model_copy(update={"metadata": group.metadata.model_copy(update={"deletion_timestamp": NOW})})
    server = GroupServer(
        "g-a-0", "u", "a", 0, 1, "r", retain=False, created=NOW, deleting=True, message="still there", service="anchor"
    )
    plan = decide_group(GroupWorld(gone, PolicyView("p", "Met", "told"), [], [server]), NOW)
    assert plan.message == "1 servers are still there: g-a-0 on anchor: still there"
