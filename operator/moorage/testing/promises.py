"""What the contract promises, sentence by sentence, and which test holds it to its word."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import pytest

from moorage.hosting import abilities, contract

Test = TypeVar("Test", bound=Callable[..., Any])
ATTRIBUTE = "__promises__"
NOT_APPLICABLE = "not applicable"
"""How the reason of a skip begins where the service has nothing that could be tested."""
LEFT_OUT = "left to the full matrix"
"""How it begins where only time is saved."""
OVER_HTTP = frozenset({"proxy", "over_http"})
"""Fixtures of the tests that a service which is not reached over HTTP skips."""


class PromiseBroken(AssertionError):
    """A server was made twice, or lost, or left behind: never the accident of a busy machine."""


def keeps(*phrases: str) -> Callable[[Test], Test]:
    """Marks a test with the promises it checks: each phrase is found in one MUST sentence of the contract."""

    def mark(test: Test) -> Test:
        setattr(test, ATTRIBUTE, phrases)
        return test

    return mark


def promises() -> list[str]:
    """Every sentence of the contract and of the abilities that has MUST in it, on one line each, with its place."""
    found = []
    for module in (contract, abilities):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                place = getattr(node, "name", module.__name__)
                found += [f"{place}: {sentence}" for sentence in _sentences(ast.get_docstring(node) or "")]
    return found


def _sentences(text: str) -> list[str]:
    # Paragraphs and items of lists end sentences too.
    parts = re.split(r"\n\s*\n|\n(?=- )|(?<=[.;])\s+(?=[A-Z])", text)
    return [" ".join(part.split()).removeprefix("- ") for part in parts if "MUST" in part]


def needs_http(test: Callable[..., Any]) -> bool:
    """Whether the test can be run only with a service that is reached over HTTP."""
    return not OVER_HTTP.isdisjoint(inspect.signature(test).parameters)


def kept(suite: type) -> dict[str, list[str]]:
    """The promises with the names of the suite's tests that refer to each. Raises LookupError for a reference that
    fits none or several."""
    table: dict[str, list[str]] = {promise: [] for promise in promises()}
    for name, test in inspect.getmembers(suite, callable):
        for phrase in getattr(test, ATTRIBUTE, ()):
            fitting = [promise for promise in table if phrase in promise]
            if len(fitting) != 1:
                raise LookupError(f"{name}: {len(fitting)} promises have in them: {phrase}")
            table[fitting[0]].append(name)
    return table


def not_applicable(reason: str) -> NoReturn:
    """Skip a test that makes no sense for this service. Not the same as one that this machine cannot run."""
    pytest.skip(f"{NOT_APPLICABLE}: {reason}")


def left_out(reason: str) -> NoReturn:
    """Skip a test that only the full matrix runs."""
    pytest.skip(f"{LEFT_OUT}: {reason}")
