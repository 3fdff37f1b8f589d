"""An upper bound of what evaluating a CEL expression costs, from its tree and the sizes of what it is evaluated over.

The bound is found without evaluating anything, so a costly expression is refused before it takes any time. It also
finds fields that no service has, which CEL itself would only find while evaluating, and arguments that must never
reach the library: patterns and time zones that are not known beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import re2

from moorage.core.cel_ast import Call, Const, Ident, ListOf, Loop, MapOf, Node, Select
from moorage.core.cel_zones import zone_problem

TEXT_UNIT = 16
"""Characters of text that count as one."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The greatest size that a value may have.

    ``weight`` counts its leaves, ``count`` its elements. ``fields`` is there for maps with known keys only; where they
    are ``open``, others may come, and no key weighs more than ``key``.
    """

    weight: int
    count: int = 0
    item: Shape | None = None
    fields: Mapping[str, Shape] | None = None
    open: bool = False
    key: int = 16


@dataclass(frozen=True, slots=True)
class Cost:
    """``steps`` bounds the work, ``loops`` the passes through loops, ``shape`` the result."""

    steps: int
    loops: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class Fault:
    """What can never work at node ``id``, though CEL compiles it."""

    id: int
    message: str


NUMBER = Shape(1)
TEXT = Shape(16)
"""A name or a label: at most 253 characters."""
GROWTH = 8
"""The library copies the list that filter and map build at each pass: so many elements of it cost one step."""
MAX_PATTERN = 256
"""Characters of a regular expression."""


def many(count: int, item: Shape) -> Shape:
    """A list of at most ``count`` items, or a map with as many values."""
    return Shape(1 + count * item.weight, count, item)


def record(fields: Mapping[str, Shape]) -> Shape:
    """A map that has no other keys than these."""
    return Shape(1 + sum(f.weight for f in fields.values()), len(fields), None, fields)


def join(shapes: Sequence[Shape]) -> Shape:
    """The shape of a value that may be any of these."""
    if not shapes:
        return NUMBER
    first = shapes[0]
    if all(s == first for s in shapes):
        return first
    weight, count = max(s.weight for s in shapes), max(s.count for s in shapes)
    items = [s.item for s in shapes if s.item is not None]
    return Shape(weight, count, join(items) if len(items) == len(shapes) else None, key=max(s.key for s in shapes))


@dataclass(slots=True)
class Estimator:
    """Walks a tree once, and collects what is wrong with it."""

    faults: list[Fault] = field(default_factory=list)
    _shapes: dict[int, Shape] = field(default_factory=dict)
    """By ``id`` of list literals' elements: their shapes when they were last walked."""

    def estimate(self, node: Node, variables: Mapping[str, Shape]) -> Cost:
        """The bound for ``node`` where ``variables`` have these shapes."""
        match node:
            case Const(size=size):
                return Cost(1, 0, Shape(1 + size // TEXT_UNIT))
            case Ident(name=name):
                return Cost(1, 0, variables.get(name, NUMBER))
            case Select():
                return self._select(node, variables)
            case Call():
                return self._call(node, variables)
            case ListOf(elements=elements):
                parts = [self.estimate(e, variables) for e in elements]
                self._shapes.update((id(e), part.shape) for e, part in zip(elements, parts, strict=True))
                return _total(parts, 1, many(len(parts), join([p.shape for p in parts])))
            case MapOf(entries=entries):
                parts = [self.estimate(e, variables) for e in entries]
                return _total(parts, 1, many(len(parts), join([p.shape for p in parts])))
            case Loop():
                return self._loop(node, variables)

    def _select(self, node: Select, variables: Mapping[str, Shape]) -> Cost:
        operand = self.estimate(node.operand, variables)
        shape = operand.shape
        if shape.fields is not None:
            if node.field not in shape.fields and not shape.open:
                known = ", ".join(sorted(shape.fields))
                self.faults.append(Fault(node.id, f"there is no field {node.field!r}; the fields are {known}"))
            found = shape.fields.get(node.field, NUMBER)
        else:
            found = _element(shape)
        return Cost(operand.steps + 1, operand.loops, NUMBER if node.test else found)

    def _call(self, node: Call, variables: Mapping[str, Shape]) -> Cost:
        parts = [self.estimate(a, variables) for a in node.args]
        problem = zone_problem(node)
        if problem:
            self.faults.append(Fault(node.id, problem))
        if node.function == "matches" and len(parts) == 2:
            own, shape = self._match(node, parts[0].shape), NUMBER
        else:
            own, shape = _called(node.function, [p.shape for p in parts])
        return _total(parts, own, shape)

    def _match(self, node: Call, text: Shape) -> int:
        """The pattern is compiled at every call, which costs as much as the compiled pattern is large."""
        pattern = node.args[1]
        if not isinstance(pattern, Const) or pattern.text is None:
            self.faults.append(Fault(node.id, "the pattern of matches() must be a literal text"))
            return 1
        size, problem = _pattern_size(pattern.text)
        if problem:
            self.faults.append(Fault(node.id, f"the pattern of matches() {problem}"))
        return 16 + 2 * size + text.weight * (1 + size // 16)

    def _loop(self, node: Loop, variables: Mapping[str, Shape]) -> Cost:
        over = self.estimate(node.over, variables)
        start = self.estimate(node.start, variables)
        passes, item = _iterated(over.shape)
        inside = {**variables, **dict.fromkeys(node.variables, item), node.accumulator: NUMBER}
        step = self.estimate(node.step, inside)
        condition = self.estimate(node.condition, inside)
        added = appended(node.step, node.accumulator)
        shape, copied = start.shape, 0
        if added is not None:
            # The walk over ``step`` has just seen them: walking again would double the work with each nested loop.
            elements = [self._shapes[id(e)] for e in added.elements]
            shape = many(passes * len(elements), join(elements))
            copied = passes * passes * len(elements) // GROWTH
        result = self.estimate(node.result, {**variables, node.accumulator: shape})
        return Cost(
            over.steps + start.steps + passes * (1 + step.steps + condition.steps) + copied + result.steps,
            over.loops + start.loops + passes * (1 + step.loops + condition.loops) + result.loops,
            result.shape,
        )


def _total(parts: Sequence[Cost], own: int, shape: Shape) -> Cost:
    return Cost(own + sum(p.steps for p in parts), sum(p.loops for p in parts), shape)


def _element(shape: Shape) -> Shape:
    if shape.item is not None:
        return shape.item
    if shape.fields:
        return join(list(shape.fields.values()))
    return Shape(shape.weight)


def _iterated(shape: Shape) -> tuple[int, Shape]:
    if shape.item is not None:
        return shape.count, shape.item
    if shape.fields is not None:
        return (shape.count, Shape(shape.key)) if shape.open else (len(shape.fields), TEXT)
    return shape.weight, Shape(shape.weight)


def _pattern_options() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 16
    return options


@lru_cache(maxsize=512)
def _pattern_size(pattern: str) -> tuple[int, str]:
    """How many instructions a regular expression becomes, and what is wrong with it."""
    if len(pattern) > MAX_PATTERN:
        return 0, f"has {len(pattern)} characters; at most {MAX_PATTERN} are allowed"
    try:
        return int(re2.compile(pattern, options=_pattern_options()).programsize), ""
    except re2.error as error:
        detail = error.args[0] if error.args else ""
        text = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
        return 0, f"is not a regular expression (RE2): {text}"


def appended(step: Node, accumulator: str) -> ListOf | None:
    """The list literal that the macros map and filter append at each pass."""
    match step:
        case Call(function="_+_", args=(Ident(name=name), ListOf() as added)) if name == accumulator:
            return added
        case Call(function="_?_:_", args=(_, yes, _)):
            return appended(yes, accumulator)
        case _:
            return None


def _called(function: str, args: Sequence[Shape]) -> tuple[int, Shape]:
    weights = [a.weight for a in args]
    match function, args:
        case "_==_" | "_!=_", _:
            return 1 + min(weights), NUMBER
        case "_+_", (left, right):
            if left.item is None and right.item is None:
                return sum(weights), Shape(sum(weights))
            return left.count + right.count, many(left.count + right.count, join([_element(left), _element(right)]))
        case "_?_:_", (_, yes, no):
            return 1, join([yes, no])
        case "_[_]", (container, _):
            return 1, _element(container)
        case "dyn", (value,):
            return 1, value
        case "@in", (_, container):
            return 1 + container.weight, NUMBER
        case "_&&_" | "_||_" | "!_" | "size" | "@not_strictly_false", _:
            return 1, NUMBER
        case _:
            return 1 + sum(weights), Shape(1 + sum(weights))
