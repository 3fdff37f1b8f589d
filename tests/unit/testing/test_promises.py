"""Every promise of the contract has a test in the suite, and every test of the suite refers to promises there are."""

from __future__ import annotations

import inspect

import pytest

from moorage.hosting import abilities, contract
from moorage.hosting.abilities import PROTOCOLS
from moorage.testing import BackendContract
from moorage.testing.operations import OPERATIONS
from moorage.testing.promises import keeps, kept, promises

SOURCES = inspect.getsource(contract) + inspect.getsource(abilities)


def test_every_must_of_the_contract_is_one_of_the_promises() -> None:
    assert sum(promise.count("MUST") for promise in promises()) == SOURCES.count("MUST")


@pytest.mark.parametrize("promise", promises())
def test_a_test_keeps_the_promise(promise: str) -> None:
    assert kept(BackendContract)[promise]


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
