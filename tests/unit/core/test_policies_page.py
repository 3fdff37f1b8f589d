"""What `docs/policies.md` shows is what happens: its YAML is read and evaluated, its words are those of the code."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from moorage.api.crd import object_schema
from moorage.api.hostingpolicy import HostingPolicy, HostingPolicySpec, HostingPolicyStatus
from moorage.api.hostingservice import Offering
from moorage.api.kinds import KINDS
from moorage.api.meta import ObjectMeta
from moorage.core.expressions import MAX_LENGTH, MAX_LOOPS, MAX_STEPS, Sizes, compile_expression
from moorage.core.policy import (
    INVALID_REASONS,
    Constituency,
    GroupFacts,
    Sample,
    Votes,
    evaluate_policy,
    read_own,
    waits_for_servers,
)
from moorage.core.services import ServiceView
from moorage.core.targets import AllowList, target_of

PAGE = (Path(__file__).parents[3] / "docs" / "policies.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(b) | {"#": b.split("\n", 1)[0]} for b in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)]
POLICY = next(info for info in KINDS if info.kind == "HostingPolicy")
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


def blocks(kind: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in b.items() if k != "#"} for b in BLOCKS if b["#"].startswith(kind)]


def named(found: list[dict[str, Any]]) -> Any:
    return [pytest.param(b, id=str(b.get("name", i))) for i, b in enumerate(found)]


def test_every_block_is_tried() -> None:
    tried = ("# condition", "apiVersion", "# patch")
    assert len(BLOCKS) == sum(len(blocks(kind)) for kind in tried)
    assert len(BLOCKS) >= 11


def unknown_fields(schema: dict[str, Any], value: Any) -> list[str]:
    """The fields that the API server would not know."""
    if isinstance(value, list):
        return [name for item in value for name in unknown_fields(schema["items"], item)]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    fields = schema["properties"]
    inner = [name for key in value if key in fields for name in unknown_fields(fields[key], value[key])]
    return [*(key for key in value if key not in fields), *inner]


@pytest.mark.parametrize("block", named(blocks("# condition")))
def test_each_condition_is_read(block: dict[str, Any]) -> None:
    spec = HostingPolicySpec.from_dict({"when": {"all": [block]}})
    assert not unknown_fields(object_schema(POLICY)["properties"]["spec"], {"when": {"all": [block]}})
    samples = {c.name: Sample(True, "True", "it is", NIGHT) for c in spec.when.conditions if c.metric or c.webhook}
    result = evaluate_policy(spec, SERVICES, HostingPolicyStatus(), NIGHT, {}, samples)
    if {"approval", "vote"} & set(block):
        assert (result.verdict, result.message) == ("Unknown", f"decided for each group: {block['name']}")
        return
    expected = "Unmet" if block.get("name") in {"office-hours", "cheap-for-a-while", "queue-is-long"} else "Met"
    assert result.verdict == expected, result


def test_the_targets_of_the_page_are_a_list_and_its_examples_could_be_asked() -> None:
    entries = [*blocks("# patch")[0]["env"][0]["value"].split(), "127.0.0.0/8", "https://metrics.example.org"]
    allowed = AllowList.of([*entries, "https://changes.example.org"])
    asked = [block.get("metric") or block.get("webhook") for block in blocks("# condition")]
    urls = [probe["url"] for probe in asked if probe]
    assert len(urls) >= 3
    assert all(allowed.allows(target_of(url)) for url in urls)


def test_every_reason_of_an_answer_is_on_the_page() -> None:
    folder = Path(__file__).parents[3] / "operator" / "moorage"
    files = ["core/policy/metric.py", "core/policy/webhook.py", "controllers/probes.py"]
    files += [f"runtime/{name}.py" for name in ("outbound", "prober", "probing")]
    text = "\n".join((folder / name).read_text(encoding="utf-8") for name in files)
    reasons = set(re.findall(r"(?:unknown|NotAnswered|SecretUnusable)\(\s*\"(\w+)\"", text))
    assert len(reasons) > 18
    assert not [reason for reason in reasons if f"`{reason}`" not in PAGE]


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
    for word in INVALID_REASONS | {"ExpressionFailed", "Pending", "PendingAnew", "Held"}:
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
