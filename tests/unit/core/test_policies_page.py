"""What `docs/policies.md` shows is what happens: its YAML is read and evaluated, its words are those of the code."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from moorage.api.hostingpolicy import HostingPolicy, HostingPolicySpec, HostingPolicyStatus, PolicyCondition, Select
from moorage.api.hostingservice import Offering
from moorage.api.meta import ObjectMeta
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.expressions import MAX_LENGTH, MAX_LOOPS, MAX_STEPS, Sizes, compile_expression
from moorage.core.placement import MemberRequest, PlacementRequest, Reason, place
from moorage.core.policy import Constituency, GroupFacts, Votes, evaluate_policy, read_own, waits_for_servers
from moorage.core.services import ServiceView

PAGE = (Path(__file__).parents[3] / "docs" / "policies.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(b) | {"#": b.split("\n", 1)[0]} for b in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)]
NIGHT = datetime(2026, 12, 28, 23, 0, tzinfo=UTC)
OFFERINGS = (
    Offering(name="small", cpu=Decimal(1), memory=Decimal(2**30), price_per_hour=Decimal("0.02")),
    Offering(name="arm", cpu=Decimal(4), memory=Decimal(2**33), arch="arm64", price_per_hour=Decimal("0.08")),
)
SERVICES = [
    ServiceView(
        name,
        region="eu-1",
        labels={"tier": "production", "jurisdiction": "eu"},
        offerings=OFFERINGS,
        limit=100,
        used=used,
        room=100 - used,
    )
    for name, used in (("eu-small", 10), ("eu-large", 20))
]
CONFIG = VirtualServerConfigSpec.from_dict({"images": [{"image": "debian-12"}], "size": {"cpu": 1, "memory": "1Gi"}})


def blocks(kind: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in b.items() if k != "#"} for b in BLOCKS if b["#"].startswith(kind)]


def named(found: list[dict[str, Any]]) -> Any:
    return [pytest.param(b, id=str(b.get("name", i))) for i, b in enumerate(found)]


def test_every_block_is_tried() -> None:
    assert len(BLOCKS) == len(blocks("# condition")) + len(blocks("# select")) + len(blocks("apiVersion"))
    assert len(BLOCKS) >= 11


@pytest.mark.parametrize("block", named(blocks("# condition")))
def test_each_condition_is_read(block: dict[str, Any]) -> None:
    spec = HostingPolicySpec.from_dict({"when": {"all": [block]}})
    unknown = set(block) - {"name", "schedule", "service", "approval", "vote", "for", "holdFor"}
    assert not unknown
    assert PolicyCondition.from_dict(block).name == block["name"]
    result = evaluate_policy(spec, SERVICES, HostingPolicyStatus(), NIGHT, {})
    if {"approval", "vote"} & set(block):
        assert (result.verdict, result.message) == ("Unknown", f"decided for each group: {block['name']}")
        return
    assert result.verdict == ("Unmet" if block["name"] in {"office-hours", "cheap-for-a-while"} else "Met"), result


@pytest.mark.parametrize("block", named(blocks("# select")))
def test_each_selection_finds_a_service(block: dict[str, Any]) -> None:
    select = Select.from_dict(block)
    request = PlacementRequest("default", {}, (MemberRequest("web", 2, CONFIG),))
    assert set(block) <= {"services", "requirements", "preferences"}
    assert place(request, select, SERVICES).chosen in SERVICES


def test_the_whole_policy_is_met_at_night_and_not_by_day() -> None:
    policy = HostingPolicy.from_dict({**blocks("apiVersion")[0]})
    met = evaluate_policy(policy.spec, SERVICES, policy.status, NIGHT, {})
    assert met.verdict == "Met"
    assert evaluate_policy(policy.spec, SERVICES, policy.status, NIGHT.replace(hour=12), {}).verdict == "Unmet"


def test_the_example_of_a_vote_lets_a_group_begin() -> None:
    example = HostingPolicy.from_dict(blocks("apiVersion")[1])
    facts = GroupFacts(ObjectMeta(name="g"), Votes(False, (Constituency("web", 1, {"busy": False}),)))
    own = read_own(example.spec.when, facts, None, NIGHT).readings
    assert [r.reason for r in own] == ["NoServers"]
    assert waits_for_servers(example.spec.when, own) == ()


def test_every_reason_of_approvals_and_votes_is_on_the_page() -> None:
    for module in ("approval", "vote"):
        code = (Path(__file__).parents[3] / "operator" / "moorage" / "core" / "policy" / f"{module}.py").read_text()
        reasons = re.findall(r'RawReading\("\w+", "(\w+)"', code) + re.findall(r'"reason": "(\w+)"', code)
        assert len(reasons) >= 6, module
        for reason in (*reasons, "NoServers"):
            assert f"`{reason}`" in PAGE, reason


def test_every_reason_and_limit_of_the_code_is_on_the_page() -> None:
    words = {str(r) for r in Reason} | {"InvalidSchedule", "ExpressionInvalid", "ExpressionFailed"}
    for word in words | {"ExpressionTooExpensive", "Pending", "Held"}:
        assert f"`{word}" in PAGE, word
    for number in (MAX_LENGTH, MAX_LOOPS, MAX_STEPS):
        assert f"{number:,}" in PAGE
    # The example of the limit.
    nested = compile_expression("services.exists(s, s.offerings.exists(o, o.cpu > 1.0))")
    assert nested.cost(Sizes(900, 10, 5)).loops <= MAX_LOOPS < nested.cost(Sizes(1000, 10, 5)).loops


def test_every_field_that_expressions_see_is_on_the_page() -> None:
    shown = SERVICES[0].to_cel()
    fields = {*shown, *(f"capacity.{k}" for k in shown["capacity"]), *shown["offerings"][0]} - {"capacity", "offerings"}
    for field in fields:
        assert f"`{field}`" in PAGE, field
