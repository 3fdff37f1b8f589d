"""Each seeded bug makes a named test fail: the tests that guard the promises would notice if the guard went.

A mutant is one replacement in one module, tried in a process of its own; the same tests pass on the program as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIFECYCLE = "moorage.core.lifecycle"
EVIDENCE = "moorage.core.evidence"
DEPARTURE = "moorage.core.departure"
FAILOVER = "moorage.core.failover"


@dataclass(frozen=True)
class Mutant:
    """A bug, and the test that has to fail with it."""

    module: str
    old: str
    new: str
    killer: str


PAGE = '            page = await self.ask("GET", path, model, query=page_query)\n'
BELIEVED = f"            try:\n    {PAGE}            except Unavailable:\n                break\n"
SETTLED = "    settled = f.attempts_since + seconds(max(lengths) + service.listing_lag)\n"

MUTANTS = {
    "a partial inventory is believed: a page that fails ends the list": Mutant(
        "moorage.hosting.local.client",
        PAGE,
        BELIEVED.replace("break", "return tuple(items.values())"),
        "tests/unit/hosting/test_local_backend.py::test_a_page_that_makes_no_sense_fails_the_inventory",
    ),
    "a partial inventory is believed: of another account": Mutant(
        "moorage.runtime.service",
        "            self._scope_changed(listing.account)\n            return True\n",
        "            self._scope_changed(listing.account)\n",
        "tests/unit/runtime/test_service.py::test_another_account_is_never_believed",
    ),
    "a partial inventory is believed: one is enough": Mutant(
        LIFECYCLE,
        "        and provider_id not in previous.by_id\n",
        "",
        "tests/unit/core/test_lifecycle.py::test_missing",
    ),
    "a deadline is skipped: an attempt counts as settled when it begins": Mutant(
        EVIDENCE,
        SETTLED,
        "    settled = f.attempts_since\n",
        "tests/unit/core/test_lifecycle_invariants.py::test_one_identity_is_at_most_one_server_and_nothing_is_left",
    ),
    "a deadline is skipped: the lag is not waited for": Mutant(
        EVIDENCE,
        SETTLED,
        "    settled = f.attempts_since + seconds(max(lengths))\n",
        "tests/unit/core/test_lifecycle_invariants.py::test_one_identity_is_at_most_one_server_and_nothing_is_left",
    ),
    "a deadline is skipped: by a clock that is set forward": Mutant(
        EVIDENCE,
        SETTLED,
        "    settled = f.steady - seconds(now - f.secret.attempts[-1].deadline - service.listing_lag)\n",
        "tests/unit/core/test_lifecycle_invariants.py::test_one_identity_is_at_most_one_server_and_nothing_is_left",
    ),
    "a deadline is skipped: a call leaves after it": Mutant(
        "moorage.runtime.admission",
        "(within := deadline - self.clock.monotonic()) <= 0:",
        "(within := max(1.0, deadline - self.clock.monotonic())) <= 0:",
        "tests/unit/runtime/test_service.py::test_create_is_bounded_by_the_deadline_of_its_attempt",
    ),
    "placements overlap: the next one does not wait for the servers of the last": Mutant(
        "moorage.core.group",
        '    if world.servers:\n        message = f"servers of the last',
        '    if not world.group:\n        message = f"servers of the last',
        "tests/unit/core/test_exhaustion.py::test_half_a_group_that_fits_is_removed_before_the_next_placement",
    ),
    "a group moves although its configuration flows": Mutant(
        "moorage.core.group",
        "        and not is_complete(group, placement)\n",
        "",
        "tests/unit/core/test_exhaustion.py::test_a_group_whose_configuration_flows_stays_and_says_so",
    ),
    "placements overlap: a third generation does not wait for the first": Mutant(
        FAILOVER,
        "    if before:\n        told =",
        "    if not case:\n        told =",
        "tests/unit/core/test_failover.py::test_a_second_failover_waits_until_the_first_generation_is_gone",
    ),
    "placements overlap: without leave": Mutant(
        FAILOVER,
        '    if spec.overlap == "Forbidden" and (unconfirmed',
        '    if spec.overlap == "Never" and (unconfirmed',
        "tests/unit/core/test_failover.py::test_without_overlap_a_service_that_cannot_be_reached_is_never_left",
    ),
    "servers are given up that the service could not confirm gone": Mutant(
        FAILOVER,
        "    if reach.doubt:\n",
        "    if reach.doubt and not reach.known:\n",
        "tests/unit/core/test_failover.py::test_without_overlap_a_service_that_refuses_us_is_never_left",
    ),
    "servers are given up on an inventory from before the occasion": Mutant(
        FAILOVER,
        "    if reach.looked is None or reach.looked <= cause.due:\n",
        "    if reach.looked is None:\n",
        "tests/unit/core/test_failover.py::"
        "test_without_overlap_no_server_is_given_up_on_an_inventory_from_before_the_occasion",
    ),
    "a protected group with configured servers moves for lack of room": Mutant(
        "moorage.core.group",
        "        and not is_kept(group, placement)\n",
        "",
        "tests/unit/core/test_exhaustion.py::"
        "test_a_protected_group_with_configured_servers_stays_where_there_is_no_room_and_says_so",
    ),
    "a frozen service confirms a deletion": Mutant(
        DEPARTURE,
        "    if not service.frozen or f.deleted_at is not None:\n",
        "    if service.frozen or f.deleted_at is not None:\n",
        "tests/unit/core/test_lifecycle_deletion.py",
    ),
    "a group moves on the word of a process that has ended": Mutant(
        FAILOVER,
        "since is None or not case.reach.known:",
        "since is None:",
        "tests/unit/core/test_failover.py::test_what_another_process_saw_counts_only_once_this_one_has_looked",
    ),
    "a server that goes has a session": Mutant(
        DEPARTURE,
        "    if f.secret is not None and f.secret.serves:\n",
        "    if f.secret is None and f.observes:\n",
        "tests/unit/core/test_lifecycle_deletion.py",
    ),
    "a uid is left out: of the identity that is compared": Mutant(
        EVIDENCE,
        "seen.owner == f.identity.owner and ",
        "",
        "tests/unit/core/test_lifecycle.py::test_creating",
    ),
    "a uid is left out: of a deletion": Mutant(
        "moorage.controllers.group",
        "removal.name, uid=removal.uid, propagation",
        "removal.name, propagation",
        "tests/unit/controllers/test_group.py::test_a_successor_of_the_same_name_is_not_deleted",
    ),
    "a uid is left out: of the servers that are a group's": Mutant(
        "moorage.controllers.group_world",
        "server.spec.group is not None and server.spec.group.uid == group.metadata.uid",
        "server.spec.group is not None",
        "tests/unit/controllers/test_group.py::test_servers_of_a_dead_group_of_the_same_name_are_not_its_servers",
    ),
}


def outcome(mutant: Mutant) -> subprocess.CompletedProcess[str]:
    """Run the killer on the mutant."""
    spec = {"module": mutant.module, "old": mutant.old, "new": mutant.new}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-p",
            "tests.support.mutant",
            mutant.killer,
        ],
        cwd=ROOT,
        env={**os.environ, "MOORAGE_MUTANT": json.dumps(spec), "PYTEST_ADDOPTS": "", "CI": "true"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


@pytest.mark.parametrize("bug", MUTANTS)
def test_a_seeded_bug_is_found(bug: str) -> None:
    done = outcome(MUTANTS[bug])
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout[-4000:] + done.stderr[-2000:]
    assert "FAILED" in done.stdout


def test_a_mutant_that_changes_nothing_passes() -> None:
    same = Mutant(DEPARTURE, "DELETE_REPEAT = ", "DELETE_REPEAT = ", "tests/unit/core/test_lifecycle.py::test_missing")
    assert outcome(same).returncode == pytest.ExitCode.OK
