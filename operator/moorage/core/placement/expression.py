"""CEL expressions over one service: a requirement that must be true, or a number by which services are ranked.

An expression sees `service`, with the fields that conditions see of each of `services`. It is compiled once; an upper
bound of its work over all services together is computed before any evaluation, by the limits of conditions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal

from cel_expr_python import cel

from moorage.api.selection import Select
from moorage.core.cel_ast import parse_tree
from moorage.core.cel_cost import Estimator
from moorage.core.expressions import (
    FAILED,
    INVALID,
    MAX_LENGTH,
    MAX_LOOPS,
    MAX_STEPS,
    TOO_EXPENSIVE,
    Expression,
    ExpressionError,
    Sizes,
    failure_text,
    placed_text,
    problem_text,
    service_shape,
)
from moorage.core.kept import kept_by_length
from moorage.core.services import ServiceView

Gives = Literal["bool", "number"]
_TYPES: Final[dict[Gives, frozenset[str]]] = {
    "bool": frozenset({"BOOL", "DYN"}),
    "number": frozenset({"INT", "UINT", "DOUBLE", "DYN"}),
}
_ADVICE: Final[dict[Gives, str]] = {
    "bool": "compare it with something",
    "number": "write one that gives a number, such as double(service.servers)",
}
_ENVIRONMENT = cel.NewEnv(variables={"service": cel.Type.Map(cel.Type.STRING, cel.Type.DYN)})


def prepare(text: str, gives: Gives) -> Expression:
    """Check and compile. Raises `ExpressionError` with reason ``ExpressionInvalid``, saying where and why."""
    if len(text) > MAX_LENGTH or not text.strip():
        raise ExpressionError(INVALID, f"the expression must have 1 to {MAX_LENGTH} characters")
    compiled = _compiled(text, gives)
    if isinstance(compiled, ExpressionError):
        raise ExpressionError(compiled.reason, compiled.message)
    return compiled


@kept_by_length()
def _compiled(text: str, gives: Gives) -> Expression | ExpressionError:
    try:
        program = _ENVIRONMENT.compile(text)
    except (RuntimeError, ValueError) as error:
        return ExpressionError(INVALID, problem_text(str(error)))
    kind = program.return_type().name()
    if kind not in _TYPES[gives]:
        return ExpressionError(INVALID, f"the result is of type {kind.lower()}, not a {gives}; {_ADVICE[gives]}")
    tree = parse_tree(program.serialize())
    check = Estimator()
    check.estimate(tree.root, {"service": service_shape(Sizes(1, 1, 1))})
    if check.faults:
        return ExpressionError(INVALID, placed_text(text, tree, check.faults[0]))
    return Expression(text, tree, program)


class Seen:
    """Services in the form in which expressions see them; each is converted when it is first needed.

    ``before`` has more of them, some converted already.
    """

    def __init__(self, services: Sequence[ServiceView], before: Seen | None = None) -> None:
        self._count: Final = len(services)
        self._sizes: Final = Sizes(
            1,
            max((len(s.offerings) for s in services), default=0),
            max((len(s.labels) for s in services), default=0),
        )
        self._activations: dict[str, Any] = {} if before is None else before._activations

    def prepare(self, text: str, gives: Gives) -> Expression | ExpressionError:
        """The compiled expression, or why it cannot be evaluated over these services."""
        try:
            expression = prepare(text, gives)
        except ExpressionError as error:
            return error
        cost = Estimator().estimate(expression.tree.root, {"service": service_shape(self._sizes)})
        steps, loops = cost.steps * self._count, cost.loops * self._count
        if steps > MAX_STEPS or loops > MAX_LOOPS:
            message = (
                f"over {self._count} services it may take up to {steps} steps and {loops} passes through its loops; at "
                f"most {MAX_STEPS} and {MAX_LOOPS} are allowed; select fewer services or nest fewer loops"
            )
            return ExpressionError(TOO_EXPENSIVE, message)
        return expression

    def _evaluate(self, expression: Expression, service: ServiceView) -> object:
        activation = self._activations.get(service.name)
        if activation is None:
            activation = self._activations[service.name] = _ENVIRONMENT.Activation({"service": service.to_cel()})
        try:
            result = expression.program.eval(activation)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ExpressionError(FAILED, problem_text(str(error))) from None
        value: object = result.value()
        if result.type().name() == "ERROR":
            raise ExpressionError(
                FAILED, failure_text(problem_text(str(value))).replace("(s.minPrice", "(service.minPrice")
            )
        return value

    def holds(self, expression: Expression, service: ServiceView) -> bool:
        """Whether it is true of the service. Raises `ExpressionError` where it has no result."""
        value = self._evaluate(expression, service)
        if isinstance(value, bool):
            return value
        raise ExpressionError(FAILED, f"the result is of type {type(value).__name__}, not bool")

    def number(self, expression: Expression, service: ServiceView) -> float:
        """The number that it gives for the service. Raises `ExpressionError` where that is no number from 0 on."""
        value = self._evaluate(expression, service)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ExpressionError(FAILED, f"the result is of type {type(value).__name__}, not a number")
        if not math.isfinite(value) or value < 0:
            raise ExpressionError(FAILED, f"the result is {value}, not a finite number from 0 on")
        return float(value)


def invalid_expressions(select: Select) -> tuple[str, ...]:
    """What is wrong with the expressions themselves; only an edit of the policy can mend that."""
    wrong: list[str] = []
    texts: list[tuple[str, str, Gives]] = [
        (f"select.expressions {e.name}", e.expression, "bool") for e in select.expressions
    ]
    texts += [("select.preferences by Expression", p.expression, "number") for p in select.preferences if p.expression]
    for what, text, gives in texts:
        try:
            prepare(text, gives)
        except ExpressionError as error:
            wrong.append(f"{what}: {error.message}")
    return tuple(wrong)
