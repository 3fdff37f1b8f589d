"""docs/operations.md names every reason that the code can give, every metric, and nothing that is not there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry

from moorage.configd.metrics import Metrics as ConfigdMetrics
from moorage.controllers.census import Census
from moorage.controllers.tables import register
from moorage.kube.store import Store
from moorage.runtime.metrics import Metrics

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "operations.md"
CODE = ROOT / "operator" / "moorage"
WORD = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)*")
CALLS = {"Problem", "Wait", "AwaitInventory", "RawReading", "Removal", "make", "condition", "record"}
CALLS |= {"_refuse", "_event", "_removals", "_counted", "absent", "Drift", "CallFailure", "Refusal", "News"}
NO_REASONS = {
    # States, verdicts, choices and kinds of events that stand where a reason may stand, too.
    *("Met", "Unmet", "Warning", "Normal", "Found", "Pending", "Terminating", "Stopped", "Failed"),
    # Columns and sources.
    *("Secret", "ConfigMap", "Delete", "Retain"),
}


def _constants(node: ast.AST) -> Iterator[str]:
    """A word, or either word of a choice between two."""
    if isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and WORD.fullmatch(node.value):
        yield node.value


def _reasons(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for argument in node.args if name in CALLS else ():
                yield from _constants(argument)
            for keyword in node.keywords:
                if keyword.arg == "reason":
                    yield from _constants(keyword.value)
        elif isinstance(node, ast.ClassDef):
            yield from _class_reasons(node)
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
            for element in node.value.elts[:2]:
                yield from _constants(element)


def _class_reasons(node: ast.ClassDef) -> Iterator[str]:
    """`Reason` classes, and the class attribute `reason` of errors."""
    for part in node.body:
        value = part.value if isinstance(part, ast.Assign | ast.AnnAssign) else None
        if value is None:
            continue
        targets = part.targets if isinstance(part, ast.Assign) else [part.target]  # type: ignore[attr-defined]
        if node.name == "Reason" or any(getattr(target, "id", "") == "reason" for target in targets):
            yield from _constants(value)


def code_reasons() -> set[str]:
    """Every reason that the decisions, the reconcilers and the backends give."""
    files = [path for part in ("core", "controllers", "hosting") for path in (CODE / part).rglob("*.py")]
    return {word for path in files for word in _reasons(ast.parse(path.read_text()))} - NO_REASONS


def test_every_reason_is_explained() -> None:
    found = code_reasons()
    assert len(found) > 80, "the search itself is broken"
    explained = set(re.findall(r"`([A-Z][A-Za-z]+)`", PAGE.read_text()))
    assert sorted(found - explained) == []


def test_no_reason_is_explained_that_does_not_exist() -> None:
    section = PAGE.read_text().split("## Every reason", 1)[1].split("## What is not done", 1)[0]
    explained = {w for row in re.findall(r"^\| (`.*?) \|", section, re.M) for w in re.findall(r"`(\w+)`", row)}
    everything = "\n".join(path.read_text() for path in CODE.rglob("*.py"))
    computed = {"PolicyMet", "PolicyUnmet", "PolicyUnknown"}
    assert sorted(w for w in explained - computed if f'"{w}"' not in everything) == []


def test_every_metric_is_named() -> None:
    registry = CollectorRegistry()
    ConfigdMetrics(registry)
    census = Census(register(Store(), "installation"))
    metrics = [*Metrics(process=False).registry.collect(), *registry.collect(), *census.families()]
    named = _named(PAGE.read_text())
    for metric in metrics:
        assert metric.name in named or f"{metric.name}_total" in named, metric.name


def _named(page: str) -> set[str]:
    """The metrics of the page; `..._x` continues the first metric of its row."""
    found: set[str] = set()
    for row in re.findall(r"^\| (`\w+[^|]*) \|", page, re.M):
        words = re.findall(r"`([\w.]+)", row)
        for word in words:
            found.add(word)
            if word.startswith("..._"):
                parts = words[0].split("_")
                found |= {f"{'_'.join(parts[:n])}_{word[4:]}" for n in range(1, len(parts) + 1)}
    return found
