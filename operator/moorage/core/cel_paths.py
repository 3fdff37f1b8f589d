"""Which parts of objects an expression reads, found from its tree: nothing else of them needs to be kept.

Keeping no more than those parts changes no result: a chain of fields is kept whole where it ends, and whatever else an
expression does with an object keeps the whole object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from moorage.core.cel_ast import Call, Const, Ident, ListOf, Loop, MapOf, Node, Select
from moorage.core.cel_cost import appended

Path = tuple[str, ...]

MAX_PATHS = 32
"""More parts than this are not worth keeping apart."""


@dataclass(frozen=True, slots=True)
class _Part:
    """An object, or what is found in it at ``path``."""

    path: Path


@dataclass(frozen=True, slots=True)
class _Parts:
    """A list of objects."""


_Value = _Part | _Parts | None
"""What an expression's node stands for; None for whatever is computed."""


def paths_read(root: Node, one: str, several: str) -> frozenset[Path]:
    """The parts of the variable ``one`` (an object) or ``several`` (a list of objects) that the expression reads.

    Each part is the path of its fields; the empty path is the whole object. Nothing, where only the number of objects
    or whether there is one matters.
    """
    reader = _Reader()
    reader.use(root, {one: _Part(()), several: _Parts()})
    shortest = {p for p in reader.paths if not any(p[:n] in reader.paths for n in range(len(p)))}
    return frozenset(shortest) if len(shortest) <= MAX_PATHS else frozenset({()})


@dataclass(slots=True)
class _Reader:
    paths: set[Path] = field(default_factory=set)

    def use(self, node: Node, variables: Mapping[str, _Value]) -> None:
        """The node's value is used for something: whatever it stands for must be there whole."""
        self._mark(self._value(node, variables))

    def _mark(self, value: _Value) -> None:
        match value:
            case _Part(path):
                self.paths.add(path)
            case _Parts():
                self.paths.add(())
            case None:
                pass

    def _value(self, node: Node, variables: Mapping[str, _Value]) -> _Value:
        match node:
            case Const():
                return None
            case Ident(name=name):
                return variables.get(name)
            case Select(operand=operand, field=name, test=test):
                return self._select(self._value(operand, variables), name, test)
            case Call(function=function, args=args):
                return self._call(function, args, variables)
            case ListOf(elements=inner) | MapOf(entries=inner):
                for part in inner:
                    self.use(part, variables)
                return None
            case Loop():
                return self._loop(node, variables)

    def _select(self, operand: _Value, name: str, test: bool) -> _Value:
        if not isinstance(operand, _Part):
            return None
        found = _Part((*operand.path, name))
        if test:
            self.paths.add(found.path)
            return None
        return found

    def _call(self, function: str, args: tuple[Node, ...], variables: Mapping[str, _Value]) -> _Value:
        values = [self._value(a, variables) for a in args]
        match function, args, values:
            case "size", _, [_Parts()]:
                return None
            case "_==_" | "_!=_", _, _ if _Part(()) in values and any(isinstance(a, Const) and a.null for a in args):
                return None  # whether there is an object at all
            case "_[_]", _, [_Parts(), key]:
                self._mark(key)
                return _Part(())
            case "_[_]", (_, Const(text=str() as name)), [_Part(path), _]:
                return _Part((*path, name))
            case _:
                for value in values:
                    self._mark(value)
                return None

    def _loop(self, node: Loop, variables: Mapping[str, _Value]) -> _Value:
        over = self._value(node.over, variables)
        item: _Value = None
        if isinstance(over, _Parts) and len(node.variables) == 1:
            item = _Part(())
        else:
            self._mark(over)
        inside = {**variables, **dict.fromkeys(node.variables, item), node.accumulator: None}
        self.use(node.start, variables)
        self.use(node.condition, inside)
        self.use(node.result, inside)
        added = appended(node.step, node.accumulator)
        if added is None:
            self.use(node.step, inside)
            return None
        for test in _tests(node.step):
            self.use(test, inside)
        values = [self._value(element, inside) for element in added.elements]
        if values == [_Part(())]:
            return _Parts()  # what filter makes: a list of the same objects
        for value in values:
            self._mark(value)
        return None


def _tests(step: Node) -> Iterator[Node]:
    """The tests that stand before what the macros filter and map append."""
    match step:
        case Call(function="_?_:_", args=(test, yes, _)):
            yield test
            yield from _tests(yes)
        case _:
            return
