"""Every promise of the contract has a test in the suite, and every test of the suite refers to promises there are."""

from __future__ import annotations

import inspect

import pytest

from moorage.hosting import abilities, contract
from moorage.hosting.abilities import PROTOCOLS
from moorage.testing import BackendContract
from moorage.testing.operations import OPERATIONS
from moorage.testing.promises import keeps, kept, needs_http, promises

ONLY_OVER_HTTP = (
    # Only who stands before the service can answer in its place without an end,
    "bounded in the bytes that it reads",
    # or sees that a request comes twice of which the service makes one.
    "MUST NOT retry by itself",
    "MUST NOT send the request again itself",
)
"""What no test of the suite can hold a backend to whose service is not reached over HTTP."""
SOURCES = inspect.getsource(contract) + inspect.getsource(abilities)


def test_every_must_of_the_contract_is_one_of_the_promises() -> None:
    assert sum(promise.count("MUST") for promise in promises()) == SOURCES.count("MUST")


@pytest.mark.parametrize("promise", promises())
def test_a_test_keeps_the_promise(promise: str) -> None:
    assert kept(BackendContract)[promise]


@pytest.mark.parametrize("promise", promises())
def test_a_promise_is_kept_without_http_too_where_it_can_be(promise: str) -> None:
    unaided = [name for name in kept(BackendContract)[promise] if not needs_http(getattr(BackendContract, name))]
    why_not = [phrase for phrase in ONLY_OVER_HTTP if phrase in promise]
    assert bool(unaided) != bool(why_not)


@pytest.mark.parametrize("phrase", ONLY_OVER_HTTP)
def test_what_is_kept_only_over_http_is_one_of_the_promises(phrase: str) -> None:
    assert len([promise for promise in promises() if phrase in promise]) == 1


@pytest.mark.parametrize("name", [name for name in dir(BackendContract) if name.startswith("test_")])
def test_a_test_that_needs_http_says_so_by_its_fixtures(name: str) -> None:
    test = getattr(BackendContract, name)
    assert needs_http(test) or "FaultProxy" not in inspect.getsource(test)


def test_a_reference_to_no_promise_is_refused() -> None:
    class Suite:
        @keeps("be kind to everybody")
        def test_it(self) -> None: ...

    with pytest.raises(LookupError, match="test_it: 0 promises"):
        kept(Suite)


def test_a_reference_to_several_promises_is_refused() -> None:
    class Suite:
        @keeps("MUST")
        def test_it(self) -> None: ...

    with pytest.raises(LookupError, match="promises have in them: MUST"):
        kept(Suite)


def test_every_call_of_every_ability_is_broken() -> None:
    broken = {operation.name for operation in OPERATIONS}
    calls = {name for protocol in PROTOCOLS.values() for name in _methods(protocol)}
    # Events are no call: their end has tests of its own.
    assert calls - broken == {"events"}
    assert {name for name in _methods(contract.Backend) if name != "close"} <= broken


def _methods(protocol: type) -> set[str]:
    return {name for name, value in vars(protocol).items() if inspect.isfunction(value) and not name.startswith("_")}
