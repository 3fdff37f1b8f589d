"""What was learnt outside about a condition: the answer of a query, an endpoint or another object, as of one moment.

Asking is not pure and so happens elsewhere; a sample is how its outcome reaches the decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

INVALID_CA_BUNDLE: Final = "InvalidCABundle"
"""The reason of a sample that only an edit of the policy can end."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer.

    ``holds`` is None where nothing is known; ``reason`` (one CamelCase word) and ``message`` then tell why. ``at`` is
    the moment (aware) at which it became so.
    """

    holds: bool | None
    reason: str
    message: str
    at: datetime
