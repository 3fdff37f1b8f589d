"""Who is asked next at one target: the namespaces in turn, each with its share of what is under way.

So a namespace that asks there a thousand times, or asks what takes long, keeps no other one waiting.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Container, Iterable, Iterator
from typing import Final, Generic, Protocol, TypeVar

PER_TARGET: Final = 8
"""Requests to one target at a time."""
PER_NAMESPACE: Final = 2
"""Of those for one namespace; one, after one of its own that had no answer in time."""
COMMON: Final = PER_TARGET - PER_NAMESPACE
"""As long as fewer are under way, a namespace may have more than that. The rest is kept for those that have less, so
that who comes next waits for nobody."""


class Waits(Protocol):
    """What waits for its turn."""

    @property
    def namespace(self) -> str:
        """Whose turn it is."""

    @property
    def ended(self) -> bool:
        """Whether nobody wants to know any more."""


T = TypeVar("T", bound=Waits)


class Turns(Generic[T]):
    """What waits for one target and what is under way there. ``questions`` counts who asks there at all."""

    def __init__(self) -> None:
        self.questions = 0
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()
        self._running: Counter[str] = Counter()
        self._slow: set[str] = set()

    def wait(self, one: T) -> None:
        """It is due."""
        self._waiting.setdefault(one.namespace, deque()).append(one)

    def waiting(self) -> bool:
        """Whether anybody waits who still wants to know."""
        for namespace, queue in list(self._waiting.items()):
            while queue and queue[0].ended:
                queue.popleft()
            if not queue:
                del self._waiting[namespace]
        return bool(self._waiting)

    def namespaces(self) -> Iterable[str]:
        """Those that wait."""
        return self._waiting

    def take(self, busy: Container[str]) -> T | None:
        """The next one that may begin, which is under way from now on; None where nobody may.

        The namespaces in ``busy`` have as much under way elsewhere as they may.
        """
        under_way = self._running.total()
        if under_way >= PER_TARGET:
            return None
        free = [namespace for namespace in self._waiting if namespace not in busy]
        found = next((n for n in free if self._running[n] < (1 if n in self._slow else PER_NAMESPACE)), None)
        if found is None and under_way < COMMON:
            found = next((n for n in free if n not in self._slow), None)
        if found is None:
            return None
        self._waiting.move_to_end(found)
        self._running[found] += 1
        return self._waiting[found].popleft()

    def done(self, one: T) -> None:
        """It is under way no more."""
        self._running[one.namespace] -= 1
        if not self._running[one.namespace]:
            del self._running[one.namespace]

    def timed_out(self, one: T, *, late: bool) -> None:
        """Whether its answer came too late; whoever asks there for its namespace is then tried one by one."""
        (self._slow.add if late else self._slow.discard)(one.namespace)

    def clear(self) -> Iterator[T]:
        """All who wait, who wait no more."""
        waiting, self._waiting = self._waiting, OrderedDict()
        for queue in waiting.values():
            yield from (one for one in queue if not one.ended)
