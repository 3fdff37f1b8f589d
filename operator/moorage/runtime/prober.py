"""Asks what the conditions of all policies ask, each in its time.

One heap holds when each question is due, and one timer is set, for the earliest. A question that is not due costs
nothing. A target that hangs keeps few requests of a namespace waiting, and nobody who asks elsewhere; whoever waits in
vain for a turn there is told so.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from moorage.core.policy.answers import Answer, unknown
from moorage.core.policy.samples import Sample
from moorage.core.targets import TargetError, target_of
from moorage.runtime.clock import Clock, Timer
from moorage.runtime.probing import Question
from moorage.runtime.turns import Turns

log = logging.getLogger(__name__)

PolicyKey = tuple[str, str]
"""(namespace, name)."""
AT_ONCE: Final = 256
"""Requests to all targets at a time; for one namespace, a quarter of them."""
JITTER: Final = 0.1
"""A question is asked up to this share of its interval earlier, so that many do not stay together."""


class ProbeMetrics(Protocol):
    """What is reported of each answer; `moorage.runtime.metrics.Metrics` does."""

    def probed(self, question: Question, answer: Answer) -> None:
        """An answer came."""

    def unprobed(self, question: Question) -> None:
        """It is not asked any more."""


@dataclass(slots=True, eq=False)
class _Probe:
    """A question and where it stands."""

    question: Question
    target: str
    sample: Sample | None = None
    due: float | None = None
    waiting: bool = False
    task: asyncio.Task[Answer] | None = None
    again: bool = False
    ended: bool = False

    @property
    def namespace(self) -> str:
        return self.question.namespace


class Prober:
    """See the module. All methods are for the event loop's thread.

    ``ask`` gives an answer, whatever happens. ``changed`` is called where the truth or the reason of an answer is
    another than before.
    """

    def __init__(
        self,
        ask: Callable[[Question], Awaitable[Answer]],
        changed: Callable[[PolicyKey], None],
        clock: Clock,
        *,
        metrics: ProbeMetrics | None = None,
        rng: random.Random | None = None,
        at_once: int = AT_ONCE,
    ) -> None:
        self._ask, self._changed, self._clock, self._metrics = ask, changed, clock, metrics
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not security
        self._free, self._share = at_once, max(1, at_once // 4)
        self._running: Counter[str] = Counter()
        self._busy: set[str] = set()
        """Namespaces that have their share."""
        self._barred: dict[str, dict[str, None]] = {}
        """By namespace that had its share: the targets where it waits."""
        self._eased: dict[str, None] = {}
        """Namespaces that had their share until now."""
        self._probes: dict[PolicyKey, dict[str, _Probe]] = {}
        self._targets: dict[str, Turns[_Probe]] = {}
        self._ready: dict[str, None] = {}
        self._heap: list[tuple[float, int, _Probe]] = []
        self._count = itertools.count()
        self._timer: tuple[float, Timer] | None = None
        self._closed = False

    # What is asked

    def watch(self, key: PolicyKey, questions: Mapping[str, Question]) -> None:
        """From now on ask these questions, by the condition's name, for this policy, and no others."""
        if self._closed:
            return
        present = self._probes.get(key, {})
        for name in [n for n, probe in present.items() if questions.get(n) != probe.question]:
            self._end(present.pop(name))
        for name, question in questions.items():
            if name not in present:
                probe = present[name] = _Probe(question, _origin(question))
                self._targets.setdefault(probe.target, Turns()).questions += 1
                self._wait_for_turn(probe)
        if present:
            self._probes[key] = present
        else:
            self._probes.pop(key, None)
        self._start()

    def forget(self, key: PolicyKey) -> None:
        """The policy is gone."""
        for probe in self._probes.pop(key, {}).values():
            self._end(probe)
        self._start()

    def samples(self, key: PolicyKey) -> dict[str, Sample]:
        """What is known, by the condition's name."""
        return {n: probe.sample for n, probe in self._probes.get(key, {}).items() if probe.sample is not None}

    def secret_changed(self, namespace: str, name: str) -> None:
        """Ask again at once where this Secret is used."""
        for (policy_namespace, _), probes in self._probes.items():
            for probe in probes.values() if policy_namespace == namespace else ():
                if probe.question.secret == name:
                    self._ask_now(probe)
        self._start()

    async def close(self) -> None:
        """Ask nothing any more; what is under way ends."""
        self._closed = True
        tasks = [p.task for probes in self._probes.values() for p in probes.values() if p.task is not None]
        for key in list(self._probes):
            self.forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    def __len__(self) -> int:
        """Questions."""
        return sum(map(len, self._probes.values()))

    # When

    def _ask_now(self, probe: _Probe) -> None:
        if probe.task is not None:
            probe.again = True
        elif not probe.waiting:
            self._wait_for_turn(probe)

    def _wait_for_turn(self, probe: _Probe) -> None:
        """It is due. Where no turn comes within its interval, that is its answer."""
        probe.waiting = True
        self._targets[probe.target].wait(probe)
        self._ready.setdefault(probe.target)
        self._set_due(probe, probe.question.interval.total_seconds())

    def _set_due(self, probe: _Probe, seconds: float) -> None:
        probe.due = self._clock.monotonic() + seconds
        heapq.heappush(self._heap, (probe.due, next(self._count), probe))

    def _set_timer(self) -> None:
        while self._heap and self._heap[0][2].due != self._heap[0][0]:
            heapq.heappop(self._heap)
        due = self._heap[0][0] if self._heap else None
        if self._timer is not None:
            if due == self._timer[0]:
                return
            self._timer[1].cancel()
        self._timer = None if due is None else (due, self._clock.call_at(due, self._fire))

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            due, _, probe = heapq.heappop(self._heap)
            if probe.due != due:
                continue
            if probe.waiting:
                self._give_up(probe)
            else:
                self._wait_for_turn(probe)
        self._start()

    def _give_up(self, probe: _Probe) -> None:
        """No turn came: it is asked in the next interval, if there is one then."""
        seconds = probe.question.interval.total_seconds()
        message = f"{probe.target} is asked by so many, or so slow, that there was no turn for {seconds:g} s"
        self._take(probe, unknown("TargetBusy", message))
        self._set_due(probe, seconds)

    # Asking

    def _start(self) -> None:
        """Begin what there is room for, the targets in turn, and set the timer: the end of whatever is done here."""
        while self._free > 0 and (name := self._next()) is not None:
            target = self._targets.get(name)
            if target is None or not target.waiting():
                continue
            probe = target.take(self._busy)
            if probe is not None:
                self._ready[name] = None
                self._begin(probe, target)
                continue
            # Nothing to look at until a request ends: one there, or one of a namespace that has its share elsewhere.
            for namespace in target.namespaces():
                if namespace in self._busy:
                    self._barred.setdefault(namespace, {})[name] = None
        self._set_timer()

    def _next(self) -> str | None:
        """A target where something may begin."""
        if self._ready:
            return _first(self._ready)
        while self._eased:
            namespace = next(iter(self._eased))
            if namespace not in self._busy and self._barred.get(namespace):
                return _first(self._barred[namespace])
            del self._eased[namespace]
            if not self._barred.get(namespace):
                self._barred.pop(namespace, None)
        return None

    def _begin(self, probe: _Probe, target: Turns[_Probe]) -> None:
        probe.waiting, probe.due = False, None
        self._under_way(probe.namespace, 1)
        probe.task = asyncio.get_running_loop().create_task(self._answer(probe.question), name="probe")
        # A task that is cancelled before its first step runs nothing of its own, so it gives nothing back.
        probe.task.add_done_callback(lambda task: self._done(probe, target, task))

    def _under_way(self, namespace: str, more: int) -> None:
        self._free -= more
        self._running[namespace] += more
        if self._running[namespace] >= self._share:
            self._busy.add(namespace)
        elif namespace in self._busy:
            self._busy.discard(namespace)
            self._eased[namespace] = None
        if not self._running[namespace]:
            del self._running[namespace]

    async def _answer(self, question: Question) -> Answer:
        try:
            return await self._ask(question)
        except Exception:
            # The condition is unknown; the others must not wait for ever because of it.
            log.exception("asking for %s/%s failed", question.namespace, question.policy)
            return unknown("AskingFailed", "asking failed for a reason that the controller's log has")

    def _done(self, probe: _Probe, target: Turns[_Probe], task: asyncio.Task[Answer]) -> None:
        probe.task = None
        target.done(probe)
        self._under_way(probe.namespace, -1)
        self._ready.setdefault(probe.target)
        try:
            if not probe.ended and not task.cancelled():
                answer = task.result()
                target.timed_out(probe, late=answer.reason == "TargetTimeout")
                self._answered(probe, target, answer)
        finally:
            self._start()

    def _answered(self, probe: _Probe, target: Turns[_Probe], answer: Answer) -> None:
        self._take(probe, answer)
        if answer.by_target:
            # All who wait for this target would fare alike: they need not find out one by one.
            for other in target.clear():
                other.waiting = False
                self._take(other, answer)
                self._plan(other)
        if probe.again:
            probe.again = False
            self._wait_for_turn(probe)
        else:
            self._plan(probe)

    def _plan(self, probe: _Probe) -> None:
        self._set_due(probe, probe.question.interval.total_seconds() * self._rng.uniform(1.0 - JITTER, 1.0))

    def _take(self, probe: _Probe, answer: Answer) -> None:
        question, before = probe.question, probe.sample
        if self._metrics is not None:
            self._metrics.probed(question, answer)
        if before is not None and (before.holds, before.reason) == (answer.holds, answer.reason):
            return
        probe.sample = Sample(answer.holds, answer.reason, answer.message, self._clock.now())
        self._changed((question.namespace, question.policy))

    def _end(self, probe: _Probe) -> None:
        probe.ended, probe.due = True, None
        if probe.task is not None:
            probe.task.cancel()
        if self._metrics is not None:
            self._metrics.unprobed(probe.question)
        target = self._targets[probe.target]
        target.questions -= 1
        if not target.questions:
            del self._targets[probe.target]


def _first(names: dict[str, None]) -> str:
    name = next(iter(names))
    del names[name]
    return name


def _origin(question: Question) -> str:
    """Whom it asks, in one spelling."""
    try:
        target = target_of(question.probe.url)
    except TargetError:
        return question.probe.url.lower()  # it is refused before anybody is asked
    return str(target if target.address is None else replace(target, host=str(target.address)))
