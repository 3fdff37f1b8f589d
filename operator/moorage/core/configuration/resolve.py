"""Which items of a server's configuration are known, and why the others are not: decided without any value.

`resolve` needs only what is in caches: who has published which version of what, which Secrets exist in which version.
It says which Secrets a rendering has to read, and identifies all inputs by one digest: while the digest stays, there is
nothing to render and nothing to read.

An item that was known stays known as long as its definition is the same: where its source is away, the last value
stays in force, marked stale.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from moorage.api.names import server_name
from moorage.api.virtualserverconfig import Item, OutputSource
from moorage.core.configuration.compiled import CompiledItem, describe_output
from moorage.core.configuration.facts import MemberFacts, ServerInput, UpstreamServer
from moorage.core.configuration.origins import (
    FromConfigMap,
    FromOutputs,
    FromSecret,
    FromTemplate,
    Inline,
    Origin,
    OutputPart,
    Remembered,
)
from moorage.core.configuration.record import ItemMark
from moorage.core.configuration.words import MAX_ITEM_BYTES, Reason, shorten
from moorage.core.template import nearest

_RENDERING = "1"
"""Part of the inputs: raised when the same inputs give another document, so that all are rendered again."""


@dataclass(frozen=True, slots=True)
class ItemResolution:
    """One item: known or not, and why.

    `reason` and `message` are empty for a known, fresh value. `version` identifies the value without telling it.
    `definition` is empty where there is nothing to remember.
    """

    name: str
    source: str
    known: bool
    required: bool
    sensitive: bool
    reason: str = ""
    message: str = ""
    stale: bool = False
    default_in_force: bool = False
    version: str = ""
    definition: str = ""
    origin: Origin | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Resolution:
    """The items of one server, by name, and what a rendering of them needs.

    `needed_secrets` and `needed_config_maps` are names in the server's namespace. `inputs` is equal exactly while
    nothing that a rendering depends on has changed.
    """

    items: Mapping[str, ItemResolution]
    input_versions: Mapping[str, str]
    needed_secrets: frozenset[str] = frozenset()
    needed_config_maps: frozenset[str] = frozenset()

    @property
    def inputs(self) -> str:
        """A digest of `input_versions`, which hold versions and names only."""
        canonical = json.dumps(dict(sorted(self.input_versions.items())), separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]

    @property
    def pending(self) -> tuple[ItemResolution, ...]:
        """The items that are not known, by name."""
        return tuple(item for _, item in sorted(self.items.items()) if not item.known)


def resolve(given: ServerInput) -> Resolution:
    """Resolve every item of a server's configuration as far as can be told without values.

    Values that the last rendering of the very same inputs had to refuse (too large, no text) count as refused here too.
    """
    resolution = resolve_without(given, {})
    if given.record.refused and resolution.inputs == given.record.tried:
        refused = resolve_without(given, given.record.refused)
        return Resolution(
            refused.items, resolution.input_versions, resolution.needed_secrets, resolution.needed_config_maps
        )
    return resolution


def resolve_without(
    given: ServerInput, refused: Mapping[str, str], forgotten: frozenset[str] = frozenset()
) -> Resolution:
    """`resolve`, with the values of `refused` items (name -> reason) not used, and `forgotten` ones not remembered."""
    items: dict[str, ItemResolution] = {}
    for name in given.config.order:
        compiled = given.config.items[name]
        outcome = _look(given, compiled, items)
        if isinstance(outcome, _Found) and name in refused:
            outcome = _refusal(compiled, outcome, refused[name])
        items[name] = _settle(given, compiled, outcome, remember=name not in forgotten)
    secrets, config_maps = _needed(items)
    return Resolution(items, _input_versions(given, items), secrets, config_maps)


@dataclass(frozen=True, slots=True)
class _Found:
    origin: Origin
    version: str = ""
    sensitive: bool = False
    stale: str = ""
    """Why it is the last known value only."""


@dataclass(frozen=True, slots=True)
class _Missing:
    reason: str
    message: str
    sensitive: bool = False


_Outcome = _Found | _Missing


def _look(given: ServerInput, compiled: CompiledItem, known: Mapping[str, ItemResolution]) -> _Outcome:
    if compiled.broken is not None:
        return _Missing(*compiled.broken, sensitive=_inherits(compiled, known))
    if compiled.template is not None:
        return _template(compiled, known)
    source = compiled.item.value_from
    if source is None:
        return _Found(Inline(compiled.item.value or ""))
    if source.output is not None:
        return _output(given, source.output)
    if source.secret_key_ref is not None or source.config_map_key_ref is not None:
        return _stored(given, compiled)
    value = given.own.field_value(source.field or "")
    if value is None:
        return _Missing(Reason.FIELD_UNKNOWN, f"{compiled.source} of this server: not known yet")
    return _Found(Inline(value), version=f"={value}")


def _inherits(compiled: CompiledItem, known: Mapping[str, ItemResolution]) -> bool:
    return any(known[need].sensitive for need in compiled.needs if need in known)


def _template(compiled: CompiledItem, known: Mapping[str, ItemResolution]) -> _Outcome:
    assert compiled.template is not None  # noqa: S101 - the caller has looked
    sensitive = _inherits(compiled, known)
    needs = [known[need] for need in compiled.needs]
    pending = next((need for need in needs if not need.known), None)
    if pending is not None:
        return _Missing(Reason.WAITING_FOR_ITEM, f"item {pending.name}: {pending.message}", sensitive)
    stale = next((need for need in needs if need.stale), None)
    if stale is not None:
        return _Found(FromTemplate(compiled.template), "", sensitive, f"item {stale.name}: {stale.message}")
    return _Found(FromTemplate(compiled.template), sensitive=sensitive)


def _stored(given: ServerInput, compiled: CompiledItem) -> _Outcome:
    source = compiled.item.value_from
    secret = source.secret_key_ref if source else None
    ref = secret or (source.config_map_key_ref if source else None)
    assert ref is not None  # noqa: S101 - the caller has looked
    kind, objects = ("Secret", given.secrets) if secret else ("ConfigMap", given.config_maps)
    facts = objects.get(ref.name)
    if facts is None:
        reason = Reason.SECRET_NOT_FOUND if secret else Reason.CONFIG_MAP_NOT_FOUND
        return _Missing(reason, f"{kind} {ref.name}: not found", secret is not None)
    if facts.keys is not None and ref.key not in facts.keys:
        return _Missing(Reason.KEY_NOT_FOUND, f"key {ref.key} missing in {kind} {ref.name}", secret is not None)
    origin: Origin = FromSecret(ref.name, ref.key) if secret else FromConfigMap(ref.name, ref.key)
    return _Found(origin, facts.version, secret is not None)


def _output(given: ServerInput, source: OutputSource) -> _Outcome:
    group_name = source.group if source.group is not None else given.own.group
    if group_name is None:
        message = f"output {source.name}: this server belongs to no group; name the group in output.group"
        return _Missing(Reason.NO_SUCH_GROUP, message)
    group = given.groups.get(group_name)
    if group is None:
        return _Missing(Reason.NO_SUCH_GROUP, f"output {source.name} of group {group_name}: there is no such group")
    member = group.members.get(source.member)
    if member is None:
        where = f"group {group_name} has no member {source.member}{nearest(source.member, group.members)}"
        return _Missing(Reason.NO_SUCH_MEMBER, f"output {source.name}: {where}")
    return _collect(source, group_name, member)


def _collect(source: OutputSource, group: str, member: MemberFacts) -> _Outcome:
    declared = (member.declared or {}).get(source.name, False)
    if source.select == "First" and member.replicas < 1:
        return _Missing(Reason.NO_REPLICAS, f"{describe_output(source)}: the member has no replicas", declared)
    parts: list[OutputPart] = []
    stale = ""
    servers = member.by_ordinal()
    for ordinal in range(1 if source.select == "First" else member.replicas):
        server = servers.get(ordinal)
        name = server.name if server else server_name(group, source.member, ordinal, member.suffix)
        published = server.outputs.get(source.name) if server and not server.away else None
        if server is None or published is None:
            return _unpublished(source, name, server, member, declared)
        # What is in a Secret is taken for sensitive: it is, or it is large and nobody misses it in a status.
        declared = declared or published.sensitive or published.value is None
        parts.append(OutputPart(server.uid, server.outputs_secret, source.name, published.version, published.value))
        if published.error and not stale:
            stale = _in_force(_refused_message(source, name, published.error))
    separator = None if source.select != "Join" else ("," if source.separator is None else source.separator)
    origin = FromOutputs(tuple(parts), source.select, separator)
    version = ",".join(f"{part.server_uid}:{part.version}" for part in parts)
    return _Found(origin, version, declared, stale)


def _unpublished(
    source: OutputSource, name: str, server: UpstreamServer | None, member: MemberFacts, sensitive: bool
) -> _Missing:
    error = server.errors.get(source.name) if server and not server.away else None
    if error:
        return _Missing(error, _refused_message(source, name, error), sensitive)
    if member.declared is not None and source.name not in member.declared:
        message = f"member {source.member} declares no output {source.name}{nearest(source.name, member.declared)}"
        return _Missing(Reason.NO_SUCH_OUTPUT, message, sensitive)
    return _Missing(Reason.NOT_PUBLISHED, f"output {source.name} of server {name}: not published yet", sensitive)


def _refused_message(source: OutputSource, server: str, error: str) -> str:
    return f"output {source.name} of server {server}: refused ({error})"


_REFUSALS: Mapping[str, Callable[[CompiledItem], str]] = {
    Reason.TOO_LARGE: lambda c: f"{c.source}: the value is larger than {MAX_ITEM_BYTES} bytes",
    Reason.NOT_TEXT: lambda c: f"{c.source}: the value is not text (UTF-8 without NUL)",
    Reason.SECRET_NOT_FOUND: lambda c: f"{c.source}: the Secret is not found",
    Reason.CONFIG_MAP_NOT_FOUND: lambda c: f"{c.source}: the ConfigMap is not found",
    Reason.KEY_NOT_FOUND: lambda c: f"{c.source}: the key is missing",
    Reason.NOT_PUBLISHED: lambda c: f"{c.source}: the value is not stored yet",
}


def _refusal(compiled: CompiledItem, found: _Found, reason: str) -> _Missing:
    words = _REFUSALS.get(reason)
    return _Missing(reason, words(compiled) if words else f"{compiled.source}: {reason}", found.sensitive)


def _settle(given: ServerInput, compiled: CompiledItem, outcome: _Outcome, *, remember: bool) -> ItemResolution:
    item = compiled.item
    sensitive = item.sensitive or outcome.sensitive
    if isinstance(outcome, _Found):
        return _item(
            compiled,
            sensitive,
            known=True,
            reason=Reason.STALE if outcome.stale else "",
            message=outcome.stale,
            stale=bool(outcome.stale),
            version=outcome.version,
            definition=compiled.definition,
            origin=outcome.origin,
        )
    mark = _remembered(given, compiled, outcome) if remember else None
    if mark is not None:
        return _item(
            compiled,
            sensitive or mark.sensitive,
            known=True,
            reason=Reason.STALE,
            message=_in_force(outcome.message),
            stale=True,
            version="remembered",
            definition=compiled.definition,
            origin=Remembered(),
        )
    if item.default is not None:
        message = f"default in force; {outcome.message}"
        return _default(compiled, item, sensitive, message)
    return _item(compiled, sensitive, known=False, reason=outcome.reason, message=outcome.message, version="pending")


def _remembered(given: ServerInput, compiled: CompiledItem, outcome: _Missing) -> ItemMark | None:
    """The mark of the value last rendered, where it may stay in force.

    A template waits with what it is made of: only where its new text had to be refused does the old one stay.
    """
    mark = given.record.items.get(compiled.name)
    if mark is None or not compiled.definition or mark.definition != compiled.definition:
        return None
    return None if outcome.reason == Reason.WAITING_FOR_ITEM else mark


def _in_force(why: str) -> str:
    return f"last known value in force; {why}"


def _default(compiled: CompiledItem, item: Item, sensitive: bool, message: str) -> ItemResolution:
    return _item(
        compiled,
        sensitive,
        known=True,
        reason=Reason.DEFAULT,
        message=message,
        default_in_force=True,
        version="default",
        origin=Inline(item.default or ""),
    )


def _item(
    compiled: CompiledItem,
    sensitive: bool,
    *,
    known: bool,
    reason: str = "",
    message: str = "",
    stale: bool = False,
    default_in_force: bool = False,
    version: str = "",
    definition: str = "",
    origin: Origin | None = None,
) -> ItemResolution:
    return ItemResolution(
        name=compiled.name,
        source=shorten(compiled.source),
        known=known,
        required=compiled.item.required,
        sensitive=sensitive,
        reason=reason,
        message=shorten(message),
        stale=stale,
        default_in_force=default_in_force,
        version=version,
        definition=definition,
        origin=origin,
    )


def _needed(items: Mapping[str, ItemResolution]) -> tuple[frozenset[str], frozenset[str]]:
    secrets: set[str] = set()
    config_maps: set[str] = set()
    for item in items.values():
        match item.origin:
            case FromSecret(name, _):
                secrets.add(name)
            case FromConfigMap(name, _):
                config_maps.add(name)
            case FromOutputs(parts, _, _):
                secrets.update(part.secret for part in parts if part.value is None)
            case _:
                pass
    return frozenset(secrets), frozenset(config_maps)


def _input_versions(given: ServerInput, items: Mapping[str, ItemResolution]) -> dict[str, str]:
    own = given.own
    facts = [own.uid, own.namespace, own.name, own.group, own.member, own.ordinal]
    if any(output.field in {"address", "id"} for output, _ in given.config.outputs):
        facts += [own.address, own.provider_id]
    versions = {"/rendering": _RENDERING, "/config": given.revision, "/server": json.dumps(facts)}
    for name, item in items.items():
        if item.version or item.sensitive:
            versions[name] = f"{item.version}{'!' if item.sensitive else ''}"
    return versions
