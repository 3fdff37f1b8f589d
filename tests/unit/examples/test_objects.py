"""The examples' objects fit the models, name only what exists, and refer only to items that they define."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.support.examples import EXAMPLES, documents

from moorage.api.base import Model
from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.hostingservice import HostingService
from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserverconfig import VirtualServerConfig

KINDS: dict[str, type[Model]] = {
    kind.KIND: kind for kind in (HostingPolicy, HostingService, ServerGroup, VirtualServerConfig)
}
ITEM = re.compile(r"(?<!\$)\$\{([^}]*)\}")


def read(document: dict[str, Any]) -> Model:
    return KINDS[document["kind"]].from_dict(document)


def ours(example: str) -> list[dict[str, Any]]:
    return [document for document in documents(example) if document["apiVersion"] == "moorage.dev/v1alpha1"]


def unknown_fields(document: Any, model: Any, path: str = "") -> list[str]:
    """Fields of the document that the model dropped, which a person mistyped."""
    if isinstance(document, dict) and isinstance(model, dict):
        return [
            found
            for key, value in document.items()
            for found in ([f"{path}.{key}"] if key not in model else unknown_fields(value, model[key], f"{path}.{key}"))
        ]
    if isinstance(document, list) and isinstance(model, list):
        pairs = enumerate(zip(document, model, strict=True))
        return [found for i, (a, b) in pairs for found in unknown_fields(a, b, f"{path}[{i}]")]
    return []


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_field_is_known(example: str) -> None:
    for document in ours(example):
        assert unknown_fields(document["spec"], read(document).to_dict()["spec"], document["metadata"]["name"]) == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_object_names_a_namespace(example: str) -> None:
    assert [d["metadata"]["name"] for d in documents(example) if "namespace" in d["metadata"]] == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_references_name_what_the_example_has(example: str) -> None:
    names = {(d["kind"], d["metadata"]["name"]) for d in documents(example)}
    configs = {d["metadata"]["name"]: VirtualServerConfig.from_dict(d) for d in ours(example) if "images" in d["spec"]}
    groups = [ServerGroup.from_dict(d) for d in ours(example) if d["kind"] == "ServerGroup"]
    assert groups
    for group in groups:
        assert ("HostingPolicy", group.spec.policy_ref.name) in names
        members = {member.name: configs[member.config_ref.name].spec for member in group.spec.members}
        for member in members.values():
            for item in member.configuration:
                source = item.value_from and item.value_from.output
                if source:
                    assert source.name in {output.name for output in members[source.member].outputs}


@pytest.mark.parametrize("example", EXAMPLES)
def test_templates_use_only_items_that_are_there(example: str) -> None:
    for document in ours(example):
        if document["kind"] != "VirtualServerConfig":
            continue
        spec = VirtualServerConfig.from_dict(document).spec
        items = {item.name for item in spec.configuration}
        texts = [file.content for file in spec.files] + [step.script for step in spec.steps]
        texts += [item.template for item in spec.configuration if item.template]
        used = {name for text in texts for name in ITEM.findall(text)}
        assert used <= items, document["metadata"]["name"]
