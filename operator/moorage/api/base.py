"""The base of every model, and the field helpers that carry what a CRD schema needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticUndefined

from moorage.api.rules import VALIDATIONS, Rule, remedy

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

    RULES: ClassVar[tuple[Rule, ...]] = ()
    """What must hold between the fields; checked by the API server at admission, not by the model."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        for name, field in cls.model_fields.items():
            described = schema["properties"][to_alias(name)]
            described.pop("default", None)
            if field.default not in (PydanticUndefined, None, ()):
                described["default"] = cls._written_default(name)
        if cls.RULES:
            schema[VALIDATIONS] = [rule.to_schema() for rule in cls.RULES]
        return schema

    @classmethod
    def _written_default(cls, name: str) -> Any:
        """The default as a user would write it; what lies deeper and is a default itself is left out."""
        value = cls.model_fields[name].default
        if isinstance(value, Model):
            return value.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
        alone = cls.model_construct(**{name: value}).model_dump(mode="json", by_alias=True, include={name})
        return alone[to_alias(name)]

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


def text(max_length: int, pattern: str, problem: str, advice: str, min_length: int = 1) -> Any:
    """A string that must match `pattern`; a violation is told in the words of `problem` and `advice`."""
    return Field(
        min_length=min_length, max_length=max_length, pattern=pattern, json_schema_extra=remedy(problem, advice)
    )


def number(least: int, most: int | None, problem: str, advice: str) -> Any:
    """A whole number within bounds; a violation is told in the words of `problem` and `advice`."""
    return Field(ge=least, le=most, json_schema_extra=remedy(problem, advice))


def _shortened(limit: int) -> Callable[[str], str]:
    def shorten(value: str) -> str:
        return value if len(value) <= limit else value[: limit - 1] + "…"

    return shorten


def prose(limit: int) -> Any:
    """What is for people to read: cut to `limit` characters rather than refused."""
    return AfterValidator(_shortened(limit))


Timestamp = Annotated[AwareDatetime, Field(json_schema_extra={"format": "date-time"})]
"""An instant; RFC 3339 on the wire, an aware datetime here."""

Name = Annotated[
    str,
    text(
        253,
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "is not the name of an object",
        "write lower-case letters, digits, - and ., such as eu-small",
    ),
]
"""The name of a Kubernetes object (RFC 1123 subdomain)."""

Label = Annotated[
    str,
    text(
        63,
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "is not a label",
        "write lower-case letters, digits and -, beginning and ending with a letter or digit, such as db-1",
    ),
]
"""A name that becomes a part of another one (RFC 1123 label)."""

Word = Annotated[
    str,
    text(
        63,
        r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        "is not a plain word",
        "write letters, digits, -, _ and ., beginning and ending with a letter or digit, such as t3.small",
    ),
]
"""A name given by a hosting service or a person: letters, digits, `-`, `_`, `.`."""

ItemName = Annotated[
    str,
    text(
        63,
        r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        "is not a name that a shell can use",
        "write letters, digits and _, not beginning with a digit, such as db_address",
    ),
]
"""A name of an item or an output: it may become a variable of a shell."""

Text = Annotated[str, prose(1024), Field(json_schema_extra={"maxLength": 1024})]
"""One line for people; cut where it is longer."""

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
    "number",
    "prose",
    "text",
    "to_alias",
]
