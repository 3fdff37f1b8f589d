"""The models: names as the API spells them, unknown fields ignored, nothing sensitive in errors, frozen."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError
from tests.support.crd_cases import BASES, built

from moorage.api.base import to_alias
from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.kinds import KINDS, KindInfo
from moorage.api.meta import LabelSelector
from moorage.api.names import server_name
from moorage.api.quantities import Share
from moorage.api.servergroup import ServerGroup, ServerGroupSpec
from moorage.api.virtualserver import AgentState, OutputState, VirtualServerSpec, VirtualServerStatus
from moorage.api.virtualserverconfig import Item, VirtualServerConfig

GROUP = {"members": [{"name": "db", "configRef": {"name": "db"}}], "policyRef": {"name": "p"}}


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("provider_id", "providerID"),
        ("service_uid", "serviceUID"),
        ("uid", "uid"),
        ("id", "id"),
        ("for_", "for"),
        ("max_bytes", "maxBytes"),
        ("secret_key_ref", "secretKeyRef"),
        ("joined_at", "joinedAt"),
    ],
)
def test_names_are_spelled_as_the_api_does(attribute: str, name: str) -> None:
    assert to_alias(attribute) == name


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.kind)
def test_what_is_written_reads_back_the_same(info: KindInfo) -> None:
    read = info.model.from_dict(built(info.kind, {}))
    assert info.model.from_dict(read.to_dict()) == read


def test_unknown_fields_are_ignored_so_that_an_older_reader_serves() -> None:
    spec = ServerGroupSpec.from_dict({**GROUP, "later": 1})
    assert "later" not in spec.to_dict()


def test_models_are_frozen_and_their_lists_are_tuples() -> None:
    spec = ServerGroupSpec.from_dict(GROUP)
    assert isinstance(spec.members, tuple)
    with pytest.raises(ValidationError):
        spec.suspend = True  # type: ignore[misc]


def test_an_error_does_not_show_the_input() -> None:
    with pytest.raises(ValidationError) as error:
        Item.from_dict({"name": "pw", "value": ["hunter2"], "default": {"a": "hunter2"}})
    assert "hunter2" not in f"{error.value}"
    assert "hunter2" not in repr(error.value)


@pytest.mark.parametrize("wrong", [None, [], "x", {"metadata": {"name": "x"}}, {"metadata": None, "spec": GROUP}])
def test_what_is_no_object_is_one_kind_of_error(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        ServerGroup.from_dict(wrong)


def test_defaults_are_typed_values() -> None:
    spec = ServerGroupSpec.from_dict(GROUP)
    assert spec.update_strategy.max_unavailable == Share(1)
    assert spec.remediation.max_unhealthy == Share(40, percent=True)
    assert spec.remediation.boot_timeout == timedelta(minutes=10)
    config = VirtualServerConfig.from_dict(built("VirtualServerConfig", {"size": {"memory": "512Mi"}}))
    assert (config.spec.size.cpu, config.spec.size.memory) == (Decimal(1), Decimal(2**29))


def test_replicas_of_a_member_are_one_unless_said_otherwise() -> None:
    members = [{"name": n, "configRef": {"name": n}} for n in ("db", "web")] + [
        {"name": "cache", "configRef": {"name": "c"}, "replicas": 0}
    ]
    spec = ServerGroupSpec.from_dict({**GROUP, "members": members, "scale": {"member": "web", "replicas": 5}})
    assert [spec.replicas_of(m) for m in spec.members] == [1, 5, 0]
    assert spec.replicas == 6


@pytest.mark.parametrize(
    ("scale", "shall"),
    [
        ({"replicas": 5}, 5),
        ({"replicas": 0}, 0),
        ({"replicas": 5, "maxReplicas": 3}, 3),
        ({"replicas": 5, "maxReplicas": 0}, 0),
        ({"replicas": 5, "maxReplicas": 5}, 5),
        ({"replicas": 0, "minReplicas": 2}, 2),
        ({"replicas": 1000, "minReplicas": 2, "maxReplicas": 2}, 2),
        ({"minReplicas": 4}, 4),
        ({"replicas": 3, "minReplicas": 2, "maxReplicas": 4}, 3),
    ],
)
def test_the_guards_bound_what_is_asked_for(scale: dict[str, int], shall: int) -> None:
    spec = ServerGroupSpec.from_dict({**GROUP, "scale": {"member": "db", **scale}})
    assert spec.replicas_of(spec.members[0]) == spec.replicas == shall


@pytest.mark.parametrize(
    ("extra", "retains"),
    [
        ({}, False),
        ({"deletionPolicy": "Retain"}, True),
        ({"adopt": {"providerID": "i"}}, True),
        ({"adopt": {"providerID": "i"}, "deletionPolicy": "Delete"}, False),
    ],
)
def test_an_adopted_server_outlives_its_object_unless_said_otherwise(extra: dict[str, Any], retains: bool) -> None:
    assert VirtualServerSpec.from_dict({"serviceRef": {"name": "s"}, **extra}).retains is retains


def test_absent_and_empty_differ_for_values_but_not_for_lists() -> None:
    agent = AgentState(outputs=(OutputState(name="a", value=""), OutputState(name="b")))
    outputs = agent.to_dict()["outputs"]
    assert outputs[0]["value"] == ""
    assert "value" not in outputs[1]
    assert VirtualServerStatus().to_dict() == {"observedGeneration": -1}


def test_policy_conditions_read_python_keywords() -> None:
    when = {
        "all": [{"name": "a", "for": "5m", "schedule": {"from": "2026-01-01T00:00:00Z"}}],
        "any": [{"name": "b", "service": {"expression": "true"}, "holdFor": "1s"}],
    }
    policy = HostingPolicy.from_dict(built("HostingPolicy", {"when": when}))
    first, second = policy.spec.when.conditions
    assert first.schedule is not None
    assert first.schedule.from_ is not None
    assert (first.for_, second.hold_for) == (timedelta(minutes=5), timedelta(seconds=1))
    assert policy.to_dict()["spec"]["when"]["all"][0]["schedule"] == {"from": "2026-01-01T00:00:00Z", "timeZone": "UTC"}


@pytest.mark.parametrize(
    ("operator", "values", "labels", "matches"),
    [
        ("In", ["a", "b"], {"k": "a"}, True),
        ("In", ["a"], {}, False),
        ("NotIn", ["a"], {"k": "a"}, False),
        ("NotIn", ["a"], {}, True),
        ("Exists", [], {"k": ""}, True),
        ("Exists", [], {}, False),
        ("DoesNotExist", [], {}, True),
        ("DoesNotExist", [], {"k": "a"}, False),
    ],
)
def test_selector_requirements(operator: str, values: list[str], labels: dict[str, str], matches: bool) -> None:
    expression = {"key": "k", "operator": operator, "values": values}
    assert LabelSelector.from_dict({"matchExpressions": [expression]}).matches(labels) is matches


def test_selector_needs_all_of_it_and_an_empty_one_selects_everything() -> None:
    both = LabelSelector.from_dict(
        {"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}
    )
    assert both.matches({"a": "1", "b": "x"})
    assert not both.matches({"a": "1"})
    assert not both.matches({"a": "2", "b": "x"})
    assert LabelSelector().matches({})


def test_server_names() -> None:
    assert server_name("shop", "db", 0) == "shop-db-0"
    assert server_name("shop", "db", 0, 2) == "shop-db-0-2"


def test_bases_of_the_tables_are_the_least_that_is_needed() -> None:
    for kind, spec in BASES.items():
        model: Any = next(info.model for info in KINDS if info.kind == kind)
        model.from_dict(built(kind, {}))
        for field in [f for f in spec if kind != "VirtualServer"]:
            with pytest.raises(ValidationError):
                model.from_dict(built(kind, {field: None}))
