"""Votes: who counts, what is undecided, and that an outcome stays for as long as it is to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.groupconditions import VoteCondition
from moorage.api.hostingpolicy import Reading, When
from moorage.api.meta import ObjectMeta
from moorage.api.servergroup import PolicyState
from moorage.api.virtualserver import OutputState
from moorage.core.policy import Constituency, GroupFacts, Voter, Votes, read_own
from moorage.core.policy.readings import RawReading
from moorage.core.policy.vote import read_vote

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
WEB = Constituency("web", 4, {"busy": False, "key": True})
DB = Constituency("db", 2, {"busy": False})
CACHE = Constituency("cache", 2, {"other": False})
META = ObjectMeta(name="g", namespace="ns", uid="u", generation=1)


def vote(share: int = 50, **fields: Any) -> VoteCondition:
    return VoteCondition.from_dict({"output": "busy", "share": share, **fields})


def voter(said: str | None, member: str = "web", **fields: Any) -> Voter:
    outputs = {} if said is None else {"busy": OutputState(name="busy", value=said, **fields)}
    return Voter(member, outputs)


def votes(*said: str | None, members: Sequence[Constituency] = (WEB,)) -> Votes:
    return Votes(True, members, tuple(voter(s) for s in said))


def read(condition: VoteCondition, found: Votes) -> RawReading:
    return read_vote(condition, found)


@pytest.mark.parametrize(
    ("share", "said", "value", "message"),
    [
        (50, ["true", "false"], "Met", "1 of 2 servers said true, 1 have to"),
        (51, ["true", "false"], "Unmet", "1 of 2 servers said true, 2 have to"),
        (50, ["true", "false", "false"], "Unmet", "1 of 3 servers said true, 2 have to"),
        (1, ["true"] + ["false"] * 99, "Met", "1 of 100 servers said true, 1 have to"),
        (100, ["true", "true"], "Met", "2 of 2 servers said true, 2 have to"),
        (100, ["true", None], "Unknown", "1 of 2 servers said true, 2 have to, 1 have said nothing"),
        (50, ["true", None], "Met", "1 of 2 servers said true, 1 have to, 1 have said nothing"),
        (60, ["false", "false", None], "Unmet", "0 of 3 servers said true, 2 have to, 1 have said nothing"),
        (50, ["false", None], "Unknown", "0 of 2 servers said true, 1 have to, 1 have said nothing"),
        (50, ["yes", "TRUE"], "Unknown", "0 of 2 servers said true, 1 have to, 2 said neither true nor false"),
        (50, [" true\n", "false"], "Met", "1 of 2 servers said true, 1 have to"),
        (50, [], "Unknown", "no server runs that could vote"),
    ],
)
def test_the_outcome(share: int, said: list[str | None], value: str, message: str) -> None:
    raw = read(vote(share), votes(*said))
    assert (raw.value, raw.message) == (value, message)
    assert raw.reason == {"Met": "VotedFor", "Unmet": "VotedAgainst", "Unknown": "VotesMissing"}[value]


def test_of_desired_counts_those_that_are_to_come() -> None:
    assert read(vote(50), votes("true", "true")).value == "Met"
    assert read(vote(75, of="Desired"), votes("true", "true")).value == "Unknown"
    assert read(vote(50, of="Desired"), votes("true", "true")).value == "Met"
    assert read(vote(50, of="Desired"), votes("false", "false", "false")).value == "Unmet"
    assert read(vote(100, of="Desired"), votes()).value == "Unknown"
    # More than are wanted run: a member that shrinks.
    assert read(vote(50, of="Desired"), votes("true", "true", *["false"] * 3)).value == "Unmet"


def test_who_votes() -> None:
    found = Votes(True, (WEB, DB, CACHE), (voter("true"), voter("false", "db"), voter("false", "cache")))
    assert read(vote(50), found).message.startswith("1 of 2 servers")
    assert read(vote(100, member="web"), found).value == "Met"
    assert read(vote(1, member="db"), found).value == "Unmet"


def test_an_old_value_is_no_vote_and_a_hidden_one_neither() -> None:
    stale = voter("true", error="CommandFailed")
    hidden = Voter("web", {"busy": OutputState(name="busy", in_secret=True)})
    said = read(vote(50), Votes(True, (WEB,), (stale, hidden)))
    assert said.message == ("0 of 2 servers said true, 1 have to, 1 have said nothing, 1 said neither true nor false")


@pytest.mark.parametrize(
    ("fields", "reason", "says"),
    [
        ({"member": "wbe"}, "NoSuchMember", "the group has no member wbe"),
        ({"output": "bussy"}, "OutputUndeclared", "declares the output bussy"),
        ({"member": "cache"}, "OutputUndeclared", "declares the output busy"),
        ({"output": "key"}, "OutputSensitive", "the output key of member web is sensitive"),
    ],
)
@pytest.mark.parametrize("placed", [True, False])
def test_a_vote_that_nobody_can_cast_is_told(fields: dict[str, Any], reason: str, says: str, placed: bool) -> None:
    raw = read(vote(**fields), Votes(placed, (WEB, CACHE), (voter("true"),)))
    assert (raw.value, raw.reason) == ("Unknown", reason)
    assert says in raw.message


def test_a_configuration_that_is_not_there_yet_is_not_called_wrong() -> None:
    assert read(vote(), Votes(True, (Constituency("web", 1, None),), ())).reason == "VotesMissing"


_SAID = st.lists(st.sampled_from(["true", "false", None, "maybe"]), max_size=12)


@given(st.integers(1, 100), _SAID, st.sampled_from(["Running", "Desired"]))
def test_what_is_decided_cannot_be_turned_by_those_who_are_silent(share: int, said: list[str | None], of: str) -> None:
    now = read(vote(share, of=of), votes(*said)).value
    outcomes = set()
    for late in ("true", "false"):
        all_said = [late if s not in {"true", "false"} else s for s in said]
        all_said += [late] * (4 - len(said) if of == "Desired" else 0)
        outcomes.add(read(vote(share, of=of), votes(*all_said)).value)
    if now == "Unknown":
        assert outcomes in ({"Met", "Unmet"}, {"Unknown"})
    else:
        assert outcomes == {now}


# With memory: what the group's status says


WHEN = {"name": "v", "vote": {"output": "busy", "share": 50}}


def look(found: Votes, previous: Reading | None, now: datetime, calm: str = "10m", **fields: Any) -> tuple[Any, Any]:
    """The reading, and when it can change by itself."""
    condition = {**WHEN, "vote": {**WHEN["vote"], "calm": calm}, **fields}  # type: ignore[dict-item]
    state = None
    if previous is not None:
        kept = Reading.from_dict(previous.to_dict())
        state = PolicyState(name="p", verdict="Met", since=NOW, readings=(kept,))
    own = read_own(When.from_dict({"all": [condition]}), GroupFacts(META, found), state, now)
    return own.readings[0], own.next_check


YES, NO, SILENT, NOBODY = votes("true"), votes("false"), votes(None), Votes(False, (WEB,))
MINUTE = timedelta(minutes=1)


def test_an_outcome_stays_for_the_calm_time() -> None:
    met, _ = look(YES, None, NOW)
    assert (met.value, met.reason) == ("Met", "VotedFor")
    kept = met
    for found in (NO, SILENT):
        kept, again = look(found, met, NOW + 9 * MINUTE)
        assert (kept.value, kept.reason, kept.since, again) == ("Met", "Calm", NOW, NOW + 10 * MINUTE)
        assert kept.message.startswith("met until 2026-11-20T12:10:00Z at least, now 0 of 1 servers said true")
    unmet, again = look(NO, kept, NOW + 10 * MINUTE)
    assert (unmet.value, unmet.since, again) == ("Unmet", NOW + 10 * MINUTE, None)
    back, _ = look(YES, unmet, NOW + 11 * MINUTE)
    assert (back.value, back.reason) == ("Unmet", "Calm")
    assert look(YES, back, NOW + 20 * MINUTE)[0].value == "Met"


def test_what_is_unknown_is_not_kept() -> None:
    unknown, _ = look(SILENT, None, NOW)
    assert look(YES, unknown, NOW + MINUTE)[0].value == "Met"


def test_a_time_without_servers_is_not_remembered() -> None:
    nobody, again = look(NOBODY, None, NOW)
    assert (nobody.value, nobody.reason, again) == ("Unmet", "NoServers", None)
    placed, _ = look(SILENT, nobody, NOW + MINUTE)
    assert (placed.value, placed.reason, placed.since) == ("Unknown", "VotesMissing", NOW + MINUTE)
    met, _ = look(YES, placed, NOW + 2 * MINUTE, holdFor="1h")
    released, _ = look(NOBODY, met, NOW + 3 * MINUTE, holdFor="1h")
    assert (released.value, released.reason) == ("Unmet", "NoServers")


def test_a_wrong_vote_is_told_at_once() -> None:
    met, _ = look(YES, None, NOW)
    wrong, _ = look(Votes(True, (CACHE,), ()), met, NOW + MINUTE)
    assert wrong.reason == "OutputUndeclared"


def test_numbers_alone_are_no_news() -> None:
    first, _ = look(votes("true", "false"), None, NOW)
    second, _ = look(votes("true", "true"), first, NOW + MINUTE)
    assert second == first
    third, _ = look(votes("false", "false"), second, NOW + 20 * MINUTE)
    assert third.message == "0 of 2 servers said true, 1 have to"


def test_hold_and_calm_together_end_once() -> None:
    met, _ = look(YES, None, NOW, holdFor="1m")
    held, _ = look(NO, met, NOW + MINUTE, holdFor="1m")
    assert held.reason == "Held"
    calm, _ = look(NO, held, NOW + 2 * MINUTE, holdFor="1m")
    assert (calm.value, calm.reason) == ("Met", "Calm")
    assert look(NO, calm, NOW + 10 * MINUTE, holdFor="1m")[0].value == "Unmet"


_SERIES = st.lists(st.tuples(st.integers(1, 400), st.sampled_from([YES, NO, SILENT])), min_size=1, max_size=40)
_SPANS = st.sampled_from(["0s", "30s", "2m", "10m"])


@given(_SERIES, _SPANS, _SPANS, _SPANS)
def test_nothing_flaps_within_the_calm_time_and_the_next_check_is_when_it_changes(
    steps: list[tuple[int, Votes]], calm: str, for_: str, hold: str
) -> None:
    lasts = {"0s": 0, "30s": 30, "2m": 120, "10m": 600}[calm]
    now, previous, decided = NOW, None, None
    for gap, found in steps:
        now += timedelta(seconds=gap)
        reading, again = look(found, previous, now, calm, **{"for": for_, "holdFor": hold})
        if reading.value != "Unknown" and (previous is None or previous.value != reading.value):
            # Reckoned from the instants at which they were due: neither comes early.
            if decided is not None and previous is not None and previous.value != "Unknown":
                assert reading.since - decided >= timedelta(seconds=lasts)
            decided = reading.since
        assert again is None or again > now
        same, _ = look(found, reading, now + timedelta(milliseconds=1), calm, **{"for": for_, "holdFor": hold})
        if again is None or again > now + timedelta(milliseconds=1):
            assert same == reading
        previous = reading
