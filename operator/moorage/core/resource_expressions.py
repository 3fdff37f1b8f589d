"""CEL expressions over Kubernetes objects: compiled, bounded and evaluated as those over services are.

The objects are others', and more people see a policy's status than may read them. So whatever an evaluation says of
them is replaced by words of our own: an expression shows nothing but whether it is true.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Literal

from cel_expr_python import cel

from moorage.core.cel_ast import Call, Const, Ident, ListOf, Loop, MapOf, Node, Select, Tree, parse_tree
from moorage.core.cel_cost import NUMBER, TEXT_UNIT, Estimator, Shape
from moorage.core.cel_paths import Path, paths_read
from moorage.core.expressions import (
    FAILED,
    INVALID,
    MAX_LENGTH,
    MAX_LOOPS,
    MAX_STEPS,
    TOO_EXPENSIVE,
    ExpressionError,
    placed_text,
    problem_text,
)
from moorage.core.kept import kept_by_length

Variable = Literal["object", "objects"]
"""One object, which is null where it does not exist, or a list of them."""

_ENVIRONMENTS: Final = {
    "object": cel.NewEnv(variables={"object": cel.Type.DYN}),
    "objects": cel.NewEnv(variables={"objects": cel.Type.List(cel.Type.DYN)}),
}
_KNOWN_FIELDS: Final = 64
"""Maps with more keys than this over all objects (labels, data) are bounded by their largest value."""


@dataclass(frozen=True, slots=True)
class ResourceExpression:
    """A compiled expression. Made by `compile_resource`; ``paths`` are the parts of each object that it reads."""

    text: str
    variable: Variable
    paths: frozenset[Path]
    tree: Tree = field(repr=False)
    literals: frozenset[str] = field(repr=False)
    program: Any = field(repr=False)


class Objects:
    """Objects in the form in which expressions see them; prepared once for any number of expressions."""

    def __init__(self, variable: Variable, found: Sequence[Mapping[str, Any]]) -> None:
        self.variable: Final = variable
        self.count: Final = len(found)
        value: Any = list(found) if variable == "objects" else (found[0] if found else None)
        self.shape: Final = shape_of(value)
        self.activation: Final[Any] = _ENVIRONMENTS[variable].Activation({variable: value})


def compile_resource(text: str, variable: Variable) -> ResourceExpression:
    """Check and compile ``text``. Raises `ExpressionError` with reason ``ExpressionInvalid``, saying where and why."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(INVALID, f"the expression has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    if not text.strip():
        raise ExpressionError(INVALID, "the expression is empty")
    compiled = _compiled(text, variable)
    if isinstance(compiled, ExpressionError):
        raise ExpressionError(compiled.reason, compiled.message)
    return compiled


@kept_by_length()
def _compiled(text: str, variable: Variable) -> ResourceExpression | ExpressionError:
    try:
        program = _ENVIRONMENTS[variable].compile(text)
    except (RuntimeError, ValueError) as error:
        return ExpressionError(INVALID, problem_text(str(error)) + _other(text, variable))
    if program.return_type().name() not in {"BOOL", "DYN"}:
        kind = program.return_type().name().lower()
        return ExpressionError(INVALID, f"the result is of type {kind}, not bool; compare it with something")
    tree = parse_tree(program.serialize())
    check = Estimator()
    check.estimate(tree.root, {variable: Shape(1, 1, NUMBER)})
    if check.faults:
        return ExpressionError(INVALID, placed_text(text, tree, check.faults[0]))
    paths = paths_read(tree.root, "object", "objects")
    return ResourceExpression(text, variable, paths, tree, frozenset(_literals(tree.root)), program)


def _other(text: str, variable: Variable) -> str:
    """A hint for who mixes up the two variables."""
    wrong = "objects" if variable == "object" else "object"
    if re.search(rf"\b{wrong}\b", text) is None:
        return ""
    return "; with `name` there is `object`" if variable == "object" else "; without `name` there is `objects`"


def evaluate_resource(expression: ResourceExpression, objects: Objects) -> bool:
    """The expression's value over the objects, which must be of the same variable.

    Raises `ExpressionError` with reason ``ExpressionTooExpensive`` where it might take too long (nothing is evaluated
    then), or ``ExpressionFailed`` where it has no result. No message holds anything of an object.
    """
    cost = Estimator().estimate(expression.tree.root, {expression.variable: objects.shape})
    if cost.steps > MAX_STEPS or cost.loops > MAX_LOOPS:
        steps = f"{cost.loops} passes through its loops; at most {MAX_LOOPS}"
        if cost.loops <= MAX_LOOPS:
            steps = f"{cost.steps} steps; at most {MAX_STEPS}"
        among = "this object" if objects.variable == "object" else f"{objects.count} objects"
        message = f"over {among} it may take up to {steps} are allowed; select fewer objects or nest fewer loops"
        raise ExpressionError(TOO_EXPENSIVE, message)
    try:
        result = expression.program.eval(objects.activation)
        value = result.value()
    except (RuntimeError, ValueError, TypeError):
        raise ExpressionError(FAILED, _OTHERWISE) from None
    if isinstance(value, bool):
        return value
    if result.type().name() == "ERROR":
        raise ExpressionError(FAILED, _failure(str(value), expression.literals))
    raise ExpressionError(FAILED, f"the result is of type {_type_name(result)}, not bool")


