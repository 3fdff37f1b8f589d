"""Whose fault a failed creation is: the request's, its namespace's, or the service's.

A service may fail with one request for ever (an image that it chokes on) or refuse what one namespace asks for (an
instance profile that these credentials may not pass). Nobody else is to wait for that. So the evidence counts, not the
number of failures:

* the same request repeated byte for byte counts once: its own back-off is enough;
* several requests of one namespace hold back that namespace's creations, whatever they met;
* no usable answer to several requests, of more than one namespace, is the service's;
* a refusal is an answer. That it refuses everybody, inventories tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from moorage.hosting.errors import AuthenticationError, HostingError, TimedOut, Unavailable
from moorage.runtime.circuit import THRESHOLD, Circuit


@dataclass(frozen=True, slots=True)
class Ask:
    """Who asks for a creation, and for what: equal where the same request is repeated."""

    namespace: str
    digest: str


@dataclass(slots=True, eq=False)
class Gate:
    """A circuit, and what the last failed call said."""

    circuit: Circuit = field(default_factory=Circuit)
    message: str = ""
    refused: bool = False

    def met(self, error: BaseException | None) -> None:
        """Remember what a failed call said."""
        if isinstance(error, HostingError):
            self.message, self.refused = error.message, isinstance(error, AuthenticationError)


@dataclass(slots=True, eq=False)
class Evidence(Gate):
    """A gate that counts the requests that failed since one did not. `witnesses`: of how many namespaces they are to
    be."""

    witnesses: int = 1
    against: set[Ask] = field(default_factory=set)

    def failed(self, ask: Ask, error: HostingError, now: float) -> bool:
        """The request failed. Whether that says anything new."""
        self.met(error)
        if self.circuit.state == "Closed" and (ask in self.against or self._is_thin(ask)):
            return False
        self.against.add(ask)
        self.circuit.failed(now)
        return True

    def answered(self) -> None:
        """The service dealt with a request."""
        self.against.clear()
        self.circuit.succeeded()

    @property
    def namespaces(self) -> set[str]:
        """Of the requests that failed."""
        return {ask.namespace for ask in self.against}

    def _is_thin(self, ask: Ask) -> bool:
        return self.circuit.failures + 1 >= THRESHOLD and len(self.namespaces | {ask.namespace}) < self.witnesses


class Creations:
    """What the creations on one service tell about it, and about those who ask for them."""

    def __init__(self) -> None:
        self._service = Evidence(witnesses=2)
        self._namespaces: dict[str, Evidence] = {}

    def of(self, namespace: str) -> tuple[Evidence, Evidence]:
        """The evidence that concerns a creation of this namespace: the service's, and its own."""
        return self._service, self._namespaces.get(namespace) or Evidence(witnesses=1)

    def learn(self, ask: Ask, error: BaseException | None, now: float) -> bool:
        """A creation has ended. Whether it is evidence that the whole service fails."""
        service, own = self.of(ask.namespace)
        accused = False
        if isinstance(error, Unavailable | TimedOut):
            accused = service.failed(ask, error, now) and len(service.namespaces) > 1
            own.failed(ask, error, now)
        elif isinstance(error, AuthenticationError):
            service.answered()
            own.failed(ask, error, now)
        elif error is None or isinstance(error, HostingError):
            service.answered()
            own.answered()
        else:
            service.circuit.abandoned(now)
            own.circuit.abandoned(now)
        if own.against:
            self._namespaces[ask.namespace] = own
        else:
            self._namespaces.pop(ask.namespace, None)
        return accused

    def is_services(self, gate: Gate) -> bool:
        """Whether the gate is closed to all namespaces, and not to one."""
        return gate is self._service
