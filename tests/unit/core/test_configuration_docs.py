"""Every example of docs/configuration.md, run through the core."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.configuration import Channel, given, member, server, spec, with_secret

from moorage.core.configuration import CompiledConfig, Reason, ServerInput, compile_config
from moorage.core.dependencies import GroupGraph, find_deadlocks
from moorage.core.validation import validate

PAGE = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
BLOCKS = re.compile(r"^<!-- (\w+)(?:: (\w+))? -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(*kinds: str) -> Iterator[tuple[str, str, str]]:
    """(kind, name, text) of the marked blocks, in the order of the page."""
    for kind, name, text in BLOCKS.findall(PAGE):
        if kind in kinds:
            yield kind, name, text


EXAMPLES = {name: text for _, name, text in blocks("example")}


def facts(config: CompiledConfig, world: dict[str, Any]) -> tuple[ServerInput, dict[str, dict[str, bytes]]]:
    members: dict[str, Any] = {
        name: member(*(server(f"g-{name}-{n}", **outputs) for n, outputs in enumerate(servers)), replicas=len(servers))
        for name, servers in (world.get("outputs") or {}).items()
    }
    for _, name in config.upstreams:
        members.setdefault(name, member())
    found = given(config, **members)
    secrets = {name: {k: v.encode() for k, v in data.items()} for name, data in world.get("secrets", {}).items()}
    for name in secrets:
        found = with_secret(found, name)
    return found, secrets


def part_of(expected: Any, actual: Any) -> Any:
    """`actual` reduced to what `expected` mentions: lists of objects are compared entry by entry."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return {key: part_of(value, actual[key]) for key, value in expected.items() if key in actual}
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        return [part_of(one, other) for one, other in zip(expected, actual, strict=True)]
    return actual


def test_the_page_has_examples() -> None:
    assert set(EXAMPLES) == {"shop", "select", "text", "script", "sensitive", "problems"}
    assert PAGE.count("```yaml") == len(list(blocks("example", "given", "result", "values", "member")))


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_gives_what_the_page_says(name: str) -> None:
    config = spec(EXAMPLES[name])
    told = [text.strip() for _, of, text in blocks("problems") if of == name]
    assert sorted(str(problem) for problem in validate(config)) == sorted("\n".join(told).splitlines())
    if told:
        return
    channel, compiled, world = Channel(), compile_config(config), None
    checked = 0
    for kind, of, text in blocks("given", "result", "values"):
        if of != name:
            continue
        block = yaml.safe_load(text)
        if kind == "given":
            world = facts(compiled, block)
            continue
        assert world is not None
        rendered, _ = channel.render(replace(world[0], revision="r"), world[1])
        actual = channel.document if kind == "result" else dict(rendered.values)
        assert part_of(block, actual) == block
        checked += 1
    assert checked


def test_the_deadlock_is_the_one_that_the_page_shows() -> None:
    members = {name: spec(text) for _, name, text in blocks("member")}
    ((_, _, text),) = blocks("deadlock")
    (deadlock,) = find_deadlocks(GroupGraph.build("shop", members))
    assert deadlock.describe("shop") == text.strip()


def test_every_reason_is_explained() -> None:
    reasons = {value for name, value in vars(Reason).items() if name.isupper()}
    assert {reason for reason in reasons if f"`{reason}`" not in PAGE} == set()


@pytest.mark.parametrize("field", ["name", "namespace", "group", "member", "ordinal", "address", "service", "region"])
def test_every_field_is_named(field: str) -> None:
    assert f"`{field}`" in PAGE
