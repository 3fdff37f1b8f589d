"""The machine words and the limits of configuration."""

from __future__ import annotations

MAX_ITEM_BYTES = 64 * 1024
"""The most bytes of UTF-8 of one item's value: it must fit into an environment variable (128 KiB on Linux)."""
MAX_DOCUMENT_BYTES = 768 * 1024
"""The most bytes of a rendered document with the values remembered beside it: a Secret holds 1 MiB, and more is in
it."""
MAX_TEXT = 1024
"""The most characters of a text in status."""


class Reason:
    """Why an item is as it is, one CamelCase word each. An output's own error (`PatternMismatch`, …) is used as it
    is."""

    NOT_PUBLISHED = "NotPublished"
    NO_REPLICAS = "NoReplicas"
    NO_SUCH_GROUP = "NoSuchGroup"
    NO_SUCH_MEMBER = "NoSuchMember"
    NO_SUCH_OUTPUT = "NoSuchOutput"
    NO_SUCH_ITEM = "NoSuchItem"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason, not a password
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
    KEY_NOT_FOUND = "KeyNotFound"
    TOO_LARGE = "TooLarge"
    NOT_TEXT = "NotText"
    FIELD_UNKNOWN = "FieldUnknown"
    WAITING_FOR_ITEM = "WaitingForItem"
    ITEM_CYCLE = "ItemCycle"
    INVALID_TEMPLATE = "InvalidTemplate"
    DEFAULT = "DefaultInForce"
    STALE = "LastKnownValue"


def shorten(text: str, limit: int = MAX_TEXT) -> str:
    """A text for status, cut to what status may hold."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
