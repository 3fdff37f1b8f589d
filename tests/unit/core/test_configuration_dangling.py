"""Items that refer to nothing are told from specs alone, whatever servers have published."""

from __future__ import annotations

import pytest
from tests.support.configuration import compiled, member, server

from moorage.core.configuration import Dangling, GroupFacts, OwnFacts, dangling

OWN = OwnFacts("", "ns", group="g", member="web")


def found(item: str, declared: dict[str, bool] | None, replicas: int = 1) -> tuple[Dangling, ...]:
    facts = member(server("g-db-0", address="10.0.0.1"), replicas=replicas, declared=declared)
    return dangling(compiled(f"configuration: [{item}]"), OWN, {"g": GroupFacts({"db": facts})})


ADDRESS = "{name: db, valueFrom: {output: {member: db, name: address}}%s}"


def test_an_output_that_is_published_and_not_declared_any_more_is_told() -> None:
    assert found(ADDRESS % "", {"address": False}) == ()
    [told] = found(ADDRESS % "", {"addr": False})
    assert (told.item, told.reason) == ("db", "NoSuchOutput")
    assert told.message == "member db declares no output address (did you mean addr?)"


def test_what_a_configuration_that_is_not_known_declares_is_not_guessed() -> None:
    assert found(ADDRESS % "", None) == ()


@pytest.mark.parametrize(("default", "reasons"), [("", ["NoReplicas"]), (", default: none", [])])
def test_a_member_without_servers_is_told_where_nothing_stands_in_for_it(default: str, reasons: list[str]) -> None:
    told = found(f"{{name: db, valueFrom: {{output: {{member: db, name: address, select: First}}}}{default}}}", {}, 0)
    assert [one.reason for one in told] == reasons


def test_an_item_made_of_another_that_refers_to_nothing_is_not_told_beside_it() -> None:
    made = "{name: url, valueFrom: {output: {member: dv, name: address}}}, {name: both, template: 'at ${url}'}"
    assert [one.item for one in found(made, {})] == ["url"]
