"""Why a service cannot take a group: one CamelCase word, and one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

COUNTED_LENGTH: Final = 128


class Reason(StrEnum):
    """In the order in which services are examined; the first that applies is the one that is given."""

    NOT_ALLOWED = "NotAllowedInNamespace"
    NOT_SELECTED = "NotSelected"
    REQUIREMENT = "RequirementNotMet"
    NOT_AVAILABLE = "NotAvailable"
    DATA_TOO_OLD = "DataTooOld"
    NO_RETENTION = "RetainUnsupported"
    LEFT = "LeftByFailover"
    EXPRESSION = "ExpressionFailed"
    NO_IMAGE = "NoImage"
    IMAGE_UNKNOWN = "ImageUnknown"
    NO_OFFERING = "NoOffering"
    NO_CAPACITY = "InsufficientCapacity"
    CEILING_INVALID = "CeilingInvalid"
    PRICE_UNKNOWN = "PriceUnknown"
    PRICE_ABOVE_CEILING = "PriceAboveCeiling"


ORDER: Final = {reason: position for position, reason in enumerate(Reason)}


@dataclass(frozen=True, slots=True)
class Rejection:
    """``subject`` is the key of a requirement or the name of an expression, else empty; ``detail`` is for people."""

    reason: Reason
    detail: str
    subject: str = ""

    @property
    def word(self) -> str:
        """The reason as it is counted: ``RequirementNotMet(jurisdiction)``, ``NoImage``."""
        word = f"{self.reason}({self.subject})" if self.subject else str(self.reason)
        return word[:COUNTED_LENGTH]

    def __str__(self) -> str:
        return f"{self.word}: {self.detail}"
