"""docs/failover.md shows a policy that can be applied, and explains every reason that keeps a group."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from moorage.api.hostingpolicy import HostingPolicy

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "failover.md").read_text(encoding="utf-8")


def test_the_policy_is_one() -> None:
    found = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    assert len(found) == 1
    policy = HostingPolicy.from_dict(yaml.safe_load(found[0]))
    assert policy.spec.failover is not None
    assert policy.spec.failover.overlap == "Allowed"


def test_every_reason_that_keeps_a_group_is_explained() -> None:
    code = (ROOT / "operator" / "moorage" / "core" / "failover.py").read_text(encoding="utf-8")
    kept = set(re.findall(r'return \(?\s*"([A-Z]\w+)",', code)) | set(re.findall(r'reason="([A-Z]\w+)"', code))
    assert len(kept) >= 6
    told = {word for row in re.findall(r"^\| (`.*?) \|", PAGE, re.M) for word in re.findall(r"`(\w+)`", row)}
    assert sorted(kept - told) == []
