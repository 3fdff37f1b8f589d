"""What `docs/resource-conditions.md` shows is what happens: its conditions are read, its words are the code's."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from moorage.api.hostingpolicy import HostingPolicy, HostingPolicyStatus, PolicyCondition
from moorage.core.policy import evaluate_policy
from moorage.core.policy import resource as conditions
from moorage.core.policy.resource import refusal, sample, variable_of
from moorage.core.resource_expressions import Objects
from moorage.kube import allowance, following, wanted
from moorage.kube.kinds import CONFIG_MAP
from moorage.kube.projection import Projection
from moorage.kube.wanted import Wanted, forbidden

PAGE = (Path(__file__).parents[3] / "docs" / "resource-conditions.md").read_text(encoding="utf-8")
BLOCKS: list[dict[str, Any]] = [yaml.safe_load(b) for b in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)]
NOW = datetime(2026, 12, 1, tzinfo=UTC)
READY = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
FOUND: dict[str, list[dict[str, Any]]] = {
    "work-waits": [{"data": {"length": "120"}}],
    "cluster-is-small": [READY, READY, {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}],
    "released": [{"data": {"approved": "yes"}}],
}


def read(condition: PolicyCondition, found: list[dict[str, Any]]) -> Any:
    assert condition.resource is not None
    compiled = refusal(condition.resource, "reader")
    assert not isinstance(compiled, conditions.Unseen), compiled
    project = Projection(compiled.paths)
    objects = Objects(variable_of(condition.resource), [project(o)[0] for o in found])
    return sample(condition.resource, compiled, objects, NOW)


@pytest.mark.parametrize("block", [b for b in BLOCKS if "kind" not in b], ids=lambda b: str(b["name"]))
def test_each_condition_is_read(block: dict[str, Any]) -> None:
    condition = PolicyCondition.from_dict(block)
    assert set(block["resource"]) <= {"apiVersion", "kind", "name", "selector", "namespace", "expression"}
    assert read(condition, FOUND[condition.name]).holds is True
    nothing = read(condition, [])
    assert nothing.holds is {"work-waits": None, "cluster-is-small": True, "released": False}[condition.name]
    assert (nothing.reason == "ResourceNotFound") is (condition.name == "work-waits")


def test_the_whole_policy_is_met_where_the_object_says_so() -> None:
    policy = HostingPolicy.from_dict(next(b for b in BLOCKS if b.get("kind") == "HostingPolicy"))
    (condition,) = policy.spec.when.conditions
    samples = {condition.name: read(condition, FOUND["work-waits"])}
    assert policy.spec.service_account_name == "reader"
    later = evaluate_policy(policy.spec, (), HostingPolicyStatus(), NOW, {}, samples)
    assert later.readings[0].reason == "PendingAnew"
    assert evaluate_policy(policy.spec, (), HostingPolicyStatus(), NOW, {}).verdict == "Unknown"


def test_every_reason_and_limit_of_the_code_is_on_the_page() -> None:
    reasons = {
        value
        for module, names in (
            (wanted, ("ACCOUNT_NOT_FOUND", "MAY_NOT_IMPERSONATE", "FORBIDDEN", "KIND_NOT_FOUND", "NOT_WATCHABLE")),
            (wanted, ("REFUSED", "WRONG_SCOPE", "TOO_LARGE", "UNAVAILABLE", "TOO_MANY")),
            (conditions, ("NOT_FOUND", "NO_ACCOUNT", "SECRETS_REFUSED", "INVALID_RESOURCE")),
        )
        for value in (getattr(module, name) for name in names)
    }
    table = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.M))
    assert reasons <= table
    memory = (f"{allowance.NAMESPACE_BYTES >> 20} MiB of memory", f"{allowance.ALL_BYTES >> 20} MiB in all")
    numbers = (f"{wanted.MAX_OBJECTS:,}", f"{following.NAMESPACE_WATCHES} different", f"{following.ALL_WATCHES} in all")
    for number in (*memory, *numbers, f"more than {wanted.MAX_ANSWER >> 20} MiB"):
        assert number in PAGE


def test_the_message_of_a_missing_right_is_that_of_the_code() -> None:
    queue = Wanted("shop", "reader", "v1", "ConfigMap", name="queue")
    assert forbidden(queue, CONFIG_MAP, "shop", "list").lacking.message in " ".join(PAGE.split())
