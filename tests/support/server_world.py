"""A small world for the decisions about one server: a hosting service with a lag, lost answers and crashes anywhere.

`World.step` decides by `decide_server` and carries the step out as the controller does, one effect at a time. Before
and after each effect the world may do its worst, as the numbers of `chaos` say; once they are used up it is fair.
What must hold in any world is asserted at each effect, against the service's own truth. `World.now` is the true time,
`World.clock` the time of day that the process reads: chaos sets it forward and back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tests.support.server_world_parts import Conflicted, Crashed, Machine, Memory, S

from moorage.core import steps
from moorage.core.facts import (
    RELEASED,
    Attempt,
    CallFailure,
    Identity,
    Inventory,
    Lookup,
    LookupResult,
    SecretFacts,
    Seen,
    SeenState,
    ServerFacts,
    ServiceFacts,
)
from moorage.core.lifecycle import decide_server

START = datetime(2026, 1, 1, tzinfo=UTC)
ME = Identity("m-me", "inst/uid-me")
CREATE_TIMEOUT = 30 * S
JUMP = timedelta(hours=1)
EFFECTS = ("ok", "crash before", "crash after", "lost", "refused", "late", "conflict", "pause")
EVENTS = ("nothing", "vanish", "delete", "inventory", "partial", "foreign", "home", "crash", "forward", "back")

Decide = Callable[[ServerFacts, datetime], steps.Step]


@dataclass
class World:
    """One VirtualServer, its Secret, its service, and the process that sees to it."""

    chaos: Iterator[int]
    keys: bool = True
    lag: timedelta = 5 * S
    retain: bool = False
    hides: bool = True
    decide: Decide = decide_server
    now: datetime = START
    offset: timedelta = timedelta(0)
    machines: list[Machine] = field(default_factory=list)
    in_flight: list[datetime] = field(default_factory=list)
    used_keys: bool = False
    secret: SecretFacts | None = None
    provider_id: str | None = None
    recorded_at: datetime | None = None
    lost: bool = False
    failed: CallFailure | None = None
    deleting: datetime | None = None
    finalizer: bool = True
    away: bool = False
    memory: Memory = field(default_factory=Memory)
    count: int = 0
    told: list[steps.Step] = field(default_factory=list)

    # What is so

    @property
    def clock(self) -> datetime:
        """The time of day as the process reads it."""
        return self.now + self.offset

    @property
    def steady(self) -> float:
        """What the process reads on the clock that nobody sets."""
        return (self.now - START) / S

    def alive(self) -> list[Machine]:
        """Servers of this identity that exist."""
        return [m for m in self.machines if m.died is None and m.owner == ME.owner]

    def facts(self) -> ServerFacts:
        """What the process knows."""
        m = self.memory
        m.forget_future(self.clock)
        if self.deleting is not None and m.noticed_at is None:
            m.noticed_at, m.failure, m.deleted_at, m.asked_since = self.clock, None, None, None
        newest = self.secret.attempts[-1] if self.secret is not None and self.secret.attempts else None
        m.attempt = m.attempt if m.attempt[0] == newest else (newest, self.steady)
        m.recorded = m.recorded if m.recorded[0] == self.provider_id else (self.provider_id, self.steady)
        return ServerFacts(
            name="g-m-0",
            uid="uid-me",
            identity=ME,
            created=START,
            deleting_since=self.deleting,
            has_finalizer=self.finalizer,
            retain=self.retain,
            adopt_id=None,
            provider_id=self.provider_id,
            recorded_at=self.recorded_at,
            lost=self.lost,
            failed=self.failed,
            secret=self.secret,
            joined=False,
            addressed=True,
            service=ServiceFacts(
                "anchor",
                "svc",
                connected=True,
                trusted=not m.foreign,
                idempotent_create=self.keys,
                listing_lag=self.lag,
                create_timeout=CREATE_TIMEOUT,
                latest=m.latest if m.latest is not None and m.latest.started <= self.clock else None,
                previous=m.previous,
            ),
            steady=self.steady,
            attempts_since=m.attempt[1],
            recorded_since=m.recorded[1],
            lookup=m.lookup,
            failure=m.failure,
            noticed_at=m.noticed_at,
            deleted_at=m.deleted_at,
            asked_since=m.asked_since,
        )

    def listing(self, *, complete: bool = True) -> Inventory:
        """What a listing that starts now shows; within the lag, births are hidden and the dead still shown."""
        shown: list[Seen] = []
        for m in self.machines:
            young = self.hides and m.born > self.now - self.lag
            fresh_grave = self.hides and m.died is not None and m.died > self.now - self.lag
            if (m.died is None and not young) or (fresh_grave and not young):
                shown.append(Seen(m.id, ME.key, m.owner, SeenState.RUNNING))
        shown = shown if complete else []
        by_id = {s.provider_id: s for s in shown}
        return Inventory(self.clock, self.steady, by_id, {ME.key: tuple(shown)} if shown else {})

    # Chaos

    def draw(self, choices: Sequence[str]) -> str:
        """What the world does next; the first choice once chaos is over."""
        number = next(self.chaos, None)
        return choices[0] if number is None else choices[number % len(choices)]

    def pass_time(self, by: timedelta) -> None:
        """Let time pass; creations on their way land, at the latest at their deadline."""
        self.now += by
        for deadline in [d for d in self.in_flight if d <= self.now]:
            self.in_flight.remove(deadline)
            self._land(deadline)

    def _land(self, at: datetime) -> Machine | None:
        """A creation takes effect: with keys, a key means one server for ever."""
        if self.keys and self.used_keys:
            known = self.machines[0]
            return known if known.died is None and known.owner == ME.owner else None
        self.used_keys = True
        self.count += 1
        made = Machine(f"s{self.count}", ME.owner, min(at, self.now))
        self.machines.append(made)
        assert len(self.alive()) <= 1, "two servers of one identity live"
        return made

    def happen(self) -> None:
        """Something that nobody asked for."""
        match self.draw(EVENTS):
            case "vanish":
                for m in self.alive()[:1]:
                    m.died = self.now
            case "delete" if self.deleting is None:
                self.deleting = self.clock
            case "inventory":
                self.take_inventory()
            case "partial":
                pass  # a listing that fails midway raises in the backend: nothing is learnt from it
            case "foreign":
                self.away = True
                self.take_inventory()
            case "home":
                self.away = False
                self.take_inventory()
            case "crash":
                self.memory = Memory()
            case "forward":
                self.offset += JUMP
            case "back":
                self.offset -= JUMP
            case _:
                pass

    def effect(self, act: Callable[[], object], *, api: bool) -> None:
        """One effect on the API server or the service, in a world that may die around it."""
        outcome = self.draw(EFFECTS)
        if outcome == "crash before":
            raise Crashed
        if outcome == "conflict" and api:
            raise Conflicted
        if outcome == "pause":
            self.pass_time(20 * S)
        act()
        self.pass_time(S / 10)
        if outcome == "crash after":
            raise Crashed

    # What the process does

    def take_inventory(self) -> None:
        """A complete listing, or the discovery that the account is another one."""
        m = self.memory
        m.foreign = self.away
        if self.away:
            return
        found = self.listing()
        if m.previous is None or m.latest is None or m.latest.steady - m.previous.steady > self.lag / S:
            m.previous = m.latest
        m.latest = found
        self.pass_time(S / 10)

    def step(self) -> steps.Step:
        """Decide, check the decision against the truth, and carry it out."""
        facts = self.facts()
        decided = self.decide(facts, self.clock)
        self.told.append(decided)
        self.check(decided, facts)
        try:
            self._perform(decided)
        except Crashed:
            self.memory = Memory()
        except Conflicted:
            pass
        return decided

    def check(self, decided: steps.Step, facts: ServerFacts) -> None:
        """What must hold whenever the step is taken."""
        service = facts.service
        assert service is not None
        outward = steps.Create | steps.CreateAgain | steps.Destroy | steps.Release | steps.DeclareLost
        if isinstance(decided, outward):
            assert service.trusted, "nothing is done or believed in another account"
        match decided:
            case steps.DeclareLost():
                assert service.latest is not None, "lost without an inventory"
                assert service.previous is not None, "lost on the word of one inventory"
                assert not self.alive(), "called lost while it lives"
            case steps.DropFinalizer():
                assert facts.secret is None or not facts.secret.serves, "the object goes while its agent is answered"
                assert not self.alive(), "the finalizer goes while the server lives"
                late = [d for d in self.in_flight if d > self.now]
                assert not late or (self.keys and self.used_keys), "the finalizer goes while a creation is on its way"
            case steps.Destroy():
                serves = facts.secret is not None and facts.secret.serves
                assert self.deleting is None or not serves, "destroyed while its agent is answered"
                assert self.deleting is not None or len(self.alive()) != 1, "destroyed though nobody asked for it"
            case _:
                pass

    def _perform(self, decided: steps.Step) -> None:
        match decided:
            case steps.Create() | steps.CreateAgain():
                self._create(decided)
            case steps.AwaitInventory() | steps.Wait() | steps.Settled():
                self._wait(decided)
            case _:
                self._act(decided)

    def _create(self, decided: steps.Create | steps.CreateAgain) -> None:
        match decided:
            case steps.Create():
                attempt = self._attempt()
                self.effect(lambda: self._post(SecretFacts((attempt,), serves=True)), api=True)
                self._call(attempt)
            case steps.CreateAgain(record):
                assert self.secret is not None
                attempt = self.secret.attempts[-1]
                if record:
                    attempt = self._attempt()
                    later = replace(self.secret, attempts=(*self.secret.attempts, attempt)[-5:])
                    self.effect(lambda: setattr(self, "secret", later), api=True)
                self._call(attempt)

    def _attempt(self) -> Attempt:
        attempt = Attempt(self.clock, self.clock + CREATE_TIMEOUT)
        self.memory.attempt = attempt, self.steady
        return attempt

    def _act(self, decided: steps.Step) -> None:
        match decided:
            case steps.Record(provider_id):
                self._record(provider_id)
            case steps.Ask(provider_id):
                self.effect(lambda: self._ask(provider_id), api=False)
            case steps.Destroy(ids):
                self._destroy(ids)
            case steps.Release(provider_id):
                self.effect(lambda: self._release(provider_id), api=False)
                self._ask(provider_id)
            case steps.Close():
                self.effect(lambda: self._post(SecretFacts(closed=True)), api=True)
            case steps.Revoke():
                assert self.secret is not None
                silent = replace(self.secret, serves=False)
                self.effect(lambda: setattr(self, "secret", silent), api=True)
            case steps.DropFinalizer():
                self.effect(lambda: setattr(self, "finalizer", False), api=True)
            case steps.DeclareLost():
                self.effect(lambda: setattr(self, "lost", True), api=True)
            case steps.Fail(failure, destroy):
                definite = failure.reason not in {"DuplicateIdentity", "KeyConflict"}
                ended = replace(failure, definite=definite, retry_at=None)
                self.effect(lambda: setattr(self, "failed", ended), api=True)
                self._destroy(destroy)
            case _:
                raise AssertionError(f"no step of this world: {decided}")

    def _wait(self, decided: steps.AwaitInventory | steps.Wait | steps.Settled) -> None:
        match decided:
            case steps.AwaitInventory(newer_than):
                self.pass_time(max(timedelta(0), newer_than - self.clock) + S / 1000)
                self.take_inventory()
            case steps.Wait(_, _, until):
                self.pass_time(S if until is None else max(until - self.clock, S / 1000))
                if self.memory.foreign:
                    self.take_inventory()
            case steps.Settled():
                self.pass_time(S)
                self.take_inventory()

    def _post(self, secret: SecretFacts) -> None:
        if self.secret is not None:
            raise Conflicted
        self.secret = secret

    def _call(self, attempt: Attempt) -> None:
        """The creation, bounded by the attempt's deadline, on the clock that nobody sets."""
        deadline = START + S * self.memory.attempt[1] + attempt.length
        outcome = self.draw(EFFECTS)
        if outcome == "crash before":
            raise Crashed
        if outcome == "pause":
            self.pass_time(20 * S)
        if self.now >= deadline:
            self._fail("TimedOut", definite=False)
            return
        if outcome == "refused":
            self._fail("Throttled", definite=True)
            return
        if outcome == "late":
            self.in_flight.append(deadline - S / 100)
            if next(self.chaos, 0) % 2:
                raise Crashed
            self.pass_time(deadline - self.now)
            self._fail("TimedOut", definite=False)
            return
        made = self._land(self.now)
        self.pass_time(S / 10)
        if outcome == "crash after":
            raise Crashed
        if outcome == "lost":
            self._fail("Unavailable", definite=False)
            return
        if made is None:
            self.memory.failure = CallFailure("KeyConflict", "the key is used", terminal=True, definite=True)
            return
        self.memory.failure = None
        self._record(made.id)

    def _fail(self, reason: str, *, definite: bool) -> None:
        self.memory.failure = CallFailure(reason, reason, False, definite, self.clock + S)

    def _record(self, provider_id: str) -> None:
        def write() -> None:
            assert self.provider_id in {None, provider_id}, "a recorded provider id is replaced"
            self.provider_id, self.recorded_at = provider_id, self.clock
            if self.secret is not None:
                self.secret = replace(self.secret, revision=1)

        self.effect(write, api=True)

    def _machine(self, provider_id: str) -> Machine | None:
        return next((m for m in self.machines if m.id == provider_id and m.died is None), None)

    def _ask(self, provider_id: str) -> None:
        if self.away:
            return
        found = self._machine(provider_id)
        seen = None if found is None else Seen(found.id, ME.key, found.owner, SeenState.RUNNING)
        result = LookupResult.FOUND if seen else LookupResult.NOT_FOUND
        self.memory.lookup = Lookup(self.clock, self.steady, result, seen)

    def _destroy(self, ids: Sequence[str]) -> None:
        for provider_id in ids:
            self._ask(provider_id)
            found = self._machine(provider_id)
            if found is None or found.owner != ME.owner:
                continue
            self.effect(lambda found=found: setattr(found, "died", self.now), api=False)  # type: ignore[misc]
            self.memory.deleted_at = self.clock
            self.memory.asked_since = self.memory.asked_since or self.clock

    def _release(self, provider_id: str) -> None:
        found = self._machine(provider_id)
        if found is not None and found.owner == ME.owner:
            found.owner = RELEASED


def run(world: World, limit: int = 400) -> World:
    """Chaos first, then a fair world until nothing changes. Raises AssertionError where that takes too long."""
    quiet = 0
    for number in range(limit):
        if number < limit // 4:
            world.happen()
        else:
            world.chaos, world.away = iter(()), False
        decided = world.step()
        quiet = quiet + 1 if isinstance(decided, steps.Settled) else 0
        if number >= limit // 4 and quiet >= 4:
            return world
    raise AssertionError(f"no fixed point; the last steps: {world.told[-5:]}")
