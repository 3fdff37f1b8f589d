"""A configuration, parsed once per revision: what each item, file, step, output and probe needs.

Compiling never fails. What is wrong in a configuration is told by `moorage.core.validation`; here a wrong part is
marked (`broken`), so that it stays out of what is delivered and everything else goes on.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from moorage.api.virtualserverconfig import (
    File,
    Item,
    Output,
    OutputSource,
    Readiness,
    Step,
    ValueSource,
    VirtualServerConfigSpec,
)
from moorage.core.configuration.words import Reason
from moorage.core.template import Template, nearest, parse_script, parse_text

_EMPTY = Template((), ())


@dataclass(frozen=True)
class CompiledItem:
    """An item and what it needs. `definition` identifies where its value comes from; it holds no value.

    `broken` is a reason and a message where the item can never have a value as it is written.
    """

    item: Item = field(repr=False)
    source: str
    needs: tuple[str, ...] = ()
    template: Template | None = None
    definition: str = ""
    broken: tuple[str, str] | None = None

    @property
    def name(self) -> str:
        """The item's name."""
        return self.item.name


@dataclass(frozen=True)
class Part:
    """What a file, step, output or probe needs: `needs` are items, `unknown` names that are none.

    `broken`: its template cannot be parsed, it can never be delivered.
    """

    template: Template
    needs: tuple[str, ...]
    unknown: tuple[str, ...]
    broken: bool

    @property
    def all_names(self) -> tuple[str, ...]:
        """Every name mentioned, known or not, sorted."""
        return tuple(sorted({*self.needs, *self.unknown}))


@dataclass(frozen=True)
class CompiledConfig:
    """A configuration with its templates parsed and its items in an order in which each follows what it needs.

    `items` holds the first item of each name. Items on a cycle come last and are broken.
    """

    spec: VirtualServerConfigSpec = field(repr=False)
    items: Mapping[str, CompiledItem]
    order: tuple[str, ...]
    files: tuple[tuple[File, Part], ...] = field(repr=False)
    steps: tuple[tuple[Step, Part], ...] = field(repr=False)
    outputs: tuple[tuple[Output, Part], ...] = field(repr=False)
    readiness: tuple[Readiness, Part] | None = field(repr=False)

    @property
    def required(self) -> frozenset[str]:
        """Names of the items without which a server does not count as configured."""
        return frozenset(name for name, compiled in self.items.items() if compiled.item.required)

    @property
    def secrets(self) -> frozenset[str]:
        """Names of the Secrets that items refer to."""
        refs = (source.secret_key_ref for source in self.sources())
        return frozenset(ref.name for ref in refs if ref)

    @property
    def config_maps(self) -> frozenset[str]:
        """Names of the ConfigMaps that items refer to."""
        refs = (source.config_map_key_ref for source in self.sources())
        return frozenset(ref.name for ref in refs if ref)

    @property
    def upstreams(self) -> frozenset[tuple[str | None, str]]:
        """The (group, member) pairs whose outputs items refer to; group None is the server's own."""
        return frozenset((source.output.group, source.output.member) for source in self.sources() if source.output)

    def sources(self) -> Iterator[ValueSource]:
        """The `valueFrom` of every item that has one."""
        return (c.item.value_from for c in self.items.values() if c.item.value_from is not None)

    def environment(self) -> frozenset[str]:
        """The items that some step, output command or probe needs."""
        parts = [part for _, part in (*self.steps, *self.outputs)]
        if self.readiness is not None:
            parts.append(self.readiness[1])
        return frozenset(name for part in parts if not part.broken for name in part.needs)


def compile_config(spec: VirtualServerConfigSpec) -> CompiledConfig:
    """Parse a configuration. Raises nothing, however wrong the configuration is."""
    declared: dict[str, Item] = {}
    for item in spec.configuration:
        declared.setdefault(item.name, item)
    items = {name: _compile_item(item, declared) for name, item in sorted(declared.items())}
    order, circular = _order(items)
    for name in circular:
        if items[name].broken is None:
            items[name] = _broken(items[name], Reason.ITEM_CYCLE, "the item needs itself, by way of other items")
    for name in order:
        if items[name].template is not None and items[name].broken is None:
            items[name] = replace(items[name], definition=_template_definition(items[name], items))
    return CompiledConfig(
        spec=spec,
        items=items,
        order=(*order, *circular),
        files=tuple((file, _part(parse_text(file.content), declared)) for file in spec.files),
        steps=tuple((step, _part(parse_script(step.script), declared)) for step in spec.steps),
        outputs=tuple((output, _part(parse_script(output.command or ""), declared)) for output in spec.outputs),
        readiness=None if spec.readiness is None else (spec.readiness, _probe_part(spec.readiness, declared)),
    )


