"""A pydantic model as a structural schema: no references, no nulls, bounded, with rules that say what to write."""

from __future__ import annotations

from typing import Any

from moorage.api.base import Model
from moorage.api.rules import REMEDY, REPEATED, VALIDATIONS, Rule

_DROPPED = frozenset({"title", "$defs", "propertyNames", "additionalProperties"})
_BOUNDS = ("minLength", "pattern", "minimum", "maximum")

Schema = dict[str, Any]


def structural_schema(model: type[Model], *, worded: bool = True) -> Schema:
    """The schema of `model` as the API server takes it. Raises ValueError where a model cannot be expressed.

    With `worded`, patterns and bounds that have a remedy become rules that say it.
    """
    raw = model.model_json_schema(by_alias=True)
    schema = _structural(raw, raw.get("$defs", {}))
    _settle_bounds(schema, worded)
    return schema


def inner_schemas(schema: Schema) -> list[Schema]:
    """The schemas of an object's fields, of a list's items or of a map's values."""
    children = [*schema.get("properties", {}).values()]
    return children + [schema[inner] for inner in ("items", "additionalProperties") if inner in schema]


def of_status(schema: Schema) -> Schema:
    """The schema of a status: bounds, but no defaults (nothing appears that its writer did not write) and no rules.

    Rules are for people's input; in a status they would cost the API server time with each of our writes.
    """
    kept = {k: v for k, v in schema.items() if k not in ("default", VALIDATIONS)}
    if "properties" in kept:
        kept["properties"] = {k: of_status(v) for k, v in kept["properties"].items()}
    for inner in ("items", "additionalProperties"):
        if inner in kept:
            kept[inner] = of_status(kept[inner])
    return kept


def _structural(node: Schema, defs: dict[str, Schema]) -> Schema:
    node = _flattened(node, defs)
    schema: Schema = {k: v for k, v in node.items() if k not in _DROPPED}
    if "default" in schema:
        schema["default"] = _said(schema["default"])
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if schema.get("type") == "object":
        _complete_object(schema, node, defs)
    if schema.get("type") == "array":
        schema["items"] = _structural(node["items"], defs)
    return _ordered(schema)


def _said(default: Any) -> Any:
    """A default without the fields that it says nothing of: null is no value of any of them."""
    if isinstance(default, list):
        return [_said(item) for item in default]
    if isinstance(default, dict):
        return {name: _said(value) for name, value in default.items() if value is not None}
    return default


def _complete_object(schema: Schema, node: Schema, defs: dict[str, Schema]) -> None:
    if "properties" in node:
        schema["properties"] = {name: _structural(child, defs) for name, child in node["properties"].items()}
    elif not schema.get("x-kubernetes-preserve-unknown-fields"):
        values = node.get("additionalProperties")
        if not isinstance(values, dict):
            raise ValueError(f"a map needs a type of values: {node.get('title', node)}")
        schema["additionalProperties"] = _structural(values, defs)


def _flattened(node: Schema, defs: dict[str, Schema]) -> Schema:
    """`node` with its reference resolved and `X | null` reduced to X; what is said beside it wins over what X says."""
    if "$ref" in node:
        inner = defs[node["$ref"].rpartition("/")[2]]
    elif "anyOf" in node:
        others = [option for option in node["anyOf"] if option.get("type") != "null"]
        if len(others) != 1:
            raise ValueError(f"a field has one type: {node.get('title', node)}")
        inner = others[0]
    else:
        return node
    outer = {k: v for k, v in node.items() if k not in ("$ref", "anyOf")}
    inner = _flattened(inner, defs)
    merged = {**inner, **outer}
    both = [*inner.get(VALIDATIONS, ()), *outer.get(VALIDATIONS, ())]
    return {**merged, VALIDATIONS: both} if both else merged


def _settle_bounds(schema: Schema, worded: bool) -> None:
    """Give every marked node its rule, or leave it its plain bounds."""
    if REMEDY in schema and worded:
        _word_bounds(schema)
    schema.pop(REMEDY, None)
    if schema.pop(REPEATED, False):
        _silence(schema)
    for child in inner_schemas(schema):
        _settle_bounds(child, worded)


def _silence(schema: Schema) -> None:
    """Take the descriptions of what is within."""
    for child in inner_schemas(schema):
        child.pop("description", None)
        _silence(child)


def _word_bounds(schema: Schema) -> None:
    """Turn a pattern and bounds into one rule whose message is the remedy."""
    words = schema.pop(REMEDY)
    parts = []
    if "pattern" in schema:
        parts.append(f"self.matches(r'{schema['pattern']}')")
    if "minimum" in schema:
        parts.append(f"self >= {schema['minimum']}")
    if "maximum" in schema:
        parts.append(f"self <= {schema['maximum']}")
    for bound in _BOUNDS:
        schema.pop(bound, None)
    rule = Rule(" && ".join(parts), words["problem"], words["remedy"])
    schema[VALIDATIONS] = [rule.to_schema(), *schema.get(VALIDATIONS, ())]


_ORDER = ("description", "type", "format", "enum", "default", "required", "properties", "items", "additionalProperties")


def _ordered(schema: Schema) -> Schema:
    first = {k: schema[k] for k in _ORDER if k in schema}
    return first | {k: schema[k] for k in sorted(schema) if k not in first}
