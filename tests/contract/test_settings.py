"""What all built-in backends say of their settings. Here and not among the unit tests: libvirt's package is built with
headers that come with its test bed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from moorage.hosting.errors import Invalid
from moorage.hosting.factory import BackendFactory
from moorage.hosting.registry import BUILT_IN, backend

PAGES = Path(__file__).parents[2] / "docs" / "backends"


@pytest.fixture(params=sorted(BUILT_IN))
def name(request: pytest.FixtureRequest) -> str:
    """Each backend's type."""
    return str(request.param)


@pytest.fixture
def factory(name: str) -> BackendFactory:
    """Its factory, where this machine can have its extra."""
    try:
        return backend(name)
    except Invalid as error:
        pytest.skip(error.message)


def _fields(factory: BackendFactory) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting of services and of servers, those within others too."""
    for model in (factory.settings_model, factory.server_settings_model):
        schema = model.model_json_schema(by_alias=True)
        for part in (schema, *schema.get("$defs", {}).values()):
            yield from part.get("properties", {}).items()


def test_every_setting_says_what_it_is_and_is_on_the_page_of_its_backend(name: str, factory: BackendFactory) -> None:
    page = (PAGES / f"{name}.md").read_text()
    found = dict(_fields(factory))
    assert found
    assert [setting for setting, field in found.items() if not field.get("description")] == []
    assert [setting for setting in found if not re.search(rf"\b{setting}\b", page)] == []


def test_the_examples_on_its_page_hold(name: str, factory: BackendFactory) -> None:
    services = servers = 0
    lets: set[str] = set()
    for block in re.findall(r"```yaml\n(.*?)```", (PAGES / f"{name}.md").read_text(), re.DOTALL):
        for obj in yaml.safe_load_all(block):
            # One page shows a part of a VirtualServerConfig's spec alone.
            kind, spec = obj.get("kind", "VirtualServerConfig"), obj.get("spec", obj)
            if kind == "HostingService":
                assert spec["type"] == name
                factory.validate_settings(spec.get("settings", {}))
                lets = set(spec.get("settings", {}).get("serverArguments", ()))
                services += 1
            for given in spec.get("settings", ()) if kind == "VirtualServerConfig" else ():
                factory.validate_server_settings(given["values"])
                named = {*given["values"].get("arguments", {}), *given["values"].get("references", {})}
                assert name != "libcloud" or named <= lets
                servers += 1
    assert services
    assert servers


def test_a_setting_that_decides_abilities_is_one_and_they_are_not_told_as_had_by_all(factory: BackendFactory) -> None:
    settings = factory.settings_model.model_json_schema(by_alias=True)["properties"]
    assert set(factory.conditional.values()) <= settings.keys()
    assert not factory.abilities & factory.conditional.keys()