def _type_name(result: Any) -> str:
    return str(result.type().name()).split("<", 1)[0].lower()


_OTHERWISE: Final = "the expression has no result with the objects as they are"
_UNSET = re.compile(r'[Kk]ey not found in map : "(?P<key>[^"]*)"')
_TOLD: Final = (
    ("Key not found", "a key that it needs is not there; guard it with `in`"),
    ("Applying SELECT", "a field is looked for in what is not an object; guard it with has() or != null"),
    ("No matching overloads", "a value is of another type than an operator or function of it takes"),
    ("Index error", "a list is shorter than an index needs"),
    ("divide by zero", "it divides by zero"),
    ("modulus by zero", "it divides by zero"),
    ("conver", "a text is not what it is converted to"),
    ("overflow", "a number is too large"),
    ("out of", "a number is too large"),
)


def _failure(raw: str, literals: frozenset[str]) -> str:
    """What the library says, in words that quote nothing but the expression."""
    unset = _UNSET.search(raw)
    if unset is not None and unset["key"] in literals:
        return f"{unset['key']!r} is not there in every object; guard what needs it with has(), as in has(o.status.x)"
    for mark, words in _TOLD:
        if mark in raw:
            return f"{_OTHERWISE}: {words}"
    return _OTHERWISE


def _literals(root: Node) -> list[str]:
    """The names of fields and the texts that stand in an expression."""
    found: list[str] = []
    waiting: list[Node] = [root]
    while waiting:
        match waiting.pop():
            case Const(text=text):
                found += [text] if text is not None else []
            case Ident():
                pass
            case Select(operand=operand, field=name):
                found.append(name)
                waiting.append(operand)
            case Call(args=inner) | ListOf(elements=inner) | MapOf(entries=inner):
                waiting += inner
            case Loop() as loop:
                waiting += (loop.over, loop.start, loop.condition, loop.step, loop.result)
    return found


def shape_of(*values: Any) -> Shape:
    """The shape of a JSON value that may be any of these: column by column, since there may be thousands."""
    texts = [v for v in values if isinstance(v, str)]
    lists = [v for v in values if isinstance(v, list)]
    maps = [v for v in values if isinstance(v, dict)]
    shapes = []
    if texts:
        shapes.append(Shape(_text_weight(max(texts, key=len))))
    if lists:
        item = shape_of(*chain.from_iterable(lists))
        count = max(len(v) for v in lists)
        shapes.append(Shape(1 + count * item.weight, count, item))
    if maps:
        shapes.append(_map_shape(maps))
    if len(texts) + len(lists) + len(maps) < len(values) or not values:
        shapes.append(NUMBER)
    return shapes[0] if len(shapes) == 1 else _any_of(shapes)


def _map_shape(maps: Sequence[Mapping[str, Any]]) -> Shape:
    columns: dict[str, list[Any]] = {}
    for one in maps:
        for name, value in one.items():
            columns.setdefault(name, []).append(value)
    count = max(len(m) for m in maps)
    key = max((_text_weight(name) for name in columns), default=1)
    if len(columns) > _KNOWN_FIELDS:
        item = _any_of([shape_of(*chain.from_iterable(columns.values())), Shape(key)])
        return Shape(1 + count * (key + item.weight), count, item, key=key)
    fields = {name: shape_of(*column) for name, column in columns.items()}
    weight = 1 + sum(_text_weight(name) + f.weight for name, f in fields.items())
    return Shape(weight, count, None, fields, open=True, key=key)


def _text_weight(text: str) -> int:
    return 1 + len(text) // TEXT_UNIT


def _any_of(shapes: Sequence[Shape]) -> Shape:
    """Of values that are not all of one kind."""
    items = [i for i in map(_inner, shapes) if i is not None]
    return Shape(
        max(s.weight for s in shapes),
        max(s.count for s in shapes),
        _any_of(items) if items else None,
        key=max(s.key for s in shapes),
    )


def _inner(shape: Shape) -> Shape | None:
    """What one finds within, None for what holds nothing."""
    if shape.item is not None:
        return shape.item
    if shape.fields:
        return _any_of([*shape.fields.values(), Shape(shape.key)])
    return None