def describe_source(item: Item) -> str:
    """Where an item's value comes from, in words; no value."""
    if item.template is not None:
        names = parse_text(item.template).names
        return f"template of {', '.join(names)}" if names else "template"
    source = item.value_from
    if source is None:
        return "value"
    if source.output is not None:
        return describe_output(source.output)
    if source.secret_key_ref is not None:
        return f"key {source.secret_key_ref.key} of Secret {source.secret_key_ref.name}"
    if source.config_map_key_ref is not None:
        return f"key {source.config_map_key_ref.key} of ConfigMap {source.config_map_key_ref.name}"
    return f"field {source.field}"


def describe_output(source: OutputSource) -> str:
    """`output address of member db`, with what `select` and `group` add."""
    scope = "" if source.select == "First" else "every server of "
    group = "" if source.group is None else f" of group {source.group}"
    return f"output {source.name} of {scope}member {source.member}{group}"


def probe_texts(readiness: Readiness) -> tuple[str, ...]:
    """The texts of a probe in which items are replaced by the agent."""
    if readiness.tcp is not None:
        return (readiness.tcp.host, readiness.tcp.port)
    return () if readiness.http is None else (readiness.http.url,)


def _compile_item(item: Item, declared: Mapping[str, Item]) -> CompiledItem:
    source = describe_source(item)
    if item.template is not None:
        template = parse_text(item.template)
        compiled = CompiledItem(item, source, template.names, template)
        if template.problems:
            return _broken(compiled, Reason.INVALID_TEMPLATE, str(template.problems[0]))
        unknown = [name for name in template.names if name not in declared]
        if unknown:
            message = f"there is no item {unknown[0]}{nearest(unknown[0], declared)}"
            return _broken(compiled, Reason.NO_SUCH_ITEM, message)
        return compiled
    if item.value_from is None:
        if item.value is None:
            return _broken(CompiledItem(item, source), Reason.INVALID_TEMPLATE, "the item has no source")
        return CompiledItem(item, source)
    return CompiledItem(item, source, definition=_definition(item.value_from))


def _broken(compiled: CompiledItem, reason: str, message: str) -> CompiledItem:
    return replace(compiled, broken=(reason, message))


def _template_definition(compiled: CompiledItem, items: Mapping[str, CompiledItem]) -> str:
    """What the template is made of. Its text stays out: literal text may be sensitive, and this digest is a plain
    one."""
    names = "|".join(f"{need}={items[need].definition}" for need in compiled.needs)
    return hashlib.sha256(f"template:{names}".encode()).hexdigest()[:16]


def _definition(source: ValueSource) -> str:
    """A short digest of names only, so that a plain one is fine."""
    canonical = json.dumps(source.to_dict(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _part(template: Template, declared: Mapping[str, Item]) -> Part:
    needs = tuple(name for name in template.names if name in declared)
    unknown = tuple(name for name in template.names if name not in declared)
    return Part(template, needs, unknown, bool(template.problems))


def _probe_part(readiness: Readiness, declared: Mapping[str, Item]) -> Part:
    if readiness.exec is not None:
        return _part(parse_script(readiness.exec.command), declared)
    parts = [_part(parse_text(text), declared) for text in probe_texts(readiness)]
    return Part(
        _EMPTY,
        tuple(sorted({name for part in parts for name in part.needs})),
        tuple(sorted({name for part in parts for name in part.unknown})),
        any(part.broken for part in parts),
    )


def _order(items: Mapping[str, CompiledItem]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Items so that each follows what it needs (by name where that leaves a choice), and those that a cycle keeps
    out."""
    waits = {name: {need for need in c.needs if need in items} for name, c in items.items()}
    users: dict[str, list[str]] = {name: [] for name in items}
    for name, needs in waits.items():
        for need in needs:
            users[need].append(name)
    ready = [name for name, needs in waits.items() if not needs]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        name = heapq.heappop(ready)
        order.append(name)
        _release(name, users[name], waits, ready)
    return tuple(order), tuple(sorted(items.keys() - set(order)))


def _release(name: str, users: Iterable[str], waits: dict[str, set[str]], ready: list[str]) -> None:
    for user in users:
        waits[user].discard(name)
        if not waits[user]:
            heapq.heappush(ready, user)
