"""The syntax tree of a checked CEL expression, read from its published serial form (`cel.expr.CheckedExpr`).

The form is protobuf, with stable field numbers. Only what an estimate of cost needs is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Const:
    """A literal; ``text`` is None where it is not a text, ``size`` its length in bytes where it is text or bytes."""

    id: int
    size: int
    text: str | None = None
    null: bool = False


@dataclass(frozen=True, slots=True)
class Ident:
    """A variable."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """``operand.field``, or ``has(operand.field)``."""

    id: int
    operand: Node
    field: str
    test: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A function or an operator; a method's receiver is the first argument."""

    id: int
    function: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list literal."""

    id: int
    elements: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map or message literal; keys and values by turns."""

    id: int
    entries: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """What the macros all, exists, exists_one, map and filter become."""

    id: int
    variables: tuple[str, ...]
    over: Node
    accumulator: str
    start: Node
    condition: Node
    step: Node
    result: Node


Node = Const | Ident | Select | Call | ListOf | MapOf | Loop


@dataclass(frozen=True, slots=True)
class Tree:
    """A checked expression; ``positions`` holds the offset in the text of each node's id."""

    root: Node
    positions: dict[int, int]


def parse_tree(serialized: bytes) -> Tree:
    """Read a serialized checked expression. Raises ValueError where the bytes are not one."""
    checked = serialized
    for number, value in _fields(serialized):
        if number == 2 and isinstance(value, bytes) and serialized.startswith(b"\n"):
            checked = value
    root: Node | None = None
    positions: dict[int, int] = {}
    for number, value in _fields(checked):
        if number == 4:
            root = _node(_bytes(value))
        elif number == 5:
            positions = _positions(_bytes(value))
    if root is None:
        raise ValueError("no expression in the serialized form")
    return Tree(root, positions)


def _positions(data: bytes) -> dict[int, int]:
    found: dict[int, int] = {}
    for number, value in _fields(data):
        if number == 4:
            entry = dict(_fields(_bytes(value)))
            found[_int(entry.get(1, 0))] = _int(entry.get(2, 0))
    return found


def _node(data: bytes) -> Node:
    ident = 0
    for number, value in _fields(data):
        if number == 2:
            ident = _int(value)
    for number, value in _fields(data):
        match number:
            case 3:
                return _const(ident, _bytes(value))
            case 4:
                return Ident(ident, _text(_bytes(value), 1))
            case 5:
                return _select(ident, _bytes(value))
            case 6:
                return _call(ident, _bytes(value))
            case 7:
                return ListOf(ident, tuple(_node(_bytes(v)) for n, v in _fields(_bytes(value)) if n == 1))
            case 8:
                return _map(ident, _bytes(value))
            case 9:
                return _loop(ident, _bytes(value))
            case _:
                continue
    raise ValueError("an unknown kind of expression in the serialized form")


def _const(ident: int, data: bytes) -> Const:
    for number, value in _fields(data):
        if isinstance(value, bytes):
            return Const(ident, len(value), value.decode() if number == 6 else None)
        if number == 1:
            return Const(ident, 1, null=True)
    return Const(ident, 1)


def _select(ident: int, data: bytes) -> Select:
    parts = dict(_fields(data))
    return Select(ident, _node(_bytes(parts[1])), _bytes(parts[2]).decode(), bool(parts.get(3, 0)))


def _call(ident: int, data: bytes) -> Call:
    args = [_node(_bytes(v)) for n, v in _fields(data) if n == 1]
    args += [_node(_bytes(v)) for n, v in _fields(data) if n == 3]
    return Call(ident, _text(data, 2), tuple(args))


def _map(ident: int, data: bytes) -> MapOf:
    entries: list[Node] = []
    for number, value in _fields(data):
        if number == 2:
            entries += [_node(_bytes(v)) for n, v in _fields(_bytes(value)) if n in {3, 4}]
    return MapOf(ident, tuple(entries))


def _loop(ident: int, data: bytes) -> Loop:
    parts = dict(_fields(data))
    names = tuple(_bytes(parts[n]).decode() for n in (1, 8) if n in parts)
    nodes = {n: _node(_bytes(parts[n])) for n in (2, 4, 5, 6, 7)}
    accumulator = _bytes(parts[3]).decode()
    return Loop(ident, names, nodes[2], accumulator, nodes[4], nodes[5], nodes[6], nodes[7])


def _text(data: bytes, field: int) -> str:
    return next((_bytes(v).decode() for n, v in _fields(data) if n == field), "")


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number where a message was expected")
    return value


def _int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("a message where a number was expected")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        match wire:
            case 0:
                value, at = _varint(data, at)
            case 1:
                value, at = int.from_bytes(data[at : at + 8], "little"), at + 8
            case 2:
                length, at = _varint(data, at)
                value, at = data[at : at + length], at + length
            case 5:
                value, at = int.from_bytes(data[at : at + 4], "little"), at + 4
            case _:
                raise ValueError(f"wire type {wire} is not read here")
        yield number, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    shift = result = 0
    while True:
        if at >= len(data):
            raise ValueError("the serialized form ends too early")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
