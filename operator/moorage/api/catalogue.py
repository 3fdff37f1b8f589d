"""A catalogue of sizes and prices, which a platform team keeps in a ConfigMap."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from moorage.api.base import Model, Name, Timestamp, Word, text
from moorage.api.quantities import Price, Quantity


class CatalogRef(Model):
    """A reference to a catalogue."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-map-type": "atomic"})

    name: Name
    """The ConfigMap's name."""
    key: Annotated[
        str, text(253, r"^[-._a-zA-Z0-9]+$", "is not a key", "write letters, digits, -, _ and ., such as offerings")
    ] = "offerings"
    """The key within it."""


class CatalogueEntry(Model):
    """An offering; of one that the service tells itself, only what is to be added or corrected."""

    model_config = ConfigDict(extra="forbid")

    name: Word
    cpu: Quantity | None = None
    memory: Quantity | None = None
    arch: Word | None = None
    price_per_hour: Price | None = None
    spot_price_per_hour: Price | None = None
    interruptible: bool | None = None


class Catalogue(Model):
    """Offerings, and of when they are."""

    model_config = ConfigDict(extra="forbid")

    as_of: Timestamp | None = None
    offerings: Annotated[tuple[CatalogueEntry, ...], Field(max_length=200)] = ()
