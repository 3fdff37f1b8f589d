"""The settings of all built-in backends, as `moorage backends` and the pages about them tell them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage.hosting.factory import BackendFactory
from moorage.hosting.registry import BUILT_IN, backend

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
