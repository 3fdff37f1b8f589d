"""Every real service is put to the whole contract: a part that a class forgot would be missed by nobody."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import pytest

from moorage.testbed.registry import names
from moorage.testing import BackendContract
from moorage.testing.base import Contract

CONTRACT = Path(__file__).parents[2] / "contract"
MODULES = sorted(path.stem for path in CONTRACT.glob("test_*.py"))


def _on_beds(module: str) -> dict[type, set[str]]:
    """The classes of a module that have the suite's tests, each with the beds that it needs."""
    loaded = import_module(f"tests.contract.{module}")
    common = getattr(loaded, "pytestmark", [])
    found = {}
    for value in vars(loaded).values():
        if isinstance(value, type) and issubclass(value, Contract) and value.__module__ == loaded.__name__:
            marks = [*(common if isinstance(common, list) else [common]), *getattr(value, "pytestmark", [])]
            found[value] = {str(name) for mark in marks if mark.name == "bed" for name in mark.args}
    return {value: beds for value, beds in found.items() if beds}


def _is_variant(suite: type, whole: Iterable[type]) -> bool:
    """Whether it is of a service that differs in one thing from another that has all parts."""
    of = getattr(suite, "under_test", None)
    others = (getattr(other, "under_test", None) for other in whole)
    return of is not None and any(other is not None and of is not other and issubclass(of, other) for other in others)


@pytest.mark.parametrize("module", MODULES)
def test_a_class_on_a_bed_has_all_parts(module: str) -> None:
    suites = _on_beds(module)
    whole = [suite for suite in suites if issubclass(suite, BackendContract)]
    for suite in suites:
        assert suite in whole or _is_variant(suite, whole), f"{suite.__name__} has but some parts"
    for suite in whole:
        dropped = [name for name in dir(BackendContract) if name.startswith("test_") and not getattr(suite, name)]
        assert not dropped, f"{suite.__name__} has no {dropped}"


def test_every_bed_has_a_class() -> None:
    assert {bed for module in MODULES for beds in _on_beds(module).values() for bed in beds} == set(names())
