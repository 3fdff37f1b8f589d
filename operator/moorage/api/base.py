"""The base of every model, and the field helpers that carry what a CRD schema needs."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

_INITIALISMS = {"Id": "ID", "Uid": "UID"}


def to_alias(name: str) -> str:
    """`provider_id` -> `providerID`, `for_` -> `for`: the Kubernetes API's spelling of a Python attribute."""
    camel = to_camel(name.rstrip("_"))
    for word, initialism in _INITIALISMS.items():
        if camel.endswith(word):
            return camel.removesuffix(word) + initialism
    return camel


class Model(BaseModel):
    """Immutable; reads camelCase or snake_case, ignores what it does not know (an older reader beside a newer writer).

    A `pydantic.ValidationError` of a Model never shows the input, which may be sensitive.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_alias,
        populate_by_name=True,
        extra="ignore",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form with the API's names; absent optional fields and empty lists and maps are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def from_dict(cls, obj: Any) -> Self:
        """Read a JSON object. Raises `pydantic.ValidationError` where it does not fit, naming every wrong field."""
        return cls.model_validate(obj)


def _is_empty(value: Any) -> bool:
    return not value


def listed(max_items: int, *, key: str | None = None, min_items: int | None = None, **schema: Any) -> Any:
    """A list field, empty by default and left out when empty: a map by `key` for server-side apply, else atomic.

    With `min_items` the field is required.
    """
    kind: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
    if key is not None:
        kind = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    extra = {**kind, **schema}
    if min_items is not None:
        return Field(min_length=min_items, max_length=max_items, json_schema_extra=extra)
    return Field(default=(), max_length=max_items, exclude_if=_is_empty, json_schema_extra=extra)


def mapped(max_properties: int, **schema: Any) -> Any:
    """A map field, empty by default and left out when empty."""
    return Field(
        default_factory=dict, max_length=max_properties, exclude_if=_is_empty, json_schema_extra=schema or None
    )


def free_form() -> Any:
    """An object whose fields this API does not know (settings that a backend validates)."""
    return Field(
        default_factory=dict, exclude_if=_is_empty, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}
    )


Timestamp = Annotated[AwareDatetime, Field(json_schema_extra={"format": "date-time"})]
"""An instant; RFC 3339 on the wire, an aware datetime here."""

Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""The name of a Kubernetes object (RFC 1123 subdomain)."""

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A name that becomes a part of another one (RFC 1123 label)."""

Word = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")]
"""A name given by a hosting service or a person: letters, digits, `-`, `_`, `.`."""

ItemName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
"""A name of an item or an output: it may become a variable of a shell."""

Text = Annotated[str, Field(max_length=1024)]
"""One line for people."""

__all__ = [
    "ItemName",
    "Label",
    "Model",
    "Name",
    "Text",
    "Timestamp",
    "Word",
    "free_form",
    "listed",
    "mapped",
    "to_alias",
]
