"""CEL expressions over the hosting services: compiled, bounded and evaluated.

Evaluation is bounded before it begins: an expression has at most `MAX_LENGTH` characters, and an upper bound of its
work over the services at hand (`Expression.cost`) must not exceed `MAX_STEPS` and `MAX_LOOPS`. Nothing is evaluated
that exceeds them. Where a value is not known (the price of a service that tells none), an expression that needs it has
no result, as in CEL, unless the rest decides: ``false && unknown`` is false.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from cel_expr_python import cel

from moorage.core.cel_ast import Tree, parse_tree
from moorage.core.cel_cost import NUMBER, TEXT, Cost, Estimator, Fault, Shape, many, record
from moorage.core.kept import kept_by_length
from moorage.core.services import ServiceView

MAX_LENGTH: Final = 4096
"""Characters of an expression."""
MAX_STEPS: Final = 500_000
"""Steps of one evaluation; a step takes at most a third of a microsecond or so, the whole a fifth of a second."""
MAX_LOOPS: Final = 10_000
"""Passes through all loops of one evaluation together."""

INVALID: Final = "ExpressionInvalid"
FAILED: Final = "ExpressionFailed"
TOO_EXPENSIVE: Final = "ExpressionTooExpensive"

_SERVICES = {"services": cel.Type.List(cel.Type.Map(cel.Type.STRING, cel.Type.DYN))}
_ENVIRONMENT = cel.NewEnv(variables=_SERVICES)


class ExpressionError(Exception):
    """Why an expression has no result: ``reason`` is one CamelCase word, ``message`` says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason: Final = reason
        self.message: Final = message


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression. Made by `compile_expression`."""

    text: str
    tree: Tree = field(repr=False)
    program: Any = field(repr=False)

    def cost(self, sizes: Sizes) -> Cost:
        """An upper bound of one evaluation over services of these sizes."""
        return Estimator().estimate(self.tree.root, {"services": services_shape(sizes)})


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many services there are, and the most offerings and labels that one of them has."""

    services: int
    offerings: int
    labels: int


class Services:
    """The services in the form in which expressions see them; prepared once for any number of expressions."""

    def __init__(self, views: Iterable[ServiceView]) -> None:
        shown = [v.to_cel() for v in sorted(views, key=lambda v: v.name)]
        self.sizes: Final = Sizes(
            len(shown),
            max((len(s["offerings"]) for s in shown), default=0),
            max((len(s["labels"]) for s in shown), default=0),
        )
        self.activation: Final[Any] = _ENVIRONMENT.Activation({"services": shown})


def services_shape(sizes: Sizes) -> Shape:
    """The shape of the variable ``services``."""
    return many(sizes.services, service_shape(sizes))


def service_shape(sizes: Sizes) -> Shape:
    """The shape of one service; the fields are those of `ServiceView.to_cel`."""
    offering = record(
        {
            "name": TEXT,
            "cpu": NUMBER,
            "memory": NUMBER,
            "arch": TEXT,
            "price": NUMBER,
            "spotPrice": NUMBER,
            "interruptible": NUMBER,
        }
    )
    return record(
        {
            "name": TEXT,
            "type": TEXT,
            "region": TEXT,
            "labels": many(sizes.labels, TEXT),
            "available": NUMBER,
            "capacity": record({"limit": NUMBER, "used": NUMBER, "available": NUMBER}),
            "offerings": many(sizes.offerings, offering),
            "minPrice": NUMBER,
            "servers": NUMBER,
            "bootSeconds": NUMBER,
            "failureRate": NUMBER,
        }
    )


@kept_by_length()
def _compiled(text: str) -> Expression | ExpressionError:
    try:
        program = _ENVIRONMENT.compile(text)
    except (RuntimeError, ValueError) as error:
        return ExpressionError(INVALID, problem_text(str(error)))
    if program.return_type().name() not in {"BOOL", "DYN"}:
        kind = program.return_type().name().lower()
        return ExpressionError(INVALID, f"the result is of type {kind}, not bool; compare it with something")
    tree = parse_tree(program.serialize())
    check = Estimator()
    check.estimate(tree.root, {"services": services_shape(Sizes(1, 1, 1))})
    if check.faults:
        return ExpressionError(INVALID, placed_text(text, tree, check.faults[0]))
    return Expression(text, tree, program)


def compile_expression(text: str) -> Expression:
    """Check and compile ``text``. Raises `ExpressionError` with reason ``ExpressionInvalid``, saying where and why."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(INVALID, f"the expression has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    if not text.strip():
        raise ExpressionError(INVALID, "the expression is empty")
    compiled = _compiled(text)
    if isinstance(compiled, ExpressionError):
        raise ExpressionError(compiled.reason, compiled.message)
    return compiled


def evaluate(expression: Expression, services: Services) -> bool:
    """The expression's value over the services.

    Raises `ExpressionError` with reason ``ExpressionTooExpensive`` where it might take too long (nothing is evaluated
    then), or ``ExpressionFailed`` where it has no result.
    """
    cost = expression.cost(services.sizes)
    if cost.steps > MAX_STEPS or cost.loops > MAX_LOOPS:
        raise ExpressionError(TOO_EXPENSIVE, _too_expensive(cost, services.sizes))
    try:
        result = expression.program.eval(services.activation)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExpressionError(FAILED, problem_text(str(error))) from None
    value = result.value()
    if isinstance(value, bool):
        return value
    if result.type().name() == "ERROR":
        raise ExpressionError(FAILED, failure_text(problem_text(str(value))))
    raise ExpressionError(FAILED, f"the result is of type {result.type().name().lower()}, not bool")


def _too_expensive(cost: Cost, sizes: Sizes) -> str:
    if cost.loops > MAX_LOOPS:
        what = f"up to {cost.loops} passes through its loops; at most {MAX_LOOPS} are allowed"
    else:
        what = f"up to {cost.steps} steps; at most {MAX_STEPS} are allowed"
    return f"over {sizes.services} services it may take {what}; select fewer services or nest fewer loops"


_PREFIX = re.compile(r"^[A-Z_]+: (ERROR: )?")
_SUFFIX = re.compile(r" ?\[[A-Z_]+\]$")
_PLACE = re.compile(r"<input>:(\d+):(\d+): ")
_UNSET = re.compile(r'[Kk]ey not found in map : "(?P<key>[^"]*)"')


def problem_text(raw: str) -> str:
    """The library's message on one line: its first error, with the place in words, without the picture of the text."""
    line = _SUFFIX.sub("", raw.strip()).splitlines()[0] if raw.strip() else "no reason was given"
    line = _PLACE.sub(r"line \1, column \2: ", _PREFIX.sub("", line))
    line = line.replace(" (in container '')", "")
    return line[:400]


def failure_text(problem: str) -> str:
    """Why an expression has no result, with what to do about a value that is not known."""
    unset = _UNSET.search(problem)
    if unset is None:
        return problem
    key = unset["key"]
    return f"{key!r} is not known of every service; guard what needs it with has(), as in has(s.minPrice) && ..."


def placed_text(text: str, tree: Tree, fault: Fault) -> str:
    """A fault with its place in the text."""
    before = text[: tree.positions.get(fault.id, 0)]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f"line {line}, column {column}: {fault.message}"
