"""Revisions: a rendered document gets a new one exactly when it differs, and every item knows its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from moorage.core.configuration.document import encode_document
from moorage.core.configuration.record import DeliveryRecord, ItemMark, value_mark
from moorage.core.configuration.render import Rendered, encode_values
from moorage.core.configuration.words import MAX_DOCUMENT_BYTES


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is to be written after a rendering.

    `record` goes into the annotation. `configuration` and `values` are the bytes of the Secret's keys of these names,
    None while they stay as they are: then, if `record` too is as before, nothing is written at all.
    """

    record: DeliveryRecord
    configuration: bytes | None = field(default=None, repr=False)
    values: bytes | None = field(default=None, repr=False)


def next_revision(previous: DeliveryRecord, rendered: Rendered, key: bytes, controller_revision: str) -> Delivery:
    """Number a rendered document.

    The revision grows by one if and only if the document differs from the last one. A document too large to be stored
    is not delivered: the last one stays. `key` is the installation's own, for marks that tell nothing about the values.
    """
    body = encode_document(rendered.document)
    values = encode_values(rendered.remembered)
    if len(body) + len(values) > MAX_DOCUMENT_BYTES:
        return Delivery(previous)
    document = value_mark(key, "", body.decode())
    changed = previous.document != document or previous.revision < 1
    revision = previous.revision + 1 if changed else previous.revision
    same_config = previous.controller_revision == controller_revision and previous.controller_revision_since > 0
    record = DeliveryRecord(
        revision=revision,
        controller_revision=controller_revision,
        controller_revision_since=previous.controller_revision_since if same_config else revision,
        inputs=rendered.inputs if rendered.complete else "",
        tried=rendered.inputs,
        document=document,
        items=_marks(previous, rendered, key, revision),
        refused=dict(sorted(rendered.refused.items())),
    )
    if not changed and record.items == previous.items:
        return Delivery(record)
    configuration = encode_document({"revision": revision, **rendered.document}) if changed else None
    return Delivery(record, configuration, values)


def _marks(previous: DeliveryRecord, rendered: Rendered, key: bytes, revision: int) -> Mapping[str, ItemMark]:
    marks: dict[str, ItemMark] = {}
    for name, value in sorted(rendered.values.items()):
        item = rendered.resolution.items[name]
        mark = value_mark(key, name, value)
        before = previous.items.get(name)
        first = before.revision if before is not None and before.mark == mark else revision
        marks[name] = ItemMark(first, mark, item.definition, item.sensitive)
    return marks
