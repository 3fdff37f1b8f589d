"""What is kept beside a server's rendered configuration: revisions, marks and versions, nothing that could be
sensitive.

It goes, as compact JSON, into the annotation `moorage.dev/state` of the Secret `<uid>`. Values are marked with a keyed
HMAC, so that a change is seen without a plain digest of a value being stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_MARK_BYTES = 16


@dataclass(frozen=True, slots=True)
class ItemMark:
    """An item as it was last rendered: since which revision it has this value, and whence.

    `definition` is empty where the value was no more than a literal or a default, which nothing needs to remember.
    """

    revision: int
    mark: str
    definition: str = ""
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """The state of one server's configuration between two renderings.

    `controller_revision_since` is the first revision rendered from `controller_revision`. `tried` is the digest of the
    inputs that were rendered last, and `inputs` the same, or empty where these inputs should be rendered again;
    `refused` names the items whose values could not be used then, with the reason.
    """

    revision: int = 0
    controller_revision: str = ""
    controller_revision_since: int = 0
    inputs: str = ""
    tried: str = ""
    document: str = ""
    items: Mapping[str, ItemMark] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def to_object(self) -> dict[str, Any]:
        """The compact JSON form; what is empty is left out."""
        items = {
            name: [mark.revision, mark.mark, mark.definition, int(mark.sensitive)]
            for name, mark in sorted(self.items.items())
        }
        whole = {
            "revision": self.revision,
            "config": self.controller_revision,
            "configSince": self.controller_revision_since,
            "inputs": self.inputs,
            "tried": self.tried if self.tried != self.inputs else "",
            "document": self.document,
            "items": items,
            "refused": dict(sorted(self.refused.items())),
        }
        return {key: value for key, value in whole.items() if value}

    @classmethod
    def from_object(cls, obj: Any, *, revision: int = 0) -> DeliveryRecord:
        """Read the JSON form. `revision` is that of the document beside it: no later one may be lower.

        What does not fit (somebody edited it) is taken as nothing known: everything is rendered again, as a new
        revision.
        """
        try:
            items = {
                str(name): ItemMark(int(known), str(mark), str(definition), bool(sensitive))
                for name, (known, mark, definition, sensitive) in dict(obj.get("items", {})).items()
            }
            return cls(
                revision=max(int(obj.get("revision", 0)), revision),
                controller_revision=str(obj.get("config", "")),
                controller_revision_since=int(obj.get("configSince", 0)),
                inputs=str(obj.get("inputs", "")),
                tried=str(obj.get("tried", obj.get("inputs", ""))),
                document=str(obj.get("document", "")),
                items=items,
                refused={str(name): str(reason) for name, reason in dict(obj.get("refused", {})).items()},
            )
        except (AttributeError, TypeError, ValueError, OverflowError):
            return cls(revision=revision)


def value_mark(key: bytes, name: str, value: str) -> str:
    """A keyed mark of an item's value (or of the document, under the empty name): equal for equal values only."""
    digest = hmac.new(key, name.encode() + b"\0" + value.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:_MARK_BYTES]).rstrip(b"=").decode()
