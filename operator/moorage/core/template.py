"""Templates: `${item}` in files and item templates, and which items a shell script needs.

Two kinds of text mention items, and they are treated differently on purpose.

*Text* (files, item templates, the host, port and URL of a probe): `${item}` is replaced by the item's value. Nothing
else is special: `$item`, `$` and `$$` stay as they are, and `$${` stands for a literal `${`.

*Scripts* (steps, output commands, exec probes): `${item}` is *not* replaced. The item is exported to the script's
environment under its own name and the shell expands it, so a value that came from another server can never become shell
syntax. Hence everything the shell can do with a variable works on an item: `${item:-x}`, `${#item}`, `${item%.*}`.
The first name within the braces is always an item. A variable of the shell itself is written `$name`, or `$${name…}`
where braces are needed, which reaches the shell as `${name…}`. Positional and special parameters (`${1}`, `${@}`,
`${?}`) cannot be items and stay.

Quotes, comments and here-documents of the shell are not looked at: the rule holds everywhere in a script.
"""

from __future__ import annotations

import difflib
import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# What may follow a parameter's name within braces (POSIX, and bash's own: substitution, case, transformation, index).
_SHELL_OPERATORS = frozenset(":-=+?%#/^,@[~")
_SPECIAL_PARAMETER = re.compile(r"(?:[0-9]+|[@*?$!-]|#[@*]|#(?=}))(?=[}:=+?%#/^,@[~-])", re.ASCII)
_SHELL_PREFIXES = frozenset("#!")
MAX_PROBLEMS = 20
"""Problems told of one template; looking for names near to a wrong one takes milliseconds, and a text holds many."""


class TemplateError(ValueError):
    """A template cannot be rendered; the message names the item, never a value."""


class RenderedTooLargeError(TemplateError):
    """The rendered text would exceed its limit. `size` and `limit` are in bytes of UTF-8."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"{size} bytes, at most {limit} are allowed")
        self.size = size
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Reference:
    """One mention of an item. `line` and `column` count from 1."""

    name: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """What is wrong in a template, where (counted from 1), and what to write instead."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.message}"


