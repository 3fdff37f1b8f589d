"""What `docs/scaling.md` shows can be applied, and its words are those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.kinds import SERVER_GROUP
from moorage.api.names import ANNOTATION_MAX_PRICE, API_VERSION
from moorage.api.servergroup import ServerGroup
from moorage.core import ceilings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
BLOCKS: dict[str, dict[str, Any]] = {
    block["kind"]: block for block in map(yaml.safe_load, re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S))
}


def test_the_group_and_its_policy_are_read_without_anything_unknown() -> None:
    group, policy = ServerGroup.from_dict(BLOCKS["ServerGroup"]), HostingPolicy.from_dict(BLOCKS["HostingPolicy"])
    assert group.spec.policy_ref.name == policy.metadata.name
    assert set(BLOCKS["ServerGroup"]["spec"]) <= set(group.spec.to_dict())
    assert set(BLOCKS["ServerGroup"]["spec"]["scale"]) <= set(group.spec.scale.to_dict())
    assert policy.spec.when_unmet == "Release"


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "ScaledObject"])
def test_autoscalers_act_on_the_group_of_the_page(kind: str) -> None:
    target = BLOCKS[kind]["spec"]["scaleTargetRef"]
    name = BLOCKS["ServerGroup"]["metadata"]["name"]
    assert target == {"apiVersion": API_VERSION, "kind": SERVER_GROUP.kind, "name": name}
    assert SERVER_GROUP.scale


def test_the_group_that_is_scaled_holds_no_number_that_an_apply_would_set_back() -> None:
    assert "replicas" not in BLOCKS["ServerGroup"]["spec"]["scale"]


def test_autoscalers_ask_for_averages_since_there_are_no_pods_to_count() -> None:
    hpa, keda = BLOCKS["HorizontalPodAutoscaler"]["spec"], BLOCKS["ScaledObject"]["spec"]
    assert {m["type"] for m in hpa["metrics"]} == {"External"}
    assert {m["external"]["target"]["type"] for m in hpa["metrics"]} == {"AverageValue"}
    assert {t["metricType"] for t in keda["triggers"]} == {"AverageValue"}
    scale = ServerGroup.from_dict(BLOCKS["ServerGroup"]).spec.scale
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (scale.min_replicas, scale.max_replicas)


def test_the_words_are_those_of_the_code() -> None:
    for word in (ceilings.ABOVE, ceilings.UNKNOWN, ceilings.INVALID, ANNOTATION_MAX_PRICE, ceilings.OWN):
        assert word in PAGE, word
    policy = (ROOT / "deploy" / "base" / "admission.yaml").read_text(encoding="utf-8")
    assert policy.count(ANNOTATION_MAX_PRICE) == 3
