"""What is generated: structural schemas with bounds, and files that are kept equal to the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import Field

from moorage.api import crd, reference
from moorage.api.base import Model, Word, listed
from moorage.api.kinds import KINDS, KindInfo
from moorage.api.rules import VALIDATIONS, Rule, exactly_one, immutable
from moorage.api.schema import of_status, structural_schema

ROOT = Path(__file__).parents[3]
NOT_STRUCTURAL = {"$ref", "anyOf", "allOf", "const", "title", "nullable", "$defs", "x-moorage-remedy"}
EACH_KIND = pytest.mark.parametrize("info", KINDS, ids=lambda info: info.kind)


def nodes(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from nodes(schema[inner], f"{path}[]")


def test_the_crds_in_the_repository_are_those_of_the_models() -> None:
    assert crd.outdated(ROOT / "crds", crd.files(), "*.yaml") == [], "run make generate"


def test_the_reference_in_the_repository_is_that_of_the_models() -> None:
    assert (ROOT / "docs/reference/api.md").read_text() == reference.reference() + "\n", "run make generate"


@EACH_KIND
def test_everything_that_people_write_has_a_bound(info: KindInfo) -> None:
    spec = crd.object_schema(info)["properties"]["spec"]
    unbounded = []
    for path, node in nodes(spec, "spec"):
        kind = node.get("type")
        text = kind == "string" and not {"enum", "format"} & node.keys() and "maxLength" not in node
        many = kind == "array" and "maxItems" not in node
        wide = "additionalProperties" in node and "maxProperties" not in node
        if text or many or wide:
            unbounded.append(path)
    assert unbounded == []


@EACH_KIND
def test_no_default_says_null(info: KindInfo) -> None:
    for path, node in nodes(crd.object_schema(info)):
        assert "None" not in f"{node.get('default')}" or node.get("default") is None, path


@EACH_KIND
def test_schemas_are_structural(info: KindInfo) -> None:
    for path, node in nodes(crd.object_schema(info)):
        assert (
            not {"$ref", "anyOf", "allOf", "const", "title", "nullable", "$defs", "x-moorage-remedy"} & node.keys()
        ), path
        if not node.get("x-kubernetes-int-or-string"):
            assert "type" in node, path
        if node.get("type") == "array":
            assert "x-kubernetes-list-type" in node, path


@EACH_KIND
def test_a_status_has_no_defaults_and_no_rules_but_the_first_generation(info: KindInfo) -> None:
    status = crd.object_schema(info)["properties"]["status"]
    assert status["default"] == {"observedGeneration": -1}
    with_default = [path for path, node in nodes(status) if "default" in node]
    assert with_default == ["", ".observedGeneration"]
    assert [path for path, node in nodes(status) if VALIDATIONS in node] == []
    assert status["properties"]["conditions"]["x-kubernetes-list-map-keys"] == ["type"]


@EACH_KIND
def test_names_of_the_kind(info: KindInfo) -> None:
    made = crd.crd(info)["spec"]
    assert made["names"]["shortNames"] == [info.short_name]
    assert made["names"]["categories"] == ["moorage"]
    assert made["versions"][0]["subresources"]["status"] == {}
    assert ("scale" in made["versions"][0]["subresources"]) == (info.kind == "ServerGroup")


class Part(Model):
    """A part."""

    RULES = (Rule("self.size > 0", "too small", "write more"),)

    size: int = 1
    """How large."""
    name: Word | None = None
    """What it is called."""


class Whole(Model):
    """A whole."""

    part: Part | None = Field(default=None, json_schema_extra={VALIDATIONS: [{"rule": "true", "message": "m"}]})
    """The part of it."""
    parts: tuple[Part, ...] = listed(3)
    """More of them."""
    given: Part = Part(size=3)
    """One that is there."""


def test_what_is_said_beside_a_reference_is_added_to_what_it_says() -> None:
    part = structural_schema(Whole)["properties"]["part"]
    assert part["description"] == "The part of it."
    assert [rule["message"] for rule in part[VALIDATIONS]] == ["too small; write more", "m"]
    assert part["properties"]["size"]["default"] == 1
    assert "default" not in part


def test_a_default_is_written_without_what_is_a_default_itself() -> None:
    assert structural_schema(Whole)["properties"]["given"]["default"] == {"size": 3}


def test_a_pattern_with_a_remedy_becomes_a_rule() -> None:
    name = structural_schema(Part)["properties"]["name"]
    assert "pattern" not in name
    assert name["maxLength"] == 63
    assert name[VALIDATIONS][0]["message"].startswith("is not a plain word; write letters, digits")


def test_a_pattern_stays_one_where_words_would_cost_too_much() -> None:
    name = structural_schema(Part, worded=False)["properties"]["name"]
    assert name["pattern"].startswith("^[A-Za-z0-9]")
    assert VALIDATIONS not in name


def test_a_status_keeps_bounds() -> None:
    status = of_status(structural_schema(Whole))
    assert status["properties"]["parts"]["maxItems"] == 3
    assert "default" not in status["properties"]["given"]
    assert VALIDATIONS not in status["properties"]["parts"]["items"]


def test_a_field_of_two_types_is_refused_by_the_generator() -> None:
    class Odd(Model):
        either: int | bool = 1

    with pytest.raises(ValueError, match="a field has one type"):
        structural_schema(Odd)


def test_reserved_words_are_escaped_in_rules() -> None:
    assert immutable("for", optional=False) == "self.__for__ == oldSelf.__for__"
    assert "has(self.__namespace__)" in exactly_one(("namespace", "b"), "write one", "x").cel


def test_check_and_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "crds"
    assert crd.main(["--write", f"{folder}"]) == 0
    assert crd.main(["--check", f"{folder}"]) == 0
    file = folder / "moorage.dev_servergroups.yaml"
    assert yaml.safe_load(file.read_text())["metadata"]["name"] == "servergroups.moorage.dev"
    file.write_text("changed")
    (folder / "moorage.dev_old.yaml").write_text("stray")
    assert crd.main(["--check", f"{folder}"]) == 1
    assert "moorage.dev_old.yaml, moorage.dev_servergroups.yaml" in capsys.readouterr().err
    assert crd.main(["--write", f"{folder}"]) == 0
    assert crd.main(["--check", f"{folder}"]) == 0
    assert not (folder / "moorage.dev_old.yaml").exists()


def test_check_and_write_the_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "docs" / "api.md"
    assert reference.main(["--check", f"{page}"]) == 1
    assert "differs from the models" in capsys.readouterr().err
    assert reference.main(["--write", f"{page}"]) == 0
    assert reference.main(["--check", f"{page}"]) == 0
    text = page.read_text()
    assert "| `members[].replicas` | integer |" in text
    for info in KINDS:
        assert f"## {info.kind}\n" in text