@dataclass(frozen=True)
class Template:
    """A parsed text or script. `parts` are literal strings and references, in order.

    In a script a reference is no part of its own; `parts` then is the single text for the shell.
    """

    parts: tuple[str | Reference, ...] = field(repr=False)
    references: tuple[Reference, ...]
    problems: tuple[TemplateProblem, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The items mentioned, each once, sorted."""
        return tuple(sorted({reference.name for reference in self.references}))

    @cached_property
    def literal(self) -> str:
        """The literal text with the references left out: for a script, the text the shell gets."""
        return "".join(part for part in self.parts if isinstance(part, str))

    def render(self, values: Mapping[str, str], limit: int | None = None) -> str:
        """Replace each reference by its value.

        `limit` bounds the result in bytes of UTF-8 and is checked before the text is built, so that templates over
        templates cannot blow up. Raises RenderedTooLargeError, and TemplateError for an item without a value.
        """
        pieces = [part if isinstance(part, str) else _value(part, values) for part in self.parts]
        if limit is not None:
            size = sum(len(piece.encode()) for piece in pieces)
            if size > limit:
                raise RenderedTooLargeError(size, limit)
        return "".join(pieces)


def parse_text(text: str) -> Template:
    """Parse a file's content, an item's template, or another text in which `${item}` is replaced."""
    return _TextParser(text).parse()


def parse_script(text: str) -> Template:
    """Parse a shell script or command: which items it mentions, and the text for the shell (`literal`)."""
    return _ScriptParser(text).parse()


def unknown_references(template: Template, known: Collection[str], *, script: bool) -> Iterator[TemplateProblem]:
    """A problem for each item that is mentioned and not among `known`, at its first mention; at most `MAX_PROBLEMS`."""
    seen: set[str] = set()
    for reference in template.references:
        if reference.name in known or reference.name in seen:
            continue
        if len(seen) == MAX_PROBLEMS:
            return
        seen.add(reference.name)
        yield TemplateProblem(
            reference.line, reference.column, unknown_item_message(reference.name, known, script=script)
        )


def unknown_item_message(name: str, known: Collection[str], *, script: bool) -> str:
    """Say that no item has this name, which names come near, and how to write a literal or a shell variable instead."""
    if script:
        instead = f"for a variable of the shell write ${name} or $${{{name}}}"
    else:
        instead = f"for a literal ${{{name}}} write $${{{name}}}"
    return f"there is no item {name}{nearest(name, known)}; {instead}"


def nearest(name: str, known: Collection[str]) -> str:
    """A suffix for a message: the names nearest to one that does not exist, or all that exist if they are few."""
    if not known:
        return " (none is declared)"
    close = did_you_mean(name, known)
    if close:
        return close
    names = sorted(known)
    shown = ", ".join(names[:5])
    return f" (there are {shown}{', …' if len(names) > 5 else ''})" if len(names) > 1 else f" (there is {shown})"


def did_you_mean(name: str, known: Collection[str]) -> str:
    """A suffix for a message: the names nearest to one that does not exist; empty where none comes near."""
    lowered = {candidate.lower(): candidate for candidate in sorted(known, reverse=True)}
    close = [lowered[match] for match in difflib.get_close_matches(name.lower(), sorted(lowered), n=3, cutoff=0.6)]
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _value(reference: Reference, values: Mapping[str, str]) -> str:
    try:
        return values[reference.name]
    except KeyError:
        raise TemplateError(f"item {reference.name} has no value") from None


class _Parser:
    """What both grammars share: finding `${` and `$${`, and positions."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.parts: list[str | Reference] = []
        self.references: list[Reference] = []
        self.problems: list[TemplateProblem] = []
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self._last_brace = text.rfind("}")

    def parse(self) -> Template:
        position = 0
        while (found := self.text.find("${", position)) >= 0:
            if found > position and self.text[found - 1] == "$":
                self._literal(position, found - 1)
                self.parts.append("${")
                position = found + 2
            else:
                self._literal(position, found)
                position = self.reference(found)
        self._literal(position, len(self.text))
        return Template(tuple(self.parts), tuple(self.references), tuple(self.problems))

    def reference(self, start: int) -> int:
        """Handle the `${` at `start`; return where to go on."""
        raise NotImplementedError

    def problem(self, start: int, message: str) -> None:
        if len(self.problems) == MAX_PROBLEMS:
            return
        line, column = self._where(start)
        self.problems.append(TemplateProblem(line, column, message))

    def refer(self, start: int, name: str) -> Reference:
        line, column = self._where(start)
        reference = Reference(name, line, column)
        self.references.append(reference)
        return reference

    def _literal(self, start: int, end: int) -> None:
        if end > start:
            self.parts.append(self.text[start:end])

    def _where(self, offset: int) -> tuple[int, int]:
        """By search in the list of lines: to count anew for each reference would take seconds for a large file."""
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1

    def _closes_after(self, offset: int) -> bool:
        return self._last_brace >= offset


class _TextParser(_Parser):
    def reference(self, start: int) -> int:
        name = _NAME.match(self.text, start + 2)
        end = name.end() if name else start + 2
        if name and self.text.startswith("}", end):
            self.parts.append(self.refer(start, name.group()))
            return end + 1
        self.problem(start, self._remedy(name.group() if name else "", end))
        self.parts.append(self.text[start:end])
        return end

    def _remedy(self, name: str, end: int) -> str:
        if not self._closes_after(end):
            return "${ is never closed; write ${item}, or $${ for a literal ${"
        if name and self.text[end] in _SHELL_OPERATORS:
            return (
                f"only ${{{name}}} is known here, not the shell's operators; give the item {name} a default, or write "
                f"$${{{name}{self.text[end]}…}} for the literal text"
            )
        return "an item is written ${item}, with letters, digits and _ only; write $${ for a literal ${"


class _ScriptParser(_Parser):
    def reference(self, start: int) -> int:
        if _SPECIAL_PARAMETER.match(self.text, start + 2):
            self.parts.append("${")
            return start + 2
        prefix = self.text[start + 2 : start + 3]
        name = _NAME.match(self.text, start + 3 if prefix in _SHELL_PREFIXES and prefix else start + 2)
        if not name:
            self.problem(start, "${ must be followed by an item's name; write $${ for what is the shell's own")
            self.parts.append("${")
            return start + 2
        following = self.text[name.end() : name.end() + 1]
        if following == "}" or (following and following in _SHELL_OPERATORS):
            self.refer(start, name.group())
        elif not self._closes_after(name.end()):
            self.problem(start, f"${{{name.group()} is never closed; write ${{{name.group()}}}")
        else:
            self.problem(start, f"after ${{{name.group()} comes }} or an operator of the shell")
        self.parts.append(self.text[start : name.end()])
        return name.end()
