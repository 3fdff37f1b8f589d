"""The document that a server's agent gets, rendered from the resolution and the values.

A value that turns out unusable (too large, not text, gone since the resolution) is refused: the item then counts as
unresolved, with the reason, and everything that does not need it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moorage.core.configuration.document import assemble, encode_document
from moorage.core.configuration.facts import ServerInput, Values
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
from moorage.core.configuration.resolve import ItemResolution, Resolution, resolve_without
from moorage.core.configuration.words import MAX_ITEM_BYTES, Reason
from moorage.core.problems import Problem
from moorage.core.template import RenderedTooLargeError

TRANSIENT = frozenset({Reason.NOT_PUBLISHED, Reason.SECRET_NOT_FOUND, Reason.CONFIG_MAP_NOT_FOUND})
"""Refusals that may end although no version in the inputs changes: what was there a moment ago could not be read."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered configuration.

    `document` is the channel's document without its revision; `values` has the value of every known item, `remembered`
    those that must be kept beside the document, under the Secret's key `values`. `resolution` takes account of the
    values; `refused` says which of them were not usable, and why. `problems` is what else could not be delivered.
    """

    document: Mapping[str, Any] = field(repr=False)
    values: Mapping[str, str] = field(repr=False)
    remembered: Mapping[str, str] = field(repr=False)
    resolution: Resolution
    inputs: str
    refused: Mapping[str, str]
    problems: tuple[Problem, ...]

    @property
    def complete(self) -> bool:
        """Whether rendering again from the same inputs would tell nothing new: neither a value nor a problem."""
        return not self.problems and not TRANSIENT.intersection(self.refused.values())


def render(given: ServerInput, values: Values, *, mask: str | None = None) -> Rendered:
    """Render the configuration of one server.

    With `mask`, it takes the place of every sensitive value, no Secret is looked at for them, and the result is fit to
    be shown. Raises nothing for whatever the values are.
    """
    refused: dict[str, str] = {}
    forgotten: frozenset[str] = frozenset()
    inputs = resolve_without(given, {}).inputs
    while True:
        resolution = resolve_without(given, refused, forgotten)
        texts, unusable, lost = _texts(resolution, values, mask)
        if not unusable and not lost:
            break
        refused.update(unusable)
        forgotten |= lost
    document, problems = assemble(given, resolution, texts)
    held = document["items"]
    remembered = {
        name: text for name, text in sorted(texts.items()) if resolution.items[name].definition and name not in held
    }
    return Rendered(document, texts, remembered, resolution, inputs, refused, problems)


def remembered_values(configuration: bytes | None, values: bytes | None) -> dict[str, str]:
    """The values last rendered, from the Secret's keys `configuration` and `values`; {} for what is absent or no
    JSON."""
    found: dict[str, str] = {}
    for data, key in ((configuration, "items"), (values, None)):
        try:
            whole = json.loads(data) if data else {}
            part = whole.get(key, {}) if key else whole
            found.update((str(name), text) for name, text in part.items() if isinstance(text, str))
        except (ValueError, AttributeError, RecursionError):
            continue
    return found


def encode_values(remembered: Mapping[str, str]) -> bytes:
    """The bytes of the Secret's key `values`."""
    return encode_document(dict(sorted(remembered.items())))


class _RefusedError(Exception):
    """A value cannot be used; `args[0]` is the reason."""


def _texts(
    resolution: Resolution, values: Values, mask: str | None
) -> tuple[dict[str, str], dict[str, str], frozenset[str]]:
    """The values of the known items, those not usable with the reason, and those that were to be remembered but are
    not."""
    texts: dict[str, str] = {}
    unusable: dict[str, str] = {}
    lost: set[str] = set()
    for name, item in resolution.items.items():
        if not item.known or item.origin is None:
            continue
        if mask is not None and item.sensitive:
            texts[name] = mask
        elif isinstance(item.origin, Remembered) and name not in values.remembered:
            lost.add(name)
        else:
            _add(name, item, values, texts, unusable)
    return texts, unusable, frozenset(lost)


def _add(name: str, item: ItemResolution, values: Values, texts: dict[str, str], unusable: dict[str, str]) -> None:
    try:
        text = _text(name, item.origin, values, texts)
    except _RefusedError as refusal:
        unusable[name] = refusal.args[0]
        return
    if text is not None:
        texts[name] = text


def _text(name: str, origin: Origin | None, values: Values, texts: Mapping[str, str]) -> str | None:
    match origin:
        case Inline(value):
            return value
        case Remembered():
            return values.remembered[name]
        case FromSecret(secret, key):
            return _key(values.secrets.get(secret), key, Reason.SECRET_NOT_FOUND, Reason.KEY_NOT_FOUND)
        case FromConfigMap(config_map, key):
            return _key(values.config_maps.get(config_map), key, Reason.CONFIG_MAP_NOT_FOUND, Reason.KEY_NOT_FOUND)
        case FromOutputs():
            return _joined(origin, values)
        case FromTemplate(template):
            if not all(need in texts for need in template.names):
                return None  # one of them was refused in this very round; the next one tells
            try:
                return template.render(texts, MAX_ITEM_BYTES)
            except RenderedTooLargeError:
                raise _RefusedError(Reason.TOO_LARGE) from None
        case None:
            return None


def _joined(origin: FromOutputs, values: Values) -> str:
    parts = [_part(part, values) for part in origin.parts]
    match origin.select:
        case "All":
            text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
        case "Join":
            text = (origin.separator or "").join(parts)
        case _:
            text = parts[0]
    return _usable(text)


def _part(part: OutputPart, values: Values) -> str:
    if part.value is not None:
        return part.value
    return _key(values.secrets.get(part.secret), part.output, Reason.NOT_PUBLISHED, Reason.NOT_PUBLISHED)


def _key(data: Mapping[str, str | bytes] | Mapping[str, bytes] | None, key: str, absent: str, missing: str) -> str:
    if data is None:
        raise _RefusedError(absent)
    if key not in data:
        raise _RefusedError(missing)
    value = data[key]
    if isinstance(value, str):
        return _usable(value)
    try:
        return _usable(value.decode())
    except UnicodeDecodeError:
        raise _RefusedError(Reason.NOT_TEXT) from None


def _usable(text: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise _RefusedError(Reason.NOT_TEXT)
    if len(text.encode()) > MAX_ITEM_BYTES:
        raise _RefusedError(Reason.TOO_LARGE)
    return text
