"""The settings and abilities of all built-in backends, as `moorage backends` and the pages about them tell them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from moorage.cli.views.backends import describe, table
from moorage.hosting.abilities import abilities_of
from moorage.hosting.ec2.backend import Ec2BackendWithImages
from moorage.hosting.factory import BackendFactory
from moorage.hosting.libcloud.backend import variant
from moorage.hosting.registry import BUILT_IN, backend, registry

PAGES = Path(__file__).parents[3] / "docs" / "backends"


def fields(factory: BackendFactory) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting of services and of servers, those within others too."""
    for model in (factory.settings_model, factory.server_settings_model):
        schema = model.model_json_schema(by_alias=True)
        for part in (schema, *schema.get("$defs", {}).values()):
            yield from part.get("properties", {}).items()


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_setting_says_what_it_is_and_is_on_the_page_of_its_backend(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    found = dict(fields(backend(name)))
    assert found
    assert [setting for setting, field in found.items() if not field.get("description")] == []
    assert [setting for setting in found if not re.search(rf"\b{setting}\b", page)] == []


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_setting_that_decides_abilities_is_one_and_they_are_not_told_as_had_by_all(name: str) -> None:
    factory = backend(name)
    settings = factory.settings_model.model_json_schema(by_alias=True)["properties"]
    assert set(factory.conditional.values()) <= settings.keys()
    assert not factory.abilities & factory.conditional.keys()


def test_the_abilities_that_settings_decide_are_those_of_the_variants() -> None:
    able: Any = SimpleNamespace(retags=True, powers=True, lists_images=True)
    for name, most in (("ec2", Ec2BackendWithImages), ("libcloud", variant(able))):
        factory = backend(name)
        assert abilities_of(most) == factory.abilities | factory.conditional.keys()


def test_abilities_that_a_setting_decides_are_told_with_it() -> None:
    by_driver = describe("libcloud", registry())
    assert by_driver["abilities"] == []
    assert {"ability": "Power", "setting": "driver"} in by_driver["conditionalAbilities"]
    console = Console(width=200)
    with console.capture() as shown:
        console.print(table([by_driver, describe("ec2", registry())]))
    assert "Images, Power, Retag (by driver)" in shown.get()
    assert "Volumes; Images (by imageOwners)" in shown.get()
