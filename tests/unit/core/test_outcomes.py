"""What became of servers of late: what counts, that nothing counts twice, and that it is bounded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.hostingservice import Measured, Outcome
from moorage.core.outcomes import KEPT, WITHIN, measured, merged, outcome_of

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CREATED = "2026-11-20T10:00:00Z"
TRIED = datetime.fromisoformat(CREATED)
LIMIT = timedelta(minutes=10)


def server(*conditions: tuple[str, str, str, str], deleted: str | None = None, **spec: Any) -> dict[str, Any]:
    found = [{"type": t, "status": s, "reason": r, "lastTransitionTime": at} for t, s, r, at in conditions]
    gone = {} if deleted is None else {"deletionTimestamp": deleted}
    return {
        "metadata": {"uid": "u", "creationTimestamp": CREATED, **gone},
        "spec": {"serviceRef": {"name": "s"}, **spec},
        "status": {"conditions": found},
    }


RUNS = ("Instantiated", "True", "Running", "2026-11-20T10:01:30Z")
WAITS = ("Instantiated", "False", "Booting", CREATED)


@pytest.mark.parametrize(
    ("obj", "seconds", "failed"),
    [
        (server(RUNS), 90, None),
        (server(RUNS, deleted="2026-11-20T11:00:00Z"), 90, None),
        (server(WAITS, ("Stalled", "True", "InsufficientCapacity", CREATED)), None, "InsufficientCapacity"),
        (server(WAITS, ("Stalled", "True", "QuotaExceeded", CREATED)), None, "QuotaExceeded"),
        (server(WAITS, deleted="2026-11-20T10:10:00Z"), None, "BootTimeout"),
    ],
)
def test_what_counts(obj: dict[str, Any], seconds: int | None, failed: str | None) -> None:
    found = outcome_of(obj, TRIED, LIMIT)
    assert found is not None
    assert (found.server, found.seconds, found.failed) == ("u", seconds, failed)


@pytest.mark.parametrize(
    "obj",
    [
        server(),
        server(WAITS),
        server(WAITS, ("Stalled", "True", "Invalid", CREATED)),
        server(WAITS, deleted="2026-11-20T10:09:59Z"),
        server(RUNS, adopt={"providerID": "p"}),
    ],
)
def test_what_says_nothing_about_the_service(obj: dict[str, Any]) -> None:
    assert outcome_of(obj, TRIED, LIMIT) is None
    assert outcome_of(server(WAITS, deleted="2026-11-20T10:30:00Z"), TRIED, None) is None


def test_the_time_for_which_a_server_was_held_before_the_first_attempt_says_nothing_about_the_service() -> None:
    late = server(WAITS, deleted="2026-11-20T10:30:00Z")
    assert outcome_of(late, None, LIMIT) is None, "its service was never asked for it"
    assert outcome_of(late, TRIED + timedelta(minutes=21), LIMIT) is None
    assert outcome_of(late, TRIED + timedelta(minutes=20), LIMIT) is not None
    found = outcome_of(server(RUNS), TRIED + timedelta(seconds=60), LIMIT)
    assert found is not None
    assert found.seconds == 30
    unknown = outcome_of(server(RUNS), None, LIMIT)
    assert unknown is not None
    assert unknown.seconds == 90, "of one whose Secret is not known, the age of the object is the nearest"


_OUTCOMES = st.lists(
    st.builds(
        lambda n, minutes, seconds: Outcome(
            server=f"s{n}",
            at=NOW - timedelta(minutes=minutes),
            seconds=seconds,
            failed="BootTimeout" if seconds is None else None,
        ),
        st.integers(0, 120),
        st.integers(-5, 2000),
        st.none() | st.integers(0, 900),
    ),
    max_size=130,
    unique_by=lambda o: o.server,
)


@given(_OUTCOMES, st.integers(0, 130))
def test_nothing_counts_twice_and_it_does_not_matter_who_saw_it_first(outcomes: list[Outcome], at: int) -> None:
    once = merged((), outcomes, NOW)
    assert merged(once, outcomes, NOW) == once
    assert merged(merged((), outcomes[:at], NOW), outcomes, NOW) == once
    assert merged((), reversed(outcomes), NOW) == once
    assert len(once) <= KEPT
    assert all(o.at > NOW - WITHIN for o in once)


@given(_OUTCOMES)
def test_what_they_say_together(outcomes: list[Outcome]) -> None:
    found = measured(outcomes)
    assert (found is None) == (len(outcomes) < 3)
    if found is not None:
        assert found.failure_rate is not None
        assert 0 <= found.failure_rate <= 1
        assert (found.boot_seconds is None) == (sum(o.seconds is not None for o in outcomes) < 3)


def test_the_median_and_the_share() -> None:
    times = [10, 400, 20, None]
    found = [Outcome(server=f"s{i}", at=NOW, seconds=t, failed=None if t else "x") for i, t in enumerate(times)]
    assert measured(found) == Measured(servers=4, boot_seconds=20.0, failure_rate=0.25)
